"""OME-Zarr (OME-NGFF 0.4 and 0.5), by zarr: a folder is a file of images with axes and resolutions."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from unpaired.core.errors import needs_extra
from unpaired.data.bad_image import BadImage
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.stacks import Stack, StackReader, in_micrometres
from unpaired.data.values import Image

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


class OmeZarrReader(StackReader):
    """Reads the first multiscale image of a folder `x.zarr`: c are channels, each combination of t and z is an image.

    Translations are written as OME-TIFF.
    """

    suffixes = containers = folders = frozenset({".zarr"})
    libraries = ("zarr",)

    @contextlib.contextmanager
    def stack(self, path: Path) -> Iterator[Stack]:
        found = _stored(path)
        lead = zip(found.axes[:-2].upper(), found.arrays[0].shape, strict=False)
        frames = {name: int(length) for name, length in lead if name != "C"}
        levels = [(int(array.shape[-2]), int(array.shape[-1])) for array in found.arrays]
        dtype = np.dtype(found.arrays[0].dtype).name
        yield Stack(frames, levels, _channels(found), dtype, partial(_part, found), partial(_meaning, found))


def _meaning(found: Stored) -> Meaning:
    sizes = dict(zip(found.axes, found.scale, strict=True))
    spacing = [sizes["y"], sizes["x"], *([sizes["z"]] if "z" in sizes else [])]
    return in_micrometres(spacing, found.channels, _channels(found))


def _stored(path: Path) -> Stored:
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
    return Stored(axes, arrays, _scale(image, axes), _names(described))


def _scale(image: Any, axes: str) -> tuple[float, ...]:
    with contextlib.suppress(KeyError, IndexError, TypeError, ValueError, StopIteration, AttributeError):
        units = [_UM.get(axis.get("unit", ""), 0.0) for axis in image["axes"]]
        steps = image["datasets"][0]["coordinateTransformations"]
        scale = next(step["scale"] for step in steps if step["type"] == "scale")
        sizes = tuple(float(length) * unit for length, unit in zip(scale, units, strict=True))
        if all(math.isfinite(length) and length >= 0 for length in sizes):
            return sizes
    return (0.0,) * len(axes)


def _names(described: Any) -> tuple[str, ...]:
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        return tuple(str(channel.get("label", "")) for channel in described["omero"]["channels"])
    return ()


def _channels(found: Stored) -> int:
    return int(found.arrays[0].shape[found.axes.index("c")]) if "c" in found.axes else 1


def _part(found: Stored, at: Mapping[str, int], box: Box, level: int) -> Image:
    places = [slice(None) if name == "c" else at[name.upper()] for name in found.axes[:-2]]
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    values = np.asarray(found.arrays[level][(*places, rows, columns)])
    return np.moveaxis(values, 0, 2) if values.ndim == 3 else values[:, :, None]
