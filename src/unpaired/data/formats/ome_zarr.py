"""OME-Zarr (OME-NGFF 0.4 and 0.5), by zarr: a folder is a file of images with axes and resolutions."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from unpaired.core.errors import needs_extra
from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.formats.pyramid import PyramidOutput
from unpaired.data.values import DTYPE_RANGES, Domain, Image

_UM = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
_MOST_IN_CHUNK = 1 << 28


class Stored(NamedTuple):
    """The images of a folder."""

    axes: str
    """Names of the axes, one letter each, y and x the last."""
    arrays: list[Any]
    """The array of every resolution, the full one first."""
    scale: tuple[float, ...]
    """Distance between neighbours along every axis at full resolution, in micrometres where it is known, else 0."""
    channels: tuple[str, ...]


class OmeZarrReader(Reader):
    """Reads the first multiscale image of a folder `x.zarr`: c are channels, each combination of t and z is an image.

    Translations are written as OME-TIFF.
    """

    suffixes = containers = folders = frozenset({".zarr"})
    extra = "microscopy"
    libraries = ("zarr",)

    def probe(self, path: Path) -> Header:
        with _stored(path) as found:
            shape = found.arrays[0].shape
            return Header(shape[-2], shape[-1], _channels(found), np.dtype(found.arrays[0].dtype).name)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return self.read_frame(path, 0)

    def count(self, path: Path, axis: int = 0) -> int:
        if axis:
            raise BadImage(path, f"axis {axis}: the images of stacks are its planes, axis 0")
        with _stored(path) as found:
            return int(math.prod(found.arrays[0].shape[:-2])) // _channels(found)

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        with _stored(path) as found:
            height, width = found.arrays[0].shape[-2:]
            return _part(found, Box(0, 0, height, width), index, 0)

    def meaning(self, path: Path) -> Meaning:
        with _stored(path) as found:
            sizes = dict(zip(found.axes, found.scale, strict=True))
            flat = sizes["y"], sizes["x"]
            spacing = (*flat, sizes["z"]) if sizes.get("z", 0) and all(flat) else flat if all(flat) else ()
            unit = "um" if spacing else ""
            return Meaning(spacing=spacing, spacing_unit=unit, channels=found.channels)

    def levels(self, path: Path) -> list[tuple[int, int]]:
        with _stored(path) as found:
            return [(array.shape[-2], array.shape[-1]) for array in found.arrays]

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image | None:
        with _stored(path) as found:
            return _part(found, box, index, level)

    def output_suffix(self, path: Path) -> str:
        return ".ome.tif"

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        if domain.dtype not in DTYPE_RANGES:
            return None
        with _stored(source) as found:
            levels = [array.shape[-2:] for array in found.arrays]
            lead = zip(found.axes[:-2].upper(), found.arrays[0].shape[:-2], strict=True)
            frames = {name: length for name, length in lead if name in "TZ"}
        return PyramidOutput(
            path,
            domain,
            size,
            count,
            tile=None,
            smallest=levels[-1] if len(levels) > 1 else None,
            frames=frames,
            meaning=self.meaning(source),
            factor=(levels[0][0] / size[0], levels[0][1] / size[1]),
        )


@contextlib.contextmanager
def _stored(path: Path) -> Iterator[Stored]:
    with needs_extra("microscopy", "an OME-Zarr folder", "zarr"):
        import zarr
    group = zarr.open_group(path, mode="r")
    described: Any = group.attrs.get("ome", group.attrs)
    try:
        image = described["multiscales"][0]
        names = [axis["name"] if isinstance(axis, dict) else axis for axis in image["axes"]]
        axes = "".join(name.lower()[:1] for name in names)
        parts = [PurePosixPath(each["path"]) for each in image["datasets"]]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadImage(path, "no OME-Zarr image: it has no multiscales with axes and datasets") from error
    if axes[-2:] != "yx" or len(set(axes)) < len(axes) or not set(axes) <= set("tczyx") or not parts:
        raise BadImage(path, f"axes {', '.join(map(str, names))}; allowed are t, c, z, y, x with y, x at the end")
    if any(part.is_absolute() or ".." in part.parts for part in parts):
        raise BadImage(path, "an array outside of the folder, which is not followed")
    arrays: list[Any] = [group[str(part)] for part in parts]
    if any(len(getattr(array, "shape", ())) != len(axes) for array in arrays):
        raise BadImage(path, "damaged: arrays and axes differ")
    if any(math.prod(array.chunks) * np.dtype(array.dtype).itemsize > _MOST_IN_CHUNK for array in arrays):
        raise BadImage(path, "chunks of more than 256 MiB; save it with smaller ones")
    yield Stored(axes, arrays, _scale(image, axes), _names(described, arrays[0].shape, axes))


def _scale(image: Any, axes: str) -> tuple[float, ...]:
    with contextlib.suppress(KeyError, IndexError, TypeError, ValueError, StopIteration, AttributeError):
        units = [_UM.get(axis.get("unit", ""), 0.0) for axis in image["axes"]]
        steps = image["datasets"][0]["coordinateTransformations"]
        scale = next(step["scale"] for step in steps if step["type"] == "scale")
        sizes = tuple(float(length) * unit for length, unit in zip(scale, units, strict=True))
        if all(math.isfinite(length) and length >= 0 for length in sizes):
            return sizes
    return (0.0,) * len(axes)


def _names(described: Any, shape: tuple[int, ...], axes: str) -> tuple[str, ...]:
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        names = tuple(str(channel.get("label", "")) for channel in described["omero"]["channels"])
        if "c" in axes and len(names) == shape[axes.index("c")] and any(names):
            return names
    return ()


def _channels(found: Stored) -> int:
    return int(found.arrays[0].shape[found.axes.index("c")]) if "c" in found.axes else 1


def _part(found: Stored, box: Box, index: int, level: int) -> Image:
    array, lead = found.arrays[level], found.axes[:-2]
    if not (
        0 <= box.top <= box.top + box.height <= array.shape[-2]
        and 0 <= box.left <= box.left + box.width <= array.shape[-1]
    ):
        raise ValueError(f"{box} lies outside of {array.shape[-2:]}")
    counts = tuple(1 if name == "c" else length for name, length in zip(lead, array.shape, strict=False))
    at: list[Any] = (
        [
            slice(None) if name == "c" else place
            for name, place in zip(lead, np.unravel_index(index, counts), strict=True)
        ]
        if lead
        else []
    )
    values = np.asarray(
        array[(*map(_plain, at), slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))]
    )
    return np.moveaxis(values, 0, 2) if values.ndim == 3 else values[:, :, None]


def _plain(place: Any) -> Any:
    return place if isinstance(place, slice) else int(place)
