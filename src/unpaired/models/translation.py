"""One translation: what the network made, and what a file holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.core.files import write_atomic
from unpaired.data.encode import NOTHING, encode_image
from unpaired.data.metadata import Metadata
from unpaired.data.values import Domain, Image, Signed, as_stored, with_nan
from unpaired.models.label_conversion import encode_label_map, label_array


@dataclass(frozen=True, slots=True)
class Translation:
    """A translated image; everything that is measured, shown or written of a translation is one of these."""

    values: Signed
    """[H, W, C] in [-1, 1], float32, not rounded: what a second translation (a reconstruction) is made of."""
    domain: Domain
    """The domain that it belongs to."""
    missing: NDArray[np.bool_] | None = None
    """Where the input has no value, [H, W]; None where every pixel has one."""
    doubt: NDArray[np.float32] | None = None
    """The map of doubt, [H, W], where one was asked for: see `models.doubt`."""

    @property
    def image(self) -> Image:
        """The image as its file holds it and as sources give it: [H, W, C] in levels, label maps in their classes.

        Float32 with NaN where the input has no value.
        """
        image = as_stored(self.values, self.domain)
        return image if self.missing is None or self.domain.labels is not None else with_nan(image, ~self.missing)

    def stored_as(self, written_as: Domain) -> Image:
        """Return the image [H, W, C] as a file of `written_as` holds it: label maps as class indices or colours.

        Where the input has no value, floats are NaN, and integers the low end of the range.
        """
        if written_as.labels is not None:
            return np.atleast_3d(label_array(self.values, written_as.labels))
        values = self.values
        if self.missing is not None:
            values = np.where(self.missing[:, :, None], np.float32(np.nan), values)
        return as_stored(values, written_as)

    def encode(
        self,
        suffix: str,
        written_as: Domain | None = None,
        alpha: NDArray[Any] | None = None,
        metadata: Metadata = NOTHING,
    ) -> bytes:
        """Return the bytes of its file in the format of a suffix (`.png`); raises `UserError`.

        `written_as` is its domain in another type. `alpha` [H, W] and `metadata` are stored beside pictures; see
        `encode_image`.
        """
        domain = written_as or self.domain
        if domain.labels is not None:
            return encode_label_map(self.values, domain.labels, suffix)
        image = self.stored_as(domain)
        if domain.alpha and suffix.lower() in (".tif", ".tiff"):  # elsewhere it is the last channel of itself
            image, alpha = image[..., :-1], image[..., -1]
        return encode_image(image, suffix, alpha, metadata)

    def write(self, path: Path, written_as: Domain | None = None, alpha: NDArray[Any] | None = None) -> None:
        """Write it to a file, whole or not at all, as `encode` says; raises `UserError`."""
        write_atomic(path, self.encode(path.suffix, written_as, alpha), durable=False)
