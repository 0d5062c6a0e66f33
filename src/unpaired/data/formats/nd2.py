"""ND2, the files of Nikon's microscopes, by nd2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.stacks import Stack, StackReader, cropped, in_micrometres
from unpaired.data.values import Image


class Nd2Reader(StackReader):
    """Reads every position, time and plane as an image; a frame of the file holds its channels."""

    suffixes = containers = frozenset({".nd2"})
    libraries = ("nd2",)

    def accepts(self, start: bytes, suffix: str) -> bool:
        return suffix in self.suffixes or start.startswith(b"\xda\xce\xbe\x0a")

    @contextlib.contextmanager
    def stack(self, path: Path) -> Iterator[Stack]:
        import nd2

        with nd2.ND2File(path) as file:
            sizes = dict(file.sizes)
            height, width = sizes.pop("Y", 1), sizes.pop("X", 1)
            colours, samples = sizes.pop("C", 1), sizes.pop("S", 1)
            recorded = file.attributes.sequenceCount

            def read(at: Mapping[str, int], box: Box, level: int) -> Image:
                index = int(np.ravel_multi_index(tuple(at.values()), tuple(sizes.values()))) if at else 0
                if index >= recorded:  # the library gives zeros
                    raise BadImage(path, f"image {index}: {recorded} were recorded before the experiment was stopped")
                frame = file.read_frame(index).reshape(colours, height, width, samples)
                return cropped(list(frame), box)

            def meaning() -> Meaning:
                try:
                    size, described = file.voxel_size(), file.metadata.channels or []
                except Exception:  # the library raises anything where a description is short
                    return Meaning()
                calibrated = bool(described) and described[0].volume.axesCalibrated[0]
                spacing = [size.y, size.x, *([size.z] if "Z" in sizes else [])] if calibrated else []
                return in_micrometres(spacing, [each.channel.name for each in described], colours * samples)

            yield Stack(sizes, [(height, width)], colours * samples, np.dtype(file.dtype).name, read, meaning)
