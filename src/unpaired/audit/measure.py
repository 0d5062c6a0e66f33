"""What the way back makes of a disturbed translation, image by image.

x is an input, y = G(x) its translation, F the way back, d a disturbance. Measured is |F(d(y)) - x|, beside what needs
no model: |d(x) - x|, which an honest copy of x would lose too, and how far F(G(x')) of another image x' is from x,
which is what remains when nothing survives. Errors are means over pixels and channels, in levels (1/255 of the range).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.audit.disturb import (
    EVERYDAY_QUALITY,
    LEVEL,
    Disturbance,
    blurred,
    change_of,
    disturbances_for,
    fits_jpeg,
    jpeg_coded,
)
from unpaired.core.errors import UserError
from unpaired.models.translator import Translator, images_per_batch

Values = NDArray[np.float64]
"""[N], one value for each image."""
Told = Callable[[int, int], None]
"""Called with how many images are done, and how many there are."""

FAINT_SIGMA = 2.0
"""Pixels of the blur whose difference to the translation is its detail."""
FAINT_LEVELS = 2.0
"""Detail beyond this many levels is cut off: what is left cannot be seen."""
_IMAGES_PER_BATCH = 8


class Images(Protocol):
    """Inputs of one direction, by number."""

    def __len__(self) -> int:
        """Return how many images there are."""
        ...

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Return images [N, C, H, W] in [-1, 1]; all of one size."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one disturbance did."""

    disturbance: Disturbance
    error: Values
    """Mean |F(d(y)) - x| in levels."""
    squared: Values
    """Mean (F(d(y)) - x)^2 in levels^2."""
    change: Values
    """Mean (d(y) - y)^2 in levels^2: how visible the disturbance is."""
    copy: Values | None
    """Mean |d(x) - x| in levels; None where x cannot be disturbed so."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What comes back when one kind of detail of a translation is exchanged for that of another image's translation."""

    name: Literal["faint", "jpeg"]
    title: str
    """What the detail is."""
    follows: Values
    """Where the reconstruction then lies on the way from the own image's (0) to the other's (1): the projection
    <F(z) - F(y), F(y') - F(y)> / |F(y') - F(y)|^2. NaN where F(y') is F(y)."""
    copy: Values | None
    """The same for the inputs themselves, as an honest copy would carry it; None where they cannot be treated so."""
    change: Values
    """Mean squared change of y by the exchange, in levels^2."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured of one direction by disturbing its translations."""

    outcomes: list[Outcome]
    """The undisturbed translation first."""
    chance: Values | None
    """Mean |F(G(x')) - x| in levels for another image x'; None where there is but one image."""
    exchanges: list[Exchange]
    """Empty where there is but one image."""
    notices: list[str]

    @property
    def clean(self) -> Outcome:
        """What happened without any disturbance."""
        return self.outcomes[0]


def measure(
    forward: Translator, backward: Translator, images: Images, *, seed: int, told: Told | None = None
) -> Measured:
    """Disturb the translations of all images and bring them back; memory does not grow with their number.

    Raises `UserError` where a network returns what are no numbers.
    """
    wanted, notices = disturbances_for(forward.target)
    changes = [(change_of(each, forward.target, seed), change_of(each, forward.source, seed)) for each in wanted]
    rows: list[list[list[Tensor]]] = [[] for _ in wanted]
    kinds = _kinds_of_detail(forward)
    exchanged: list[list[list[Tensor]]] = [[] for _ in kinds]
    chances: list[list[Tensor]] = []
    for numbers in batches(images):
        x = images.batch(numbers)
        y = _numbers(forward.translate_tensor(x), forward)
        returned = _numbers(backward.translate_tensor(y), backward)
        for row, (of_translation, of_input) in zip(rows, changes, strict=True):
            assert of_translation is not None
            disturbed = of_translation(y, numbers)
            back = returned if disturbed is y else backward.translate_tensor(disturbed)
            kept = torch.full((len(numbers),), torch.nan) if of_input is None else _mean_error(of_input(x, numbers), x)
            row.append([_mean_error(back, x), _mean_square(back, x), _mean_square(disturbed, y), kept])
        if len(images) > 1:
            partners = [partner_of(number, len(images)) for number in numbers]
            other_x = images.batch(partners)
            other_y = forward.translate_tensor(other_x)
            other = backward.translate_tensor(other_y)
            chances.append([_mean_error(other, x)])
            for row, exchange in zip(exchanged, kinds, strict=True):
                row.append(_exchanged(exchange, backward, (x, other_x), (y, other_y), (returned, other)))
        if told is not None:
            told(numbers[-1] + 1, len(images))
    outcomes = []
    for disturbance, row, (_, of_input) in zip(wanted, rows, changes, strict=True):
        error, squared, change, copy = _joined(row)
        outcomes.append(Outcome(disturbance, error, squared, change, None if of_input is None else copy))
    exchanges = []
    for kind, row in zip(kinds, exchanged, strict=True):
        if row:
            follows, copy, change = _joined(row)
            exchanges.append(Exchange(kind.name, kind.title, follows, copy if kind.fits_inputs else None, change))
    return Measured(outcomes, _joined(chances)[0] if chances else None, exchanges, notices)


def batches(images: Images) -> list[list[int]]:
    """Return the numbers of all images, in batches that fit into memory."""
    height, width = images.batch([0]).shape[-2:]
    step = images_per_batch(height, width, _IMAGES_PER_BATCH)
    return [list(range(start, min(start + step, len(images)))) for start in range(0, len(images), step)]


def partner_of(number: int, count: int) -> int:
    """Return another image than this one: half the set away, since neighbours are often frames of one film."""
    return (number + max(1, count // 2)) % count


def _numbers(images: Tensor, translator: Translator) -> Tensor:
    """Return images as they are; a training that broke down leaves networks that return NaN."""
    if not bool(torch.isfinite(images).all()):
        raise UserError(
            f"the network of {translator.direction} returns values that are no numbers (NaN or infinity), so nothing "
            "can be measured. Its training broke down; audit an earlier checkpoint."
        )
    return images


def faint_detail(images: Tensor) -> Tensor:
    """Return what a blur of 2 pixels takes away, cut to 2 levels: a change of this size cannot be seen."""
    return (images - blurred(images, FAINT_SIGMA)).clamp(-FAINT_LEVELS * LEVEL, FAINT_LEVELS * LEVEL)


def jpeg_detail(images: Tensor) -> Tensor:
    """Return what a JPEG file of quality 75 loses of images with 1 or 3 channels."""
    return images - jpeg_coded(images, EVERYDAY_QUALITY)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of detail."""

    name: Literal["faint", "jpeg"]
    title: str
    detail: Callable[[Tensor], Tensor]
    fits_inputs: bool


def _kinds_of_detail(forward: Translator) -> list[_Kind]:
    kinds = [_Kind("faint", f"detail of at most {FAINT_LEVELS:g} levels", faint_detail, True)]
    if fits_jpeg(forward.target):
        title = f"what JPEG of quality {EVERYDAY_QUALITY} loses"
        kinds.append(_Kind("jpeg", title, jpeg_detail, fits_jpeg(forward.source)))
    return kinds


def _exchanged(
    kind: _Kind,
    backward: Translator,
    inputs: tuple[Tensor, Tensor],
    translations: tuple[Tensor, Tensor],
    reconstructions: tuple[Tensor, Tensor],
) -> list[Tensor]:
    """Return, image by image: the share that follows the detail, that of an honest copy, and the change of y."""
    y = translations[0]
    z = _with_detail_of(translations, kind.detail)
    follows = _share_of_way(backward.translate_tensor(z), reconstructions)
    copy = torch.full_like(follows, torch.nan)
    if kind.fits_inputs:
        copy = _share_of_way(_with_detail_of(inputs, kind.detail), inputs)
    return [follows, copy, _mean_square(z, y)]


def _with_detail_of(pair: tuple[Tensor, Tensor], detail: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the first images with the detail of the second in place of their own, in [-1, 1]."""
    own, other = pair
    return (own - detail(own) + detail(other)).clamp(-1, 1)


def _share_of_way(reached: Tensor, ends: tuple[Tensor, Tensor]) -> Tensor:
    """Return where images lie between two others, by projection on the line between them; NaN where those agree."""
    own, other = ends
    way = (other - own).flatten(1).double()
    return ((reached - own).flatten(1).double() * way).sum(1) / (way**2).sum(1)


def _mean_error(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other).double() / LEVEL).abs().mean((1, 2, 3))


def _mean_square(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other).double() / LEVEL).square().mean((1, 2, 3))


def _joined(parts: Sequence[Sequence[Tensor]]) -> tuple[Values, ...]:
    """Join the values of all batches, quantity by quantity."""
    return tuple(torch.cat([part[place].double() for part in parts]).numpy() for place in range(len(parts[0])))
