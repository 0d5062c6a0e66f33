"""Pass after pass over the tiles of an image."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from unpaired.core.files import write_atomic
from unpaired.core.text import duration
from unpaired.models.tiling.local import Network, Norm, Size, Spans, Statistics, take
from unpaired.models.tiling.plan import Pass, Plan
from unpaired.models.tiling.stored import Grid, Stored

STATE = "state.json"
_SAVED_EVERY = 20.0
"""Seconds between two states, where a killed translation resumes."""

_NUMBERS = 1 << 18
"""Statistics are taken of so many numbers at a time: a copy of them stays in the cache of a core."""

Read = Callable[[Spans], Tensor]
"""Returns a part of the image (padded as the network needs it), [1, C, h, w] in the network's type, as a copy."""
Write = Callable[[Spans, Tensor], None]
"""Takes a part of the translation, [1, C, h, w]; each part once, row by row; again after an interruption."""


class TileProgress(NamedTuple):
    """How far a translation by tiles is."""

    step: int
    """Passes over the image that are done."""
    steps: int
    """Passes in all."""
    tiles: int
    """Tiles of this pass that are done."""
    of: int
    """Tiles of each pass."""
    share: float
    """Of the whole work, roughly."""
    seconds_left: float
    """Roughly."""

    def __str__(self) -> str:
        left = f", {duration(self.seconds_left)} left" if self.seconds_left else ""
        return f"pass {self.step + 1} of {self.steps}, tile {self.tiles:,} of {self.of:,}{left}"


class NotFiniteStatistics(ArithmeticError):
    """A norm met values that are not finite."""


@dataclass(slots=True)
class Moments:
    """Count, mean and sum of squared differences from it for each channel, float64: merged part by part (Chan)."""

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def empty(cls, channels: int) -> Moments:
        """Return those of nothing."""
        return cls(0, torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64))

    def add(self, part: Tensor) -> None:
        """Merge a part [1, C, h, w]."""
        count = part.shape[1] * part.shape[3] if part.device.type == "cpu" else part.numel()
        for lines in torch.split(part, max(_NUMBERS // max(count, 1), 1), 2):
            if lines.numel():
                self._add(lines)

    def _add(self, part: Tensor) -> None:
        count = part.shape[2] * part.shape[3]
        wide = part.float()
        mean = wide.mean((2, 3), keepdim=True)
        apart = wide - mean
        # What rounding left of the mean is taken back, so that a mean far from 0 costs no digits.
        rest = apart.mean((2, 3)).double()[0].cpu()
        squares = apart.square_().sum((2, 3)).double()[0].cpu() - count * rest.square()
        difference = mean.double()[0, :, 0, 0].cpu() + rest - self.mean
        total = self.count + count
        self.squares += squares + difference.square() * (self.count * count / total)
        self.mean += difference * (count / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """The biased variance of each channel."""
        return (self.squares / max(self.count, 1)).clamp_min(0)


@final
class TiledRun:
    """Translates one image; with a folder, one that was interrupted resumes where the state was saved."""

    def __init__(
        self,
        network: Network,
        plan: Plan,
        size: Size,
        tile: Size,
        *,
        device: torch.device,
        dtype: torch.dtype,
        seconds: list[float] | None = None,
        folder: Path | None = None,
        key: str = "",
        progress: Callable[[TileProgress], None] | None = None,
    ) -> None:
        """Take the size of the image, padded as the network needs it; `key` tells this translation from all others.

        `seconds` are those that each pass takes of each pixel, about, for the progress.

        What is kept between passes lies in the folder or, without one, in memory.
        """
        self._network, self._plan, self._device = network, plan, device
        self._seconds = seconds or [1.0] * len(plan.passes)
        self._grid = Grid(size, tile)
        self._sizes = network.sizes(size)
        self._stored = Stored(self._grid, folder)
        self._dtype = dtype
        self._folder, self._key, self._progress = folder, f"{key} rows {size} {tile} {plan.passes}", progress
        self._known: dict[int, Moments] = {}
        self._statistics: dict[int, Statistics] = {}
        self._started, self._start_share, self._saved = time.monotonic(), 0.0, time.monotonic()

    def translate(self, read: Read, write: Write) -> None:
        """Translate the image that `read` gives by parts, and give the translation by parts to `write`."""
        first, row, moments = self._resume()
        self._start_share = self._share(first, row / self._grid.rows)
        for step in range(first, len(self._plan.passes)):
            self._do_pass(step, row, moments, read, write)
            row, moments = 0, {}

    # ---------------------------------------------------------------------------------------------------- one pass

    def _do_pass(self, step: int, first_row: int, moments: dict[int, Moments], read: Read, write: Write) -> None:
        each = self._plan.passes[step]
        for norm in each.measures:
            moments.setdefault(norm, Moments.empty(self._network.channels(norm)))
        dropped = dict.fromkeys(each.drops, 0)
        with ThreadPoolExecutor(1, "tiles") as reader:
            for row, column, parts, boxes in self._ahead(each, first_row, read, reader):
                self._compute(each, (row, column), parts, boxes, moments, write)
                if self._progress is not None:
                    self._progress(self._so_far(step, row, column))
                if column == self._grid.columns - 1:
                    self._end_row(step, row, moments, dropped)
        for number in each.drops:
            self._stored.drop(number, range(dropped[number], self._grid.rows))
        for norm in each.measures:
            self._know(norm, moments[norm])
        self._save(step + 1, 0, {})

    def _ahead(
        self, each: Pass, first_row: int, read: Read, reader: ThreadPoolExecutor
    ) -> Iterator[tuple[int, int, dict[int, Tensor], dict[int, Spans]]]:
        """Yield the tiles with what they need, which is read while the one before is computed."""

        def load(row: int, column: int) -> tuple[int, int, dict[int, Tensor], dict[int, Spans]]:
            boxes = self._boxes(each, row, column)
            return row, column, {n: self._load(n, boxes[n], read) for n in each.loads if n in boxes}, boxes

        places = [(row, column) for row in range(first_row, self._grid.rows) for column in range(self._grid.columns)]
        waiting = reader.submit(load, *places[0]) if places else None
        for place in [*places[1:], None]:
            assert waiting is not None
            loaded = waiting.result()
            waiting = reader.submit(load, *place) if place is not None else None
            yield loaded

    def _load(self, number: int, box: Spans, read: Read) -> Tensor:
        if number == 0:
            return read(box)
        channels = self._network.channels(number)
        array = self._stored.read(number, box, self._sizes[number], channels, _bits(self._dtype)[1])
        return torch.from_numpy(array).view(self._dtype).permute(2, 0, 1)[None]

    def _boxes(self, each: Pass, row: int, column: int) -> dict[int, Spans]:
        """Return the part of every result that this tile needs."""
        targets = {number: self._grid.spans(row, column, self._sizes[number]) for number in each.targets(self._network)}
        targets = {number: spans for number, spans in targets.items() if all(low < high for low, high in spans)}
        return self._network.boxes(each.steps, targets, self._sizes)

    def _compute(
        self,
        each: Pass,
        place: tuple[int, int],
        values: dict[int, Tensor],
        boxes: dict[int, Spans],
        moments: dict[int, Moments],
        write: Write,
    ) -> None:
        measured = {self._network.operation(norm).inputs[0]: norm for norm in each.measures}
        uses = {number: len(set(self._network.consumers[number]) & set(each.steps)) for number in boxes}
        values = {number: value.to(self._device) for number, value in values.items()}
        for number in (*each.loads, *each.steps):
            if number not in boxes:
                continue
            if number not in values:
                values[number] = self._make(number, values, boxes)
            if number in measured or number in each.keeps or number == self._network.output:
                core = self._core(number, place, values[number], boxes[number])
                if number in measured:
                    moments[measured[number]].add(core)
                if number in each.keeps:
                    bits = core[0].view(_bits(self._dtype)[0]).permute(1, 2, 0)
                    self._stored.put(number, *place, bits.cpu().numpy(), self._sizes[number])
                if not each.measures and number == self._network.output:
                    write(boxes[number], core)
            for source in set(self._network.operation(number).inputs) if number in each.steps else ():
                uses[source] -= 1
                if uses[source] == 0:
                    del values[source]

    def _make(self, number: int, values: dict[int, Tensor], boxes: dict[int, Spans]) -> Tensor:
        made, spans = self._network.operation(number), boxes[number]
        parts = []
        for source in made.inputs:
            part = values[source]
            for axis in (0, 1):
                has, length = boxes[source][axis], self._sizes[source][axis]
                part = take(part, axis, has, made.reach(spans[axis], axis), length, made.border, made.fill)
            parts.append(part)
        if isinstance(made, Norm):
            only = self._network.consumers[made.inputs[0]] == [number] and made.inputs[0] != 0
            return made.normalize(parts[0], self._statistics[number], in_place=only)
        return made.apply(parts, spans)

    def _core(self, number: int, place: tuple[int, int], value: Tensor, box: Spans) -> Tensor:
        spans = self._grid.spans(*place, self._sizes[number])
        for axis, (has, span) in enumerate(zip(box, spans, strict=True)):
            value = value.narrow(axis + 2, span[0] - has[0], max(0, span[1] - span[0])) if has != span else value
        return value

    # ------------------------------------------------------------------------------------------- state and progress

    def _know(self, norm: int, moments: Moments) -> None:
        if not bool((moments.mean + moments.squares).isfinite().all()):
            raise NotFiniteStatistics
        self._known[norm] = moments
        made = self._network.operation(norm)
        assert isinstance(made, Norm)
        self._statistics[norm] = made.statistics(moments.mean, moments.variance, self._device)

    def _end_row(self, step: int, row: int, moments: dict[int, Moments], dropped: dict[int, int]) -> None:
        """Save the state from time to time, and forget what later rows do not need."""
        if self._folder is not None:
            if time.monotonic() - self._saved < _SAVED_EVERY:
                return
            self._save(step, row + 1, moments)
        each = self._plan.passes[step]
        if row + 1 == self._grid.rows:
            return
        boxes = self._boxes(each, row + 1, 0)
        for number in each.drops:
            if number in boxes:
                needed = self._grid.rows_across(boxes[number][0], self._sizes[number][0])
                self._stored.drop(number, range(dropped[number], needed.start))
                dropped[number] = max(dropped[number], needed.start)

    def _save(self, step: int, row: int, moments: dict[int, Moments]) -> None:
        if self._folder is None:
            return

        def plain(found: dict[int, Moments]) -> dict[str, Any]:
            return {str(n): [each.count, each.mean.tolist(), each.squares.tolist()] for n, each in found.items()}

        state = {"key": self._key, "step": step, "row": row, "known": plain(self._known), "now": plain(moments)}
        write_atomic(self._folder / STATE, json.dumps(state).encode())
        self._saved = time.monotonic()

    def _resume(self) -> tuple[int, int, dict[int, Moments]]:
        """Return the pass and the row of tiles to resume with, and the moments of that pass so far."""
        path = self._folder / STATE if self._folder is not None else None
        if path is None or not path.is_file():
            return 0, 0, {}
        try:
            state = json.loads(path.read_bytes())
        except ValueError:
            return 0, 0, {}
        if state.get("key") != self._key:
            return 0, 0, {}

        def moments(found: dict[str, Any]) -> dict[int, Moments]:
            wide = torch.float64
            return {
                int(number): Moments(count, torch.tensor(mean, dtype=wide), torch.tensor(squares, dtype=wide))
                for number, (count, mean, squares) in found.items()
            }

        for norm, found in moments(state["known"]).items():
            self._know(norm, found)
        return state["step"], state["row"], moments(state["now"])

    def _share(self, step: int, part: float) -> float:
        seconds = self._seconds
        return (sum(seconds[:step]) + part * sum(seconds[step : step + 1])) / (sum(seconds) or 1.0)

    def _so_far(self, step: int, row: int, column: int) -> TileProgress:
        tiles, of = row * self._grid.columns + column + 1, self._grid.rows * self._grid.columns
        share = self._share(step, tiles / of)
        done = share - self._start_share
        left = (time.monotonic() - self._started) * (1 - share) / done if done > 0 else 0.0
        return TileProgress(step, len(self._plan.passes), tiles, of, share, left)


def _bits(dtype: torch.dtype) -> tuple[torch.dtype, np.dtype[Any]]:
    """Return whole numbers of the same size: NumPy has no bfloat16."""
    return (torch.int16, np.dtype("i2")) if dtype.itemsize == 2 else (torch.int32, np.dtype("i4"))
