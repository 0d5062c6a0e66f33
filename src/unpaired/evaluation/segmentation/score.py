"""The FCN-score: photos are labelled again, and the labels compared with those that they should show.

As the CycleGAN authors' `scripts/eval_cityscapes` does it: one confusion matrix over all photos, void left out, and the
three figures of `metrics.confusion`. Photos are labelled at the size of the segmenter's training and compared at the
size of their label maps. Two figures say what a score means: real photos with their own label maps (the most that can
be had from this segmenter) and with those of other photos (what knows nothing of the input gets as well).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.data.held_out import evenly
from unpaired.data.labels import Indices, Labels
from unpaired.data.transforms import resize_nearest
from unpaired.evaluation.segmentation.dataset import LabelledPhotos
from unpaired.evaluation.segmentation.model import IMAGES_PER_BATCH, Segmenter
from unpaired.metrics.confusion import Confusion, Scores

Told = Callable[[int, int], None]
"""Called with how many photos are done, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The scores of real photos, between which those of generated ones should lie."""

    upper: Scores
    """Labelled photos compared with their own label maps."""
    lower: Scores | None
    """Compared with the label maps of other photos; None for a single photo."""


def fcn_score(segmenter: Segmenter, photos: Iterable[tuple[NDArray[np.float32] | Tensor, Indices]]) -> Scores:
    """Label batches of photos, [N, C, h, w] in [-1, 1], and compare with the classes that they should show, [N, H, W].

    Photos of another size than the segmenter's training are resized to it (bicubic), and labels to the size of the
    classes they are compared with (nearest pixel). Takes the same memory for any number of batches. Raises `UserError`
    where no pixel counts.
    """
    confusion = Confusion(segmenter.network.classes)
    for batch, truth in photos:
        confusion.add(truth, labels_for(segmenter, batch, (truth.shape[1], truth.shape[2])))
    return _scores(confusion)


def labels_for(segmenter: Segmenter, photos: NDArray[np.float32] | Tensor, size: tuple[int, int]) -> Indices:
    """Label photos at the segmenter's size; return the classes, uint8 [N, height, width], at `size`."""
    given = torch.from_numpy(photos) if isinstance(photos, np.ndarray) else photos
    found = segmenter(segmenter.brought(given))
    return found if found.shape[1:] == size else np.stack([resize_nearest(row, size) for row in found])


def real_bounds(
    segmenter: Segmenter, photos: LabelledPhotos, *, seed: int = 0, most: int | None = None, told: Told | None = None
) -> Bounds:
    """Label real photos and compare with their own label maps, and with those of other photos.

    `seed` draws which other one. Label maps are read twice, so that memory does not grow with their number. Raises
    `UserError` where no pixel counts.
    """
    positions = evenly(len(photos), most)
    others = derangement(len(positions), seed)
    own, other = Confusion(segmenter.network.classes), Confusion(segmenter.network.classes)
    for start in range(0, len(positions), IMAGES_PER_BATCH):
        part = positions[start : start + IMAGES_PER_BATCH]
        pairs = [photos.signed(index) for index in part]
        truths = np.stack([truth for _, truth in pairs])
        found = labels_for(segmenter, np.stack([photo for photo, _ in pairs]), (truths.shape[1], truths.shape[2]))
        own.add(truths, found)
        if len(positions) > 1:
            wrong = [photos.truth(positions[others[place]]) for place in range(start, start + len(part))]
            other.add(np.stack(wrong), found)
        if told is not None:
            told(start + len(part), len(positions))
    return Bounds(upper=_scores(own), lower=_scores(other) if len(positions) > 1 else None)


def derangement(count: int, seed: int) -> list[int]:
    """Return a random order of `count` positions in which none stays in its place: one cycle (Sattolo 1986).

    For a count of 1 it is [0].
    """
    rng = np.random.default_rng(seed)
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        other = int(rng.integers(last))
        order[last], order[other] = order[other], order[last]
    return order


def scores_to_json(scores: Scores, labels: Labels) -> dict[str, Any]:
    """Return scores as JSON holds them: a figure of 0 / 0 is null, and classes that are void are left out."""
    document = asdict(scores)
    document["classes"] = [
        {
            "index": index,
            "name": class_name(labels, index),
            **{key: None if isinstance(value, float) and np.isnan(value) else value for key, value in each.items()},
        }
        for index, each in enumerate(document["classes"])
        if index not in labels.void
    ]
    return document


def class_name(labels: Labels, index: int) -> str:
    """Return what a person calls a class."""
    return labels.names[index] if labels.names is not None else f"class {index}"


def _scores(confusion: Confusion) -> Scores:
    try:
        return confusion.scores()
    except ValueError as error:
        raise UserError(
            "there is nothing to score: the label maps hold void alone. Check the files, and their void."
        ) from error
