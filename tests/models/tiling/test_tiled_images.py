"""Images that need more memory than there is: the same translation, by tiles, from arrays and from files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage

from painted import write_painted
from unpaired import cli
from unpaired.core.errors import UserError
from unpaired.core.extensions import allow_extensions
from unpaired.core.memory import used_memory
from unpaired.data.scale import Scale
from unpaired.data.values import Domain
from unpaired.models.engines.base import Engine, NotFiniteError
from unpaired.models.engines.pytorch import TorchEngine
from unpaired.models.files import translate_files
from unpaired.models.folder import ModelCard
from unpaired.models.tiling import tiler
from unpaired.models.translator import Translator
from unpaired.networks import (
    Generator,
    InitConfig,
    ResnetConfig,
    UnetConfig,
    VitUnetConfig,
    build_generator,
    initialize,
)

EXTENSION = "painted:PaintedReader"


@pytest.fixture(autouse=True)
def _small_images_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiler, "_SMALL", 8)
    allow_extensions([EXTENSION])


def made_network(config: Any = None, channels: int = 3) -> Generator:
    torch.manual_seed(5)
    network = build_generator(config or ResnetConfig(width=4, blocks=1), channels, channels)
    initialize(network, InitConfig(scheme="kaiming"))
    return network


def made_translator(network: Generator | None = None, *, dtype: Any = "uint8", **settings: Any) -> Translator:
    network = network or made_network()
    domain = Domain(channels=network.in_channels, dtype=dtype)
    domains = {"a": domain, "b": domain}
    card = ModelCard(origin="a test", domains=domains, translators={}, scale=settings.pop("scale", None))
    return Translator(network, card, "a2b", engine="torch", **settings)


def little(monkeypatch: pytest.MonkeyPatch, available: int = 3_000_000) -> None:
    """Leave so many bytes to every translation, whatever this machine has."""
    monkeypatch.setattr(tiler.Tiler, "available", property(lambda self: available))
    monkeypatch.setattr(tiler, "_FIXED", 0)


def counting(translator: Translator) -> list[Any]:
    seen: list[Any] = []
    translator.tiler.progress = seen.append
    return seen


@pytest.mark.parametrize("config", [ResnetConfig(width=4, blocks=1), UnetConfig(width=8, depth=4)])
def test_arrays_and_tensors_by_tiles(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).random((203, 157, 3), np.float32) * 2 - 1
    translator = made_translator(made_network(config))
    whole = translator.translate_values([image])[0].values
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    little(monkeypatch, 1_000_000)
    seen = counting(translator)
    assert np.abs(translator.translate_values([image])[0].values - whole).max() <= 1e-5
    assert seen[-1].of > 1
    assert (translator(tensor)[0].permute(1, 2, 0) - torch.from_numpy(whole)).abs().max() <= 1e-5


def test_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference from the whole is not larger at the edges of tiles than elsewhere: it is rounding."""
    image = np.random.default_rng(0).random((192, 160, 3), np.float32) * 2 - 1
    translator = made_translator()
    whole = translator.translate_values([image])[0].values
    little(monkeypatch, 870_000)
    seen = counting(translator)
    difference = np.abs(translator.translate_values([image])[0].values - whole).max(2)
    assert seen[-1].of > 4
    assert difference.max() < 1e-5
    edges = np.concatenate([difference[side - 1 : side + 1].ravel() for side in range(32, 192, 32)])
    assert edges.mean() <= 1.5 * difference.mean() + 1e-8


def test_reduced_precision_by_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).random((96, 120, 3), np.float32) * 2 - 1
    translator = made_translator(precision="bf16")
    whole = translator.translate_values([image])[0].values
    little(monkeypatch)
    assert np.abs(translator.translate_values([image])[0].values - whole).mean() < 0.02


def test_an_engine_without_tiles_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).random((96, 120, 3), np.float32) * 2 - 1
    translator = made_translator()
    whole = translator.translate_values([image])[0].values
    little(monkeypatch)
    other = Other("fp32", torch.device("cpu"))
    translator.tiler = tiler.Tiler(other, translator.network, None)
    assert np.abs(translator.tiler.array(image) - whole).max() <= 1e-5
    assert [notice for notice in other.notices if "Other" in notice and "PyTorch" in notice]


class Other(Engine):
    """Not PyTorch."""

    label = "Other"

    def compute(self, images: torch.Tensor) -> torch.Tensor:
        raise AssertionError


def test_out_of_memory_is_answered_by_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).random((64, 64, 3), np.float32) * 2 - 1
    translator = made_translator()
    whole = translator.translate_values([image])[0].values

    def fail(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(translator.engine, "translate", fail)
    assert np.abs(translator.translate_values([image])[0].values - whole).max() <= 1e-5


def test_too_little_memory_is_refused_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    little(monkeypatch, 1000)
    with pytest.raises(UserError, match="memory"):
        made_translator().translate_values([np.zeros((64, 64, 3), np.float32)])


def test_the_budget_is_for_the_process() -> None:
    translator = made_translator(memory=used_memory() + 10**9)
    assert 0 < translator.tiler.available <= 10**9
    with pytest.raises(UserError, match="4GB"):
        made_translator(memory="much")


def test_the_least_memory_that_is_named_suffices() -> None:
    image = np.zeros((400, 400, 3), np.float32)
    with pytest.raises(UserError, match="memory") as error:
        made_translator(memory=used_memory()).translate_values([image])
    named = re.search(r"memory = ([\d.,]+ .B)", str(error.value))
    assert named
    made_translator(memory=named[1].replace(",", "")).translate_values([image])


WIDE = """
import gc, re, sys
from pathlib import Path
import numpy as np
from unpaired.core.memory import used_memory
from unpaired.data.values import Domain
from unpaired.models.folder import ModelCard
from unpaired.models.translator import Translator
from unpaired.networks import ResnetConfig, ResnetGenerator

gc.disable()  # what waits to be collected counts
card = ModelCard(origin="a test", domains={side: Domain(channels=3) for side in "ab"}, translators={})
network = ResnetGenerator(ResnetConfig(width=32, blocks=1), 3, 3)
Translator(network, card, "a2b", engine="torch", device="cpu").tiler.require()  # loads all libraries
budget = used_memory() + int(sys.argv[1])
translator = Translator(network, card, "a2b", engine="torch", device="cpu", memory=budget)
translator.tiler.array(np.random.default_rng(0).random((640, 640, 3), np.float32) * 2 - 1)
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024, budget)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell the peak of a process")
def test_a_wide_network_keeps_to_the_budget() -> None:
    """Counted by the system, in a process of its own; one result of the first layers takes 52 MB."""
    command = [sys.executable, "-c", WIDE, str(160_000_000)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak, budget = map(int, done.stdout.split())
    assert peak <= 1.1 * budget


def test_results_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    network = made_network(ResnetConfig(width=4, blocks=0, norm="none"))
    network.head.convolution.bias.data.fill_(torch.nan)  # type: ignore[union-attr, operator]
    little(monkeypatch)
    with pytest.raises(NotFiniteError):
        made_translator(network).translate_values([np.zeros((64, 64, 3), np.float32)])


# ------------------------------------------------------------------------------------------------------------- files


def expected_levels(translator: Translator, file: Path) -> Any:
    from unpaired.data.decode import decode

    return translator.translate_images([decode(file)])[0].image.astype(int)


@pytest.mark.parametrize(
    ("format", "dtype", "channels"), [("tiff", "uint8", 3), ("tiff", "uint16", 2), ("png", "uint8", 1)]
)
def test_a_file_larger_than_the_memory(
    format: str, dtype: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_painted(tmp_path / "large.painted", 611, 533, channels, dtype)
    translator = made_translator(made_network(channels=channels), dtype=dtype)
    expected = expected_levels(translator, file)
    little(monkeypatch)
    report = translate_files(translator, file, tmp_path / "out", format=format, max_pixels=1000)
    assert (report.written, report.failed) == (1, [])
    path = tmp_path / "out" / f"large.{format}"
    found = tifffile.imread(path) if format == "tiff" else np.asarray(PillowImage.open(path))
    assert found.dtype == dtype
    assert np.abs(found.reshape(expected.shape).astype(int) - expected).max() <= (1 if dtype == "uint8" else 2)
    assert [each.name for each in (tmp_path / "out").iterdir()] == [path.name]
    if format == "tiff":
        with tifffile.TiffFile(path) as opened:
            assert opened.pages[0].is_tiled


def test_a_killed_file_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unpaired.models.tiling.run._SAVED_EVERY", 0.0)
    file = write_painted(tmp_path / "large.painted", 300, 260)
    translator = made_translator()
    expected = expected_levels(translator, file)
    little(monkeypatch, 800_000)

    def run(stop: int) -> int:
        seen: list[Any] = []

        def count(progress: Any) -> None:
            seen.append(progress)
            if len(seen) == stop:
                raise KeyboardInterrupt

        translator.tiler.progress = count
        translate_files(translator, file, tmp_path / "out", format="tiff", max_pixels=1000)
        return len(seen)

    with pytest.raises(KeyboardInterrupt):
        run(60)
    assert not (tmp_path / "out" / "large.tiff").exists()
    again = run(10**9)
    found = tifffile.imread(tmp_path / "out" / "large.tiff")
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert not (tmp_path / "out" / ".large.tiff.tiles").exists()
    assert again < run_all(translator, file, tmp_path) - 40


def run_all(translator: Translator, file: Path, folder: Path) -> int:
    seen = counting(translator)
    translate_files(translator, file, folder / "anew", format="tiff", max_pixels=1000)
    return len(seen)


def failure(translator: Translator, file: Path, out: Path, **settings: Any) -> str:
    report = translate_files(translator, file, out, max_pixels=1000, **settings)
    assert report.written == 0
    assert not [each for each in out.glob("*") if each.is_file()]
    return report.failed[0].reason


def test_what_cannot_be_done_by_parts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_painted(tmp_path / "large.painted", 300, 260)
    little(monkeypatch)
    trained = Scale(preprocess="resize_and_crop", load_size=(64, 64), crop_size=(64, 64))
    assert "size = native" in failure(made_translator(scale=trained), file, tmp_path / "one")
    monkeypatch.setattr("unpaired.models.tiling.windows._SIDES", {".jpg": 256})
    assert "format = tiff" in failure(made_translator(), file, tmp_path / "two", format="jpg")


def test_small_files_are_read_whole(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    file = write_painted(tmp_path / "small.painted", 40, 30)
    command = ["translate", str(make_model()), str(file), "--out", str(tmp_path / "out"), "--extension", EXTENSION]
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--memory", "64GB", "--device", "cpu"])
    assert ended.value.code == 0
    with PillowImage.open(tmp_path / "out" / "small.png") as made:
        assert made.size == (30, 40)


def test_a_budget_that_nothing_would_keep_to_is_refused() -> None:
    network = build_generator(VitUnetConfig(width=2, depth=1, tokens=2, heads=1, blocks=0), 3, 3).eval()
    engine = TorchEngine(network, "fp32", torch.device("cpu"))
    assert not tiler.Tiler(engine, network, None).is_needed(2000, 2000)
    with pytest.raises(UserError, match=r"memory.* is kept to by tiles.*attention\. Leave it out"):
        tiler.Tiler(engine, network, 1 << 30).is_needed(2000, 2000)
