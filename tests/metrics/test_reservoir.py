"""The sample of rows is of bounded size, uniform, and the same for every split into batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unpaired.metrics.reservoir import Reservoir


def _rows(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)[:, None].repeat(2, 1)


def _kept(limit: int, count: int, splits: list[int], seed: int = 0) -> np.ndarray:
    kept = Reservoir(limit, 2, seed)
    for part in np.split(_rows(count), sorted(splits)):
        if len(part):
            kept.add(part)
    assert kept.seen == count
    assert len(kept) == min(limit, count)
    return kept.rows()


def test_everything_is_kept_in_order_below_the_limit() -> None:
    np.testing.assert_array_equal(_kept(10, 10, [3, 7]), _rows(10))
    np.testing.assert_array_equal(_kept(11, 10, []), _rows(10))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 60), st.lists(st.integers(0, 60), max_size=8), st.integers(0, 2**32))
def test_batches_do_not_matter(limit: int, count: int, splits: list[int], seed: int) -> None:
    at_once = _kept(limit, count, [], seed)
    np.testing.assert_array_equal(_kept(limit, count, [min(s, count) for s in splits], seed), at_once)
    np.testing.assert_array_equal(_kept(limit, count, list(range(count)), seed), at_once)
    assert len(set(at_once[:, 0])) == min(limit, count)  # no row twice
    assert sorted(at_once[:, 0]) == list(at_once[:, 0])


def test_the_sample_is_uniform() -> None:
    drawn = np.concatenate([_kept(5, 20, [4, 11], seed)[:, 0] for seed in range(2000)])
    counts = np.bincount(drawn.astype(int), minlength=20)
    assert counts.sum() == 10_000
    assert abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)  # five deviations of a binomial


def test_tensors_are_taken_and_what_is_wrong_is_refused() -> None:
    kept = Reservoir(3, 2)
    kept.add(torch.ones(2, 2))
    assert kept.rows().dtype == np.float32
    for rows, words in [
        (np.ones((2, 3)), "2 expected, received 3"),
        (np.ones(2), r"\[N, D\]"),
        (np.full((1, 2), np.nan), "not finite"),
        (np.ones((2, 2), int), "floating point"),
    ]:
        with pytest.raises(ValueError, match=words):
            kept.add(rows)
    assert kept.seen == 2
    with pytest.raises(ValueError, match="at least 1"):
        Reservoir(0, 2)
