"""How two sets of features overlap: precision and recall, density and coverage.

Kynkäänniemi, Karras, Laine, Lehtinen, Aila 2019 (improved precision and recall); Naeem, Oh, Uh, Choi, Yoo 2020
(density and coverage, "Reliable Fidelity and Diversity Metrics for Generative Models").
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unpaired.metrics.inputs import Features, Rows, checked_sets

BLOCK = 512
"""Rows of distances in memory at a time."""
ROUNDING = 1e-12
"""Squared distances are equal within this share of the squared lengths: duplicates have the distance 0."""


def precision_recall(real: Features, fake: Features, k: int = 3) -> tuple[float, float]:
    """Return precision and recall, each in [0, 1], of feature rows [N, D] and [M, D].

    The manifold of a set is the union of balls around its rows that reach to the k-th nearest other row (their eq. 1).
    Precision is the share of fake rows on the real manifold, recall the share of real rows on the fake one (eq. 2).
    Raises `ValueError` for fewer than k + 1 rows in a set, different widths, or values that are not finite.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1; received {k}")
    x, y = checked_sets(real, fake, least=k + 1)
    centre = (x.mean(0) + y.mean(0)) / 2  # distances stay; squared lengths, and with them rounding, get small
    x, y = x - centre, y - centre
    return _shares_within(x, y, _reach(x, k), _reach(y, k))


def density_coverage(real: Features, fake: Features, k: int = 5) -> tuple[float, float]:
    """Return density (0 and more, 1 for equal sets) and coverage (in [0, 1]) of feature rows [N, D] and [M, D].

    Density counts in how many balls of real rows a fake row lies, over k (eq. 3 of Naeem et al.); coverage is the share
    of balls of real rows that hold a fake one (eq. 4). Outliers among the fakes move neither. Raises `ValueError` as
    `precision_recall` does.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1; received {k}")
    x, y = checked_sets(real, fake, least=k + 1)
    centre = (x.mean(0) + y.mean(0)) / 2
    x, y = x - centre, y - centre
    reach, inside, covered = _reach(x, k), 0, 0
    for start, distances, slack in _distances(x, y):
        within = distances <= reach[start : start + len(distances), None] + slack
        inside, covered = inside + int(within.sum()), covered + int(within.any(1).sum())
    return inside / (k * len(y)), covered / len(x)


def _reach(rows: Rows, k: int) -> Rows:
    """Return the squared distance of every row to its k-th nearest other row."""
    reach = []
    for start, distances, _ in _distances(rows, rows):
        np.fill_diagonal(distances[:, start:], np.inf)
        reach.append(np.partition(distances, k - 1, axis=1)[:, k - 1])
    return np.concatenate(reach)


def _shares_within(x: Rows, y: Rows, reach_x: Rows, reach_y: Rows) -> tuple[float, float]:
    """Return the shares of y in the balls around x, and of x in those around y, surfaces included."""
    y_within, x_within = np.zeros(len(y), bool), np.zeros(len(x), bool)
    for start, distances, slack in _distances(x, y):
        rows = slice(start, start + len(distances))
        y_within |= (distances <= reach_x[rows, None] + slack).any(0)
        x_within[rows] = (distances <= reach_y + slack).any(1)
    return float(y_within.mean()), float(x_within.mean())


def _distances(a: Rows, b: Rows) -> Iterator[tuple[int, Rows, Rows]]:
    """Yield the first row of a block, its squared distances to all of b, and how exact each is."""
    lengths = (b**2).sum(1)
    for start in range(0, len(a), BLOCK):
        block = a[start : start + BLOCK]
        both = (block**2).sum(1)[:, None] + lengths
        yield start, (both - 2 * block @ b.T).clip(min=0), both * ROUNDING
