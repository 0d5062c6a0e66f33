"""Readers and image sources of the user: one class outside the package, named by `module:Name`."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runs import TINY, arguments, unpaired, write_images
from unpaired.core import extensions
from unpaired.core.errors import UserError
from unpaired.data import formats
from unpaired.data.check import BadFiles
from unpaired.data.config import DataConfig
from unpaired.data.decode import BadImage, decode
from unpaired.data.folders import list_images
from unpaired.data.held_out import open_dataset
from unpaired.data.loader import UnpairedLoader
from unpaired.data.training import open_training_data
from unpaired.models.translator import Translator

MODULE = '''
from pathlib import Path

import numpy as np

from unpaired.data.formats import Header, Reader


class Pgx(Reader):
    """Height, width, and grey bytes."""

    suffixes = frozenset({".pgx"})

    def probe(self, path: Path) -> Header:
        height, width = np.fromfile(path, "<u4", 2).tolist()
        return Header(height, width, 1, "uint8")

    def read(self, path: Path, *, stored: bool = False):
        height, width, *_ = self.probe(path)
        return np.fromfile(path, np.uint8, offset=8).reshape(height, width, 1)


class Inverted(Pgx):
    """Another reader of the same files."""

    version = "2"

    def read(self, path, *, stored=False):
        return 255 - super().read(path, stored=stored)


class Drawn:
    """Grey squares, drawn when they are asked for."""

    seed = 0

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return np.random.default_rng((self.seed, index)).integers(0, 256, (20, 24, 3), dtype=np.uint8)

    def name(self, index):
        return f"square {index}"


class Others(Drawn):
    seed = 1


class Broken(Drawn):
    def __getitem__(self, index):
        raise KeyError("no such square")


class NoSource:
    pass
'''


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/own_images.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.setattr(extensions, "_allowed", set())
    formats._named.cache_clear()
    yield tmp_path / "code"
    sys.modules.pop("own_images", None)
    importlib.invalidate_caches()


def write_pgx(folder: Path, count: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 256, (20, 18), dtype=np.uint8)
        (folder / f"{number}.pgx").write_bytes(np.array([20, 18], "<u4").tobytes() + pixels.tobytes())
    return folder


# ------------------------------------------------------------------------------------------------------------ readers


def test_files_of_an_own_reader_are_found_and_read(tmp_path: Path) -> None:
    folder = write_pgx(tmp_path / "a", 2)
    with pytest.raises(UserError, match=r"2 \.pgx"):
        list_images(folder)
    with pytest.raises(BadImage, match="not an image"):
        decode(folder / "0.pgx")
    config = DataConfig(
        a=str(folder), b=str(write_pgx(tmp_path / "b", 3, 1)), readers=("own_images:Pgx",), crop_size=16
    )
    data = open_training_data(config)
    assert (len(data.a), len(data.b), data.domain_a.channels) == (2, 3, 1)
    assert decode(folder / "0.pgx").shape == (20, 18, 1)


def test_too_large_a_header_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "x.pgx").write_bytes(np.array([10**5, 10**5], "<u4").tobytes())
    extensions.allow_extensions(["own_images:Pgx"])
    with pytest.raises(BadImage, match="absurdly large"):
        decode(tmp_path / "x.pgx")


def test_what_is_remembered_belongs_to_the_reader(tmp_path: Path) -> None:
    places = {"a": str(write_pgx(tmp_path / "a", 1)), "b": str(write_pgx(tmp_path / "b", 1, 1))}
    one = open_training_data(DataConfig(**places, readers=("own_images:Pgx",), crop_size=16, cache="disk"))
    extensions._allowed.clear()
    other = open_training_data(DataConfig(**places, readers=("own_images:Inverted",), crop_size=16, cache="disk"))
    np.testing.assert_allclose(255 - one.a[0].astype(int), other.a[0].astype(int), atol=1)


@pytest.mark.parametrize("spec", ["own_images:NoSource", "own_images:Missing", "no_such_module:Reader"])
def test_what_is_no_reader_is_told(tmp_path: Path, spec: str) -> None:
    with pytest.raises(UserError, match=spec.partition(":")[0]):
        open_training_data(DataConfig(a=str(tmp_path), b=str(tmp_path), readers=(spec,)))


# ------------------------------------------------------------------------------------------------------------ sources


def own(**settings: object) -> DataConfig:
    return DataConfig(**{"source_a": "own_images:Drawn", "source_b": "own_images:Others", "crop_size": 16, **settings})


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_own_sources_train_like_folders(cache: str) -> None:
    data = open_training_data(own(cache=cache, test_source_a="own_images:Others", test_source_b="own_images:Drawn"))
    assert (len(data.a), data.a.name(2), data.a[0].shape, data.held_out_from) == (6, "square 2", (17, 17, 3), "test")
    with UnpairedLoader(data, batch_size=2, seed=0) as loader:
        x, y = next(loader)
    assert x.shape == y.shape == (2, 3, 16, 16)
    assert not np.array_equal(data.a[0], data.b[0])


def test_own_sources_are_measured_like_folders() -> None:
    data = open_dataset(own(), paired=True)
    assert data.test.pairs == tuple((index, index) for index in range(6))
    assert data.test.a.signed([0, 3]).shape == (2, 3, 16, 16)
    assert {info.format for info in data.test.a.files} == {"Drawn"}
    assert data.contents == open_dataset(own()).contents
    assert data.contents != open_dataset(own(source_b="own_images:Drawn")).contents


def test_a_source_beside_a_folder(tmp_path: Path) -> None:
    write_images(tmp_path, {"photos": 3})
    data = open_training_data(own(source_b=None, b=str(tmp_path / "photos")))
    assert (len(data.a), len(data.b)) == (6, 3)
    with pytest.raises(UserError, match="pairs need"):
        open_training_data(own(source_b=None, b=str(tmp_path / "photos")), paired=True)


def test_pairs_of_own_sources_are_rows() -> None:
    data = open_training_data(own(), paired=True)
    assert data.paired
    assert any("6 pairs, matched by position" in notice for notice in data.notices)


def test_an_error_of_a_source_is_a_reason() -> None:
    with pytest.raises(BadFiles, match="square 0: its source raised KeyError"):
        open_training_data(own(source_a="own_images:Broken"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source_a": "own_images:NoSource"}, r"data\.source_a.*__len__"),
        ({"source_b": None}, r"data\.b missing"),
        ({"a": "."}, r"data\.a.*data\.source_a"),
        ({"root": "."}, r"data\.root.*data\.source_a"),
    ],
)
def test_sources_that_cannot_be(settings: dict[str, str | None], words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_training_data(own(**settings))


def test_code_that_only_a_folder_names_is_not_imported() -> None:
    from unpaired.core.given import Given, Joined

    values = {"data.source_a": "own_images:Drawn", "data.source_b": "own_images:Drawn"}
    recorded = Joined([Given(values, "config.json: {name}", record=True)]).build(DataConfig, "data")
    with pytest.raises(UserError, match=r"--extension own_images:Drawn"):
        open_training_data(recorded)
    assert "own_images" not in sys.modules


# --------------------------------------------------------------------------------------------- from the command line


def test_from_the_command_line_to_a_translated_file(tmp_path: Path, own_module: Path) -> None:
    photos = write_pgx(tmp_path / "photos", 3)
    run = tmp_path / "run"
    settings = TINY | {
        "data.a": str(photos),
        "data.source_b": "own_images:Drawn",
        "data.readers": ["own_images:Pgx"],
        "data.name_a": "scan",
        "data.name_b": "square",
        "data.channels_b": 1,
        "training.epochs": 1,
        "training.decay_epochs": 0,
    }
    unpaired("train", "cyclegan", "--out", run, "--quiet", *arguments(settings), cwd=own_module)
    kept = json.loads((run / "config.json").read_text())
    assert kept["data"]["readers"] == ["own_images:Pgx"]
    (card,) = [json.loads(path.read_text()) for path in sorted(run.glob("checkpoints/*/model.json"))[-1:]]
    assert [card["domains"][side]["name"] for side in ("a", "b")] == ["scan", "square"]
    assert card["extensions"]["reader"] == ["own_images:Pgx"]
    assert "--extension own_images:Pgx" in Translator.load(run, "scan2square", device="cpu").notices[-1]
    options = ("--out", tmp_path / "out", "--extension", "own_images:Pgx", "--direction", "scan2square")
    done = unpaired("translate", run, photos, *options, cwd=own_module)
    assert "3 written" in done.stdout
    assert "warning" not in done.stderr
    refused = unpaired("train", "--resume", run, "--set", "training.epochs=2", cwd=own_module, check=2)
    assert "--extension own_images:" in refused.stderr
