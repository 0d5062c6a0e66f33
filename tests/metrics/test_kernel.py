"""The kernel distance against double loops and torchmetrics, and its error against how the figure scatters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unpaired.metrics import kernel
from unpaired.metrics.kernel import kernel_distance, takes_subsets


def _features(seed: int, rows: int, dim: int = 5, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)) + shift


def _by_loops(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    m, n = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


@pytest.mark.parametrize(("first", "second", "dim"), [(7, 11, 5), (2, 2, 1), (30, 12, 40)])
def test_whole_sets_against_double_loops(first: int, second: int, dim: int) -> None:
    real, fake = _features(0, first, dim), _features(1, second, dim, 0.5)
    assert kernel_distance(real, fake).value == pytest.approx(_by_loops(real, fake), rel=1e-10)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = _features(2, 50), _features(3, 41)
    at_once = kernel_distance(real, fake, subsets=7, subset_size=30)
    monkeypatch.setattr(kernel, "BLOCK", 8)
    in_blocks = kernel_distance(real, fake, subsets=7, subset_size=30)
    assert in_blocks.value == pytest.approx(at_once.value, rel=1e-9)
    assert in_blocks.error == pytest.approx(at_once.error, rel=1e-9)


def test_subsets_are_a_mean_of_loops_over_random_rows() -> None:
    real, fake = _features(4, 14), _features(5, 10, shift=1.0)
    random = np.random.default_rng(3)
    rows_real = [random.permutation(14)[:6] for _ in range(4)]
    rows_fake = [random.permutation(10)[:6] for _ in range(4)]
    drawn = [_by_loops(real[a], fake[b]) for a, b in zip(rows_real, rows_fake, strict=True)]
    found = kernel_distance(real, fake, subsets=4, subset_size=6, seed=3)
    assert found.value == pytest.approx(float(np.mean(drawn)), rel=1e-10)
    whole = kernel_distance(real, fake)
    assert found.error is not None
    assert whole.error is not None
    assert found.error == pytest.approx(math.hypot(whole.error, float(np.std(drawn, ddof=1)) / 2), rel=1e-9)
    assert kernel_distance(real, fake, subsets=4, subset_size=6, seed=3) == found
    assert kernel_distance(real, fake, subsets=4, subset_size=6, seed=4) != found


@pytest.mark.parametrize(("real", "fake"), [(10, 10), (10, 9), (11, 10), (9, 30), (30, 30)])
def test_subsets_are_told_where_they_are_taken(real: int, fake: int) -> None:
    seeds = {kernel_distance(_features(0, real), _features(1, fake), subset_size=10, seed=s).value for s in range(2)}
    assert takes_subsets(real, fake, 10) == (len(seeds) == 2)


def test_against_torchmetrics() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    real, fake = _features(6, 40, 12), _features(7, 40, 12, 0.4)
    reference = kid.poly_mmd(torch.from_numpy(real), torch.from_numpy(fake))
    assert kernel_distance(real, fake, subset_size=40).value == pytest.approx(float(reference), rel=1e-9)


def test_the_error_is_the_jackknife_by_its_definition() -> None:
    real, fake = _features(8, 43), _features(9, 33, shift=0.5)
    left = [_by_loops(real[np.arange(43) % 20 != g], fake[np.arange(33) % 20 != g]) for g in range(20)]
    expected = math.sqrt(19 / 20 * sum((t - np.mean(left)) ** 2 for t in left))
    assert kernel_distance(real, fake).error == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("subset_size", [1000, 60])
def test_the_error_is_about_what_the_figure_scatters_by(subset_size: int) -> None:
    settings = {"subsets": 20, "subset_size": subset_size}
    found = [kernel_distance(_features(s, 120), _features(s + 500, 150, shift=0.4), **settings) for s in range(80)]
    scatter = float(np.std([each.value for each in found], ddof=1))
    errors = [each.error for each in found if each.error is not None]
    assert len(errors) == 80
    assert 0.75 < float(np.sqrt(np.mean(np.square(errors)))) / scatter < 1.35


def test_identical_and_constant_sets_have_numbers() -> None:
    features = _features(10, 30)
    same = kernel_distance(features, features)
    assert same.value < 0  # unbiased, so below zero where both sets are the same images
    assert same.error is not None
    still = kernel_distance(np.full((5, 3), 2.0), np.full((4, 3), 2.0))
    assert still.value == pytest.approx(0, abs=1e-10)
    assert still.error == pytest.approx(0, abs=1e-10)


def test_few_rows_have_no_error() -> None:
    assert kernel_distance(_features(0, 2), _features(1, 30)).error is None
    assert kernel_distance(_features(0, 3), _features(1, 30)).error is not None
    assert kernel_distance(_features(0, 9), _features(1, 30), subsets=1, subset_size=8).error is None


def test_what_has_no_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 rows; received 1 real and 5 fake"):
        kernel_distance(_features(0, 1), _features(1, 5))
    with pytest.raises(ValueError, match=r"\[5, 5\] and \[5, 6\]"):
        kernel_distance(_features(0, 5), _features(1, 5, 6))
    with pytest.raises(ValueError, match="not finite"):
        kernel_distance(_features(0, 5) * np.nan, _features(1, 5))
    with pytest.raises(ValueError, match="received 100 of 1"):
        kernel_distance(_features(0, 5), _features(1, 5), subset_size=1)


def test_the_largest_features_still_have_finite_figures() -> None:
    found = kernel_distance(_features(0, 9, 1) * 1e14, _features(1, 9, 1) * 1e14)
    assert found.error is not None
    assert math.isfinite(found.value)
    assert math.isfinite(found.error)
