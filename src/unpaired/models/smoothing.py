"""Less flicker in translated clips: the change that a model makes is averaged over time along the input's motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import printable
from unpaired.data.decode import reader_of
from unpaired.data.values import Signed
from unpaired.metrics.flicker import Flicker, motion, warped

if TYPE_CHECKING:
    from unpaired.models.translator import Translator

WORST = 51
"""The largest rate factor of H.264."""


class Smoothed(NamedTuple):
    """What smoothing did to a clip."""

    before: float | None
    """Flicker of the translation as the model made it, over that of the input; None where nothing could be measured."""
    after: float | None
    """Flicker of what was written."""
    difference: float
    """Mean absolute difference of the two, in levels of 255."""


@final
class Smoother:
    """Takes the frames of one clip in their order and returns translations that flicker less, in constant memory.

    With the input x and the translation y of frame t, the change c = y - x is mixed with that of the frame before,
    moved to where its pixels are now: s(t) = c(t) + strength * seen * (moved s(t - 1) - c(t)); x + s is returned. What
    the input shows is not averaged, so motion leaves no trail, and nothing is carried across a cut.
    """

    def __init__(self, strength: float) -> None:
        self._strength = strength
        self._last: tuple[Tensor, Tensor, Tensor] | None = None
        self._before, self._after = Flicker(), Flicker()
        self._difference, self._frames = 0.0, 0

    def __call__(self, image: Signed, translation: Signed) -> Signed:
        """Return a translation [H, W, C] in [-1, 1] that has been smoothed; `image` is its input of the same shape."""
        x, y = (torch.from_numpy(np.ascontiguousarray(each.transpose(2, 0, 1)))[None] for each in (image, translation))
        made = y
        if self._last is not None:
            last_x, last_y, last_made = self._last
            moved = motion(last_x, x)
            change, carried = y - x, warped(last_made - last_x, moved.flow)
            made = (x + change + self._strength * moved.seen * (carried - change)).clamp(-1, 1)
            self._before.add(moved, (last_x, x), (last_y, y))
            self._after.add(moved, (last_x, x), (last_made, made))
        self._last = (x, y, made)
        self._difference += 127.5 * float((made - y).abs().mean())
        self._frames += 1
        result: Signed = made[0].permute(1, 2, 0).numpy()
        return result

    @property
    def result(self) -> Smoothed:
        """What was done so far."""
        return Smoothed(self._before.ratio, self._after.ratio, self._difference / max(1, self._frames))


@final
@dataclass
class Clips:
    """How clips and other files of several images are written, and what a person should know of them."""

    quality: int | None = None
    """That of `Output`."""
    strength: float = 0.0
    """That of `Smoother`; 0 changes nothing."""
    smoothed: list[tuple[Path, Smoothed]] = field(default_factory=list)
    notes: list[tuple[Path, str]] = field(default_factory=list)

    def smoother(self) -> Smoother | None:
        """Return what smooths one clip, None where nothing is to be smoothed."""
        return Smoother(self.strength) if self.strength else None

    def add(self, output: Path, smoother: Smoother | None) -> None:
        """Remember what was done to a clip."""
        if smoother is not None:
            self.smoothed.append((output, smoother.result))

    def notices(self) -> list[str]:
        """Return what the files could not keep."""
        return [f"{printable(output.name)}: {note}" for output, note in self.notes]


def clips_of(translator: Translator, several: Sequence[Path], crf: int | None, smooth: float, format: str) -> Clips:
    """Return how clips are written, of the inputs of several images; `UserError` where that contradicts them."""
    if not 0 <= smooth < 1:
        raise UserError(f"{option('smooth', smooth)}: allowed is a number from 0 (nothing is averaged) to below 1.")
    if crf is not None and not 0 <= crf <= WORST:
        raise UserError(f"{option('crf', crf)}: allowed is a whole number from 0 (no loss) to {WORST}.")
    given = [option(name, value) for name, value in {"crf": crf, "smooth": smooth or None}.items() if value is not None]
    still = [path for path in several if not reader_of(path).is_moving] if given else []
    if given and len(still) == len(several):
        raise UserError(f"{given[0]}: no input is a clip, nor an animation. Leave it out.")
    if smooth and still:
        raise UserError(
            f"{option('smooth', smooth)} averages the frames of clips, and {printable(still[0])} holds planes or "
            "pages. Translate such files without it."
        )
    if crf is not None and format != "auto":
        raise UserError(
            f"{option('crf', crf)} is for clips, and {option('format', format)} writes single images. Leave one out."
        )
    source, target = translator.source, translator.target
    if smooth and (source.channels != target.channels or source.labels or target.labels):
        raise UserError(
            f"{option('smooth', smooth)} averages the change that a model makes, so input and translation are pictures "
            f"of the same channels; this model translates {source.channels} to {target.channels}, or label maps."
        )
    return Clips(crf, smooth)
