"""Whether a classifier takes translations for what they are meant to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from unpaired.data.directions import sides
from unpaired.evaluation.dataset import Batch
from unpaired.evaluation.metrics.base import Context, Metric, Need, RunningMean, network_facts
from unpaired.report.results import Fact, Figure


@final
class ClassHit(Metric):
    """Share of translations in which EfficientNet-Lite0 sees the class of the target domain (one of ImageNet's).

    Beside it the shares of untranslated inputs and of real images, which say what can be reached.
    """

    name, title, unit, better, group = "class_hit", "Classifier hits", "%", "higher", "distribution"
    needs, untranslated = frozenset({Need.CLASSIFIER, Need.REAL}), True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        classifier = context.networks.classifier
        assert classifier is not None
        self._network = classifier.network
        self._class = classifier.names[target_side(context)]
        self._numbers = torch.tensor(classifier.numbers[target_side(context)])
        self._hits, self._real = RunningMean(), RunningMean()

    def update(self, batch: Batch) -> None:
        self._hits.add(self._seen(batch.fake))

    def update_real(self, images: Tensor) -> None:
        self._real.add(self._seen(images))

    def compute(self) -> Figure:
        """Return the share of translations, in percent."""
        return self._figure(self._hits)

    def bounds(self) -> Mapping[str, Sequence[Figure]]:
        """Return the share of real images."""
        return {"real_images": [self._figure(self._real)]} if self._real.count else {}

    def _figure(self, hits: RunningMean) -> Figure:
        share, error = hits.mean(), hits.error()
        facts: dict[str, Fact] = {
            **network_facts(self._network),
            "class": self._class,
            "method": "the class with the largest score of 1000; standard error over the images",
        }
        title = f"{self.title} ({self._class})"
        return self.figure(
            None if share is None else 100 * share, None if error is None else 100 * error, title=title, facts=facts
        )

    def _seen(self, images: Tensor) -> list[float]:
        return torch.isin(self._network.classes(images), self._numbers).float().tolist()


def target_side(context: Context) -> str:
    """Return the domain of the translations, `a` or `b`; that of folders is `b`."""
    direction = context.task.direction
    return "b" if direction == "folders" else sides(direction)[1]
