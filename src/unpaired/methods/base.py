"""What a method is: networks, who plays, and the updates of one training step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from unpaired.networks import Generator


class Batch(NamedTuple):
    """One unpaired batch; the two images of a row have nothing to do with one another."""

    x: Tensor
    """Images of domain A, [N, C_A, H, W] in [-1, 1]."""
    y: Tensor
    """Images of domain B, [N, C_B, H, W] in [-1, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShapes:
    """Everything that a method must know of the images to build its networks and pools."""

    channels_a: int
    channels_b: int
    size: tuple[int, int] | None
    """(height, width) of every training image, or None where images keep sizes of their own."""


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
