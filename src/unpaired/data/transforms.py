"""The authors' preprocessing modes, on [H, W, C] arrays of any dtype and channel count.

The deterministic part (`prepare`) can be cached; the random part (`crop_and_flip`) is a function of three numbers.
Modes and arithmetic follow `data/base_dataset.py` of the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.errors import UserError, option
from unpaired.data.config import DataConfig
from unpaired.data.values import Image

PUBLISHED_MULTIPLE = 4
"""Images that keep sizes of their own are resized to the nearest multiple of this; of larger ones, they are padded."""
MOSTLY = 0.5
"""A resized pixel has a value where more than this share of what it is made of has one."""
_EIGHT_BIT_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Four channels go as CMYK, not RGBA: Pillow weights RGBA by its last channel when it resizes.


def height_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of a size that may be one number for a square."""
    return (size, size) if isinstance(size, int) else size


def load_size(config: DataConfig) -> tuple[int, int]:
    """Return (height, width) before the crop: as set, else 1.12 x the crop, rounded down (286 for 256)."""
    if config.load_size is not None:
        return height_width(config.load_size)
    height, width = height_width(config.crop_size)
    return height * 112 // 100, width * 112 // 100


def training_size(config: DataConfig) -> tuple[int, int] | None:
    """Return (height, width) of every training image, or None where images keep sizes of their own."""
    return None if config.preprocess in ("scale_width", "none") else height_width(config.crop_size)


def check_sizes(config: DataConfig) -> None:
    """Raise `UserError` for sizes that contradict the mode or one another."""
    mode, load, crop = config.preprocess, load_size(config), height_width(config.crop_size)
    preprocess = option("data.preprocess", mode)
    if mode in ("crop", "none") and config.load_size is not None:
        raise UserError(
            f"{option('data.load_size', config.load_size)}: {preprocess} resizes nothing. Leave "
            f"{option('data.load_size')} out, or use resize_and_crop or scale_width_and_crop."
        )
    if config.is_set("crop_size") and (mode == "none" or (mode == "scale_width" and config.load_size is not None)):
        raise UserError(
            f"{option('data.crop_size', config.crop_size)}: {preprocess} crops nothing. Leave "
            f"{option('data.crop_size')} out, or use crop, resize_and_crop or scale_width_and_crop."
        )
    too_small = {
        "resize_and_crop": load[0] < crop[0] or load[1] < crop[1],
        "scale_width_and_crop": load[1] < crop[1],
    }
    if too_small.get(mode, False):
        raise UserError(
            f"a crop of {crop[0]} x {crop[1]} (height x width) does not fit into images loaded at {load[0]} x "
            f"{load[1]}. Make {option('data.load_size')} at least as large as {option('data.crop_size')}; without "
            "it, 1.12 x the crop is taken."
        )


def prepared_size(height: int, width: int, config: DataConfig, *, size_multiple: int = 4) -> tuple[int, int]:
    """Return the (height, width) that `prepare` gives an image of this size."""
    load = load_size(config)
    if config.preprocess == "resize_and_crop":
        return load
    if config.preprocess == "crop":
        return height, width
    if config.preprocess in ("scale_width", "scale_width_and_crop"):
        # The height is rounded down and never less than the crop, as in the authors' code. Deviation: "scale_width",
        # which crops nothing, keeps the proportions; theirs stretches the image to the crop's height all the same.
        least = height_width(config.crop_size)[0] if config.preprocess == "scale_width_and_crop" else 1
        height, width = int(max(load[1] * height / width, least)), load[1]
    if config.preprocess == "scale_width_and_crop":
        return height, width
    # Without a crop the generator needs sizes that it can halve and double; the authors resize to multiples of 4.
    # Deviation: to larger multiples (U-Nets), which would distort, the authors resize as well; here they are padded.
    if size_multiple > PUBLISHED_MULTIPLE:
        return height, width
    return _nearest_multiple(height, size_multiple), _nearest_multiple(width, size_multiple)


def padded_size(size: tuple[int, int], config: DataConfig, *, size_multiple: int) -> tuple[int, int]:
    """Return the (height, width) to which `pad` brings a prepared training image: as is where it is cropped later."""
    if training_size(config) is not None or size_multiple <= PUBLISHED_MULTIPLE:
        return size
    height, width = (-(-length // size_multiple) * size_multiple for length in size)
    return height, width


def pad(image: Image, size: tuple[int, int]) -> Image:
    """Pad [H, W, C] to (height, width) by reflection, on the right and at the bottom, as translators do."""
    if image.shape[:2] == size:
        return image
    # Where the padding is wider than the image, the reflection goes back and forth.
    return np.pad(image, ((0, size[0] - image.shape[0]), (0, size[1] - image.shape[1]), (0, 0)), mode="reflect")


def prepare(image: Image, config: DataConfig, *, size_multiple: int = 4) -> Image:
    """Do the deterministic part of the preprocessing: resize [H, W, C] to `prepared_size`, bicubic.

    Deviation: "scale_width" followed by rounding to a multiple is one resize; the authors resize twice.
    """
    return resize(image, prepared_size(image.shape[0], image.shape[1], config, size_multiple=size_multiple))


def resize(image: Image, size: tuple[int, int], *, nearest: bool = False) -> Image:
    """Resize [H, W, C] to (height, width), bicubic as in Pillow (antialiased when it shrinks).

    8-bit images are resized as Pillow does; every other dtype as floats, each channel for itself, then rounded and
    clipped to what the dtype holds. `nearest` takes the nearest pixel, for label maps. NaN, pixels without a value,
    count nothing, and a pixel of which they make half or more has none.
    """
    if image.shape[:2] == size:
        return image
    if image.dtype.kind == "f" and not nearest and (missing := np.isnan(image)).any():
        weights: NDArray[Any] = resize((~missing).astype(np.float32), size)
        weighted: NDArray[Any] = resize(np.where(missing, np.float32(0), image), size)
        return np.asarray(np.divide(weighted, weights, out=np.full_like(weighted, np.nan), where=weights > MOSTLY))
    way = PillowImage.Resampling.NEAREST if nearest else PillowImage.Resampling.BICUBIC
    if image.dtype == np.uint8 and image.shape[2] in _EIGHT_BIT_MODES:
        return _resized_plane(image, size, _EIGHT_BIT_MODES[image.shape[2]], way).reshape(*size, image.shape[2])
    mode = "L" if image.dtype == np.uint8 else "F"
    result = np.empty((*size, image.shape[2]), image.dtype)
    for channel in range(image.shape[2]):
        plane = _resized_plane(image[..., channel : channel + 1], size, mode, way)
        if image.dtype.kind in "iu" and mode == "F":
            bounds = np.iinfo(image.dtype.name)
            plane = np.clip(np.rint(plane.astype(np.float64)), bounds.min, bounds.max)
        result[..., channel] = plane.astype(image.dtype)
    return result


def resize_nearest(indices: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize class indices [H, W] to (height, width): every pixel takes the nearest one's, as in Pillow."""
    if indices.shape == size:
        return indices
    picture = PillowImage.fromarray(np.ascontiguousarray(indices))
    return np.asarray(picture.resize((size[1], size[0]), PillowImage.Resampling.NEAREST))


def crop_offsets(size: tuple[int, int], crop: tuple[int, int], u: Sequence[float]) -> tuple[int, int]:
    """Return (top, left) of a crop: every position equally likely when `u[0]`, `u[1]` are uniform in [0, 1)."""
    room = (size[0] - crop[0], size[1] - crop[1])
    assert min(room) >= 0, f"a crop of {crop} does not fit into {size}"
    return min(int(u[0] * (room[0] + 1)), room[0]), min(int(u[1] * (room[1] + 1)), room[1])


def random_crop(image: Image, crop: tuple[int, int], u: Sequence[float]) -> Image:
    """Cut a random crop (height, width), given uniform numbers in [0, 1) of which two are used; a view."""
    top, left = crop_offsets((image.shape[0], image.shape[1]), crop, u)
    return image[top : top + crop[0], left : left + crop[1]]


def is_flipped(u: Sequence[float]) -> bool:
    """Return whether an image is flipped, given three uniform numbers in [0, 1): every second one is."""
    return u[2] < 0.5


def crop_and_flip(image: Image, crop: tuple[int, int], u: Sequence[float], *, flip: bool = True) -> Image:
    """Cut a random crop (height, width) and flip every second one, given three uniform numbers in [0, 1); a view."""
    cut = random_crop(image, crop, u)
    return cut[:, ::-1] if flip and is_flipped(u) else cut


def centre_crop(image: Image, crop: tuple[int, int]) -> Image:
    """Cut the middle (height, width); a view."""
    return random_crop(image, crop, (0.5, 0.5))


def _nearest_multiple(length: int, multiple: int) -> int:
    return max(multiple, round(length / multiple) * multiple)


def _resized_plane(image: Image, size: tuple[int, int], mode: str, way: PillowImage.Resampling) -> NDArray[np.generic]:
    height, width, channels = image.shape
    raw = np.ascontiguousarray(image[..., 0] if channels == 1 else image)
    if mode == "F":
        raw = raw.astype(np.float32, copy=False)
    picture = PillowImage.frombuffer(mode, (width, height), raw, "raw", mode, 0, 1)
    return np.asarray(picture.resize((size[1], size[0]), way))
