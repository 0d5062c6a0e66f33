"""The Fréchet distance between two sets of features, taken for Gaussians (Heusel et al. 2017, eq. 6).

    d^2 = |m1 - m2|^2 + Tr(S1) + Tr(S2) - 2 Tr (S1 S2)^(1/2)

All is computed in double precision, and no root of a matrix that is not symmetric is ever taken: with S1 = F1^T F1 and
S2 = F2^T F2, the last trace is the sum of the singular values of F1 F2^T. That is real and at least 0 for covariances
of any rank. A factor F comes from an eigendecomposition, or, where there are fewer rows than features, from the centred
rows themselves, which is exact and cheap.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from unpaired.metrics.inputs import Features, Rows, checked_rows


@final
class Moments:
    """Mean and covariance of features that are added batch by batch; takes the same memory for any number of rows."""

    def __init__(self, dim: int) -> None:
        """Begin with no rows of `dim` features; `ValueError` where that is no positive number."""
        if dim < 1:
            raise ValueError(f"features have at least one dimension; received {dim}")
        self.dim = dim
        self.count = 0
        """How many rows were added."""
        self._mean: Rows = np.zeros(dim)
        self._scatter: Rows = np.zeros((dim, dim))

    def add(self, features: Features) -> None:
        """Add rows [N, dim]; `ValueError` where the width is another or a value is not finite."""
        rows = checked_rows(features).astype(np.float64)
        if rows.shape[1] != self.dim:
            raise ValueError(f"features of different widths: {self.dim} expected, received {rows.shape[1]}")
        mean = rows.mean(0)
        centred = rows - mean
        self._join(len(rows), mean, centred.T @ centred)

    def without(self, features: Features) -> Moments:
        """Return the moments as they would be had these rows [N, dim] not been added, of which fewer than all are."""
        part = Moments(self.dim)
        part.add(features)
        left = Moments(self.dim)
        left.count = self.count - part.count
        if left.count < 1:
            raise ValueError(f"{part.count} of {self.count} rows cannot be taken away")
        step = part._mean - self._mean
        left._mean = self._mean - step * (part.count / left.count)
        left._scatter = self._scatter - part._scatter
        left._scatter -= np.outer(step, step * (self.count * part.count / left.count))
        return left

    @property
    def mean(self) -> Rows:
        """The mean of every feature, [dim]; `ValueError` where no row was added."""
        if not self.count:
            raise ValueError("no features have no mean")
        return self._mean.copy()

    @property
    def covariance(self) -> Rows:
        """The covariance with n - 1 in the denominator, [dim, dim]; `ValueError` for fewer than two rows."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 images; received {self.count}")
        return self._scatter / (self.count - 1)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what `from_arrays` takes."""
        return {"count": np.array(self.count, np.int64), "mean": self._mean.copy(), "scatter": self._scatter.copy()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Moments:
        """Return moments that were stored; `ValueError` where the shapes do not belong together."""
        mean, scatter = arrays["mean"].astype(np.float64), arrays["scatter"].astype(np.float64)
        if mean.ndim != 1 or scatter.shape != (len(mean), len(mean)):
            raise ValueError(f"a mean {list(mean.shape)} and a scatter {list(scatter.shape)} do not belong together")
        moments = cls(len(mean))
        moments.count, moments._mean, moments._scatter = int(arrays["count"]), mean, scatter
        return moments

    def _join(self, count: int, mean: Rows, scatter: Rows) -> None:
        """Add moments of other rows (Chan, Golub, LeVeque 1979), which loses no digits to large means."""
        total = self.count + count
        step = mean - self._mean
        self._scatter += scatter
        self._scatter += np.outer(step, step * (self.count * count / total))
        self._mean = self._mean + step * (count / total)
        self.count = total


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return the squared Fréchet distance, at least 0 (with Inception's features, the FID).

    Constant features and covariances without full rank are fine, but with no more images than features the distance is
    too large. Raises `ValueError` for fewer than two rows in a set, and for different widths.
    """
    if a.dim != b.dim:
        raise ValueError(f"features of different widths cannot be compared: {a.dim} and {b.dim}")
    return gaussian_distance(a.mean, factor_of(a.covariance), b.mean, factor_of(b.covariance))


def gaussian_distance(mean_a: Rows, factor_a: Rows, mean_b: Rows, factor_b: Rows, *, exact: bool = True) -> float:
    """Return the squared Fréchet distance of two Gaussians of covariances F^T F, from their factors F [rank, dim].

    Without `exact`, singular values are roots of eigenvalues: much quicker, and each may be off by 1e-8 of the largest.
    """
    cross = factor_a @ factor_b.T
    if exact:
        trace = float(np.linalg.svd(cross, compute_uv=False).sum())
    else:
        gram = cross @ cross.T if len(cross) < cross.shape[1] else cross.T @ cross
        trace = float(np.sqrt(np.linalg.eigvalsh(gram).clip(min=0)).sum())
    step = mean_a - mean_b
    traces = float((factor_a**2).sum() + (factor_b**2).sum())
    return max(0.0, float(step @ step) + traces - 2 * trace)  # rounding may take a zero below zero


def factor_of(covariance: Rows, *, exact: bool = True) -> Rows:
    """Return F [rank, dim] with F^T F the covariance [dim, dim]; directions of rounding error alone are left out.

    Without `exact`, it may come from a Cholesky decomposition, which is quicker and leaves no direction out.
    """
    if not exact:
        try:
            return np.linalg.cholesky(covariance, upper=True).astype(np.float64, copy=False)
        except np.linalg.LinAlgError:
            pass  # not of full rank: the eigendecomposition says which directions there are
    values, vectors = np.linalg.eigh(covariance)
    real = values > values[-1] * len(values) * np.finfo(np.float64).eps
    factor: Rows = np.sqrt(values[real])[:, None] * vectors[:, real].T
    return factor


def factor_of_rows(rows: Rows) -> Rows:
    """Return F = the centred rows / sqrt(n - 1), with F^T F the covariance of rows [n, dim], n at least 2."""
    factor: Rows = (rows - rows.mean(0)) / math.sqrt(len(rows) - 1)
    return factor
