"""What a method is and declares: its settings, its players, its loss terms, and the updates of one training step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from unpaired.core.errors import UserError, option
from unpaired.networks import Generator

Direction = Literal["a2b", "b2a"]
"""From domain A to domain B, or back."""
Role = Literal["generator", "discriminator", "other"]
"""What a player does."""
TermKind = Literal[
    "adversarial", "cycle", "identity", "reconstruction", "contrastive", "regularization", "discriminator", "other"
]
"""What a loss term is: the generators' adversarial loss; the distance of an image from its cycle; of an image already
in the target domain from its translation; of a translation from its true image; of features from those of the input;
of a translation from its input; and the discriminators' adversarial loss."""


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

    def one_size(self, why: str, otherwise: str = "") -> tuple[int, int]:
        """Return `size`, which a method needs for the reason `why`; raises `UserError` where there is none."""
        if self.size is None:
            raise UserError(
                f"{why}, and these keep sizes of their own. Set {option('data.preprocess')} to a mode that crops: "
                f"resize_and_crop, crop or scale_width_and_crop{otherwise}."
            )
        return self.size


class Player:
    """Who minimises: the networks that one optimiser moves."""

    def __init__(self, role: Role, *networks: nn.Module) -> None:
        self.role: Role = role
        self.networks = networks

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters, those that several networks share once."""
        return list(dict.fromkeys(p for network in self.networks for p in network.parameters()))


@dataclass(frozen=True, slots=True)
class Term:
    """What a loss term is."""

    kind: TermKind
    setting: str | None = None
    """The method's setting that weighs it, or turns it on; None where it cannot be chosen."""
    direction: Direction | None = None
    """The direction whose translations it holds; None for all."""


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

    config_class: ClassVar[type[Any]]
    """Its settings: a frozen pydantic dataclass with `config=unpaired.core.settings.STRICT`."""
    paired: ClassVar[bool] = False
    """Whether it learns from pairs: row i of A belongs to row i of B."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Publication's values of other settings that differ from this project's defaults, by dotted name."""
    keeps_input: ClassVar[bool] = True
    """Whether its losses tie a translation to its input, so that exchanged brightness is a fault."""
    translates: ClassVar[bool] = True
    """Whether its generators translate; if not, they are for `--init-from` of another training."""
    config: Any
    obsolete: tuple[str, ...] = ()
    """Prefixes of state that earlier versions stored with these settings, and that is passed over."""

    def __init__(self, config: Any, shapes: ImageShapes) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def adapt(cls, config: Any, shapes: ImageShapes, chosen: frozenset[str]) -> tuple[Any, list[str]]:
        """Fit defaults to the images: (settings, shapes, names that the user set) to (settings, notices)."""
        return config, []

    @abstractmethod
    def players(self) -> dict[str, Player]:
        """Return who plays: a name for each optimiser, its role and the networks that it moves."""

    @abstractmethod
    def terms(self) -> dict[str, Term]:
        """Return what each term that `step` may yield is, by name."""

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

    def declared(self) -> dict[str, dict[str, str]]:
        """Return the kind of each term and the role of each player as plain JSON, for logs."""
        return {
            "terms": {name: term.kind for name, term in self.terms().items()},
            "players": {name: player.role for name, player in self.players().items()},
        }
