"""Labels compared with labels: translations that are label maps, and photos that a segmenter labels (FCN-score)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import final

from unpaired.data.labels import Indices, Labels, classes_of
from unpaired.data.transforms import resize_nearest
from unpaired.evaluation.dataset import Batch, Images, Row, signed, truth_at
from unpaired.evaluation.metrics.base import Context, Metric, Need
from unpaired.evaluation.segmentation.score import REAL, SCORES, SHUFFLED, LabelBounds, class_table
from unpaired.metrics.confusion import Confusion, Scores
from unpaired.report.results import Fact, Figure, Table

VOID_RULE = "one confusion matrix over all images; void is left out, and classes that are absent from both"


class _OfLabels(Metric):
    """Scores of found classes against true ones, in all images together, beside those of the bounds."""

    better, group = "higher", "labels"
    prefix, of = "", ""

    def __init__(self, context: Context, maps: Images) -> None:
        super().__init__(context)
        assert maps.domain.labels is not None
        self.labels: Labels = maps.domain.labels
        self._maps, self._rows = maps, context.task.rows
        classes = len(self.labels.palette)
        self.confusion = Confusion(classes)
        self.label_bounds = LabelBounds(classes, self.truth, len(self._rows), context.protocol.seed)

    def position(self, row: Row) -> int | None:
        """Return the position of a row's true label map."""
        raise NotImplementedError

    def truth(self, index: int) -> Indices:
        """Return the true classes of an image of the task, [H, W]."""
        return truth_at(self._maps, self.position(self._rows[index]))

    def facts(self) -> dict[str, Fact]:
        """Return what the figures depend on beside the protocol."""
        return {"scores": VOID_RULE}

    def compute(self) -> Sequence[Figure]:
        """Return the three scores."""
        return self._figures(self.scores())

    def bounds(self) -> Mapping[str, Sequence[Figure]]:
        """Return the scores of the bounds of which any pixel counts."""
        return {name: self._figures(found) for name, found in self.label_bounds.scores().items()}

    def scores(self) -> Scores | None:
        """Return the scores of the translations; None where no pixel counts."""
        return self.confusion.scores() if self.confusion.counts.any() else None

    def tables(self) -> Sequence[Table]:
        """Return the scores of every class."""
        return [class_table(self.title, self.labels, {"": self.scores()})]

    def warnings(self) -> Sequence[str]:
        """Say where a class and void look the same."""
        if self.labels.hidden_in is None:
            return []
        return [
            f"void is shown black, which is also the colour of class {self.labels.hidden_in}, so pixels of that class "
            "count as void"
        ]

    def _figures(self, found: Scores | None) -> list[Figure]:
        values = {} if found is None else asdict(found)
        return [
            self.figure(
                values.get(score),
                name=f"{self.prefix}{score}",
                title=f"{title}{self.of}",
                note=None if found is not None else "the label maps hold void alone",
                facts=self.facts(),
            )
            for score, title in SCORES.items()
        ]


@final
class LabelScores(_OfLabels):
    """Accuracy and IoU of translations into label maps: the nearest palette colour against the true label map."""

    name, title = "labels", "Labels, class by class"
    needs, of = frozenset({Need.TARGET, Need.LABELS}), " of the labels"

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.task.real)

    def position(self, row: Row) -> int | None:
        return row.target

    def facts(self) -> dict[str, Fact]:
        return {**super().facts(), "labelled_by": "the nearest palette colour, or the largest channel"}

    def update(self, batch: Batch) -> None:
        for index, image in enumerate(batch.fake_images, batch.first):
            truth = self.truth(index)
            self.confusion.add(truth, resize_nearest(classes_of(image, self.labels), (truth.shape[0], truth.shape[1])))
            if self.context.protocol.bounds:
                self.label_bounds.add(index, truth)

    def bounds(self) -> Mapping[str, Sequence[Figure]]:
        """Return the scores of other images' label maps; those of their own are 1."""
        return {name: found for name, found in super().bounds().items() if name == SHUFFLED}


@final
class FCNScores(_OfLabels):
    """Accuracy and IoU of the labels that a segmenter gives photos that were made of label maps."""

    name, title = "fcn", "FCN-score, class by class"
    needs, prefix, of = frozenset({Need.INPUT, Need.SEGMENTER}), "fcn_", " of the FCN's labels"

    def __init__(self, context: Context) -> None:
        assert context.task.inputs is not None
        assert context.networks.segmenter is not None
        super().__init__(context, context.task.inputs)
        self._segmenter = context.networks.segmenter

    def position(self, row: Row) -> int | None:
        return row.input

    def facts(self) -> dict[str, Fact]:
        return {
            **super().facts(),
            "labelled_by": self._segmenter.summary,
            "segmenter_fingerprint": self._segmenter.fingerprint,
        }

    def update(self, batch: Batch) -> None:
        """Label a batch of translations, and the real photos of the same label maps."""
        found = self._segmenter(batch.fake, batch.size)
        for index, (row, labelled) in enumerate(zip(batch.rows, found, strict=True)):
            truth = self.truth(batch.first + index)
            size = truth.shape[0], truth.shape[1]
            self.confusion.add(truth, resize_nearest(labelled, size))
            if row.target is not None and self.context.protocol.bounds:
                real = signed([batch.target_images[index]], self.context.task.real.domain)
                self.label_bounds.add(batch.first + index, self._segmenter(real, size)[0])

    def tables(self) -> Sequence[Table]:
        """Return the scores of every class, of translations and of real photos."""
        named = replace(self.labels, names=self.labels.names or self._segmenter.description.labels.names)
        real = self.label_bounds.scores().get(REAL)
        return [class_table(self.title, named, {"": self.scores(), "real photos: ": real})]

    def warnings(self) -> Sequence[str]:
        """Say where photos have another size than those of the segmenter's training."""
        notice = self._segmenter.notice_for(self.context.task.size)
        return [*super().warnings(), *([notice] if notice else [])]
