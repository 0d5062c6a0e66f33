"""Files that hold many images: each is listed, checked, paired and trained on like a file of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unpaired.data import formats
from unpaired.data.bad_image import BadImage
from unpaired.data.check import check_images
from unpaired.data.config import DataConfig
from unpaired.data.decode import decode
from unpaired.data.folders import in_frames
from unpaired.data.formats import Frame, Header, Reader
from unpaired.data.held_out import open_dataset
from unpaired.data.training import Part, open_training_data
from unpaired.data.values import Image


class StackReader(Reader):
    """Reads `.stack`: an array of [N, H, W] as NumPy stores it."""

    suffixes = containers = frozenset({".stack"})

    def probe(self, path: Path) -> Header:
        shape = np.load(path).shape
        return Header(shape[1], shape[2], 1, "uint8")

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return self.read_frame(path, 0)

    def count(self, path: Path, axis: int = 0) -> int:
        return int(np.load(path).shape[axis])

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        return np.asarray(np.moveaxis(np.load(path), axis, 0)[index][:, :, None])


@pytest.fixture(autouse=True)
def _reader(monkeypatch: pytest.MonkeyPatch) -> None:
    readers = {"stack": StackReader(), **formats.READERS}
    monkeypatch.setattr(formats, "READERS", readers)


def _stack(path: Path, count: int, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        np.save(stream, np.random.default_rng(seed).integers(0, 255, (count, 24, 32), np.uint8))
    return path


def test_files_become_their_images(tmp_path: Path) -> None:
    path, one = _stack(tmp_path / "many.stack", 3, 0), _stack(tmp_path / "one.stack", 1, 1)
    assert in_frames([path, one]) == [Frame(path, 0), Frame(path, 1), Frame(path, 2), one]
    np.testing.assert_array_equal(decode(Frame(path, 1))[:, :, 0], np.load(path)[1])
    with pytest.raises(BadImage, match="3 images"):
        decode(Frame(path, 3))


def test_neighbours_become_channels(tmp_path: Path) -> None:
    path = _stack(tmp_path / "many.stack", 3, 0)
    volume = np.load(path)
    np.testing.assert_array_equal(decode(Frame(path, 0, neighbours=1)), np.stack([volume[i] for i in (0, 0, 1)], 2))
    np.testing.assert_array_equal(decode(Frame(path, 1, neighbours=1)), np.stack(list(volume), 2))
    np.testing.assert_array_equal(decode(Frame(path, 5, axis=2))[:, :, 0], volume[:, :, 5])


def test_each_image_is_checked_and_remembered(tmp_path: Path) -> None:
    frames = in_frames([_stack(tmp_path / "many.stack", 4, 0)])
    first, again = check_images(frames), check_images(frames)
    assert [info.path for info in first.good] == frames
    assert first.good == again.good
    assert len({info.digest for info in first.good}) == 4


def test_training_takes_each_image(tmp_path: Path) -> None:
    for seed, (folder, count) in enumerate({"trainA": 3, "trainB": 5, "testA": 2, "testB": 2}.items()):
        _stack(tmp_path / folder / "s.stack", count, seed)
    config = DataConfig(root=str(tmp_path), crop_size=16, cache="none")
    data = open_training_data(config)
    assert (len(data.a), len(data.b)) == (3, 5)
    assert data.a.name(2).endswith("s.stack#2")
    assert [info.path for info in data.files[Part(False, "a")]] == in_frames([tmp_path / "trainA" / "s.stack"])
    assert open_dataset(config, paired=True).test.pairs == ((0, 0), (1, 1))


def test_every_nth_image_is_taken(tmp_path: Path) -> None:
    for seed, (folder, count) in enumerate({"trainA": 7, "trainB": 1}.items()):
        _stack(tmp_path / folder / "s.stack", count, seed)
    data = open_training_data(DataConfig(root=str(tmp_path), crop_size=16, cache="none", every=3))
    assert [data.a.name(n)[-1] for n in range(len(data.a))] == ["0", "3", "6"]
    assert len(data.b) == 1
