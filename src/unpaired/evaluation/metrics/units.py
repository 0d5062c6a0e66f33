"""Errors in the unit of the data: Hounsfield units, kelvin, reflectance, levels; for pairs of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from unpaired.data.transforms import resize
from unpaired.data.values import split_unit
from unpaired.evaluation.dataset import FILTER, Batch
from unpaired.evaluation.metrics.base import Context, Metric, Need, RunningMean
from unpaired.report.results import Figure


@final
class UnitErrors(Metric):
    """Mean absolute error, root mean square error and bias (translation less true image) of each image, averaged.

    In the values that files hold, not in [-1, 1]; pixels without a value in either image are left out.
    """

    name, title, group, needs = "unit_errors", "Errors in the unit of the data", "paired", frozenset({Need.TARGET})
    better = "lower"
    quiet = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._means = {"mae": RunningMean(), "rmse": RunningMean(), "bias": RunningMean()}

    @classmethod
    def unavailable(cls, context: Context) -> str | None:
        task = context.task
        target, fakes = task.real.domain, task.target
        if target.labels is not None or (target.dtype == "uint8" and target.range is None):
            return "the true images are pictures, whose levels have no unit"
        if task.fakes is None and target.range is None:
            return "no range of values is declared for the target domain, so that they may be no measurements"
        return None if (fakes.dtype == "uint8") == (target.dtype == "uint8") else "translations have another type"

    def update(self, batch: Batch) -> None:
        for fake, truth in zip(batch.fake_images, batch.target_images, strict=True):
            fitted: NDArray[Any] = resize(truth, (fake.shape[0], fake.shape[1])).astype(np.float64)
            difference = fake.astype(np.float64) - fitted
            known = difference[~np.isnan(difference)]
            if known.size:
                self._means["mae"].add([float(np.abs(known).mean())])
                self._means["rmse"].add([float(np.sqrt(np.square(known).mean()))])
                self._means["bias"].add([float(known.mean())])

    def compute(self) -> Sequence[Figure]:
        factor, unit = split_unit(self.context.task.real.domain.unit)
        titles = {"mae": "Mean absolute error", "rmse": "Root mean square error", "bias": "Bias"}
        facts = {
            "values": "as files hold them" + (f", x {factor:g}" if factor != 1 else ""),
            "error": "standard error over the images",
            "resized": f"true images of other sizes ({FILTER})",
            "missing": "left out",
        }
        figures = [
            self.figure(
                _times(mean.mean(), factor), _times(mean.error(), factor), name=name, title=titles[name], facts=facts
            )
            for name, mean in self._means.items()
        ]
        return [
            one.model_copy(update={"unit": unit, "better": None if one.name == "bias" else one.better})
            for one in figures
        ]


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
