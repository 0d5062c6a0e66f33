from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig
from unpaired.data.transforms import (
    centre_crop,
    check_sizes,
    crop_and_flip,
    crop_offsets,
    load_size,
    pad,
    padded_size,
    prepare,
    prepared_size,
    resize,
    training_size,
)
from unpaired.models.padding import pad_to


def photo(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)


def published(image: NDArray[np.uint8], mode: str, load: int, crop: int) -> NDArray[np.uint8]:
    """What the authors' transforms do before they crop, told with Pillow."""
    picture = PillowImage.fromarray(image)
    width, height = picture.size
    if mode == "resize_and_crop":
        picture = picture.resize((load, load), PillowImage.Resampling.BICUBIC)
    elif mode.startswith("scale_width") and not (width == load and (mode == "scale_width" or height >= crop)):
        # Deviation: what is not cropped keeps its proportions; the authors stretch it to the crop's height.
        least = crop if mode == "scale_width_and_crop" else 1
        picture = picture.resize((load, int(max(load * height / width, least))), PillowImage.Resampling.BICUBIC)
    elif mode == "none":
        new = (round(width / 4) * 4, round(height / 4) * 4)
        picture = picture.resize(new, PillowImage.Resampling.BICUBIC) if new != picture.size else picture
    return np.asarray(picture)


@pytest.mark.parametrize("mode", ["resize_and_crop", "crop", "scale_width_and_crop", "scale_width", "none"])
@pytest.mark.parametrize("size", [(50, 70), (71, 33), (36, 36), (40, 36), (200, 37)])
def test_the_published_geometry_and_pixels(mode: str, size: tuple[int, int]) -> None:
    image = photo(*size)
    config = DataConfig(preprocess=mode, crop_size=32, load_size=None if mode in ("crop", "none") else 36)
    multiple = 4 if mode == "none" else 1
    found = prepare(image, config, size_multiple=multiple)
    np.testing.assert_array_equal(found, published(image, mode, 36, 32))
    assert found.shape[:2] == prepared_size(*size, config, size_multiple=multiple)


def test_load_sizes() -> None:
    assert load_size(DataConfig()) == (286, 286)
    assert load_size(DataConfig(crop_size=(128, 64))) == (143, 71)
    assert load_size(DataConfig(load_size=300)) == (300, 300)
    for crop in range(1, 2000):
        assert load_size(DataConfig(crop_size=crop))[0] == int(1.12 * crop)


def test_training_sizes() -> None:
    assert training_size(DataConfig(crop_size=(128, 64))) == (128, 64)
    assert training_size(DataConfig(preprocess="scale_width")) is None
    assert training_size(DataConfig(preprocess="none")) is None


def test_sizes_without_a_crop_are_multiples_of_what_the_generator_needs() -> None:
    none = DataConfig(preprocess="none")
    assert prepared_size(101, 30, none) == (100, 32)
    assert prepared_size(1, 1, none) == (4, 4)
    assert prepared_size(100, 50, DataConfig(preprocess="scale_width", load_size=30)) == (60, 32)


def test_images_are_padded_to_large_multiples_and_never_resized() -> None:
    none, scaled = DataConfig(preprocess="none"), DataConfig(preprocess="scale_width", load_size=128)
    for size, config, own, padded in (
        ((480, 640), none, (480, 640), (512, 768)),
        ((203, 301), scaled, (86, 128), (256, 256)),
        ((203, 301), DataConfig(preprocess="scale_width_and_crop", load_size=300), (256, 300), (256, 300)),
        ((480, 640), DataConfig(), (286, 286), (286, 286)),
    ):
        assert prepared_size(*size, config, size_multiple=256) == own
        assert padded_size(own, config, size_multiple=256) == padded
    assert padded_size((100, 32), none, size_multiple=4) == (100, 32)


@given(height=st.integers(1, 40), width=st.integers(1, 40), multiple=st.sampled_from([8, 32, 64]))
def test_training_pads_as_translators_do(height: int, width: int, multiple: int) -> None:
    image = photo(height, width)
    size = padded_size((height, width), DataConfig(preprocess="none"), size_multiple=multiple)
    translator, own = pad_to(torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32)), multiple)
    assert own == (height, width)
    np.testing.assert_array_equal(pad(image, size).transpose(2, 0, 1)[None], translator.numpy())


def test_impossible_sizes() -> None:
    for config in (
        DataConfig(crop_size=64, load_size=60),
        DataConfig(crop_size=(64, 10), load_size=(60, 60)),
        DataConfig(preprocess="scale_width_and_crop", crop_size=64, load_size=60),
    ):
        with pytest.raises(UserError, match="does not fit"):
            check_sizes(config)
    for mode in ("crop", "none"):
        with pytest.raises(UserError, match="resizes nothing"):
            check_sizes(DataConfig(preprocess=mode, load_size=300))
    check_sizes(DataConfig(crop_size=64, load_size=64))
    check_sizes(DataConfig(preprocess="scale_width", crop_size=64))
    with pytest.raises(UserError, match="crops nothing"):
        check_sizes(DataConfig(preprocess="scale_width", crop_size=64, load_size=60))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_eight_bit_channels_are_independent_and_as_pillow_does_them(channels: int) -> None:
    image = photo(21, 30, channels)
    found = resize(image, (17, 44))
    for channel in range(channels):
        plane = PillowImage.fromarray(image[..., channel]).resize((44, 17), PillowImage.Resampling.BICUBIC)
        np.testing.assert_array_equal(found[..., channel], np.asarray(plane))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "int32"])
def test_other_dtypes_agree_with_eight_bit_and_stay_in_range(dtype: str) -> None:
    small = photo(20, 30, 2)
    scale = 257 if dtype == "uint16" else 1
    found = resize((small.astype(np.float64) * scale).astype(dtype), (13, 41))
    assert found.dtype == dtype
    reference = resize(small, (13, 41)).astype(np.float64)
    # 8-bit resizing clips and rounds between its two passes as well as at the end.
    assert np.abs(np.clip(found.astype(np.float64) / scale, 0, 255) - reference).max() <= 1.5
    edge = np.zeros((8, 8, 1), dtype)
    edge[4:] = np.iinfo(dtype).max if dtype in ("uint16", "int16") else 1
    resized = resize(edge, (31, 31))
    if dtype in ("uint16", "int16"):
        assert resized.max() == np.iinfo(dtype).max
    if dtype == "uint16":
        assert resized.min() == 0


def test_nothing_is_done_to_an_image_of_the_right_size() -> None:
    image = photo(10, 10)
    assert resize(image, (10, 10)) is image


unit = st.floats(0, 1, exclude_max=True)


@given(size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)), data=st.data())
@settings(max_examples=200, deadline=None)
def test_crops_lie_inside(size: tuple[int, int], data: st.DataObject) -> None:
    crop = (data.draw(st.integers(1, size[0])), data.draw(st.integers(1, size[1])))
    top, left = crop_offsets(size, crop, (data.draw(unit), data.draw(unit)))
    assert 0 <= top <= size[0] - crop[0]
    assert 0 <= left <= size[1] - crop[1]


def test_every_offset_is_equally_likely_and_half_is_flipped() -> None:
    grid = [(k + 0.5) / 35 for k in range(35)]
    tops = Counter(crop_offsets((10, 10), (4, 6), (u, 0))[0] for u in grid)
    lefts = Counter(crop_offsets((10, 10), (4, 6), (0, u))[1] for u in grid)
    assert tops == dict.fromkeys(range(7), 5)
    assert lefts == dict.fromkeys(range(5), 7)
    image = photo(10, 10)
    np.testing.assert_array_equal(crop_and_flip(image, (4, 6), (0.999, 0, 0.5)), image[6:, :6])
    np.testing.assert_array_equal(crop_and_flip(image, (4, 6), (0, 0.999, 0.499)), image[:4, 4:][:, ::-1])
    np.testing.assert_array_equal(crop_and_flip(image, (4, 6), (0, 0, 0.2), flip=False), image[:4, :6])
    np.testing.assert_array_equal(centre_crop(image, (4, 6)), image[3:7, 2:8])


def test_a_crop_size_that_nothing_would_use_is_refused() -> None:
    with pytest.raises(UserError, match=r"crop_size = 128.*none crops nothing"):
        check_sizes(DataConfig(preprocess="none", crop_size=128))
    check_sizes(DataConfig(preprocess="none"))
