"""Metrics of clips, whose images have an order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from unpaired.data.formats import Frame
from unpaired.evaluation.dataset import Batch, Images, Task
from unpaired.evaluation.metrics.base import Context, Metric, Need
from unpaired.metrics.flicker import Flicker, motion
from unpaired.report.results import Fact, Figure


@final
class FlickerRatio(Metric):
    """How far neighbouring frames of translations differ along the motion of the inputs, over the same of the inputs.

    1 is no more than the input's own noise and light; see `unpaired.metrics.flicker`.
    """

    name, title, group, needs = "flicker", "Flicker (of the input's)", "content", frozenset({Need.INPUT})
    better = "lower"
    quiet = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._found = Flicker()
        self._last: tuple[Any, Tensor, Tensor] | None = None

    @classmethod
    def unavailable(cls, context: Context) -> str | None:
        frames = [_place(context.task, row.input) for row in context.task.rows]
        follow = any(_follows(one, two) for one, two in itertools.pairwise(frames))
        return None if follow else "no two inputs are neighbouring frames of a clip"

    def update(self, batch: Batch) -> None:
        for number, row in enumerate(batch.rows):
            x, y = batch.input_at_size[number : number + 1], batch.fake[number : number + 1]
            place = _place(batch.task, row.input)
            if self._last is not None and _follows(self._last[0], place) and self._last[1].shape == x.shape:
                _, before, translated = self._last
                self._found.add(motion(before, x), (before, x), (translated, y))
            self._last = (place, x, y)

    def compute(self) -> Sequence[Figure]:
        facts: dict[str, Fact] = {
            "pairs": self._found.frames,
            "method": "warping error, Lucas-Kanade flow of the inputs",
        }
        figures = [self.figure(self._found.ratio, facts=facts)]
        for name, value in zip(("inputs", "translations"), self._found.levels or (), strict=False):
            title = f"Warping error of the {name} (levels of 255)"
            figures.append(self.figure(value, name=f"flicker_{name}", title=title, detail=True, facts=facts))
        return figures


def _place(task: Task, position: int | None) -> Any:
    images: Images | None = task.inputs
    return None if images is None or position is None or not images.files else images.files[position].path


def _follows(one: Any, two: Any) -> bool:
    return isinstance(one, Frame) and isinstance(two, Frame) and (one.path, one.index + 1) == (two.path, two.index)
