"""Means of numbers that go by, and the images at both ends."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from unpaired.evaluation.metrics.base import Example, Extremes, RunningMean, png_grid


def test_mean_and_standard_error_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(50, 3, 101)
    running = RunningMean()
    running.add(values[:40])
    running.add(values[40:])
    assert running.mean() == pytest.approx(values.mean(), rel=1e-12)
    assert running.error() == pytest.approx(values.std(ddof=1) / math.sqrt(101), rel=1e-12)


def test_one_image_has_no_error_and_nothing_is_silently_nan() -> None:
    running = RunningMean()
    running.add([2.0])
    assert (running.mean(), running.error()) == (2.0, None)
    with pytest.raises(ValueError, match="not finite"):
        running.add([math.nan])


@pytest.mark.parametrize(("end", "expected"), [("largest", ["9", "8", "5"]), ("smallest", ["0", "1", "2"])])
def test_the_ends_are_kept_in_order(end: str, expected: list[str]) -> None:
    extremes = Extremes(3, end)  # type: ignore[arg-type]
    picture = np.zeros((4, 300, 3), np.uint8)
    for number, value in enumerate([5.0, 9.0, 0.0, 2.0, 8.0, 1.0, 5.0]):
        if extremes.wants(value):
            extremes.add(value, number, Example({"input": picture}, f"{value:.0f}"))
    found = extremes.examples()
    assert [example.caption for example in found] == expected
    assert found[0].cells["input"].shape == (3, 256, 3)  # no larger than it will be shown
    assert Image.open(io.BytesIO(png_grid(found, "Ends"))).size[0] > 256
