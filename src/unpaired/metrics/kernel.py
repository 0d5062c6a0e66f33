"""The kernel distance between two sets of features (Bińkowski, Sutherland, Arbel, Gretton 2018): with Inception's, KID.

It is the unbiased estimate of the squared maximum mean discrepancy (their eq. 4) with k(x, y) = (x . y / D + 1)^3,
and may be slightly negative. Every sum over pairs that is needed, of subsets as well as of the groups of the
jackknife, is a product w^T K w, so that one pass over the kernel matrix, in blocks, yields all of them.
"""

from __future__ import annotations

import math

import numpy as np

from unpaired.metrics.estimate import GROUPS, Estimate, deal, jackknife_error
from unpaired.metrics.inputs import Features, Rows, checked_sets

BLOCK = 1024
"""Rows of the kernel matrix in memory at a time."""


def kernel_distance(
    real: Features, fake: Features, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> Estimate:
    """Return the kernel distance of feature rows [N, D] and [M, D], and its standard error.

    As published, it is the mean over `subsets` random subsets of `subset_size` rows of either set. Where a set has
    fewer rows, or neither has more, the whole sets are compared once (all subsets would be alike).

    The error is the standard error by the sampling of images: the delete-group jackknife of the distance between the
    whole sets, to which subsets add the error of their mean (their deviation / sqrt(subsets)). The deviation over
    subsets that is often printed is another thing: that of a figure of `subset_size` images. The error is None for
    fewer than three rows in a set.

    Raises `ValueError` for fewer than two rows, different widths, or values that are not finite.
    """
    x, y = checked_sets(real, fake, least=2)
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"there must be a subset, of at least 2 rows; received {subsets} of {subset_size}")
    by_subsets = takes_subsets(len(x), len(y), subset_size)
    count = subsets if by_subsets else 0
    groups = deal(len(x), len(y), GROUPS)
    random = np.random.default_rng(seed)
    weights_x = _weights(len(x), count, subset_size, groups, random)
    weights_y = _weights(len(y), count, subset_size, groups, random)
    table = _discrepancies(
        (_sums(x, x, weights_x, weights_x, same=True), weights_x.sum(0)),
        (_sums(y, y, weights_y, weights_y, same=True), weights_y.sum(0)),
        _sums(x, y, weights_x, weights_y, same=False),
    )
    error = jackknife_error(list(table[count + 1 :]))
    if not by_subsets:
        return Estimate(float(table[count]), error)
    drawn = table[:count]
    if error is not None:
        error = math.hypot(error, float(drawn.std(ddof=1)) / math.sqrt(count)) if count > 1 else None
    return Estimate(float(drawn.mean()), error)


def takes_subsets(real: int, fake: int, subset_size: int = 1000) -> bool:
    """Say whether sets of so many rows are compared by subsets, or else whole, once."""
    return min(real, fake) >= subset_size and max(real, fake) > subset_size


def _weights(rows: int, subsets: int, subset_size: int, groups: int, random: np.random.Generator) -> Rows:
    """Return who takes part, [rows, subsets + 1 + groups]: in subsets, in the whole, in the whole without a group."""
    weights = np.zeros((rows, subsets + 1 + groups))
    for subset in range(subsets):
        weights[random.permutation(rows)[:subset_size], subset] = 1
    weights[:, subsets:] = 1
    for group in range(groups):
        weights[group::groups, subsets + 1 + group] = 0
    return weights


def _sums(x: Rows, y: Rows, weights_x: Rows, weights_y: Rows, *, same: bool) -> Rows:
    """Return sum_ij wx_i k(x_i, y_j) wy_j for each column of weights; where both sets are the same, without i = j."""
    total = np.zeros(weights_x.shape[1])
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        linear = x[rows] @ y.T / x.shape[1] + 1
        kernel = linear * linear * linear
        if same:
            np.fill_diagonal(kernel[:, start:], 0)
        total += np.einsum("iw,iw->w", weights_x[rows], kernel @ weights_y)
    return total


def _discrepancies(x: tuple[Rows, Rows], y: tuple[Rows, Rows], across: Rows) -> Rows:
    """Return the unbiased estimate for every column of weights, from sums over pairs and the numbers of rows."""
    (within_x, m), (within_y, n) = x, y
    return within_x / (m * (m - 1)) + within_y / (n * (n - 1)) - 2 * across / (m * n)
