"""A method, a generator and a discriminator from outside the package: one file each, from training to translation."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runs import TINY, arguments, unpaired, write_images
from unpaired.models.folder import checkpoints_of

METHOD = '''
from collections.abc import Iterator

import torch
from unpaired.core.settings import Settings
from unpaired.methods import Batch, ImageShapes, Method, Player, Term, Update
from unpaired.methods.losses import l1
from unpaired.networks import DiscriminatorConfig, Generator, GeneratorConfig, PatchganConfig, ResnetConfig
from unpaired.networks import build_discriminator, build_generator


class Config(Settings):
    """Settings of a method that fits means."""

    weight: float = 2.0
    """Of the term that keeps the input."""
    generator: GeneratorConfig = ResnetConfig(width=4, blocks=1)
    """The translator."""
    discriminator: DiscriminatorConfig = PatchganConfig(width=4, layers=1)
    """The discriminator."""


class Mine(Method):
    """Brings a translation near its input and fools a discriminator."""

    config_class = Config
    defaults = {"training.epochs": 1, "training.decay_epochs": 0}

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        self.G = build_generator(config.generator, shapes.channels_a, shapes.channels_b)
        self.D = build_discriminator(config.discriminator, shapes.channels_b)

    def players(self) -> dict[str, Player]:
        return {"maker": Player("generator", self.G), "critic": Player("discriminator", self.D)}

    def terms(self) -> dict[str, Term]:
        return {"near": Term("regularization", "weight"), "fool": Term("adversarial"), "tell": Term("discriminator")}

    def translators(self) -> dict[str, Generator]:
        return {"a2b": self.G}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        x, y = next(batches)
        fake = self.G(x)
        yield Update("maker", near=self.config.weight * l1(fake, x), fool=-self.D(fake).mean())
        yield Update("critic", tell=self.D(fake.detach()).mean() - self.D(y).mean())
'''
NETWORKS = '''
import torch
from torch import Tensor, nn
from unpaired.core.settings import Settings
from unpaired.networks import Discriminator, Generator


class GeneratorSettings(Settings):
    """Settings of a convolution."""

    family: str = "own_parts.networks:Convolution"
    """Which generator this is."""
    kernel: int = 3
    """Pixels."""


class Convolution(Generator):
    """One convolution."""

    config_class = GeneratorSettings

    def __init__(self, config: GeneratorSettings, in_channels: int, out_channels: int) -> None:
        super().__init__(config, in_channels, out_channels, size_multiple=1, minimum_size=1)
        self.layer = nn.Conv2d(in_channels, out_channels, config.kernel, padding=config.kernel // 2)

    def forward(self, image: Tensor) -> Tensor:
        self.check(image)
        return torch.tanh(self.layer(image))


class DiscriminatorSettings(Settings):
    """Settings of a judge of pixels."""

    family: str = "own_parts.networks:Pixels"
    """Which discriminator this is."""


class Pixels(Discriminator):
    """A linear map of the channels."""

    config_class = DiscriminatorSettings

    def __init__(self, config: DiscriminatorSettings, in_channels: int) -> None:
        super().__init__(config, in_channels, minimum_size=1)
        self.layer = nn.Conv2d(in_channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(self.see(image))
'''
METHOD_SPEC, GENERATOR, DISCRIMINATOR = (
    "own_parts.method:Mine",
    "own_parts.networks:Convolution",
    "own_parts.networks:Pixels",
)
SMALL = {name: value for name, value in TINY.items() if not name.startswith("method.")} | {"training.max_images": 3}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a package of the user's and images; commands run in it."""
    package = tmp_path / "own_parts"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "method.py").write_text(METHOD)
    (package / "networks.py").write_text(NETWORKS)
    write_images(tmp_path / "data", {"trainA": 3, "trainB": 3, "testA": 2, "testB": 2})
    return tmp_path


def train(place: Path, run: str, method: str, **own: str) -> Path:
    chosen = {f"method.{name}.family": family for name, family in own.items()}
    settings = {name: value for name, value in SMALL.items() if method != METHOD_SPEC or "epochs" not in name}
    unpaired("train", method, "--data", "data", "--out", run, *arguments(settings | chosen), cwd=place)
    return place / run


def translate(place: Path, run: str, *options: str, check: int = 0) -> subprocess.CompletedProcess[str]:
    return unpaired("translate", run, "data/testA", "--out", "out", *options, cwd=place, check=check)


def test_own_networks_in_a_method_of_ours(place: Path) -> None:
    run = train(place, "run", "cyclegan", generator=GENERATOR, discriminator=DISCRIMINATOR)
    config = json.loads((run / "config.json").read_text())
    assert config["method"]["generator"] == {"family": GENERATOR, "kernel": 3}
    card = json.loads((checkpoints_of(run)[0] / "model.json").read_text())
    assert card["extensions"] == {"generator": [GENERATOR], "discriminator": [DISCRIMINATOR]}

    refused = translate(place, "run", check=2)
    assert f"--extension {GENERATOR}" in " ".join(refused.stderr.split())
    assert not list((place / "out").rglob("*.png"))
    program = f"import unpaired; unpaired.Translator.load('run', extensions=['{GENERATOR}'])"
    subprocess.run([sys.executable, "-c", program], cwd=place, check=True)
    translate(place, "run", "--extension", GENERATOR)
    assert len(list((place / "out").rglob("*.png"))) == 2


def test_an_own_method_trains_resumes_and_translates(place: Path) -> None:
    run = train(place, "run", METHOD_SPEC)
    card = json.loads((checkpoints_of(run)[0] / "model.json").read_text())
    assert (card["method"], card["extensions"], card["paired"]) == (METHOD_SPEC, {"method": [METHOD_SPEC]}, False)
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert first["declared"]["terms"] == {"near": "regularization", "fool": "adversarial", "tell": "discriminator"}
    assert first["declared"]["players"] == {"maker": "generator", "critic": "discriminator"}
    translate(place, "run")  # its network is one of ours: nothing of the user's is needed

    longer = ("--set", "training.max_images=5", "--set", "training.epochs=2")
    refused = unpaired("train", "--resume", "run", *longer, cwd=place, check=2)
    assert f"--extension {METHOD_SPEC}" in " ".join(refused.stderr.split())
    unpaired("train", "--resume", "run", *longer, "--extension", METHOD_SPEC, cwd=place)
    assert checkpoints_of(run)[0].name == "000000005"


def test_an_installed_method_has_a_plain_name_and_needs_no_extension(place: Path) -> None:
    info = place / "own_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[unpaired.methods]\nmine = {METHOD_SPEC}\n")
    run = train(place, "run", "mine")
    assert json.loads((run / "config.json").read_text())["method"]["name"] == "mine"
    shutil.rmtree(info)
    refused = unpaired("train", "--resume", "run", "--set", "training.max_images=5", cwd=place, check=2)
    assert "mine" in refused.stderr


def test_mistakes_in_the_settings_of_an_own_network_are_told_as_those_of_ours(place: Path) -> None:
    options = arguments({**SMALL, "method.generator.family": GENERATOR, "method.generator.kernl": 5})
    refused = unpaired("train", "cyclegan", "--data", "data", "--out", "run", *options, cwd=place, check=2)
    assert 'Did you mean "kernel"' in " ".join(refused.stderr.split())
    options = arguments({**SMALL, "method.generator.family": "own_parts.networks:Pixels"})
    refused = unpaired("train", "cyclegan", "--data", "data", "--out", "run", *options, cwd=place, check=2)
    assert "derived from" in " ".join(refused.stderr.split())
    assert not (place / "run").exists()
