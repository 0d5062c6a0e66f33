"""Where a loader's images come from: by position, prepared, with the right channels."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import percent, plural, printable
from unpaired.data.check import ImageInfo
from unpaired.data.config import DataConfig
from unpaired.data.decode import BadImage, as_channels
from unpaired.data.formats import Box, Frame, cut
from unpaired.data.labels import encoded
from unpaired.data.parallel import sharing_memory
from unpaired.data.reading import PICTURES, Reading
from unpaired.data.transforms import (
    PUBLISHED_MULTIPLE,
    centre_crop,
    height_width,
    load_size,
    pad,
    padded_size,
    prepare,
    prepared_size,
    resize,
    resize_nearest,
    training_size,
)
from unpaired.data.values import Image, with_nan


class ImageSource(Protocol):
    """Images by position; safe to ask from several threads."""

    def __len__(self) -> int:
        """Return how many images there are."""

    def __getitem__(self, index: int) -> Image:
        """Return one prepared image, [H, W, C] in its own dtype; not to be written to.

        Pixels without a value are NaN; images that have some are float32.
        """

    def name(self, index: int) -> str:
        """Return what a person calls this image: its path, for files."""


class FolderSource:
    """Images decoded and prepared from their files each time they are asked for."""

    def __init__(
        self,
        images: Sequence[ImageInfo],
        config: DataConfig,
        *,
        channels: int,
        size_multiple: int = 4,
        reading: Reading = PICTURES,
        padded: bool = False,
    ) -> None:
        """`size_multiple` is what sizes are to be a multiple of; by padding too, for training, where it is asked."""
        self.images, self.config, self.reading = images, config, reading
        self.channels, self.size_multiple, self.padded = channels, size_multiple, padded

    @property
    def has_large(self) -> bool:
        """Whether some images are never decoded whole: `window` reads parts of them."""
        return any(info.by_windows for info in self.images)

    def window(self, index: int, box: Box) -> Image:
        """Return a part of a large image, read from its file alone; without a value only where checking saw gaps."""
        info = self.images[index]
        assert isinstance(info.path, Path | Frame), info.path
        try:
            with sharing_memory():
                image, valid = self.reading.read_valid(cut(info.path, box), max_pixels=self.config.max_pixels)
        except BadImage as error:
            raise _changed(info, f"was sound when the data was checked and is not any more: {error.reason}") from error
        if (image.shape[2], image.dtype.name) != (info.channels, info.dtype):
            raise _changed(info, "has changed since the data was checked")
        if valid is None or info.missing:
            return as_channels(with_nan(image, valid), self.channels)
        # Gaps that checking, which sees parts of large images, has not met: the network is not prepared for NaN.
        least = np.asarray(0 if info.low is None else info.low, image.dtype)
        return as_channels(np.where(valid[:, :, None], image, least), self.channels)

    def without_padding(self, config: DataConfig) -> FolderSource:
        """Return the same images prepared by these settings and not padded; itself where that is the same."""
        pads = self.padded and training_size(self.config) is None and self.size_multiple > PUBLISHED_MULTIPLE
        if config is self.config and not pads:
            return self
        multiple, reading = self.size_multiple, self.reading
        return FolderSource(self.images, config, channels=self.channels, size_multiple=multiple, reading=reading)

    def only(self, positions: Sequence[int]) -> FolderSource:
        """Return some of the images, in this order."""
        fewer = copy.copy(self)
        fewer.images = [self.images[position] for position in positions]
        return fewer

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image:
        with sharing_memory():
            return pad(self._prepared(index), self.size(index))

    def _prepared(self, index: int) -> Image:
        info, image, labels = self.images[index], self._read(index), self.reading.labels
        if labels is not None:
            # Classes between two others would be invented by any resize but the nearest pixel's.
            indices = np.asarray(image[:, :, 0], np.uint8)
            size = prepared_size(info.height, info.width, self.config, size_multiple=self.size_multiple)
            return encoded(resize_nearest(indices, size), labels)
        image = as_channels(image, self.channels, alpha=self.reading.alpha)
        return prepare(image, self.config, size_multiple=self.size_multiple)

    def whole(self, index: int) -> Image:
        """Return one image at the size of its file, not prepared."""
        image, labels = self._read(index), self.reading.labels
        if labels is not None:
            return encoded(np.asarray(image[:, :, 0], np.uint8), labels)
        return as_channels(image, self.channels, alpha=self.reading.alpha)

    def fitted(self, image: Image, *, nearest: bool) -> Image:
        """Prepare an image of the size of a file of this source; `nearest` for label maps."""
        height, width = image.shape[:2]
        size = prepared_size(height, width, self.config, size_multiple=self.size_multiple)
        return resize(image, size, nearest=nearest)

    def _read(self, index: int) -> Image:
        info, labels = self.images[index], self.reading.labels
        try:
            image, valid = self.reading.read_valid(info.path, max_pixels=self.config.max_pixels)
        except BadImage as error:
            raise _changed(info, f"was sound when the data was checked and is not any more: {error.reason}") from error
        channels = image.shape[2] if labels is None else labels.channels
        if (*image.shape[:2], channels, image.dtype.name) != (info.height, info.width, info.channels, info.dtype):
            raise _changed(info, "has changed since the data was checked")
        if (valid is not None) != (info.missing > 0):
            raise _changed(info, "has changed since the data was checked")
        return with_nan(image, valid)

    def name(self, index: int) -> str:
        """Return the path of one image."""
        return printable(self.images[index].path)

    def dtype(self, index: int) -> str:
        """Return the name of the dtype in which an image is given."""
        info = self.images[index]
        return "float32" if info.missing else info.dtype

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of one prepared image, without reading it."""
        info = self.images[index]
        size = prepared_size(info.height, info.width, self.config, size_multiple=self.size_multiple)
        return padded_size(size, self.config, size_multiple=self.size_multiple) if self.padded else size


def _changed(info: ImageInfo, what: str) -> UserError:
    return UserError(
        f'the image "{printable(info.path)}" {what}. Put it back, or start again to have the files checked again.'
    )


def changed_geometry(title: str, source: FolderSource) -> list[str]:
    """Return what becomes of training images beyond what `data.preprocess` says, in words."""
    config, notices = source.config, list[str]()
    own = [prepared_size(info.height, info.width, config, size_multiple=source.size_multiple) for info in source.images]
    final = [source.size(index) for index in range(len(source))]
    padded = sum(one != other for one, other in zip(own, final, strict=True))
    if padded:
        share = 1 - sum(map(math.prod, own)) / sum(map(math.prod, final))
        notices.append(
            f"{title}: {plural(padded, 'image')} {'is' if padded == 1 else 'are'} padded by reflection to multiples of "
            f"{source.size_multiple}, which the network needs; {percent(share)} of what it sees is padding. "
            f"{option('data.preprocess', 'resize_and_crop')} avoids it"
        )
    crop, width = height_width(config.crop_size)[0], load_size(config)[1]
    low = sum(width * info.height // info.width < crop for info in source.images)
    if config.preprocess == "scale_width_and_crop" and low:
        notices.append(
            f"{title}: {plural(low, 'image')} {'is' if low == 1 else 'are'} lower than the crop at a width of {width}, "
            f"and stretched to a height of {crop}"
        )
    return notices


class CentreCropped:
    """Another source's images, cut to the middle; nothing about them is random."""

    def __init__(self, source: ImageSource, crop: tuple[int, int]) -> None:
        self._source, self._crop = source, crop

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Image:
        return centre_crop(self._source[index], self._crop)

    def name(self, index: int) -> str:
        """Return the other source's name."""
        return self._source.name(index)
