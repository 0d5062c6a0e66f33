"""CZI, the files of Zeiss's microscopes, by pylibCZIrw: mosaics are put together, all compressions of ZEN are read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.stacks import Stack, StackReader, in_micrometres
from unpaired.data.values import Image

_TYPES = {
    "Gray8": ("uint8", 1),
    "Gray16": ("uint16", 1),
    "Gray32Float": ("float32", 1),
    "Bgr24": ("uint8", 3),
    "Bgr48": ("uint16", 3),
    "Bgr96Float": ("float32", 3),
}


class CziReader(StackReader):
    """Reads the full resolution; scenes of the size of the first one are images, others are skipped and reported."""

    suffixes = containers = frozenset({".czi"})
    libraries = ("pylibCZIrw",)

    def accepts(self, start: bytes, suffix: str) -> bool:
        return suffix in self.suffixes or start.startswith(b"ZISRAWFILE")

    @contextlib.contextmanager
    def stack(self, path: Path) -> Iterator[Stack]:
        from pylibCZIrw import czi

        with czi.open_czi(str(path)) as file:
            kinds = set(file.pixel_types.values())
            kind = _TYPES.get(next(iter(kinds), ""))
            if kind is None or len(kinds) > 1:
                raise BadImage(path, f"pixels of {', '.join(sorted(kinds))}; allowed is one of {', '.join(_TYPES)}")
            scenes: dict[int | None, Any] = dict(file.scenes_bounding_rectangle) or {
                None: file.total_bounding_rectangle
            }
            first = next(iter(scenes.values()))
            alike = [scene for scene, place in scenes.items() if (place.w, place.h) == (first.w, first.h)]
            axes = {name: high - low for name, (low, high) in file.total_bounding_box.items() if name not in "XYC"}
            channels = sorted(file.pixel_types)

            def read(at: Mapping[str, int], box: Box, level: int) -> Image:
                scene = alike[at["S"]]
                roi = scenes[scene].x + box.left, scenes[scene].y + box.top, box.width, box.height
                place = {name: index for name, index in at.items() if name != "S"}
                planes = [file.read(roi, plane={**place, "C": channel}, scene=scene) for channel in channels]
                return np.concatenate([plane[:, :, ::-1] for plane in planes], axis=2)  # blue, green, red as stored

            def meaning() -> Meaning:
                described = _described(file.raw_metadata)
                return in_micrometres(*described, len(channels) * kind[1], is_whole=len(alike) == len(scenes))

            frames = {"S": len(alike), **axes}
            yield Stack(frames, [(first.h, first.w)], len(channels) * kind[1], kind[0], read, meaning)


def _described(text: str) -> tuple[list[float], list[str]]:
    """Return micrometres between pixels down, across and between planes, and the channels' names."""
    root = ElementTree.fromstring(text)
    sizes = {each.get("Id"): each.findtext("Value", "nan") for each in root.iterfind(".//Scaling/Items/Distance")}
    metres = [float(sizes.get(axis, "nan")) for axis in "YXZ"]
    found = root.iterfind("./Metadata/Information/Image/Dimensions/Channels/Channel")
    return [round(length * 1e6, 9) for length in metres], [channel.get("Name", "") for channel in found]
