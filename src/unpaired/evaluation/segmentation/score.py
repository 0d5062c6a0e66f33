"""How well a segmenter labels photos: the three scores of the FCN-score, and the two bounds between which it lies.

As the CycleGAN authors' `scripts/eval_cityscapes` does it: one confusion matrix over all photos, void left out. The
bounds: `real_photos`, real photos with their own label maps (the most that this segmenter can give), and
`shuffled_labels`, with those of other photos (what a translation that ignores its input gets).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from unpaired.core.errors import UserError
from unpaired.core.given import Given, settings_of
from unpaired.core.text import plural
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.data.held_out import evenly
from unpaired.data.labels import VOID, Indices, Labels
from unpaired.data.training import Progress
from unpaired.data.transforms import resize_nearest
from unpaired.evaluation.segmentation.dataset import LabelledPhotos, open_labelled, refuse_unused
from unpaired.evaluation.segmentation.segmenter import (
    IMAGES_PER_BATCH,
    Description,
    Segmenter,
    class_name,
    find_segmenter,
)
from unpaired.metrics.confusion import Confusion, Scores
from unpaired.report.results import Direction, Document, Figure, Model, Protocol, Table, made_now

SCORES = {"pixel_accuracy": "Per-pixel accuracy", "class_accuracy": "Per-class accuracy", "class_iou": "Class IoU"}
REAL, SHUFFLED = "real_photos", "shuffled_labels"


@final
class LabelBounds:
    """The scores `real_photos` and `shuffled_labels`, counted image by image; memory does not grow with their number.

    `truth(i)` gives the true classes [H, W] of image i of `count`; `seed` draws whose label map each is compared with.
    """

    def __init__(self, classes: int, truth: Callable[[int], Indices], count: int, seed: int = 0) -> None:
        self._truth, self._others = truth, derangement(count, seed)
        self._counts = {REAL: Confusion(classes), SHUFFLED: Confusion(classes)}

    def add(self, index: int, found: Indices) -> None:
        """Count the classes found in the real image `index`, [H, W]; pixels that are void in either do not count."""
        compared = {REAL: index} | ({SHUFFLED: self._others[index]} if len(self._others) > 1 else {})
        for name, other in compared.items():
            truth = resize_nearest(self._truth(other), (found.shape[0], found.shape[1]))
            self._counts[name].add(np.where(found == VOID, VOID, truth), np.where(found == VOID, 0, found))

    def scores(self) -> dict[str, Scores]:
        """Return both scores, without those of which no pixel counts."""
        return {name: counts.scores() for name, counts in self._counts.items() if counts.counts.any()}


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


def score_photos(
    segmenter: Segmenter,
    photos: LabelledPhotos,
    *,
    seed: int = 0,
    most: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Scores]:
    """Label real photos, `most` of them spread evenly, and return both bounds. UserError where no pixel counts."""
    positions = evenly(len(photos), most)
    bounds = LabelBounds(segmenter.classes, lambda index: photos.truth(positions[index]), len(positions), seed)
    for start in range(0, len(positions), IMAGES_PER_BATCH):
        batch = np.stack([photos.signed(position)[0] for position in positions[start : start + IMAGES_PER_BATCH]])
        for index, found in enumerate(segmenter(batch), start):
            bounds.add(index, found)
        if progress is not None:
            progress("labelling", start + len(batch), len(positions))
    scores = bounds.scores()
    if REAL not in scores:
        raise UserError("there is nothing to score: the label maps hold void alone. Check the files, and their void.")
    return scores


def scores_to_json(scores: Scores, labels: Labels) -> dict[str, Any]:
    """Return scores as JSON holds them: 0 / 0 is null, and classes that are void are left out."""
    named = [
        {"index": index, "name": class_name(labels, index), **asdict(scores.classes[index])} for index in labels.classes
    ]
    classes = [{key: None if value != value else value for key, value in each.items()} for each in named]
    return {**asdict(scores), "classes": classes}


# ------------------------------------------------------------------------------------------------------ segment score


class SegmenterScore(Document):
    """What `unpaired segment score` found; the direction `photos` holds real photos and the bound below them."""

    FORMAT: ClassVar[str] = "unpaired-segmentation"
    FILE: ClassVar[str] = "segmentation.json"


def score_segmenter(
    folder: Path,
    given: Sequence[Given],
    *,
    seed: int = 0,
    most: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> SegmenterScore:
    """Score a segmenter on the real photos of a data set.

    `given` are settings of `data.*`; size and label maps are by default those of its training. Raises `UserError`.
    """
    segmenter = Segmenter.load(folder, device=device)
    description = segmenter.description
    data = open_labelled(_data_config(given, description), progress=progress)
    segmenter.require_fitting(data.labels, data.photos.channels)
    found = score_photos(segmenter, data.held_out, seed=seed, most=most, progress=progress)
    count, split = len(evenly(len(data.held_out), most)), data.found.test.taken_from
    protocol: Protocol = {
        "size": f"{data.size[0]} x {data.size[1]}",
        "labelled_at": f"{segmenter.size[0]} x {segmenter.size[1]}",
        "photos": count,
        "split": split,
        "resized": "photos bicubic, label maps by the nearest pixel",
        "left_out": "void, and of the means classes that are absent from both",
        "confusion": "one matrix over all photos",
        "shuffled_labels": f"the label map of another photo, drawn with seed {seed}",
        "precision": segmenter.precision,
    }
    notices = [segmenter.notice_for(data.size)]
    if split == "train":
        notices.append("there are no test photos, so the ones given were measured; were they trained on?")
    return SegmenterScore(
        **made_now(),
        model=Model(
            path=str(folder),
            checkpoint=find_segmenter(folder).name,
            images_seen=description.training["images_seen"],
            method=description.network.family,
            origin=segmenter.summary,
            fingerprints={"segmenter": segmenter.fingerprint},
        ),
        data={"root": data.config.root or data.config.b or data.config.a, "contents": data.found.contents},
        notices=tuple(notice for notice in notices if notice is not None),
        directions={
            "photos": Direction(
                summary=segmenter.summary,
                heading=f"{plural(count, split + ' photo')} at {protocol['size']}",
                figures=figures(found[REAL], protocol),
                bounds={SHUFFLED: figures(found[SHUFFLED], protocol)} if SHUFFLED in found else {},
                tables=(class_table("Class by class", data.labels, {"": found[REAL]}),),
            )
        },
    )


def _data_config(given: Sequence[Given], description: Description) -> DataConfig:
    names = {name for source in given for name in source.values}
    for source in given:
        for name in source.values:
            if not name.startswith("data."):
                raise UserError(
                    f"{source.called(name)}: cannot be set here. A measurement has settings of data.* only."
                )
    config: DataConfig = settings_of("data", DataConfig, given)
    refuse_unused(config)
    if "data.crop_size" not in names:
        config = replace(config, crop_size=description.size)
    if config.labels_a is None and config.labels_b is None:
        labels = description.labels
        known = LabelsConfig(kind=labels.kind, palette=labels.palette, names=labels.names, void=labels.void)
        on_a = description.training.get("label_side") == "a"
        config = replace(config, labels_a=known if on_a else None, labels_b=None if on_a else known)
    return config


def figures(scores: Scores, protocol: Protocol) -> tuple[Figure, ...]:
    """Return the three scores as figures."""
    values = asdict(scores)
    return tuple(
        Figure(name=name, title=title, value=values[name], better="higher", group="labels", protocol=protocol)
        for name, title in SCORES.items()
    )


def class_table(title: str, labels: Labels, columns: Mapping[str, Scores | None]) -> Table:
    """Return the scores of every class; each set of scores adds two columns, named with its key before them."""
    names = labels.names or tuple(f"class {index}" for index in range(len(labels.palette)))
    found = {name: scores for name, scores in columns.items() if scores is not None}
    first = next(iter(found.values()), None)
    header = ["class", "share of pixels", *(f"{name}{what}" for name in found for what in ("accuracy", "IoU"))]
    rows = list[tuple[str | float | int | None, ...]]()
    total = sum(one.pixels for one in first.classes) if first else 0
    for index in labels.classes if first else ():
        each = [scores.classes[index] for scores in found.values()]
        if any(one.pixels or one.predicted for one in each):
            values = [value for one in each for value in (one.accuracy, one.iou)]
            share = each[0].pixels / total
            rows.append((names[index], share, *(None if math.isnan(value) else value for value in values)))
    return Table(title=title, columns=tuple(header), rows=tuple(rows))
