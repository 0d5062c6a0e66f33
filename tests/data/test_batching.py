from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unpaired.core.errors import UserError
from unpaired.data.batching import Cuts, ReusedMemory, cut_rows, finish, signed_rows, stored_rows, write_signed
from unpaired.data.transforms import crop_and_flip
from unpaired.data.values import Domain, Image, to_signed

CPU = torch.device("cpu")
KINDS = [
    ("uint8", None),
    ("uint8", (10.0, 200.0)),
    ("uint16", None),
    ("uint16", (100.0, 4000.0)),
    ("int16", None),
    ("float32", None),
    ("float32", (-3.0, 0.7)),
    ("int32", (-1000.0, 1e9)),
    ("uint32", (0.0, 4e9)),
]


class Images:
    """A source of random images, some of whose rows are planar, as caches keep them, and some are not."""

    def __init__(self, count: int, shape: tuple[int, int, int], *dtypes: str) -> None:
        self.images = [random_image(shape, dtypes[index % len(dtypes)], index) for index in range(count)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image:
        image = self.images[index]
        return image if index % 2 else np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)

    def name(self, index: int) -> str:
        return str(index)


def random_image(shape: tuple[int, int, int], dtype: str, seed: int) -> Image:
    rng = np.random.default_rng(seed)
    low, high = (-0.5, 1.5) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    image: Image = rng.uniform(low, high, shape).astype(dtype)
    image[0, 0, 0], image[-1, -1, -1] = low, high
    return image


def rows(count: int, seed: int = 0) -> list[tuple[int, tuple[float, float, float]]]:
    rng = np.random.default_rng(seed)
    return [(index, (rng.random(), rng.random(), (index % 3) / 2)) for index in range(count)]


def expected(source: Images, declared: tuple[float, float] | None, size: tuple[int, int], *, flip: bool) -> Any:
    cuts = [crop_and_flip(source[index], size, u, flip=flip) for index, u in rows(len(source))]
    return np.stack([to_signed(cut, declared).transpose(2, 0, 1) for cut in cuts])


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("size", [(12, 16), (11, 13)])
@pytest.mark.parametrize(("dtype", "declared"), KINDS)
def test_both_ways_give_the_defined_numbers(
    dtype: str, declared: tuple[float, float] | None, size: tuple[int, int], flip: bool
) -> None:
    source = Images(6, (15, 18, 3), dtype)
    domain = Domain(channels=3, range=declared)
    cuts = cut_rows(source, domain, rows(6), size=size, flip=flip)
    assert cuts.flipped == ([True, False, False] * 2 if flip else [False] * 6)
    truth = expected(source, declared, size, flip=flip)
    np.testing.assert_array_equal(signed_rows(cuts, ReusedMemory()).numpy(), truth)
    stored = stored_rows(cuts, pin_memory=False)
    assert stored.values.numpy().dtype == dtype, "values travel as they are kept"
    finished = finish(stored, CPU)
    assert finished.dtype == torch.float32
    np.testing.assert_array_equal(finished.numpy(), truth)


@pytest.mark.parametrize("channels", [1, 2, 13])
def test_any_number_of_channels(channels: int) -> None:
    source = Images(3, (20, 18, channels), "uint8")
    cuts = cut_rows(source, Domain(channels=channels), rows(3), size=(16, 16), flip=True)
    truth = expected(source, None, (16, 16), flip=True)
    np.testing.assert_array_equal(signed_rows(cuts, ReusedMemory()).numpy(), truth)
    np.testing.assert_array_equal(finish(stored_rows(cuts, pin_memory=False), CPU).numpy(), truth)


def test_images_of_several_dtypes_each_have_their_own_range() -> None:
    source = Images(6, (15, 18, 3), "uint8", "uint16", "float32")
    cuts = cut_rows(source, Domain(channels=3, dtype="float32"), rows(6), size=(12, 16), flip=True)
    truth = expected(source, None, (12, 16), flip=True)
    np.testing.assert_array_equal(signed_rows(cuts, ReusedMemory()).numpy(), truth)
    stored = stored_rows(cuts, pin_memory=False)
    assert (stored.values.dtype, stored.bounds) == (torch.float32, None)
    np.testing.assert_array_equal(finish(stored, CPU).numpy(), truth)


def test_without_a_size_images_stay_whole() -> None:
    source = Images(1, (15, 18, 3), "uint8")
    cuts = cut_rows(source, Domain(channels=3), [(0, (0.9, 0.9, 0.1))], size=None, flip=True)
    assert cuts.shape == (1, 3, 15, 18)
    np.testing.assert_array_equal(
        signed_rows(cuts, ReusedMemory())[0], to_signed(source[0][:, ::-1]).transpose(2, 0, 1)
    )


def test_images_are_not_written_to() -> None:
    for dtype in ("uint8", "float32"):
        source = Images(4, (16, 16, 3), dtype)
        before = [image.copy() for image in source.images]
        cuts = Cuts([image[...] for image in source.images], [True, False, True, False], (0.2, 0.8))
        for image in cuts.images:
            image.flags.writeable = False
        signed_rows(cuts, ReusedMemory())
        finish(stored_rows(cuts, pin_memory=False), CPU)
        for image, kept in zip(source.images, before, strict=True):
            np.testing.assert_array_equal(image, kept)


def test_a_type_without_a_range_is_refused() -> None:
    cuts = Cuts([np.zeros((4, 4, 1), np.int64)], [False], None)
    with pytest.raises(UserError, match="int64 have no obvious range"):
        signed_rows(cuts, ReusedMemory())
    with pytest.raises(UserError, match="int64 have no obvious range"):
        stored_rows(cuts, pin_memory=False)


@pytest.mark.parametrize(
    ("dtype", "declared"),
    [("uint8", None), ("uint16", None), ("int16", None), ("float32", None), ("uint16", (100.0, 4000.0))],
)
def test_writing_equals_the_definition(dtype: str, declared: tuple[float, float] | None) -> None:
    rng = np.random.default_rng(0)
    bounds = (0, 1) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    image: Image = rng.uniform(*bounds, (9, 8, 3)).astype(dtype)[:, ::-1]
    image = np.concatenate([image, np.full((1, 8, 3), bounds[0], dtype), np.full((1, 8, 3), bounds[1], dtype)])
    out = np.empty((3, 11, 8), np.float32)
    write_signed(image, declared, out)
    np.testing.assert_array_equal(out, to_signed(image, declared).transpose(2, 0, 1))
    assert out.min() == -1
    assert out.max() == 1
    if dtype == "uint8":
        np.testing.assert_allclose(out, (image.transpose(2, 0, 1) / 255 - 0.5) / 0.5, atol=2e-7)
