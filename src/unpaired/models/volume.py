"""Translation of a volume that is at hand as an array: slice after slice, at the spacing of training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.decode import as_slab
from unpaired.models.conversion import array_from_signed, signed_from_array
from unpaired.models.fit import NOTICEABLE
from unpaired.models.slabs import blended, single
from unpaired.models.translation import Translation

if TYPE_CHECKING:
    from unpaired.models.translator import Translator

Spacing = tuple[float, float, float]
_TOGETHER = 8


def translate_volume(translator: Translator, volume: NDArray[Any], spacing: Spacing | None = None) -> NDArray[Any]:
    """Translate slices [D, H, W] along the first axis; see `Translator.__call__`."""
    source, count = translator.source, len(volume) if volume.ndim else 0
    if volume.ndim != 3 or volume.size == 0:
        raise UserError(f"a volume is an array [D, H, W] of slices; received {' x '.join(map(str, volume.shape))}.")
    if single(source).channels != 1 or source.labels is not None or single(translator.target).channels != 1:
        raise UserError("a volume [D, H, W] is translated by models between domains of one channel; this is none.")
    if spacing is not None:
        translator = at_trained_spacing(translator, (volume.shape[1], volume.shape[2]), spacing)
    slices: list[NDArray[Any]] = []

    def put(translation: Translation, index: int) -> None:
        target = single(translator.target)
        # What a slab lacks, its neighbours may have: a slice has no value where its own has none.
        gaps = np.isnan(volume[index]) if volume.dtype.kind == "f" else None
        slices.append(array_from_signed(translation.values, target, volume[index], gaps))

    take, near = blended(put, translator.target, count), range(-source.neighbours, source.neighbours + 1)
    for start in range(0, count, _TOGETHER):
        numbers = range(start, min(start + _TOGETHER, count))
        slabs = [as_slab([volume[min(max(n + step, 0), count - 1), :, :, None] for step in near]) for n in numbers]
        made = translator.translate_values([signed_from_array(slab, source) for slab in slabs])
        for number, translation in zip(numbers, made, strict=True):
            take(translation, number)
    return np.stack(slices)


def at_trained_spacing(translator: Translator, size: tuple[int, int], spacing: Spacing) -> Translator:
    """Return a translator that sees slices of (height, width) at the spacing of training, where that is known.

    Spacings are (between slices, down, across) in millimetres. Networks that saw images at a size that was chosen, and
    not at their own, do so again.
    """
    if len(spacing) != 3 or not all(math.isfinite(one) and one > 0 for one in spacing):
        raise UserError(f"a spacing is (between slices, down, across) in millimetres; received {spacing}.")
    known = translator.source.spacing
    if len(known) < 2:
        return translator
    factor = math.sqrt(spacing[1] * spacing[2] / (known[0] * known[1]))
    if abs(factor - 1) > NOTICEABLE and translator.sizing.by_pixels:
        shorter = max(1, round(min(size) * factor))
        translator.notices.append(
            f"slices of {spacing[1]:.3g} x {spacing[2]:.3g} mm a pixel are translated at {shorter} pixels on the "
            f"shorter side, at about the {known[0]:.3g} x {known[1]:.3g} mm of training"
        )
        return translator.at_size(shorter)
    between = spacing[0] / known[2] if len(known) == 3 and translator.source.neighbours else 1.0
    if abs(between - 1) > NOTICEABLE:
        translator.notices.append(
            f"slices are {spacing[0]:.3g} mm apart and were {known[2]:.3g} mm apart in training; neighbouring slices "
            "look different"
        )
    return translator
