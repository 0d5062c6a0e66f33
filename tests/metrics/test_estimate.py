"""Fréchet distance with its error: the value is the plain one, the error what the figure scatters by."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unpaired.metrics import estimate
from unpaired.metrics.estimate import Estimate, deal, frechet_estimate, jackknife_error
from unpaired.metrics.frechet import Moments, frechet_distance


def _features(seed: int, rows: int, dim: int = 6, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)) * np.linspace(0.5, 2, dim) + shift


def _plain(real: np.ndarray, fake: np.ndarray) -> float:
    pair = Moments(real.shape[1]), Moments(fake.shape[1])
    for moments, rows in zip(pair, (real, fake), strict=True):
        moments.add(rows)
    return frechet_distance(*pair)


@pytest.mark.parametrize(("first", "second", "dim"), [(50, 40, 6), (5, 9, 30), (5, 90, 30), (31, 30, 30), (2, 2, 3)])
def test_the_value_is_that_of_the_moments(first: int, second: int, dim: int) -> None:
    real, fake = _features(0, first, dim), _features(1, second, dim, 0.5)
    found = frechet_estimate(real, fake)
    assert found.value == pytest.approx(_plain(real, fake), rel=1e-9)
    assert found.singular == (min(first, second) <= dim)


@pytest.mark.parametrize(("first", "second", "dim"), [(45, 40, 5), (12, 30, 25), (26, 31, 25)])
def test_the_error_is_the_jackknife_by_its_definition(first: int, second: int, dim: int) -> None:
    real, fake = _features(2, first, dim), _features(3, second, dim, 1.0)
    groups = min(20, first, second)
    left = [_plain(real[np.arange(first) % groups != g], fake[np.arange(second) % groups != g]) for g in range(groups)]
    expected = math.sqrt((groups - 1) / groups * sum((t - np.mean(left)) ** 2 for t in left))
    assert frechet_estimate(real, fake).error == pytest.approx(expected, rel=1e-5)


def test_large_covariances_are_left_out_of_in_fewer_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = _features(8, 60), _features(9, 50, shift=0.5)
    assert frechet_estimate(real, fake) == frechet_estimate(real, fake, groups=20)
    monkeypatch.setattr(estimate, "LARGE", 5)
    assert frechet_estimate(real, fake) == frechet_estimate(real, fake, groups=10)
    assert frechet_estimate(real, fake) != frechet_estimate(real, fake, groups=20)
    assert frechet_estimate(real[:5], fake) == frechet_estimate(real[:5], fake, groups=20)  # of a small rank


def test_the_error_is_about_what_the_figure_scatters_by() -> None:
    found = [frechet_estimate(_features(s, 200), _features(s + 1000, 150, shift=1.0)) for s in range(60)]
    scatter = float(np.std([each.value for each in found], ddof=1))
    errors = [each.error for each in found if each.error is not None]
    assert len(errors) == 60
    assert 0.75 < float(np.sqrt(np.mean(np.square(errors)))) / scatter < 1.35


def test_constant_features_have_an_error_of_zero() -> None:
    found = frechet_estimate(np.full((30, 4), 1.0), np.full((25, 4), 3.0))
    assert found == Estimate(16.0, 0.0, False)
    features = _features(4, 40)
    features[:, 2] = 1.0  # a covariance that has no Cholesky decomposition
    error = frechet_estimate(features, _features(5, 40)).error
    assert error is not None
    assert 0 < error < 10


def test_two_rows_have_a_value_and_no_error() -> None:
    found = frechet_estimate(_features(6, 2), _features(7, 50))
    assert math.isfinite(found.value)
    assert found.error is None
    assert found.singular
    assert frechet_estimate(_features(6, 3), _features(7, 50)).error is not None


def test_groups_leave_two_rows() -> None:
    assert [deal(n, 100) for n in (2, 3, 19, 20, 21, 100)] == [0, 3, 19, 20, 20, 20]
    assert jackknife_error([]) is None
    assert jackknife_error([1.0, 3.0]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least 2 groups"):
        deal(10, 10, 1)


def test_what_has_no_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 rows; received 1 real and 5 fake"):
        frechet_estimate(_features(0, 1), _features(1, 5))
    with pytest.raises(ValueError, match=r"\[5, 6\] and \[5, 7\]"):
        frechet_estimate(_features(0, 5), _features(1, 5, 7))
    with pytest.raises(ValueError, match="fake features hold values that are not finite"):
        frechet_estimate(_features(0, 5), _features(1, 5) * np.nan)
