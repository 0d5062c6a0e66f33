"""At which size a network sees an image, and how its translation returns to the image's own size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import numpy as np

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.directions import sides
from unpaired.data.scale import Scale
from unpaired.data.transforms import resize
from unpaired.data.values import Signed
from unpaired.models.folder import ModelCard

LARGEST = 16_384
"""Pixels of the shorter side that can be asked for."""
TranslationSize = Literal["native", "trained"] | int
"""The size at which a network sees an image: its own, that of training, or so many pixels on the shorter side."""
NOTICEABLE = 1.5
"""Images are so many times larger or smaller than in training before it is worth a notice."""


class Rescaled(NamedTuple):
    """Images that are clearly larger or smaller than those that the network saw in training."""

    images: int
    factor: float
    """How many times as large their sides are as in training; the median."""
    done: str
    """What was done about it."""

    def __str__(self) -> str:
        times = f"{self.factor:.3g} times as large as" if self.factor > 1 else f"1/{1 / self.factor:.3g} the size of"
        return (
            f"{plural(self.images, 'image')} {'is' if self.images == 1 else 'are'} {times} those that the network "
            f"saw in training: {self.done}"
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """What was chosen for one direction of a model."""

    size: TranslationSize
    detail: bool
    """Add the enlarged change to the input where the network saw it smaller, so that its fine detail is kept."""
    scale: Scale | None
    """That of training, where it is known."""
    typical: tuple[int, int] | None
    """The median (height, width) of the training images' files, where it is known."""
    labelled: tuple[bool, bool]
    """Whether source and target are label maps, which are resized by the nearest pixel."""

    @property
    def by_pixels(self) -> bool:
        """Whether networks see images at their own size, as in training, so that the size of a pixel matters."""
        return not isinstance(self.size, int) and (self.scale is None or self.scale.is_native)

    def seen(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) at which the network sees an image of this size, before any padding."""
        if isinstance(self.size, int):
            factor = self.size / min(height, width)
            return max(1, round(height * factor)), max(1, round(width * factor))
        return (height, width) if self.size == "native" or self.scale is None else self.scale.size(height, width)

    def shrink(self, image: Signed) -> Signed:
        """Return an image [H, W, C] in [-1, 1] as the network sees it."""
        return _resized(image, self.seen(*image.shape[:2]), nearest=self.labelled[0])

    def restore(self, translated: Signed, seen: Signed, image: Signed) -> Signed:
        """Return the translation of `image`, of which the network saw `seen`, at the image's own size."""
        size = image.shape[0], image.shape[1]
        if translated.shape[:2] == size:
            return translated
        if not self.detail:
            return _resized(translated, size, nearest=self.labelled[1])
        change: Signed = resize(translated - seen, size).astype(np.float32, copy=False)
        changed: Signed = np.clip(image + change, -1, 1)
        return changed

    def factor(self, height: int, width: int) -> float | None:
        """Return how many times as large the sides of an image are as what training's network saw; None if unknown."""
        if self.scale is None:
            return None
        seen = self.typical if self.scale.is_native else self.scale.size(height, width)
        return None if seen is None else math.sqrt(height * width / (seen[0] * seen[1]))

    def rescaled(self, factors: list[float]) -> Rescaled | None:
        """Return what a person should know about images of these factors; None where all are near enough."""
        far = sorted(factor for factor in factors if max(factor, 1 / factor) > NOTICEABLE)
        if not far:
            return None
        other = option("size", "trained") if self.scale and not self.scale.is_native else option("size", "PIXELS")
        done = {
            "native": f"translated at their own size ({other} chooses another)",
            "trained": f"translated at {self.scale}; {self._way}",
        }.get(str(self.size), f"translated at {self.size} pixels on the shorter side; {self._way}")
        return Rescaled(len(far), far[len(far) // 2], done)

    @property
    def _way(self) -> str:
        if self.detail:
            return f"the change was resized and added to the image ({option('detail', False)} resizes the translation)"
        return "the translation was resized"

    def __str__(self) -> str:
        """Say it in words, for the protocol of figures."""
        if self.size == "native" or (self.size == "trained" and (self.scale is None or self.scale.is_native)):
            return "their own size"
        at = str(self.scale) if self.size == "trained" else f"{self.size} pixels on the shorter side"
        return f"{at}; {'the change' if self.detail else 'the translation'} resized to their own size"


def choose_sizing(
    card: ModelCard, direction: str, *, size: TranslationSize | str | None, detail: bool | None, searches: bool
) -> Sizing:
    """Return the sizing of a direction: as in training, where that is known, with the input's detail where it can be.

    Raises `UserError` where that was asked for and cannot be.
    """
    source, target = card.domains_of(direction)
    read = _read(size)
    if read == "trained" and card.scale is None:
        raise UserError(
            f"{option('size', 'trained')}: this model does not say at which size it was trained. Choose native, or the "
            "pixels of the shorter side."
        )
    if searches and (read not in (None, "native") or detail):
        raise UserError(f"{option('size', size)}: this model translates by a search, which has a size of its own.")
    can = source.channels == target.channels and source.labels is None and target.labels is None
    if detail and not can:
        raise UserError(
            f"{option('detail', True)}: the input's detail can be kept where both domains are pictures of the same "
            "channels. Leave it out."
        )
    default: TranslationSize = "native" if searches or card.scale is None else "trained"
    return Sizing(
        size=default if read is None else read,
        detail=can if detail is None else detail,
        scale=card.scale,
        typical=None if card.scale is None else card.scale.typical.get(sides(direction)[0]),
        labelled=(source.labels is not None, target.labels is not None),
    )


def _read(size: Any) -> TranslationSize | None:
    """Return a size that was given, a number also as text; UserError for anything else."""
    if size is None or size in ("native", "trained"):
        return size  # type: ignore[no-any-return]
    text = str(size)
    if isinstance(size, bool) or not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= LARGEST):
        raise UserError(
            f"{option('size', printable(text[:80]))}: allowed are native, trained or the pixels of the shorter side, "
            f"at most {LARGEST:,}."
        )
    return int(text)


def _resized(image: Signed, size: tuple[int, int], *, nearest: bool) -> Signed:
    if image.shape[:2] == size:
        return image
    return np.clip(resize(image, size, nearest=nearest).astype(np.float32, copy=False), -1, 1)
