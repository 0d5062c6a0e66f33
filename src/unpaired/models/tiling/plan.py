"""Passes over the image: in which a norm's input is computed part by part, and what is kept for the next pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

from unpaired.models.tiling.local import Network, Norm, Pointwise, Size
from unpaired.models.tiling.stored import Grid

_MAC, _VALUE, _STEP = 1.2e-11, 1e-9, 1e-4
"""Seconds for a multiplication, for a value that is computed without any, and for an operation on a tile beside that:
measured on one core with AVX-512. Only their proportion to the next two decides anything."""
_LARGE, _SLOWED = 1 << 23, 2.0
"""A result of more numbers goes back to the system after each operation, and each value takes so many times as long."""
_MEMORY_BYTE, _DISK_BYTE = 6e-10, 1.2e-9
"""Seconds for a byte that is kept, or read again."""
_LIMITS = (0.0, *(2.0**power * part for power in range(-4, 10) for part in (1.0, 1.5)))
"""Numbers for each pixel of the image that a plan keeps after a pass; each makes another plan."""
_OVERHEAD = 1.25
"""What allocators hold of memory that is free."""
_ROWS = 3
"""Rows of tiles in which what is new is there while the old is not forgotten yet."""


@final
@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over all tiles."""

    loads: tuple[int, ...]
    """The results that are read: 0 is the image, others were kept."""
    steps: tuple[int, ...]
    """The operations that are computed, in order."""
    measures: tuple[int, ...]
    """The norms whose statistics are taken; none in the last pass, which makes the translation."""
    keeps: tuple[int, ...]
    """The results that are kept for later passes."""
    drops: tuple[int, ...]
    """What was kept and is needed no more after this pass."""

    def targets(self, network: Network) -> set[int]:
        """Return the results for which the pass is made."""
        measured = {network.operation(norm).inputs[0] for norm in self.measures}
        return {*measured, *self.keeps} if self.measures else {network.output}


class Demand(NamedTuple):
    """What a plan takes with tiles of some size."""

    numbers: float
    """In the memory of one tile at most."""
    seconds: list[float]
    """For each pixel of the image, of each pass, roughly."""


@final
@dataclass(slots=True)
class Plan:
    """Passes in order, and what they keep for each pixel of the image."""

    passes: list[Pass] = field(default_factory=list)
    kept: float = 0.0
    """Numbers that are kept at most."""
    turned: float = 0.0
    """Numbers that are kept at most in the rows of tiles where a pass is, old and new."""
    traffic: float = 0.0
    """Numbers that are written and read."""

    def kept_numbers(self, size: Size, tile: int) -> float:
        """Return how many numbers are kept at once of an image in tiles of this side."""
        return size[1] * (self.kept * size[0] + self.turned * min(_ROWS * tile, size[0]))

    def traffic_seconds(self, item_bytes: int, *, on_disk: bool) -> float:
        """Return roughly how long writing and reading takes for each pixel."""
        return self.traffic * item_bytes * (_DISK_BYTE if on_disk else _MEMORY_BYTE)

    def demand(self, network: Network, size: Size, tile: int) -> Demand:
        """Return what tiles of this side take of an image: counted for a tile in the middle."""
        grid, sizes = Grid(size, (tile, tile)), network.sizes(size)
        place = (grid.rows - 1) // 2, (grid.columns - 1) // 2
        middle = grid.spans(*place, size)
        pixels = math.prod(high - low for low, high in middle)
        most, seconds = 0.0, []
        for each in self.passes:
            targets = {number: grid.spans(*place, sizes[number]) for number in each.targets(network)}
            boxes = network.boxes(each.steps, targets, sizes)
            areas = {number: math.prod(high - low for low, high in spans) for number, spans in boxes.items()}
            numbers = {number: network.channels(number) * area for number, area in areas.items()}
            # The next tile is read while this one is computed.
            ahead = sum(numbers[number] for number in each.loads if number in numbers)
            most = max(most, ahead + _held(network, each.loads, each.steps, numbers))
            working = sum(_seconds(network, number, areas[number]) for number in each.steps if number in areas)
            measured = sum(numbers[network.operation(norm).inputs[0]] for norm in each.measures)
            seconds.append((working + measured * _VALUE) / pixels)
        return Demand(most * _OVERHEAD, seconds)


def plans(network: Network, size: Size) -> list[Plan]:
    """Return plans for an image of this size that keep more and compute less, or the other way round."""
    sizes = network.sizes(size)
    share = [height * width / (size[0] * size[1]) for height, width in sizes]
    return [_Planner(network, share).plan(limit) for limit in _LIMITS]


def whole_numbers(network: Network, size: Size) -> float:
    """Return how many numbers the whole network, without tiles, holds at once for an image of (height, width)."""
    numbers = {n: network.channels(n) * height * width for n, (height, width) in enumerate(network.sizes(size))}
    return _held(network, (0,), range(1, len(numbers)), numbers, norm_copies=2) * _OVERHEAD


def _held(
    network: Network, loads: Sequence[int], steps: Sequence[int], numbers: Mapping[int, float], norm_copies: int = 0
) -> float:
    """Return how many numbers are in memory at once while results of these numbers are computed."""
    uses = {number: len(set(network.consumers[number]) & set(steps)) for number in numbers}
    there = most = sum(numbers.get(number, 0.0) for number in loads)
    for number in steps:
        if number not in numbers:
            continue
        made = network.operation(number)
        # Padding copies an input, and libraries hold another copy in a layout of their own, of the weights too.
        copies = norm_copies if isinstance(made, Norm) else 0 if isinstance(made, Pointwise) else 2
        there += numbers[number]
        most = max(most, there + copies * sum(numbers[source] for source in made.inputs) + made.macs)
        for source in set(made.inputs):
            uses[source] -= 1
            if uses[source] == 0:
                there -= numbers[source]
    return most


def _seconds(network: Network, number: int, area: int) -> float:
    made = network.operation(number)
    if made.macs:
        return area * made.macs * _MAC + made.macs * _VALUE + _STEP  # weights are copied for every tile
    values = area * made.channels * (2 if isinstance(made, Norm) else 1)
    return values * _VALUE * (_SLOWED if area * made.channels > _LARGE else 1.0) + _STEP


@final
class _Planner:
    def __init__(self, network: Network, share: list[float]) -> None:
        self._network = network
        self._numbers = [network.channels(number) * part for number, part in enumerate(share)]

    def plan(self, limit: float) -> Plan:
        """Return the passes that keep about `limit` numbers for each pixel between them."""
        network, plan = self._network, Plan()
        kept: set[int] = set()
        unknown = set(network.norms)
        while unknown:
            ready = [norm for norm in sorted(unknown) if not unknown & self._above(norm, kept)]
            unknown -= set(ready)
            targets = [network.operation(norm).inputs[0] for norm in ready]
            after = self._kept_after(targets, kept, unknown, ready, limit)
            self._add(plan, targets, kept, after, ready)
            kept = after
        self._add(plan, [network.output], kept, set(), [])
        return plan

    def needed(self, targets: Iterable[int], has: set[int]) -> set[int]:
        """Return the results from which the targets are computed: those that are there already, and all behind them."""
        found: set[int] = set()
        open_ends = list(targets)
        while open_ends:
            number = open_ends.pop()
            if number not in found:
                found.add(number)
                if number not in has and number:
                    open_ends += self._network.operation(number).inputs
        return found

    def _above(self, norm: int, kept: set[int]) -> set[int]:
        return self.needed(self._network.operation(norm).inputs, kept)

    def _kept_after(
        self, targets: list[int], kept: set[int], unknown: set[int], ready: list[int], limit: float
    ) -> set[int]:
        """Return what is worth keeping after a pass: what later passes begin with, the smallest first."""
        goals = [*(self._network.operation(norm).inputs[0] for norm in unknown), self._network.output]
        computed = self.needed(targets, kept)
        later = self.needed(goals, kept | computed)
        ends = sorted(later & (computed | kept) - {0}, key=lambda number: (number not in kept, self._numbers[number]))
        chosen: set[int] = set()
        for number in ends:
            if sum(self._numbers[each] for each in chosen) + self._numbers[number] <= limit:
                chosen.add(number)
        # What was left out is computed again, from what was kept before.
        return (self.needed(goals, chosen | kept) & (chosen | kept)) - {0}

    def _add(self, plan: Plan, targets: list[int], before: set[int], after: set[int], norms: list[int]) -> None:
        found = self.needed([*targets, *(after - before)], before)
        loads = tuple(sorted(found & (before | {0})))
        steps = tuple(sorted(found - set(loads)))
        new = after - before
        plan.passes.append(Pass(loads, steps, tuple(norms), tuple(sorted(new)), tuple(sorted(before - after))))
        total = [sum(self._numbers[each] for each in kept) for kept in (before, after)]
        plan.kept = max(plan.kept, *total)
        plan.turned = max(plan.turned, min(sum(self._numbers[each] for each in old) for old in (before - after, new)))
        plan.traffic += sum(self._numbers[each] for each in {*loads, *new} - {0})
