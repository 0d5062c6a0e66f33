"""Label maps compared with label maps: one confusion matrix over all images, and the three scores made of it.

The scores are those of the CycleGAN authors' `scripts/eval_cityscapes/util.py` (after Long, Shelhamer, Darrell 2015):
with n_ij the pixels of class i labelled j,

- per-pixel accuracy: sum_i n_ii / sum_ij n_ij;
- per-class accuracy: the mean over classes of n_ii / sum_j n_ij;
- class IoU: the mean over classes of n_ii / (sum_j n_ij + sum_j n_ji - n_ii).

Where a figure of a class is 0 / 0 it is left out of the mean, as their `nanmean` says. (Their script adds 1e-12 to each
denominator, which makes it 0 after all; on Cityscapes, where every class appears, the two agree.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.integer]
"""Class indices of any shape; in the truth, values outside of 0 .. classes - 1 are void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How one class was labelled; figures are NaN where they are 0 / 0."""

    pixels: int
    """Pixels of the class in the truth."""
    predicted: int
    """Pixels that were labelled as this class."""
    accuracy: float
    """The share of the class's pixels labelled right; NaN where the truth has none."""
    iou: float
    """Intersection over union; NaN where the class is in neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The three scores, each in [0, 1], and what they are made of."""

    pixel_accuracy: float
    class_accuracy: float
    class_iou: float
    classes: tuple[ClassScore, ...]
    """By class index."""


@final
class Confusion:
    """One confusion matrix that images are added to; takes the same memory for any number of them."""

    def __init__(self, classes: int) -> None:
        """Begin with no pixels; raises `ValueError` for fewer than one class."""
        if classes < 1:
            raise ValueError(f"a confusion matrix needs at least one class; received {classes}")
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)
        """Pixels by true class (rows) and predicted class (columns)."""

    def add(self, truth: Indices, predicted: Indices) -> None:
        """Count the pixels of one image or several; void pixels of the truth are passed over.

        Raises `ValueError` where the shapes differ, a value is no whole number, or a predicted value that counts is no
        class.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"label maps of different shapes: {truth.shape} and {predicted.shape}")
        for name, values in (("true", truth), ("predicted", predicted)):
            if values.dtype.kind not in "iu":
                raise ValueError(f"{name} labels must be whole numbers; received {values.dtype}")
        classes = len(self.counts)
        counted = (truth >= 0) & (truth < classes)
        rows, columns = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
        if columns.size and not 0 <= columns.min() <= columns.max() < classes:
            raise ValueError(
                f"predicted labels must lie in 0 .. {classes - 1}; received {columns.min()}..{columns.max()}"
            )
        self.counts += np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)

    def scores(self) -> Scores:
        """Return the scores of everything that was added; `ValueError` where no pixel counted."""
        if not self.counts.any():
            raise ValueError("there are no scores of no pixels: nothing was added, or everything was void")
        right = np.diag(self.counts)
        true, predicted = self.counts.sum(1), self.counts.sum(0)
        accuracy = _ratio(right, true)
        iou = _ratio(right, true + predicted - right)
        return Scores(
            pixel_accuracy=float(right.sum() / self.counts.sum()),
            class_accuracy=float(np.nanmean(accuracy)),
            class_iou=float(np.nanmean(iou)),
            classes=tuple(
                ClassScore(pixels=int(p), predicted=int(q), accuracy=float(a), iou=float(i))
                for p, q, a, i in zip(true, predicted, accuracy, iou, strict=True)
            ),
        )


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide; 0 / 0 is NaN."""
    result = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
