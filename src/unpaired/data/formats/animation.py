"""Animated pictures that are written like another one: its durations and its loop, by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import Image as PillowImage

from unpaired.data.formats.meaning import Box
from unpaired.data.formats.output import Output
from unpaired.data.values import Domain, Image

SUFFIXES = {".gif": "GIF", ".apng": "PNG", ".webp": "WEBP"}
"""What can be written, and Pillow's name for it."""
_QUALITY = 90
"""Of WebP, in its own measure; it is lossless where `Output.quality` is 0."""


def open_animation(source: PillowImage.Image, path: Path, domain: Domain) -> Output | None:
    """Return an animation with the times of an open one; None where it cannot hold images of the domain."""
    plain = domain.labels is None and not domain.alpha and domain.range is None
    if source.format not in SUFFIXES.values() or not plain or domain.dtype != "uint8" or domain.channels not in (1, 3):
        return None
    return AnimationOutput(source, path)


@final
class AnimationOutput(Output):
    """A GIF, APNG or WebP animation; Pillow writes it at once, so its frames wait in memory.

    Pillow joins equal frames that follow one another, and adds up their durations.
    """

    def __init__(self, source: PillowImage.Image, path: Path) -> None:
        self._path, self._form = path, str(source.format)
        self._durations = list[int]()
        for index in range(getattr(source, "n_frames", 1)):
            source.seek(index)
            source.load()  # only then WebP knows the duration
            self._durations.append(round(source.info.get("duration") or 0))
        self._loop: dict[str, Any] = {"loop": source.info["loop"]} if "loop" in source.info else {}
        self._frames = list[PillowImage.Image]()

    def put(self, image: Image, index: int = 0, box: Box | None = None) -> None:
        assert box is None, "frames of an animation are written whole"
        self._frames.append(PillowImage.fromarray(np.asarray(image[..., 0] if image.shape[2] == 1 else image)))

    def close(self) -> None:
        options: dict[str, Any] = {"duration": self._durations, **self._loop}
        if self._form == "GIF":
            self.notes += ("GIF holds 256 colours a frame, so colours are near those of the translation",)
        if self._form == "WEBP":
            options |= {"lossless": True} if self.quality == 0 else {"quality": _QUALITY}
        first, *rest = self._frames
        first.save(self._path, self._form, save_all=True, append_images=rest, **options)
