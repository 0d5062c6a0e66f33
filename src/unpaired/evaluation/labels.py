"""Labels compared with labels: translations that are label maps, and photos that a segmenter labels (FCN-score)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, final

import numpy as np

from unpaired.data.held_out import truth_of
from unpaired.data.labels import VOID, Indices, Labels, classes_of
from unpaired.data.transforms import resize_nearest
from unpaired.data.values import Domain
from unpaired.evaluation.dataset import Pictures, Task
from unpaired.evaluation.figures import Figure, Protocol, Table
from unpaired.evaluation.metrics import Gauge
from unpaired.evaluation.segmentation.score import derangement
from unpaired.evaluation.translations import Batch, signed
from unpaired.metrics.confusion import Confusion, Scores

if TYPE_CHECKING:
    from unpaired.evaluation.segmentation.segmenter import Segmenter

SCORES = {"pixel_accuracy": "Per-pixel accuracy", "class_accuracy": "Per-class accuracy", "class_iou": "Class IoU"}
VOID_RULE = "one confusion matrix over all images; void is left out, and classes that are absent from both"


class _Counted:
    """A confusion matrix, its figures and its table."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.confusion = Confusion(len(labels.palette))

    def add(self, truth: Indices, found: Indices) -> None:
        # What is void in another image's true label map is no answer, so it does not count either.
        self.confusion.add(np.where(found == VOID, VOID, truth), np.where(found == VOID, 0, found))

    def scores(self) -> Scores | None:
        """Return the scores, None where no pixel counts."""
        return self.confusion.scores() if self.confusion.counts.any() else None

    def figures(self, prefix: str, of: str, protocol: Protocol) -> list[Figure]:
        found = self.scores()
        values = dict.fromkeys(SCORES) if found is None else _three(found)
        return [
            Figure(
                name=f"{prefix}{name}",
                title=f"{title}{of}",
                value=values[name],
                better="higher",
                group="labels",
                protocol={**protocol, "scores": VOID_RULE},
                note="the label maps hold void alone" if values[name] is None else None,
            )
            for name, title in SCORES.items()
        ]


def _three(found: Scores) -> dict[str, float | None]:
    return {
        "pixel_accuracy": found.pixel_accuracy,
        "class_accuracy": found.class_accuracy,
        "class_iou": found.class_iou,
    }


@final
class LabelScores(Gauge):
    """Translations into label maps: the class of the nearest palette colour against that of the true label map."""

    def __init__(self, task: Task, labels: Labels, seed: int) -> None:
        self._task, self._labels = task, labels
        self._own, self._other = _Counted(labels), _Counted(labels)
        self._order, self._done = derangement(len(task.rows), seed), 0

    def add(self, batch: Batch) -> None:
        """Count the pixels of a batch."""
        real = self._task.real
        for row, image in zip(batch.rows, batch.images, strict=True):
            truth = _truth(real, row.true, self._labels)
            self._own.add(truth, _fitted(classes_of(image, self._labels), truth))
            if len(self._order) > 1:
                other = self._task.rows[self._order[self._done]].true
                self._other.add(truth, _fitted(_truth(real, other, self._labels), truth))
            self._done += 1

    def figures(self, protocol: Protocol) -> list[Figure]:
        """Return the three scores."""
        facts = {**protocol, "labelled_by": "the nearest palette colour, or the largest channel"}
        return self._own.figures("", " of the labels", facts)

    def bounds(self, protocol: Protocol) -> dict[str, list[Figure]]:
        """Return what the true label maps of other images would score; those of their own score 1."""
        return {} if len(self._order) < 2 else {"shuffled_labels": self._other.figures("", " of the labels", protocol)}

    def tables(self) -> list[Table]:
        """Return the scores of every class."""
        return [_classes("Labels, class by class", self._labels, {"": self._own})]

    def warnings(self) -> list[str]:
        """Say where a class and void look the same."""
        return _hidden(self._labels)


@final
class FcnScores(Gauge):
    """Translations into photos: the labels that a segmenter gives them against the label maps they were made of."""

    def __init__(self, task: Task, labels: Labels, photos: Domain, segmenter: Segmenter, seed: int) -> None:
        self._task, self._labels, self._photos, self._segmenter = task, labels, photos, segmenter
        self._made, self._real, self._other = _Counted(labels), _Counted(labels), _Counted(labels)
        self._order, self._done = derangement(len(task.rows), seed), 0

    def add(self, batch: Batch) -> None:
        """Label a batch of translations, and the real photos of the same label maps."""
        assert self._task.inputs is not None
        size = (batch.made.shape[-2], batch.made.shape[-1])
        found = self._segmenter(batch.made, size)
        for row, labelled in zip(batch.rows, found, strict=True):
            truth = _truth(self._task.inputs, row.input, self._labels)
            self._made.add(truth, _fitted(labelled, truth))
            if row.true is not None:
                real = signed(self._task.real.image(row.true), self._photos)[None]
                of_real = self._segmenter(real, (truth.shape[0], truth.shape[1]))[0]
                self._real.add(truth, of_real)
                if len(self._order) > 1:
                    other = self._task.rows[self._order[self._done]].input
                    self._other.add(_fitted(_truth(self._task.inputs, other, self._labels), truth), of_real)
            self._done += 1

    def figures(self, protocol: Protocol) -> list[Figure]:
        """Return the three scores."""
        return self._made.figures("fcn_", " of the FCN's labels", self._facts(protocol))

    def bounds(self, protocol: Protocol) -> dict[str, list[Figure]]:
        """Return the scores of real photos, with their own label maps (upper bound) and with other ones (lower)."""
        told = {"real_photos": self._real, "shuffled_labels": self._other}
        return {
            name: counted.figures("fcn_", " of the FCN's labels", self._facts(protocol))
            for name, counted in told.items()
            if counted.scores() is not None
        }

    def tables(self) -> list[Table]:
        """Return the scores of every class, of translations and of real photos."""
        columns = {"": self._made} | ({"real photos: ": self._real} if self._real.scores() is not None else {})
        named = replace(self._labels, names=self._labels.names or self._segmenter.description.labels.names)
        return [_classes("FCN-score, class by class", named, columns)]

    def warnings(self) -> list[str]:
        """Say where photos have another size than those of the segmenter's training."""
        notice = self._segmenter.notice_for(self._task.size)
        return [*_hidden(self._labels), *([notice] if notice else [])]

    def _facts(self, protocol: Protocol) -> Protocol:
        return {
            **protocol,
            "labelled_by": self._segmenter.summary,
            "segmenter_fingerprint": self._segmenter.fingerprint,
        }


def _truth(pictures: Pictures, position: int | None, labels: Labels) -> Indices:
    assert position is not None
    return truth_of(pictures.image(position), labels)


def _fitted(found: Indices, truth: Indices) -> Indices:
    return resize_nearest(found, (truth.shape[0], truth.shape[1]))


def _hidden(labels: Labels) -> list[str]:
    if labels.hidden_in is None:
        return []
    return [
        f"void is shown black, which is also the colour of class {labels.hidden_in}, so pixels of that class count as "
        "void"
    ]


def _classes(title: str, labels: Labels, columns: dict[str, _Counted]) -> Table:
    names = labels.names or tuple(f"class {index}" for index in range(len(labels.palette)))
    found = {name: scores for name, counted in columns.items() if (scores := counted.scores()) is not None}
    first = next(iter(found.values()), None)
    header = ["class", "share of pixels", *(f"{name}{what}" for name in found for what in ("accuracy", "IoU"))]
    rows = list[tuple[str | float | int | None, ...]]()
    total = sum(one.pixels for one in first.classes) if first else 0
    for index in labels.classes if first else ():
        each = [scores.classes[index] for scores in found.values()]
        if any(one.pixels or one.predicted for one in each):
            figures: Sequence[float] = [value for one in each for value in (one.accuracy, one.iou)]
            share = each[0].pixels / total
            rows.append((names[index], share, *(None if math.isnan(value) else value for value in figures)))
    return Table(title=title, columns=tuple(header), rows=tuple(rows))
