"""Images of every kind that people hold, to and from arrays [H, W, C] in [-1, 1]."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.bad_image import MAX_PIXELS
from unpaired.data.decode import as_channels, read_alpha
from unpaired.data.formats import ImageBytes
from unpaired.data.formats.base import upright
from unpaired.data.formats.pillow import few_bits, orientation_of, stored_values, to_array
from unpaired.data.labels import encoded
from unpaired.data.reading import Half, ImageFile, Reading, halved
from unpaired.data.values import DTYPE_RANGES, Domain, Image, Signed, from_signed, to_signed
from unpaired.models.fit import GOOD_FIT, Fit, judge, pixels_of, said_of
from unpaired.models.label_conversion import (
    label_array,
    label_picture,
    signed_from_label_array,
)

StoredType = Literal["uint8", "uint16", "int16", "float32"]
STORED_TYPES: tuple[str, ...] = get_args(StoredType)
_STRAIGHT = {"La": "LA", "RGBa": "RGBA"}
"""Premultiplied modes of Pillow, which no file holds, and their ordinary counterparts."""
_FLOAT_SLACK = 1e-3
"""Floats this far outside [0, 1] are taken for rounding; anything further is another convention."""


class Opened(NamedTuple):
    """A file's image as the network wants it, and what else is known of it."""

    values: Signed
    """NaN where a pixel has no value."""
    alpha: Image | None = None
    """How opaque it is, [H, W]; None without transparency, or where that was not asked for."""
    fit: Fit = GOOD_FIT


def open_image(
    path: ImageFile,
    source: Domain,
    *,
    max_pixels: int = MAX_PIXELS,
    half: Half | None = None,
    with_alpha: bool = False,
) -> Opened:
    """Read a file, or half of it, by the rules of training.

    Raises `BadImage` for files that cannot be read, `UserError` as `signed_from_array` does.
    """
    reading = Reading(half=half, labels=source.labels, alpha=source.alpha, channels=source.channels)
    image, valid = reading.read_valid(path, max_pixels=max_pixels)
    if source.labels is not None:
        return Opened(to_signed(encoded(np.asarray(image[:, :, 0], np.uint8), source.labels)))
    fit = judge(image, valid, source, lambda: said_of(path))._replace(pixels=pixels_of(path, source))
    values, alpha = _as_seen(image, source, valid), None
    if with_alpha and isinstance(path, Path | ImageBytes):
        with path.open("rb") as file:  # JPEG has no alpha, and is most files: it is not decoded once more
            look = file.read(3) != b"\xff\xd8\xff"
        found = read_alpha(path, max_pixels=max_pixels) if look else None
        alpha = None if found is None else halved(path, found[:, :, None], half)[:, :, 0]
    return Opened(values, alpha, fit)


def signed_from_array(image: Image, source: Domain) -> Signed:
    """Return an image [H, W, C] or [H, W] of any dtype as the network wants it: `source.channels` in [-1, 1].

    Pixels that are not finite have no value and are NaN in the result.

    Values are read by the declared range of the domain, else by the dtype (floats: 0 to 1). Channels are converted by
    the rule of `as_channels`. Raises `UserError` for anything that would be misread: floats outside [0, 1] where no
    range is declared, images whose type is not the model's (see `models.fit`), no finite value, other numbers of
    dimensions or channels, no pixels. For a domain of label maps see `signed_from_label_array`.
    """
    if source.labels is not None:
        return signed_from_label_array(image, source.labels)
    if image.ndim not in (2, 3):
        raise UserError(f"an image array has shape H x W or H x W x C; received {_shape(image)}.")
    if image.size == 0:
        raise UserError(f"an image array of shape {_shape(image)} has no pixels: nothing can be translated.")
    if image.dtype.kind not in "biuf":
        raise UserError(f"an image array holds integers or floats; received dtype {image.dtype}.")
    image, valid = image if image.ndim == 3 else image[:, :, None], None
    if image.dtype.kind == "f" and not (finite := np.asarray(np.isfinite(image).all(axis=2))).all():
        valid = finite
        if not finite.any():
            raise UserError("the values of the image are not finite: all are NaN or infinity.")
    judge(image, valid, source)
    return _as_seen(image, source, valid)


def _as_seen(image: Image, source: Domain, valid: NDArray[np.bool_] | None) -> Signed:
    if image.dtype.kind == "f":
        _check_floats(image if valid is None else image[valid], source)
    signed = to_signed(as_channels(image, source.channels, alpha=source.alpha), source.range)
    return signed if valid is None else np.where(valid[:, :, None], signed, np.float32(np.nan))


def _check_floats(image: Image, source: Domain) -> None:
    if not image.size:
        return
    low, high = float(image.min()), float(image.max())
    if source.range is None and (low < -_FLOAT_SLACK or high > 1 + _FLOAT_SLACK):
        raise UserError(
            f"values of a float image lie in [0, 1] for this model; received {low:.6g} to {high:.6g}. Scale them, or "
            "pass another type: uint8 in 0..255, uint16 in 0..65535, or a tensor [N, C, H, W] in [-1, 1]."
        )


def _shape(image: Image) -> str:
    return " x ".join(str(length) for length in image.shape)


def array_from_signed(signed: Signed, target: Domain, like: Image, missing: NDArray[np.bool_] | None = None) -> Image:
    """Return a translation as an array in the convention of the array that it was made from.

    - dtype: that of the input. Two exceptions take the type of the target domain: types which have no range by
      themselves (int32, bool, ...), and integers where the target declares a range, which they might not hold.
    - values: the declared range of the target domain, else the full range of the dtype (floats: 0 to 1).
    - dimensions: [H, W] where the input was [H, W] and the target has one channel, else [H, W, C].
    - NaN where the input has no value, `missing` [H, W]; only floats can be so.

    Into label maps, whatever the input: see `label_array`.
    """
    if target.labels is not None:
        return label_array(signed, target.labels)
    kind = like.dtype
    keeps_type = kind.kind == "f" or (target.range is None and kind.name in STORED_TYPES)
    written = "float32" if kind.kind == "f" else kind.name if keeps_type else target.dtype
    if missing is not None:
        signed = np.where(missing[:, :, None], np.float32(np.nan), signed)
    values = from_signed(signed, with_type(target, written))
    if kind.kind == "f":
        values = values.astype(kind, copy=False)
    return values[:, :, 0] if like.ndim == 2 and target.channels == 1 else values


def with_type(domain: Domain, dtype: str, *, declared: bool = True) -> Domain:
    """Return `domain` stored as another dtype; without `declared` its values fill the range of that dtype."""
    assert dtype in STORED_TYPES, dtype
    changed: Any = dtype
    return replace(domain, dtype=changed, range=domain.range if declared else None)


# --------------------------------------------------------------------------------------------------------------- PIL


def signed_from_pil(image: PIL.Image.Image, source: Domain) -> Signed:
    """Return a PIL image of any mode as the network wants it, upright, by the rules by which files are decoded.

    For maps of class indices the stored index of palette pictures counts.
    """
    bits, stored = few_bits(image), source.labels is not None and source.labels.kind == "index"
    try:
        image.load()
        orientation = orientation_of(image.getexif().tobytes())
        straight = image.convert(_STRAIGHT[image.mode]) if image.mode in _STRAIGHT else image
        pixels = stored_values(straight, bits) if stored else to_array(straight, alpha=source.alpha)
    except (OSError, SyntaxError, ValueError) as error:  # an opened file is decoded only now
        raise UserError(f"the PIL image cannot be decoded ({error}). Open another file.") from error
    return signed_from_array(upright(pixels, orientation), source)


def pil_from_signed(signed: Signed, target: Domain, like: PIL.Image.Image) -> PIL.Image.Image:
    """Return a translation of the image `like` as a PIL image.

    Three channels become `RGB`, which is 8 bit in Pillow: the values fill 0 to 255 unless the target domain is 8 bit
    and declares a range; `RGBA` with the input's alpha, or the model's where it makes one. One channel keeps the depth
    of the input (`I;16` or `F`, else `L`), or takes that of the target domain where it declares a range. `UserError`
    for other channel counts, which Pillow cannot hold. Label maps become `P` or `RGB`, see `label_picture`.
    """
    if target.labels is not None:
        return label_picture(signed, target.labels)
    if target.channels == 3 or target.alpha:
        domain = with_type(target, "uint8", declared=target.dtype == "uint8")
        made = PIL.Image.fromarray(np.ascontiguousarray(from_signed(signed, domain)))
        if like.has_transparency_data and not target.alpha:
            straight = like.convert(_STRAIGHT[like.mode]) if like.mode in _STRAIGHT else like
            alpha = np.asarray(straight.convert("RGBA").getchannel("A"))[:, :, None]
            orientation = orientation_of(like.getexif().tobytes())
            made.putalpha(PIL.Image.fromarray(np.ascontiguousarray(upright(alpha, orientation)[:, :, 0])))
        return made
    if target.channels != 1:
        raise UserError(
            f"this model writes images of {target.channels} channels, which a PIL image cannot hold. "
            "Pass a numpy array H x W x C or a tensor [N, C, H, W] and receive the same kind."
        )
    by_mode = "float32" if like.mode == "F" else "uint16" if like.mode.startswith("I") else "uint8"
    written = by_mode if target.range is None else target.dtype
    values = from_signed(signed, with_type(target, written))[:, :, 0]
    if written == "int16":
        values = values.astype(np.int32)  # Pillow has no signed 16-bit mode
    return PIL.Image.fromarray(np.ascontiguousarray(values))


def accepted_types() -> str:
    """Return the sentence of errors that says what a translator takes."""
    integers = ", ".join(name for name in DTYPE_RANGES if name.startswith(("u", "i")))
    return (
        f"A translator takes a PIL image, a numpy array H x W x C or H x W ({integers}, or float in [0, 1]), a tensor "
        "[N, C, H, W] in [-1, 1], or a list of these."
    )
