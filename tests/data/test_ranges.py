"""Ranges and units that are found in the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unpaired.core.errors import UserError
from unpaired.data.check import check_images
from unpaired.data.config import DataConfig
from unpaired.data.encode import write_image
from unpaired.data.formats import READERS, Meaning
from unpaired.data.ranges import Histogram, found_range
from unpaired.data.reading import PICTURES
from unpaired.data.training import open_training_data, with_what_was_found


def percentile(values: Any, share: float) -> float:
    histogram = Histogram({values.dtype.name})
    histogram.add(values)
    return histogram.percentile(share)


@given(arrays(np.int16, st.integers(1, 200)), st.floats(0, 100))
def test_percentiles_of_integers_are_exact(values: Any, share: float) -> None:
    found = percentile(values, share)
    assert found == np.percentile(values, share, method="inverted_cdf")


@settings(max_examples=25)
@given(arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32)), st.floats(0, 100))
def test_percentiles_of_floats_are_near(values: Any, share: float) -> None:
    exact = np.percentile(values, share, method="inverted_cdf")
    assert percentile(values, share) == pytest.approx(exact, rel=2**-13, abs=1e-30)


def folder(path: Path, scale: float, dtype: str = "uint16") -> Path:
    for part in ("trainA", "trainB", "testA", "testB"):
        (path / part).mkdir(parents=True)
        for number in range(2):
            values = np.linspace(0, 1, 256).reshape(16, 16, 1) * scale * (100 if part == "testA" else 1)
            write_image(values.astype(dtype), path / part / f"{number}.tif")
    return path


def test_percentiles_are_found_once_in_the_training_images(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", 500)
    config = DataConfig(root=str(root), range_a="p10..p90", range_b=(0, 400), crop_size=16, unit_b="K")
    data = open_training_data(config)
    values = np.linspace(0, 500, 256).astype(np.uint16)
    wanted = tuple(np.percentile(values, share, method="inverted_cdf") for share in (10, 90))
    assert data.domain_a.range == wanted
    assert (data.domain_b.range, data.domain_b.unit) == ((0, 400), "K")
    found = with_what_was_found(config, data)
    assert (found.range_a, found.range_b) == (wanted, (0, 400))
    assert any("outside the declared range" in notice for notice in data.notices)


def test_what_files_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "data", 500)
    with pytest.raises(UserError, match="the files say no range"):
        open_training_data(DataConfig(root=str(root), range_a="file", crop_size=16))
    root = folder(tmp_path / "other", 500)  # what checking found out about files is remembered
    monkeypatch.setattr(type(READERS["tiff"]), "meaning", lambda self, path: Meaning(unit="K", range=(0, 511)))
    data = open_training_data(DataConfig(root=str(root), range_a="file", crop_size=16))
    assert (data.domain_a.range, data.domain_a.unit) == ((0, 511), "K")
    assert data.domain_b.range is None
    [finding] = [each for each in data.findings if each.side == "b"]
    assert finding.suggested == (0, 511)  # type: ignore[union-attr]
    assert any("--set data.range_b=[0,511]" in notice for notice in data.notices)


@pytest.mark.parametrize(
    ("dtype", "high", "suggested"),
    [("uint16", 4095, (0, 4095)), ("uint16", 10_000, (0, 16383)), ("int16", 3000, (0, 4095))],
)
def test_values_that_use_little_of_their_type_are_told(
    tmp_path: Path, dtype: str, high: int, suggested: tuple[float, float]
) -> None:
    data = open_training_data(DataConfig(root=str(folder(tmp_path / "data", high / 100, dtype)), crop_size=16))
    [finding] = [each for each in data.findings if each.side == "a"]
    assert finding.suggested == suggested  # type: ignore[union-attr]
    assert f"--set data.range_a=[{suggested[0]},{suggested[1]}]" in " ".join(data.notices)


def test_ct(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", 500, "int16")
    infos = check_images([root / "trainA" / "0.tif"]).good
    assert found_range("a", infos, PICTURES, DataConfig(range_a="ct")) == (-1024, 3071)
    assert found_range("b", infos, PICTURES, DataConfig(range_a="ct")) is None
    with pytest.raises(UserError, match="both percentiles are 0"):
        found_range("a", infos, PICTURES, DataConfig(range_a="p0..p0.1"))


@pytest.mark.parametrize("given", ["hu", "p5..p5", "p99..p1", "p1..p200", "p1", "CT", "p1...p2", (3.0, 2.0)])
def test_wrong_ranges(given: Any) -> None:
    with pytest.raises(UserError, match="range_a"):
        DataConfig(range_a=given)
