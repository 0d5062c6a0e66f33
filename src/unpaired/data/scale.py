"""How training resized images before its networks saw them; remembered with every model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from statistics import median

from pydantic.dataclasses import dataclass

from unpaired.core.settings import STRICT
from unpaired.data.check import ImageInfo
from unpaired.data.config import DataConfig, Preprocess
from unpaired.data.directions import Side
from unpaired.data.transforms import height_width, load_size, prepared_size


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Scale:
    """The size at which a network sees a whole image as in its training, nothing random about it."""

    preprocess: Preprocess
    """How images became training images."""
    load_size: tuple[int, int]
    """(height, width): all of it for resize_and_crop, the width for scale_width."""
    crop_size: tuple[int, int]
    level: int = 0
    """Which of the resolutions that files hold was trained on, the full one first."""
    typical: dict[Side, tuple[int, int]] = field(default_factory=dict)
    """The median height and width of the training images' files, where they are known."""

    @property
    def is_native(self) -> bool:
        """Whether training resized nothing: networks see images at their own size."""
        return self.preprocess in ("crop", "none")

    @property
    def settings(self) -> DataConfig:
        """The settings of the data that prepare whole images so."""
        config = DataConfig(preprocess=self.preprocess)
        if self.preprocess not in ("none", "scale_width"):
            config = replace(config, crop_size=self.crop_size)
        return config if self.is_native else replace(config, load_size=self.load_size)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) at which the network sees an image of this size."""
        return (height, width) if self.is_native else prepared_size(height, width, self.settings)

    def __str__(self) -> str:
        """Say it in words: `64 x 64`, `a width of 512`, `their own size`."""
        if self.is_native:
            return "their own size"
        height, width = self.load_size
        return f"{height} x {width}" if self.preprocess == "resize_and_crop" else f"a width of {width}"


def whole_settings(config: DataConfig) -> DataConfig:
    """Return the settings for whole images: those of resize_and_crop get the crop's size at once, as the authors'."""
    if config.preprocess != "resize_and_crop" or config.load_size == (crop := height_width(config.crop_size)):
        return config
    return replace(config, load_size=crop)


def scale_of(config: DataConfig, files: Mapping[Side, Iterable[ImageInfo]] | None = None) -> Scale:
    """Return the scale of a training with these settings; `files` are its training images by domain."""
    whole = whole_settings(config)
    typical = {
        side: (round(median(info.height for info in found)), round(median(info.width for info in found)))
        for side, infos in (files or {}).items()
        if (found := [*infos])
    }
    crop = height_width(whole.crop_size)
    return Scale(
        preprocess=whole.preprocess, load_size=load_size(whole), crop_size=crop, level=config.level, typical=typical
    )
