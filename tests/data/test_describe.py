from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unpaired.data.check import check_images
from unpaired.data.describe import Finding, LikelyLabels, NarrowRange, find_in_values
from unpaired.data.encode import write_image
from unpaired.data.folders import list_images
from unpaired.data.reading import PICTURES

RNG = np.random.default_rng(0)


def found(folder: Path, *images: NDArray[np.generic]) -> tuple[Finding, ...]:
    for number, image in enumerate(images):
        write_image(image, folder / f"{number}{'.npy' if image.dtype.name in ('int16', 'float32') else '.png'}")
    return find_in_values("a", check_images(list_images(folder)).good, PICTURES, 10**8)


def noise(low: int, high: int, dtype: str, channels: int = 1) -> NDArray[np.generic]:
    image = RNG.integers(low, high + 1, (40, 40, channels)).astype(dtype)
    image[0, 0], image[0, 1] = low, high
    return image


@pytest.mark.parametrize(
    ("image", "suggested"),
    [
        (noise(3, 4000, "uint16"), "[0,4095]"),
        (noise(0, 16383, "uint16", 3), "[0,16383]"),
        (noise(7000, 9000, "uint16"), "[7000,9000]"),
        (noise(-1024, 3071, "int16"), "[-1024,3071]"),
        (noise(0, 60, "uint8", 3), "[0,63]"),
    ],
)
def test_a_sliver_of_the_range_is_found(tmp_path: Path, image: NDArray[np.generic], suggested: str) -> None:
    (finding,) = found(tmp_path, image, image[:, ::-1])
    assert isinstance(finding, NarrowRange)
    assert (finding.low, finding.high) == (image.min(), image.max())
    assert f"--set data.range_a={suggested}" in finding.in_words("A")


@pytest.mark.parametrize(("void", "dtype"), [(None, "uint8"), (255, "uint8"), (None, "uint16")])
def test_class_indices_are_found(tmp_path: Path, void: int | None, dtype: str) -> None:
    classes = np.repeat(np.repeat(RNG.integers(0, 12, (5, 5, 1)), 20, 0), 20, 1).astype(dtype)
    classes[:2, :] = classes.max() if void is None else void
    (finding,) = found(tmp_path, classes)
    assert isinstance(finding, LikelyLabels)
    assert finding.void == (() if void is None else (void,))
    told = finding.in_words("horse")
    assert "--set data.labels_a.kind=index" in told
    assert ("--set data.labels_a.void=[255]" in told) == (void is not None)


def test_ordinary_pictures_raise_no_alarm(tmp_path: Path) -> None:
    gradient = np.linspace(0, 90, 40 * 40).reshape(40, 40, 1)
    drawing = np.where(np.repeat(RNG.random((40, 1, 1)), 40, 1) > 0.5, 255, 0)
    levels = np.repeat(RNG.integers(0, 4, (40, 1, 1)), 40, 1) * 85
    for number, pictures in enumerate(
        (
            [noise(0, 255, "uint8", 3)],
            [gradient.astype(np.uint8)],
            [drawing.astype(np.uint8)],
            [levels.astype(np.uint8)],
            [np.full((8, 8, 3), 7, np.uint8)],
            [noise(0, 60000, "uint16")],
            [noise(0, 20, "uint8", 3), noise(0, 255, "uint8", 3)],
            [RNG.random((8, 8, 3)).astype(np.float32)],
        )
    ):
        (tmp_path / str(number)).mkdir()
        assert found(tmp_path / str(number), *pictures) == ()
