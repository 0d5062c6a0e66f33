"""Precision and recall against the definition, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unpaired.metrics import manifold
from unpaired.metrics.manifold import density_coverage, precision_recall


def _features(seed: int, rows: int, dim: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)) + shift


def _by_definition(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    def within(queries: np.ndarray, centres: np.ndarray) -> float:
        reach = [sorted(np.linalg.norm(centres - c, axis=1))[k] for c in centres]  # the nearest is the row itself
        inside = [any(np.linalg.norm(q - c) <= r for c, r in zip(centres, reach, strict=True)) for q in queries]
        return float(np.mean(inside))

    return within(fake, real), within(real, fake)


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 25), st.integers(5, 25), st.integers(1, 8), st.integers(1, 4), st.floats(0, 3))
def test_against_the_definition(first: int, second: int, dim: int, k: int, shift: float) -> None:
    real, fake = _features(first, first, dim), _features(second + 100, second, dim, shift) * 0.8
    assert precision_recall(real, fake, k) == _by_definition(real, fake, k)
    assert precision_recall(fake, real, k) == precision_recall(real, fake, k)[::-1]


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = _features(0, 61, 3), _features(1, 47, 3, 0.7)
    at_once = precision_recall(real, fake)
    monkeypatch.setattr(manifold, "BLOCK", 8)
    assert precision_recall(real, fake) == at_once == _by_definition(real, fake, 3)


def test_a_case_by_hand() -> None:
    real = np.array([[0.0], [1.0], [2.0], [10.0]])  # k = 1: reach 1, 1, 1, 8
    fake = np.array([[2.5], [3.5], [18.5], [-1.0]])  # k = 1: reach 1, 1, 15, 3.5
    assert precision_recall(real, fake, k=1) == (3 / 4, 1.0)


def test_identical_sets_are_all_within_and_far_ones_not_at_all() -> None:
    features = _features(2, 40, 64, 1e4).astype(np.float32)
    assert precision_recall(features, features.copy()) == (1, 1)
    assert precision_recall(features, features + 1e3) == (0, 0)
    mode = features[:4].repeat(10, 0)  # four images many times over: their balls are points
    assert precision_recall(features, mode) == (1, 4 / 40)


def test_constant_sets() -> None:
    assert precision_recall(np.full((5, 3), 0.1), np.full((6, 3), 0.1)) == (1, 1)
    assert precision_recall(np.full((5, 3), 0.1), np.full((6, 3), 0.2)) == (0, 0)


def test_what_is_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 rows; received 3 real and 9 fake"):
        precision_recall(_features(0, 3, 2), _features(1, 9, 2))
    with pytest.raises(ValueError, match=r"\[4, 2\] and \[4, 3\]"):
        precision_recall(_features(0, 4, 2), _features(1, 4, 3))
    with pytest.raises(ValueError, match="not finite"):
        precision_recall(_features(0, 4, 2), _features(1, 4, 2) * np.nan)
    with pytest.raises(ValueError, match="k must be"):
        precision_recall(_features(0, 4, 2), _features(1, 4, 2), k=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 25), st.integers(6, 25), st.integers(1, 8), st.integers(1, 5), st.floats(0, 3))
def test_density_and_coverage_against_the_definition(first: int, second: int, dim: int, k: int, shift: float) -> None:
    real, fake = _features(first, first, dim), _features(second + 100, second, dim, shift) * 0.8
    reach = [sorted(np.linalg.norm(real - row, axis=1))[k] for row in real]
    within = np.array([[np.linalg.norm(y - x) <= r for y in fake] for x, r in zip(real, reach, strict=True)])
    density, coverage = density_coverage(real, fake, k)
    assert density == pytest.approx(within.sum() / (k * len(fake)))
    assert coverage == pytest.approx(within.any(1).mean())


def test_density_counts_neighbourhoods_and_coverage_those_that_are_met() -> None:
    real = np.array([[0.0], [1.0], [2.0], [10.0]])  # k = 1: reach 1, 1, 1, 8
    fake = np.array([[1.5], [1.6]])  # both lie in the balls of 1 and 2
    assert density_coverage(real, fake, k=1) == (4 / 2, 2 / 4)
