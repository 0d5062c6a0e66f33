"""CoGAN by hand, the contract of all methods, and whole runs: resumed exactly, with pairs for samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import contract
import unpaired
from runs import write_images
from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.methods import METHODS, Batch, ImageShapes
from unpaired.methods.cogan import CoGAN, Config
from unpaired.models.folder import checkpoints_of
from unpaired.networks import CoupledDiscriminatorConfig, CoupledGeneratorConfig, LatentSearch, SearchConfig
from unpaired.training.config import TrainingConfig
from unpaired.training.settings import resolve
from unpaired.training.trainer import Trainer

SHAPES = ImageShapes(channels_a=1, channels_b=3, size=(16, 16))
SEARCH = SearchConfig(steps=5, restarts=2, starts=8)
SMALL = Config(
    generator=CoupledGeneratorConfig(width=3, latent=5),
    discriminator=CoupledDiscriminatorConfig(width=3),
    search=SEARCH,
)
TINY: dict[str, Any] = {
    "method.generator.width": 4,
    "method.generator.latent": 5,
    "method.discriminator.width": 4,
    "method.search.steps": 5,
    "method.search.starts": 8,
    "data.crop_size": 16,
    "data.load_size": 16,
    "data.workers": 1,
    "training.batch_size": 4,
    "training.epochs": 3,
    "training.num_samples": 3,
    "training.checkpoint_every_images": 4,
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.threads": 1,
    "training.tensorboard": False,
}


@pytest.mark.parametrize("objective", ["vanilla", "lsgan", "hinge"])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_contract(objective: str, upsampling: str) -> None:
    config = Config(
        objective=objective,  # type: ignore[arg-type]
        generator=CoupledGeneratorConfig(width=3, latent=5, upsampling=upsampling),  # type: ignore[arg-type]
        discriminator=SMALL.discriminator,
        search=SEARCH,
    )
    torch.manual_seed(0)
    contract.keeps_it(lambda: CoGAN(config, SHAPES), lambda: contract.batches(1, 3, 16, rows=4))


class _Judge(nn.Module):
    """Says one logit of dark images and another one of bright ones."""

    def __init__(self, dark: float, bright: float) -> None:
        super().__init__()
        self.dark, self.bright = nn.Parameter(torch.tensor(dark)), nn.Parameter(torch.tensor(bright))

    def forward(self, image: Tensor) -> Tensor:
        bright = image.mean((1, 2, 3))[:, None] > 0
        return torch.where(bright, self.bright, self.dark)


class _Dark(nn.Module):
    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((len(latent), 1, 16, 16), -0.5), torch.full((len(latent), 3, 16, 16), -0.5)


def test_losses_by_hand() -> None:
    """Real images are bright and generated ones dark, so each judge's two logits are known."""
    method = CoGAN(SMALL, SHAPES)
    method.f.a, method.f.b = _Judge(-0.3, 0.9), _Judge(0.2, 1.5)
    method.a2b.generator = _Dark()  # type: ignore[assignment]
    batch = Batch(torch.full((2, 1, 16, 16), 0.5), torch.full((2, 3, 16, 16), 0.5))
    updates = list(method.step(iter([batch])))

    def say(logit: float) -> float:
        return float(-np.log(1 / (1 + np.exp(-logit))))  # -log sigmoid

    assert [update.player for update in updates] == ["discriminators", "generators"]
    assert {name: term.item() for name, term in updates[0].terms.items()} == pytest.approx(
        {
            "discriminator_a": (say(0.9) + say(0.3)) / 2,  # 1 - sigmoid(-0.3) = sigmoid(0.3)
            "discriminator_b": (say(1.5) + say(-0.2)) / 2,
        }
    )
    assert {name: term.item() for name, term in updates[1].terms.items()} == pytest.approx(
        {"gan_a": say(-0.3), "gan_b": say(0.2)}
    )


def test_both_images_of_a_step_come_from_one_latent_vector() -> None:
    method, seen = CoGAN(SMALL, SHAPES), []
    method.g.register_forward_hook(lambda _, inputs, outputs: seen.append((inputs[0], outputs)))
    for _ in method.step(contract.batches(1, 3, 16, rows=4)):
        pass
    ((latent, (one, two)),) = seen  # rendered once, for both domains and both updates
    assert latent.shape == (4, 5)
    assert (one.shape, two.shape) == ((4, 1, 16, 16), (4, 3, 16, 16))


def test_tied_layers_are_the_same_tensors() -> None:
    method = METHODS["cogan"](SMALL, SHAPES)
    assert isinstance(method, CoGAN)
    assert method.a2b.generator is method.b2a.generator is method.g
    assert method.f.a.shared is method.f.b.shared
    assert method.translators() == {"a2b": method.a2b, "b2a": method.b2a}
    assert (method.a2b.config.source, method.b2a.config.source) == ("a", "b")
    trainer = Trainer(method, TrainingConfig(precision="fp32"), torch.device("cpu"))
    stream = contract.batches(1, 3, 16, rows=4)
    for _ in range(2):
        trainer.step(stream)
    state = method.state_dict()
    for name, value in state.items():
        if name.startswith("a2b."):
            assert torch.equal(value, state[name.replace("a2b.", "b2a.", 1)])


def test_joined_calls_equal_separate_calls() -> None:
    torch.manual_seed(0)
    method, batch = CoGAN(SMALL, SHAPES).double(), next(contract.batches(1, 3, 16, rows=4))
    batch = Batch(batch.x.double(), batch.y.double())
    found = []
    for joined in (True, False):
        if not joined:
            method.discriminate = lambda real, fake: (method.f(*real), method.f(*fake))  # type: ignore[method-assign]
        torch.manual_seed(1)
        found.append({name: t for u in _double_steps(method, batch) for name, t in u.items()})
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-12, atol=1e-12)


def _double_steps(method: CoGAN, batch: Batch) -> list[dict[str, Tensor]]:
    """Take a step in double precision: the latent vectors are drawn in the default type."""
    torch.set_default_dtype(torch.float64)
    try:
        return [update.terms for update in method.step(iter([batch]))]
    finally:
        torch.set_default_dtype(torch.float32)


def test_it_needs_images_of_one_size() -> None:
    with pytest.raises(UserError, match=r"one size.*data\.preprocess"):
        CoGAN(SMALL, ImageShapes(channels_a=1, channels_b=1, size=None))
    with pytest.raises(UserError, match="18 x 16"):
        CoGAN(SMALL, ImageShapes(channels_a=1, channels_b=1, size=(18, 16)))


def test_it_trains_as_its_authors_do_unless_told_otherwise() -> None:
    config = resolve([Given({"method.name": "cogan"}, "{name}")])
    assert (config.training.batch_size, config.training.schedule, config.data.flip) == (128, "constant", False)
    assert (config.training.learning_rate, config.training.betas) == (2e-4, (0.5, 0.999))
    assert config.settings.generator.latent == 100
    assert CoGAN.adapt(config.settings, SHAPES, frozenset()) == (config.settings, [])
    config = resolve([Given({"method.name": "cogan", "training.batch_size": 7, "data.flip": True}, "{name}")])
    assert (config.training.batch_size, config.data.flip) == (7, True)


def test_recomputing_is_refused_where_nothing_recomputes() -> None:
    with pytest.raises(UserError, match=r"training\.recompute"):
        Trainer(CoGAN(SMALL, SHAPES), TrainingConfig(precision="fp32", recompute=True), torch.device("cpu"))


# -------------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), {"trainA": 9, "trainB": 10}, size=16)


def _train(data: Path, out: Path, **settings: Any) -> Path:
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    return unpaired.train("cogan", data=data, out=out, settings={**TINY, **dotted}, quiet=True).run


def _weights(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoints_of(run)[0].glob("*.safetensors")}


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_resumed_run_ends_bit_identical(data: Path, tmp_path: Path, ema: float | None) -> None:
    settings: dict[str, Any] = {"training__ema": ema} if ema else {}
    whole = _train(data, tmp_path / "whole", **settings)
    part = _train(data, tmp_path / "part", training__max_images=12, **settings)
    assert _weights(part) != _weights(whole)
    unpaired.train(resume=part, settings={"training.max_images": 1000}, quiet=True)
    assert _weights(part) == _weights(whole)
    translator = unpaired.Translator.load(part, "b2a", device="cpu")
    assert translator.search is not None
    assert translator(torch.zeros(1, 3, 11, 7)).shape == (1, 3, 11, 7)


def test_samples_are_pairs_of_fixed_latents_and_change_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = _train(data, tmp_path / "without", training__num_samples=0)

    def forward(self: LatentSearch, image: Tensor) -> Tensor:
        raise AssertionError("a sample grid must not search")

    monkeypatch.setattr(LatentSearch, "forward", forward)
    run = _train(data, tmp_path / "run")
    assert _weights(run) == _weights(without)
    grids = sorted((run / "samples").glob("*.png"))
    assert len(grids) >= 2
    pixels = [np.asarray(Image.open(path)) for path in grids]
    assert pixels[0].shape == pixels[-1].shape
    assert not np.array_equal(pixels[0], pixels[-1])
    assert (run / "index.html").is_file()


def test_a_size_that_cannot_be_made_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"18 x 18.*16 x 16 or 20 x 20"):
        _train(data, run, data__crop_size=18, data__load_size=18)
    with pytest.raises(UserError, match="one size"):
        unpaired.train("cogan", data=data, out=run, settings={"data.preprocess": "none"}, quiet=True)
    assert not run.exists()


def test_the_checkpoint_describes_two_searches(data: Path, tmp_path: Path) -> None:
    run = _train(data, tmp_path / "run", training__max_images=4)
    card = json.loads((checkpoints_of(run)[0] / "model.json").read_text())
    for direction, source in (("a2b", "a"), ("b2a", "b")):
        network = card["translators"][direction]["network"]
        assert (network["family"], network["source"], network["size"]) == ("latent_search", source, [16, 16])
        assert network["search"]["steps"] == 5
