"""Label maps of every kind that people hold, to what networks see, and what networks make back to label maps."""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.encode import encode_image, encode_indices
from unpaired.data.labels import Labels, encoded, from_colours, paint, to_indices
from unpaired.data.values import Image, Signed, stored_classes, to_signed


def signed_from_label_array(image: Image, labels: Labels) -> Signed:
    """Return a label map as the network wants it: class indices [H, W] or [H, W, 1], or palette colours [H, W, 3].

    For kind "colour" [H, W] is a grey picture. Raises `UserError` for values or colours that are no class.
    """
    if image.ndim not in (2, 3) or image.size == 0:
        shape = " x ".join(str(length) for length in image.shape)
        raise UserError(f"a label map has shape H x W or H x W x C, and pixels; received {shape}.")
    try:
        if labels.kind == "index" and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
            return to_signed(encoded(from_colours(image, labels), labels))
        return to_signed(encoded(to_indices(image, labels), labels))
    except UserError as error:
        indices = f"class indices 0 to {len(labels.palette) - 1} as H x W, or RGB in" if labels.kind == "index" else ""
        wanted = f"Pass {indices or 'RGB of 8 bits in'} the {len(labels.palette)} colours of the palette."
        raise UserError(f"the image is no label map of this model: {error}. {wanted}") from error


def label_array(signed: Signed, labels: Labels) -> NDArray[np.uint8]:
    """Return a translation as label map: class indices [H, W] for kind "index", palette colours [H, W, 3] else.

    Every pixel takes the class of the nearest palette colour (squared distance in RGB of 8 bits) or, for one-hot, of
    the largest channel; none is void.
    """
    indices = stored_classes(signed, labels)
    return indices if labels.kind == "index" else paint(indices, labels)


def label_picture(signed: Signed, labels: Labels) -> PIL.Image.Image:
    """Return a translation as a picture: mode `P`, whose stored values are the class indices, or `RGB`."""
    picture = PIL.Image.fromarray(np.ascontiguousarray(label_array(signed, labels)))
    if labels.kind == "index":
        picture.putpalette([value for colour in labels.palette for value in colour])  # "L" becomes "P"
    return picture


def require_label_format(labels: Labels, format: str, bit_depth: int | None) -> None:
    """Raise `UserError` where a format ("png") or a bit depth cannot hold label maps as they are."""
    if format in ("jpg", "jpeg"):
        raise UserError(
            "this model translates into label maps, and JPEG is lossy: it would change their classes at every edge. "
            "Use --format png."
        )
    if format == "webp" and labels.kind == "index":
        raise UserError(
            "this model translates into maps of class indices, which WebP, always coloured, cannot hold. "
            "Use --format png, tiff or npy."
        )
    if bit_depth not in (None, 8):
        raise UserError(
            f"this model translates into label maps, which have 8 bits; received --bit-depth {bit_depth}. Leave it out."
        )


def encode_label_map(signed: Signed, labels: Labels, suffix: str) -> bytes:
    """Return a translation as the bytes of a label map file; raises `UserError`."""
    values = label_array(signed, labels)
    if labels.kind == "index":
        return encode_indices(values, suffix, labels.palette)
    return encode_image(values, suffix)
