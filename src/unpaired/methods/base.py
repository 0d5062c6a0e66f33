"""What a method is: networks, who plays, and the updates of one training step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from unpaired.networks import Generator

Direction = Literal["a2b", "b2a"]
"""From domain A to domain B, or back."""


class Batch(NamedTuple):
    """One batch. The two images of a row belong together for methods that learn from pairs; else they do not."""

    x: Tensor
    """Images of domain A, [N, C_A, H, W] in [-1, 1]."""
    y: Tensor
    """Images of domain B, [N, C_B, H, W] in [-1, 1]."""

    def seen_from(self, direction: Direction) -> Batch:
        """Return (source, target) of a direction: as it is for `a2b`, exchanged for `b2a`."""
        return self if direction == "a2b" else Batch(self.y, self.x)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShapes:
    """Everything that a method must know of the images to build its networks and pools."""

    channels_a: int
    channels_b: int
    size: tuple[int, int] | None
    """(height, width) of every training image, or None where images keep sizes of their own."""

    def seen_from(self, direction: Direction) -> tuple[int, int]:
        """Return the channels of a direction's (source, target)."""
        forward = (self.channels_a, self.channels_b)
        return forward if direction == "a2b" else forward[::-1]


@dataclass(slots=True)
class Update:
    """One optimiser step: `player` minimises the sum of `terms`, and each term is logged under its name."""

    player: str
    terms: dict[str, Tensor]

    def __init__(self, player: str, **terms: Tensor) -> None:
        self.player, self.terms = player, terms


class Method(nn.Module, ABC):
    """A paper's algorithm. Its `state_dict` is everything that it must remember between two steps.

    Everything is built in `__init__`. `step` must be capture-safe: no `.item()`, no Python branch on a tensor's value,
    no host random numbers, no `.to(device)`; pools and coin flips are tensor operations on the device.
    """

    join_calls: bool = True
    """Whether to send several batches through a generator in one call where that gives the same; the trainer decides,
    by what is faster on its device."""

    @abstractmethod
    def players(self) -> dict[str, list[nn.Module]]:
        """Return who plays: a name for each optimiser and the networks that it moves."""

    @abstractmethod
    def translators(self) -> dict[str, Generator]:
        """Return the networks that users get: `a2b`, `b2a` or one of them; image tensor in, image tensor out."""

    @abstractmethod
    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the updates of one training step, in order.

        A `yield` is an optimiser step that the trainer performs: code after it sees the updated weights. Local
        variables carry tensors from one update to the next; detach what the next update does not differentiate.
        """

    def generate(self, count: int) -> Batch | None:
        """Return `count` pairs made of noise alone, for sample grids; None for methods that only translate."""
        return None
