"""From an array to a file: the suffix chooses the format, and a file is there whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.files import write_atomic
from unpaired.data.metadata import Metadata, in_png, pillow_options, tiff_options
from unpaired.data.values import DTYPE_RANGES, Image

NOTHING = Metadata()
JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Format:
    """What one file format can hold, and how it is written."""

    name: str
    encode: Callable[[Image, Metadata], bytes]
    """Turns [H, W, C] into the bytes of a file."""
    dtypes: frozenset[str] | None
    """Names of the dtypes that it holds; None for all numbers."""
    channels: frozenset[int] | None
    """Numbers of channels that it holds; None for any."""
    with_alpha: Callable[[Image, Metadata], bytes] | None = None
    """Turns [H, W, 2 or 4], whose last channel is alpha, into the bytes of a file; None where it has none."""
    has_metadata: bool = True
    """Whether it holds what a picture says of itself."""


def _png(image: Image, metadata: Metadata = NOTHING) -> bytes:
    if image.dtype == np.uint8:
        return in_png(_pillow(image, "PNG"), metadata)
    import imagecodecs

    content = bytes(imagecodecs.png_encode(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image)))
    return in_png(content, metadata)


def _jpeg(image: Image, metadata: Metadata) -> bytes:
    return _pillow(image, "JPEG", quality=JPEG_QUALITY, subsampling=0, **pillow_options(metadata))


def _webp(image: Image, metadata: Metadata) -> bytes:
    grey = image.shape[2] < 3
    image = np.concatenate([np.repeat(image[..., :1], 3, axis=2), image[..., 1:]], axis=2) if grey else image
    options = pillow_options(metadata)  # exact: colours are kept where alpha is 0, too
    return _pillow(image, "WEBP", lossless=True, exact=True, **options)


def _tiff(image: Image, metadata: Metadata = NOTHING, alpha: bool = False) -> bytes:
    import tifffile

    colour = image.shape[2] == 3 + alpha
    count = image.shape[2] - (3 if colour else 1)
    extra = (["unassalpha"] if alpha else ["unspecified"] * count) if count else None
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        image[..., 0] if image.shape[2] == 1 else image,
        photometric="rgb" if colour else "minisblack",
        planarconfig=None if image.shape[2] == 1 else "contig",
        extrasamples=extra,
        compression="zlib",
        metadata=None,
        **tiff_options(metadata),
    )
    return buffer.getvalue()


def _npy(image: Image, metadata: Metadata = NOTHING) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, image, allow_pickle=False)
    return buffer.getvalue()


def _pillow(image: Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image)
    PillowImage.fromarray(pixels).save(buffer, name, **options)
    return buffer.getvalue()


_EIGHT = frozenset({"uint8"})
_PNG = Format("PNG", _png, frozenset({"uint8", "uint16"}), frozenset({1, 2, 3, 4}), _png)
_JPEG = Format("JPEG", _jpeg, _EIGHT, frozenset({1, 3}))
_TIFF = Format("TIFF", _tiff, None, None, lambda image, metadata: _tiff(image, metadata, alpha=True))
FORMATS: dict[str, Format] = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format("WebP", _webp, _EIGHT, frozenset({1, 3}), _webp),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".npy": Format("NumPy", _npy, None, None, has_metadata=False),
}
"""What can be written, by suffix. JPEG has quality 95 and no subsampling, WebP is lossless, TIFF is deflated.

PNG calls the last of 2 or 4 channels alpha: it holds those of domains with alpha, and others' only by number.
"""


def require_format(suffix: str, dtype: str, channels: int) -> Format:
    """Return the format of a suffix (`.png`); raise `UserError` where there is none, or it cannot hold such images."""
    found = FORMATS.get(suffix.lower())
    if found is None:
        near = did_you_mean(suffix.lower(), FORMATS)
        raise UserError(f'images cannot be written as "{suffix}". Allowed: {", ".join(FORMATS)}.{near}')
    dtype_fits = found.dtypes is None or dtype in found.dtypes
    channels_fit = found.channels is None or channels in found.channels
    if dtype_fits and channels_fit:
        return found
    able = [
        other
        for other, form in FORMATS.items()
        if (form.dtypes is None or dtype in form.dtypes) and (form.channels is None or channels in form.channels)
    ]
    raise UserError(
        f"{found.name} cannot hold images of {channels} channels of {dtype}. Use one of: {', '.join(able)}."
    )


def encode_image(image: Image, suffix: str, alpha: NDArray[Any] | None = None, metadata: Metadata = NOTHING) -> bytes:
    """Return [H, W, C] as the bytes of a file, in the format of a suffix (`.png`).

    `alpha` [H, W], of any type that images have, is stored beside one or three channels of uint8, uint16 or floats,
    straight, in their type. `metadata` is written where the format has it: EXIF in PNG, JPEG and WebP, texts in TIFF,
    resolution in PNG, JPEG and TIFF. Raises `UserError` where the format cannot hold the image.
    """
    assert image.ndim == 3, image.shape
    form = require_format(suffix, image.dtype.name, image.shape[2])
    if alpha is None:
        return form.encode(image, metadata)
    if form.with_alpha is None:
        raise UserError(f"{form.name} files hold no alpha here. Use one of: .png, .webp, .tif, .tiff.")
    share = alpha / (np.float64(1) if alpha.dtype.kind == "f" else DTYPE_RANGES[alpha.dtype.name][1])
    stored = share if image.dtype.kind == "f" else np.rint(share * DTYPE_RANGES[image.dtype.name][1])
    return form.with_alpha(np.concatenate([image, stored.astype(image.dtype)[:, :, None]], axis=2), metadata)


def encode_indices(indices: NDArray[np.uint8], suffix: str, palette: Sequence[tuple[int, int, int]]) -> bytes:
    """Return class indices [H, W] as the bytes of a file: PNG with a palette that shows their colours, TIFF grey,
    `.npy` [H, W]. Raises `UserError` for other formats."""
    assert indices.ndim == 2, indices.shape
    form = require_format(suffix, "uint8", 1)
    if form is _PNG:
        picture = PillowImage.fromarray(np.ascontiguousarray(indices))
        picture.putpalette([value for colour in palette for value in colour])
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()
    if form.encode is _npy:
        return _npy(indices)
    if form is _TIFF:
        return _tiff(indices[:, :, None])
    raise UserError(f"{form.name} cannot hold class indices. Use one of: .png, .tif, .tiff, .npy.")


def write_image(image: Image, path: str | os.PathLike[str], alpha: NDArray[Any] | None = None) -> None:
    """Write [H, W, C] to a file, in the format of its suffix; an existing file is replaced in one step.

    `alpha` as in `encode_image`. Raises `UserError` where the format cannot hold the image or the file cannot be
    written; then nothing is left.
    """
    path = Path(path)
    write_atomic(path, encode_image(image, path.suffix, alpha), durable=False)
