from __future__ import annotations

import numpy as np
import pytest

from unpaired.study import statistics
from unpaired.study.statistics import (
    Shares,
    detectable,
    difference_interval,
    holm,
    participants_needed,
    permutation_p,
    share_interval,
    t_quantile,
)


def people(random: np.random.Generator, count: int, ability: float, spread: float, trials: int = 40) -> Shares:
    """Simulate participants whose own chance of being fooled is beta distributed about `ability`."""
    own = random.beta(ability * spread, (1 - ability) * spread, count)
    return random.binomial(trials, own) / trials


@pytest.mark.parametrize(
    ("ability", "spread", "count"), [(0.25, 12.0, 25), (0.45, 6.0, 25), (0.03, 30.0, 25), (0.25, 12.0, 8)]
)
def test_the_interval_covers_the_truth_as_often_as_it_claims(
    ability: float, spread: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 1500)
    random, studies = np.random.default_rng(3), 800
    covered = 0
    for _ in range(studies):
        interval = share_interval(people(random, count, ability, spread), 40 * count, random)
        assert interval is not None
        covered += interval.low <= ability <= interval.high
    assert 0.93 <= covered / studies <= 0.97  # 2.6 standard deviations of 800 draws


def test_plain_percentiles_would_be_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: without the widening, eight people give 95 % intervals that cover 90 %."""
    random, covered = np.random.default_rng(3), 0
    for _ in range(800):
        shares = people(random, 8, 0.25, 12.0)
        means = shares[random.integers(8, size=(1500, 8))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        covered += low <= 0.25 <= high
    assert covered / 800 < 0.925


def test_the_interval_of_a_difference_covers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 1500)
    random, covered = np.random.default_rng(4), 0
    for _ in range(500):
        a, b = people(random, 25, 0.35, 12), people(random, 20, 0.25, 12)
        interval = difference_interval(a, b, (300, 240), random)
        assert interval is not None
        covered += interval.low <= 0.1 <= interval.high
    assert 0.925 <= covered / 500 <= 0.98


def test_t_quantiles_are_those_of_the_tables() -> None:
    for freedom, value in ((1, 12.7062), (2, 4.30265), (7, 2.36462), (24, 2.06390), (1000, 1.96234)):
        assert t_quantile(0.975, freedom) == pytest.approx(value, rel=2e-5)
    assert t_quantile(0.95, 5) == pytest.approx(2.01505, rel=2e-5)
    assert t_quantile(0.5, 5) == 0


def test_the_difference_of_equal_shares_is_not_known_exactly() -> None:
    a, b = np.full(7, 0.8), np.full(8, 0.6)
    interval = difference_interval(a, b, (70, 80), np.random.default_rng(0))
    assert interval is not None
    assert interval.kind == "Newcombe"
    # Newcombe (1998), table II, contrast (a), method 10: 56 of 70 less 48 of 80.
    assert (interval.low, interval.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert detectable(a, b, 1) is None
    assert participants_needed(a, b, 1) is None


def test_equal_shares_fall_back_on_wilson() -> None:
    random = np.random.default_rng(0)
    interval = share_interval(np.zeros(25), 1000, random)
    assert interval is not None
    assert (interval.kind, interval.low) == ("Wilson", pytest.approx(0, abs=1e-12))
    assert interval.high == pytest.approx(3.841459 / (1000 + 3.841459), rel=1e-6)
    half = share_interval(np.full(2, 0.5), 100, random)
    assert half is not None
    assert (half.low, half.high) == (pytest.approx(0.40383, abs=1e-5), pytest.approx(0.59617, abs=1e-5))
    assert share_interval(np.array([0.3]), 40, random) is None


def test_the_permutation_test_counts_all_splits_of_few_people() -> None:
    a, b = np.array([0.5, 0.6, 0.7]), np.array([0.1, 0.2, 0.3])
    assert permutation_p(a, b, np.random.default_rng(0)) == pytest.approx(2 / 20)
    c, d = np.array([0.1, 0.4]), np.array([0.2, 0.3])  # splits: 0, 0, .1, .1, .2, .2 apart; this one 0
    assert permutation_p(c, d, np.random.default_rng(0)) == 1.0
    assert permutation_p(np.array([0.1, 0.3]), np.array([0.2, 0.4]), np.random.default_rng(0)) == pytest.approx(4 / 6)


def test_the_permutation_test_is_true_to_its_level_and_finds_differences() -> None:
    random = np.random.default_rng(5)
    same = [
        permutation_p(people(random, 20, 0.3, 10), people(random, 25, 0.3, 10), random, resamples=400)
        for _ in range(400)
    ]
    assert 0.025 <= np.mean(np.array(same) <= 0.05) <= 0.08
    far = permutation_p(people(random, 25, 0.1, 10), people(random, 25, 0.4, 10), random)
    assert far == pytest.approx(1 / 10_001)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_number_of_participants_by_hand() -> None:
    a, b = np.array([0.2, 0.3, 0.4]), np.array([0.3, 0.4, 0.5])  # variances 0.01, difference 0.1
    # (1.959964 + 0.841621)^2 * 0.02 / 0.01 = 15.70, and 1.959964^2 / 4 = 0.96
    assert participants_needed(a, b, 1) == 17
    # alpha / 3: 2.393980 for 1.959964
    assert participants_needed(a, b, 3) == 23
    assert detectable(a, b, 1) == pytest.approx((1.959964 + 0.841621) * np.sqrt(0.02 / 3), rel=1e-6)
    assert participants_needed(a, a, 1) is None
    assert participants_needed(a, b[:1], 1) is None


def test_as_many_participants_as_it_says_give_the_power_that_it_says() -> None:
    random = np.random.default_rng(6)
    pilot_a, pilot_b = people(random, 40_000, 0.35, 10), people(random, 40_000, 0.25, 10)
    needed = participants_needed(pilot_a, pilot_b, 1)
    assert needed is not None
    found = [
        permutation_p(people(random, needed, 0.35, 10), people(random, needed, 0.25, 10), random, resamples=400)
        for _ in range(400)
    ]
    assert 0.75 <= np.mean(np.array(found) <= 0.05) <= 0.86
