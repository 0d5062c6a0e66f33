"""LIF, the files of Leica's microscopes, by liffile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.stacks import Stack, StackReader, cropped, in_micrometres
from unpaired.data.values import Image

_UM = {"m": 1e6, "mm": 1e3, "µm": 1.0, "um": 1.0}
_DIMENSIONS = {"2": "Y", "1": "X", "3": "Z"}


class LifReader(StackReader):
    """Reads the series that are like the first one, plane by plane; others are skipped and reported."""

    suffixes = containers = frozenset({".lif"})
    libraries = ("liffile",)

    def accepts(self, start: bytes, suffix: str) -> bool:
        return suffix in self.suffixes or (start.startswith(b"\x70\0\0\0") and start[8:9] == b"\x2a")

    @contextlib.contextmanager
    def stack(self, path: Path) -> Iterator[Stack]:
        import liffile

        with liffile.LifFile(path) as file:
            every: list[Any] = [image for image in file.images if not image.is_flim and {"Y", "X"} <= set(image.sizes)]
            if not every:
                raise BadImage(path, "it holds no images with rows and columns")
            sizes, dtype = dict(every[0].sizes), every[0].dtype
            alike = [image for image in every if dict(image.sizes) == sizes and image.dtype == dtype]
            height, width = sizes.pop("Y"), sizes.pop("X")
            colours, samples = sizes.pop("C", 1), sizes.pop("S", 1)

            def read(at: Mapping[str, int], box: Box, level: int) -> Image:
                place, image = dict(at), alike[at["series"]]
                del place["series"]
                every_channel = [{"C": channel} for channel in range(colours)] if colours > 1 else [{}]
                return cropped([image.frame(**place, **channel) for channel in every_channel], box)

            def meaning() -> Meaning:
                described = _described(every[0].xml_element)
                return in_micrometres(*described, colours * samples, is_whole=len(alike) == len(file.images))

            frames = {"series": len(alike), **sizes}
            yield Stack(frames, [(height, width)], colours * samples, dtype.newbyteorder("=").name, read, meaning)


def _described(element: Any) -> tuple[list[float], list[str]]:
    """Return micrometres between pixels down, across and between planes, and the channels' names."""
    found = dict[str, float]()
    for each in element.iterfind("./Data/Image/ImageDescription/Dimensions/DimensionDescription"):
        axis, steps = _DIMENSIONS.get(each.get("DimID", "")), int(each.get("NumberOfElements", 1)) - 1
        if axis is not None and steps > 0:
            length = abs(float(each.get("Length", "nan"))) * _UM.get(each.get("Unit", ""), float("nan"))
            found[axis] = round(length / steps, 9)
    channels = element.iterfind("./Data/Image/ImageDescription/Channels/ChannelDescription")
    return [found.get(axis, float("nan")) for axis in "YXZ"], [each.get("LUTName", "") for each in channels]
