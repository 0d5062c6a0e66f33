"""Passes over the image: in which a norm's input is computed part by part, and what is kept for the next pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import final

from unpaired.models.tiling.local import Network, Norm, Size

_MAC, _VALUE = 1e-11, 1.5e-9
"""Seconds for a multiplication, and for a value that is computed without any: measured on one core with AVX-512. Only
their proportion to the next two decides anything."""
_MEMORY_BYTE, _DISK_BYTE = 2e-10, 1.2e-9
"""Seconds for a byte that is kept and read again."""
_LIMITS = (0.0, *(2.0**power * part for power in range(-4, 10) for part in (1.0, 1.5)))
"""Numbers for each pixel of the image that a plan keeps after a pass; each makes another plan."""
_OVERHEAD = 1.3
"""Libraries copy the inputs of some operations."""


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


@final
@dataclass(slots=True)
class Plan:
    """Passes in order, and what they take for each pixel of the image."""

    passes: list[Pass] = field(default_factory=list)
    kept: float = 0.0
    """Numbers that are kept at most."""
    working: float = 0.0
    """Numbers in the memory of one tile at most."""
    seconds: list[float] = field(default_factory=list)
    """Of each pass, roughly."""
    traffic: list[float] = field(default_factory=list)
    """Numbers that each pass writes and reads."""

    def cost(self, item_bytes: int, *, on_disk: bool) -> float:
        """Return roughly how many seconds a pixel takes."""
        return sum(self.seconds) + sum(self.traffic) * item_bytes * (_DISK_BYTE if on_disk else _MEMORY_BYTE)


def plans(network: Network, size: Size) -> list[Plan]:
    """Return plans for an image of this size that keep more and compute less, or the other way round."""
    sizes = network.sizes(size)
    share = [height * width / (size[0] * size[1]) for height, width in sizes]
    return [_Planner(network, share).plan(limit) for limit in _LIMITS]


def working_numbers(network: Network, size: Size) -> float:
    """Return how many numbers the whole network, without tiles, holds at once for each pixel of an image."""
    share = [height * width / (size[0] * size[1]) for height, width in network.sizes(size)]
    planner = _Planner(network, share)
    return planner.working(planner.needed([network.output], {0}), {network.output})


@final
class _Planner:
    def __init__(self, network: Network, share: list[float]) -> None:
        self._network = network
        self._numbers = [network.channels(number) * part for number, part in enumerate(share)]
        self._share = share

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

    def working(self, found: set[int], held: set[int]) -> float:
        """Return how many numbers are in memory at once while these results are computed."""
        uses = {each: len(set(self._network.consumers[each]) & found) for each in found}
        there = most = 0.0
        for number in sorted(found):
            there += self._numbers[number]
            sources = set(self._network.operation(number).inputs) & found if number else set()
            # Libraries hold the input of a convolution in a layout of their own.
            most = max(most, there + 0.5 * sum(self._numbers[source] for source in sources))
            for source in sources:
                uses[source] -= 1
                if uses[source] == 0 and source not in held:
                    there -= self._numbers[source]
        return most * _OVERHEAD

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
        plan.working = max(plan.working, self.working(found, {*targets}))
        plan.seconds.append(sum(self._seconds(number) for number in steps) + sum(map(self._measuring, targets)))
        plan.traffic.append(sum(self._numbers[each] for each in {*loads, *new} - {0}))

    def _seconds(self, number: int) -> float:
        made = self._network.operation(number)
        values = 0.0 if made.macs else self._numbers[number] * (2 if isinstance(made, Norm) else 1)
        return self._share[number] * made.macs * _MAC + values * _VALUE

    def _measuring(self, number: int) -> float:
        return self._numbers[number] * _VALUE
