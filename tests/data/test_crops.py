"""Training from windows: the crops of whole images, read from files that are never decoded whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from PIL import Image as PillowImage

from unpaired.core.errors import UserError
from unpaired.data import crops
from unpaired.data import decode as decode_module
from unpaired.data.check import BadFiles
from unpaired.data.config import DataConfig
from unpaired.data.crops import CropSource, otsu, tissue
from unpaired.data.formats import Frame
from unpaired.data.held_out import open_dataset
from unpaired.data.loader import UnpairedLoader
from unpaired.data.training import Part, open_training_data
from unpaired.data.windows import held_out_grid

SIZE = (400, 520)


def _picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def _tiled(path: Path, image: np.ndarray[Any, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(image, **options)
        file.write(image[::2, ::2].copy(), subfiletype=1, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, folder in enumerate(("trainA", "trainB", "testA", "testB")):
        _tiled(tmp_path / folder / "large.tif", _picture(seed))
        _tiled(tmp_path / folder / "small.tif", _picture(seed + 10, (64, 72)))
    return tmp_path


def _config(root: Path, **settings: Any) -> DataConfig:
    return DataConfig(**{"root": str(root), "preprocess": "crop", "crop_size": 32, "whole_pixels": 10_000, **settings})


def _batches(config: DataConfig, count: int, start: int = 0) -> list[torch.Tensor]:
    data = open_training_data(config)
    with UnpairedLoader(data, batch_size=2, seed=3, start_images=start) as loader:
        return [torch.cat(next(loader)) for _ in range(count)]


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the pixels of everything that is read."""
    seen = list[int]()
    plain = decode_module.plain

    def counted(path: Any, image: Any) -> Any:
        seen.append(image.shape[0] * image.shape[1])
        return plain(path, image)

    monkeypatch.setattr(decode_module, "plain", counted)
    return seen


@pytest.mark.parametrize("sampling", ["image", "area"])
def test_windows_are_the_crops_of_whole_images(root: Path, whole: list[int], sampling: str) -> None:
    by_windows = _batches(_config(root, sampling=sampling), 5)
    assert max(whole) < SIZE[0] * SIZE[1] // 2
    by_whole = _batches(_config(root, sampling=sampling, whole_pixels=2**40), 5)
    assert max(whole) == SIZE[0] * SIZE[1]
    assert all(torch.equal(one, two) for one, two in zip(by_windows, by_whole, strict=True))


@pytest.mark.parametrize("keep", ["all", "tissue", "valid"])
def test_a_loader_goes_on_where_another_stopped(root: Path, keep: str) -> None:
    config = _config(root, keep=keep, sampling="area")
    every, rest = _batches(config, 6), _batches(config, 3, start=6)
    assert all(torch.equal(one, two) for one, two in zip(every[3:], rest, strict=True))


def test_by_area_an_image_counts_as_many_crops_as_fit_into_it(root: Path) -> None:
    data = open_training_data(_config(root, sampling="area"))
    assert len(data.a) == (400 // 32) * (520 // 32) + (64 // 32) * (72 // 32)
    assert isinstance(data.a, CropSource)
    names = [data.a.name(index) for index in range(len(data.a))]
    assert sum(name.endswith("small.tif") for name in names) == 4
    assert len(open_training_data(_config(root)).a) == 2


def test_more_pixels_than_are_decoded_whole_are_admitted(root: Path) -> None:
    settings = {"max_pixels": 20_000}
    assert len(open_training_data(_config(root, **settings)).a) == 2
    with pytest.raises(BadFiles, match="absurdly large"):
        open_training_data(_config(root, whole_pixels=2**40, **settings))


def test_other_formats_are_decoded_whole(tmp_path: Path) -> None:
    for seed, folder in enumerate(("trainA", "trainB")):
        (tmp_path / folder).mkdir()
        PillowImage.fromarray(_picture(seed)).save(tmp_path / folder / "a.png")
    data = open_training_data(_config(tmp_path))
    assert not isinstance(data.a, CropSource)
    assert len(data.held_out_a) == 1


def test_held_out_images_are_windows(root: Path) -> None:
    dataset = open_dataset(_config(root))
    for split, first in ((dataset.train, 0), (dataset.test, 2)):
        assert [info.path.box for info in split.a.files if isinstance(info.path, Frame)] == held_out_grid(
            SIZE, (32, 32)
        )
        assert len(split.a) == 15 + 1
        box = held_out_grid(SIZE, (32, 32))[5]
        image = _picture(first)[box.top : box.top + 32, box.left : box.left + 32]
        np.testing.assert_array_equal(split.a[5], image)
        np.testing.assert_array_equal(split.a.whole(5), image)
    data = open_training_data(_config(root))
    assert len(data.held_out_a) == 16
    assert [info.path for info in data.files[Part(False, "a")]] == [
        root / "trainA" / f"{n}.tif" for n in ("large", "small")
    ]
    assert open_training_data(_config(root)).contents == data.contents


@pytest.mark.parametrize(
    ("size", "count"), [((400, 520), 15), ((32, 9000), 16), ((9000, 40), 16), ((70, 70), 4), ((33, 33), 1)]
)
def test_held_out_windows_lie_inside_and_apart(size: tuple[int, int], count: int) -> None:
    boxes = held_out_grid(size, (32, 32))
    assert len(set(boxes)) == len(boxes) == count
    assert all(0 <= box.top <= size[0] - 32 and 0 <= box.left <= size[1] - 32 for box in boxes)


def test_a_level_of_the_pyramid_is_trained_on(root: Path) -> None:
    config = _config(root, level=1, crop_size=16, whole_pixels=2**40)
    data = open_training_data(config)
    np.testing.assert_array_equal(data.a[0], _picture(0)[::2, ::2])
    assert data.scale is not None
    assert data.scale.level == 1
    assert not any("several" in notice for notice in data.notices)
    by_windows = _batches(_config(root, level=1, crop_size=16, whole_pixels=5_000), 3)
    assert all(torch.equal(one, two) for one, two in zip(by_windows, _batches(config, 3), strict=True))
    with pytest.raises(BadFiles, match="2 resolutions"):
        open_training_data(_config(root, level=2))


def test_crops_with_a_value_are_kept(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(100, 4000, (400, 400, 1), np.uint16)
    image[:, 100:] = 0
    for folder in ("trainA", "trainB"):
        (tmp_path / folder).mkdir()
        options = {"driver": "GTiff", "height": 400, "width": 400, "count": 1, "dtype": "uint16", "nodata": 0}
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
        tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
        with rasterio.open(tmp_path / folder / "a.tif", "w", **options, **place, **tiles) as file:
            file.write(image[:, :, 0], 1)
    config = _config(tmp_path, range_a=(0, 4000), range_b=(0, 4000), sampling="area")
    shares = {}
    for keep in ("all", "valid"):
        batches = torch.cat(_batches(replace(config, keep=keep), 5))
        shares[keep] = float((((batches != -1) & batches.isfinite()).float().mean((1, 2, 3)) >= 0.5).float().mean())
    assert shares["all"] < 0.5
    assert shares["valid"] > 0.95
    held_out = open_dataset(replace(config, keep="valid")).train.a
    assert all(info.path.box.left <= 84 for info in held_out.files if isinstance(info.path, Frame) and info.path.box)


@pytest.mark.parametrize("pyramid", [True, False])
@pytest.mark.parametrize("whole_pixels", [10_000, 2**40])
def test_crops_with_tissue_are_kept(
    tmp_path: Path, pyramid: bool, whole_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops, "_CELLS", 8)
    image = np.full((*SIZE, 3), 240, np.uint8)
    image[:100, :260] = (180, 90, 150)
    for folder in ("trainA", "trainB"):
        (tmp_path / folder).mkdir()
        if pyramid:
            _tiled(tmp_path / folder / "a.tif", image)
        else:
            tifffile.imwrite(
                tmp_path / folder / "a.tif", image, tile=(64, 64), photometric="rgb", compression="deflate"
            )
    batches = torch.cat(_batches(_config(tmp_path, keep="tissue", sampling="area", whole_pixels=whole_pixels), 12))
    stained = (batches[:, 1] < 0).float().mean((1, 2))
    assert float((stained >= 0.15).float().mean()) > 0.9


def test_tissue_is_what_is_saturated() -> None:
    image = np.full((10, 10, 3), 235, np.uint8)
    assert not tissue(image).any()
    image[:4] = (170, 80, 140)
    np.testing.assert_array_equal(tissue(image).all(axis=1), np.arange(10) < 4)
    np.testing.assert_array_equal(tissue(image[:, :, 1:2]).all(axis=1), np.arange(10) < 4)
    gaps = image[:, :, 1:2].astype(np.float32)
    gaps[2:6] = np.nan
    np.testing.assert_array_equal(tissue(gaps).all(axis=1), np.arange(10) < 2)
    assert 0.2 < otsu(np.array([0.1] * 5 + [0.8] * 5)) < 0.8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampling": "area", "preprocess": "resize_and_crop"}, "data.sampling"),
        ({"keep": "tissue", "preprocess": "none"}, "data.keep"),
    ],
)
def test_contradictions_are_refused(root: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_training_data(DataConfig(root=str(root), **settings))


def test_pairs_are_cut_alike(tmp_path: Path) -> None:
    for folder in ("trainA", "trainB"):
        _tiled(tmp_path / folder / "a.tif", _picture(1))
    config = _config(tmp_path, sampling="area")
    data = open_training_data(config, paired=True)
    with UnpairedLoader(data, batch_size=4, seed=0) as loader:
        x, y = next(loader)
    assert torch.equal(x, y)
    with pytest.raises(UserError, match=r"data\.keep"):
        open_training_data(_config(tmp_path, keep="tissue"), paired=True)


def test_a_file_that_changes_is_told(root: Path) -> None:
    data = open_training_data(_config(root))
    assert isinstance(data.a, CropSource)
    _tiled(root / "trainA" / "large.tif", _picture(0, (40, 40)))
    with pytest.raises(UserError, match="start again"):
        data.a.cut(0, (32, 32), (0.9, 0.9, 0.9))
