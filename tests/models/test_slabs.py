"""Slices with their neighbours: overlapping slabs become one volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import write_identity
from scans import phantom
from unpaired.core.errors import UserError
from unpaired.data.scale import Scale
from unpaired.data.values import Domain
from unpaired.models.slabs import Blend, single
from unpaired.models.translator import Translator

HU = Domain(channels=1, dtype="int16", range=(-1024, 3071))
SLABS = Domain(channels=3, dtype="int16", range=(-1024, 3071), neighbours=1, spacing=(0.5, 0.5, 2.5))


@given(st.integers(0, 4), st.integers(1, 7), st.integers(1, 2), st.integers(0, 1000))
def test_slices_are_the_mean_of_the_slabs_that_hold_them(neighbours: int, count: int, channels: int, seed: int) -> None:
    width = 2 * neighbours + 1
    slabs = np.random.default_rng(seed).normal(size=(count, 2, 3, width, channels)).astype(np.float32)
    blend, made = Blend(neighbours, count), []
    for index, slab in enumerate(slabs):
        made += blend.put(index, slab.reshape(2, 3, -1))
        assert len(blend._sums) <= width
    assert [index for index, _ in made] == list(range(count))
    for index, values in made:
        near = [other for other in range(count) if abs(other - index) <= neighbours]
        mean = np.mean([slabs[other][:, :, index - other + neighbours] for other in near], axis=0)
        np.testing.assert_allclose(values, mean, atol=1e-6)


@pytest.mark.parametrize("domain", [HU, SLABS])
@pytest.mark.parametrize("slices", [1, 2, 11])
def test_a_volume_returns_whole(tmp_path: Path, domain: Domain, slices: int) -> None:
    translator = Translator.load(write_identity(tmp_path / "model", domain), device="cpu")
    volume = phantom(slices, 20, 24)
    made = translator(volume, spacing=(2.5, 0.5, 0.5))
    np.testing.assert_array_equal(made, volume)
    assert made.dtype == np.int16
    assert not translator.notices


def test_another_spacing_is_brought_to_that_of_training(tmp_path: Path) -> None:
    native = Scale(preprocess="none", load_size=(256, 256), crop_size=(256, 256))
    domain = Domain(channels=1, dtype="int16", range=(-1024, 3071), spacing=(0.5, 0.5, 2.5))
    translator = Translator.load(write_identity(tmp_path / "model", domain, scale=native), device="cpu")
    volume = phantom(2, 20, 24)
    made = translator(volume, spacing=(2.5, 1.0, 1.0))
    assert "40 pixels" in translator.notices[-1]
    np.testing.assert_array_equal(made, volume)  # the change, which is none, is resized and added


@pytest.mark.parametrize("domain", [HU, SLABS])
def test_gaps_of_a_volume_stay_gaps(tmp_path: Path, domain: Domain) -> None:
    translator = Translator.load(write_identity(tmp_path / "model", domain), device="cpu")
    volume = phantom(4, 20, 24).astype(np.float32)
    volume[1, 3:5, 6] = np.nan
    made = translator(volume, spacing=(2.5, 0.5, 0.5))
    np.testing.assert_array_equal(np.isnan(made), np.isnan(volume))
    np.testing.assert_allclose(made, volume, atol=0.01)


def test_what_is_no_volume(tmp_path: Path) -> None:
    translator = Translator.load(write_identity(tmp_path / "model", HU), device="cpu")
    with pytest.raises(UserError, match="4 x 4"):
        translator(np.zeros((4, 4), np.int16), spacing=(1, 1, 1))
    with pytest.raises(UserError, match="spacing"):
        translator(phantom(2, 8, 8), spacing=(1, 0, 1))
    colour = Translator.load(write_identity(tmp_path / "colour", Domain(channels=3)), device="cpu")
    with pytest.raises(UserError, match="one channel"):
        colour(np.zeros((4, 4, 4), np.uint8), spacing=(1, 1, 1))


def test_one_slice_of_a_domain() -> None:
    assert single(SLABS) == Domain(channels=1, dtype="int16", range=(-1024, 3071), spacing=(0.5, 0.5, 2.5))
