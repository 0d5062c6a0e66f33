"""MATLAB's `.mat` files (SciPy) and HDF5 files (h5py): the one array of numbers that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader, wanted_channels
from unpaired.data.formats.layout import Axes, axes_of
from unpaired.data.formats.meaning import Meaning
from unpaired.data.formats.npy import axes_remarks, the_array
from unpaired.data.values import Image

_HDF5, _MAT5, _MAT7 = b"\x89HDF\r\n\x1a\n", b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file"
_NUMERIC = {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "single", "double", "logical"}
"""MATLAB's classes of numbers; complex ones are recognised only when they are read."""


class _Array(NamedTuple):
    shape: tuple[int, ...]
    dtype: str
    values: Any
    """What is indexed to read it, or a part of it."""


class ArrayReader(Reader):
    """Reads the only array of two or more axes, or the one called `image`; its axes are found as for `.npy`."""

    suffixes = containers = frozenset({".h5", ".hdf5", ".mat"})
    extra, libraries = "arrays", ("h5py", "scipy")

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith((_HDF5, _MAT5, _MAT7))

    def probe(self, path: Path) -> Header:
        with _opened(path) as array:
            return _axes(path, array).header(array.shape, array.dtype)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        image = self.read_frame(path, 0)
        return image.astype(np.uint8) if stored and image.dtype == np.bool_ else image

    def count(self, path: Path, axis: int = 0) -> int:
        with _opened(path) as array:
            axes = _axes(path, array)
            return array.shape[axes.cut(axis)] if axes.several else 1

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        with _opened(path) as array:
            axes = _axes(path, array)
            return axes.image(array.values if axes.several else _whole(array), index, axis)

    def meaning(self, path: Path) -> Meaning:
        with _opened(path) as array:
            return Meaning(remarks=axes_remarks(_axes(path, array)))


def _axes(path: Path, array: _Array) -> Axes:
    return axes_of(path, array.shape, wanted_channels())


def _whole(array: _Array) -> NDArray[Any]:
    return np.asarray(array.values[()])


@contextmanager
def _opened(path: Path) -> Iterator[_Array]:
    with path.open("rb") as stream:
        start = stream.read(32)
    if start.startswith(_MAT5):
        yield _in_mat(path)
        return
    import h5py

    with h5py.File(path, "r") as file:
        found = dict[str, Any]()

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim > 1 and item.dtype.kind in "biuf":
                found[name] = item

        file.visititems(visit)
        dataset = found[the_array(path, list(found))]
        # MATLAB stores its axes in Fortran's order.
        yield (
            _Array(dataset.shape[::-1], dataset.dtype.name, _Transposed(dataset))
            if start.startswith(_MAT7)
            else _Array(dataset.shape, dataset.dtype.name, dataset)
        )


class _Transposed:
    """A data set seen with its axes in reverse order; only what is asked for is read."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, where: Any) -> NDArray[Any]:
        where = where if isinstance(where, tuple) else (where,)
        full = (*where, *[slice(None)] * (self.dataset.ndim - len(where)))
        return np.asarray(self.dataset[full[::-1]]).T


def _in_mat(path: Path) -> _Array:
    from scipy.io import loadmat, whosmat

    found = {name: (shape, kind) for name, shape, kind in whosmat(path) if kind in _NUMERIC and min(shape) > 1}
    name = the_array(path, list(found))
    shape, kind = found[name]
    dtype = {"single": "float32", "double": "float64", "logical": "uint8"}.get(kind, kind)
    return _Array(shape, dtype, _Mat(path, name, kind, loadmat))


class _Mat:
    """An array of a `.mat` file, read when it is indexed."""

    def __init__(self, path: Path, name: str, kind: str, load: Any) -> None:
        self.path, self.name, self.kind, self.load = path, name, kind, load

    def __getitem__(self, where: Any) -> NDArray[Any]:
        array = np.asarray(self.load(self.path, variable_names=[self.name])[self.name])
        if array.dtype.kind not in "biuf":
            raise BadImage(self.path, f"an array of {array.dtype}; allowed are plain integers, floats and booleans")
        return np.asarray((array.astype(np.bool_) if self.kind == "logical" else array)[where])
