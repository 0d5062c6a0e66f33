"""Volumes: NIfTI, MHA and MHD, NRRD. Slices lie as viewers show them, whatever the order in which a file holds them.

The affine says which axis of the array runs along the body. Axis 0 are axial slices, from the feet up, with the front
at the top; axis 1 coronal ones, from the front, axis 2 sagittal ones, from the right, both with the head at the top;
the patient's right is at the left (the radiological convention). A volume is written back in its file's own order.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from unpaired.data.bad_image import BadImage, TooLarge
from unpaired.data.formats.base import Header, Reader, quiet
from unpaired.data.formats.content import suffix_of
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.formats.scaling import Recent, Scaling
from unpaired.data.parallel import take_memory
from unpaired.data.values import Domain, Image

if TYPE_CHECKING:
    import nibabel

_NIFTI = (".nii", ".nii.gz")
_ITK = {".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO"}
_LARGEST = 8 << 30
"""Bytes of the largest volume that is read, decompressed."""
_PACKED = 1100
"""A byte of gzip holds at most so many (1032, and a little for headers)."""
_DATA_FILE = re.compile(rb"(?im)^(?:ElementDataFile *=|data ?file:) *(.*?)\r?$")
_LOCAL = ("LOCAL", "")


class Announced(NamedTuple):
    """What a file says of its volume, in its own order, without its values."""

    shape: tuple[int, ...]
    """Along its three axes."""
    channels: int
    dtype: np.dtype[Any]
    order: tuple[int, int, int]
    """Which of its axes runs up, which to the back, which to the left."""
    flips: tuple[bool, bool, bool]
    """Whether each of these runs the other way."""
    spacing: tuple[float, float, float]
    """In millimetres, along up, back and left."""
    scaling: Scaling

    def upright(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array in the file's own order as [up, back, left, channels]."""
        view = array.transpose(*self.order, 3)
        return view[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]

    @property
    def size(self) -> tuple[int, int, int]:
        """How many slices there are along each axis."""
        up, back, left = (self.shape[axis] for axis in self.order)
        return up, back, left


class VolumeReader(Reader):
    """Reads the slices of volumes; a file is opened once for all of them."""

    suffixes = frozenset({*_NIFTI, *_ITK})
    containers = suffixes
    extra = "medical"
    libraries = ("nibabel", "SimpleITK")

    def probe(self, path: Path) -> Header:
        found = announced(path)
        return Header(*found.size[1:], found.channels, found.dtype.name)

    def count(self, path: Path, axis: int = 0) -> int:
        return announced(path).size[axis]

    def read(self, path: Path, *, stored: bool = False) -> Image:
        slices = announced(path).size[0]
        if slices > 1:
            raise BadImage(path, f"it holds a volume of {slices} slices, and one image is asked for")
        return plane(_volume(path), 0, 0) if stored else self.read_frame(path, 0)

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        found = announced(path)
        bounds = np.iinfo(found.dtype) if found.dtype.kind in "iu" else None
        low, high = (0, 0) if bounds is None else (bounds.min, bounds.max)
        return found.scaling.values(plane(_volume(path), index, axis), low, high)

    def meaning(self, path: Path) -> Meaning:
        up, back, left = announced(path).spacing
        return Meaning(spacing=(back, left, up), spacing_unit="mm")

    def output_suffix(self, path: Path) -> str:
        return {".mhd": ".mha", ".nhdr": ".nrrd"}.get(suffix_of(path), suffix_of(path))

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        found, axis = announced(source), domain.axis
        slices = found.size
        across = tuple(length for number, length in enumerate(slices) if number != axis)
        if count != slices[axis] or size != across or domain.channels != found.channels or domain.labels is not None:
            return None
        return VolumeOutput(source, path, found, domain)


def plane(volume: NDArray[Any], index: int, axis: int) -> NDArray[Any]:
    """Return a slice of [up, back, left, channels] as viewers show it, a view."""
    shown: NDArray[Any] = volume[index] if axis == 0 else volume[::-1, index] if axis == 1 else volume[::-1, :, index]
    return shown


def _announced(path: Path) -> Announced:
    return _announced_nifti(path) if suffix_of(path) in _NIFTI else _announced_itk(path)


def _announced_nifti(path: Path) -> Announced:
    import nibabel

    image = _nifti(path)
    shape, dtype, channels = image.shape, image.get_data_dtype(), 1
    if dtype.names is not None:
        channels, dtype = len(dtype.names), dtype[0]
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        raise BadImage(
            path,
            f"a volume of {len(shape)} dimensions ({' x '.join(map(str, shape))}), such as a series in time; write one "
            f"volume a file: for n, one in enumerate(nibabel.four_to_three(nibabel.load(FILE))): one.to_filename(...)",
        )
    shape = (*shape, 1, 1)[:3]
    scaling = Scaling(*(float(number) for number in (image.dataobj.slope, image.dataobj.inter)))
    affine = np.asarray(image.affine, np.float64)
    factor = {"meter": 1000.0, "micron": 0.001}.get(nibabel.Nifti1Header.get_xyzt_units(image.header)[0], 1.0)
    return _placed(path, shape, channels, dtype, np.diag([-factor, -factor, factor]) @ affine[:3, :3], scaling)


def _announced_itk(path: Path) -> Announced:
    reader = _itk_reader(path)
    reader.ReadImageInformation()
    dimensions, size = reader.GetDimension(), reader.GetSize()
    if dimensions > 3:
        raise BadImage(path, f"a volume of {dimensions} dimensions; write one volume of three a file")
    kind = reader.GetPixelID() % (len(_ITK_TYPES) + 2)
    if kind >= len(_ITK_TYPES):
        raise BadImage(path, f"values of the type {reader.GetPixelIDTypeAsString()}; allowed are integers and floats")
    dtype = np.dtype(_ITK_TYPES[kind])
    affine = np.eye(3)
    direction = np.reshape(reader.GetDirection(), (dimensions, dimensions)) * np.asarray(reader.GetSpacing())
    affine[:dimensions, :dimensions] = direction
    if dimensions == 2:  # a picture: its rows run down as they are stored
        affine = np.diag([*np.asarray(reader.GetSpacing(), np.float64), 1.0])
    return _placed(path, (*size, 1)[:3], reader.GetNumberOfComponents(), dtype, affine, Scaling())


_ITK_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
"""Types of pixels by ITK's numbers; behind two complex ones the same for vectors."""


def _placed(
    path: Path, shape: tuple[int, ...], channels: int, dtype: np.dtype[Any], affine: NDArray[Any], scaling: Scaling
) -> Announced:
    """Return a volume with the order of its axes; `affine` [3, 3] leads from its axes to left, back and up."""
    import nibabel

    if min(shape) < 1:
        raise BadImage(path, f"has no pixels: a volume of {' x '.join(map(str, shape))}")
    _require_possible(path, math.prod(map(int, shape)) * channels * dtype.itemsize)
    square = np.eye(4)
    square[:3, :3] = affine
    ends = nibabel.io_orientation(square) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if np.isnan(ends).any():  # without an orientation the last axis counts slices
        ends = np.asarray([[0, 1], [1, 1], [2, 1]])
    left, back, up = (int(np.flatnonzero(ends[:, 0] == axis)[0]) for axis in range(3))
    order = up, back, left
    lengths = np.sqrt((affine**2).sum(axis=0))
    return Announced(
        shape=tuple(int(length) for length in shape),
        channels=channels,
        dtype=dtype,
        order=order,
        flips=(ends[up, 1] < 0, ends[back, 1] < 0, ends[left, 1] < 0),
        spacing=(float(lengths[up]), float(lengths[back]), float(lengths[left])),
        scaling=scaling,
    )


announced = Recent(_announced, most=64)
"""What a file says of its volume, without its values."""


def _open(path: Path) -> NDArray[Any]:
    """Return the numbers of a volume as stored, [up, back, left, channels]."""
    found = announced(path)
    take_memory(math.prod(found.shape) * found.channels * found.dtype.itemsize)
    if suffix_of(path) in _NIFTI:
        stored = np.asanyarray(_nifti(path).dataobj.get_unscaled())
        if stored.dtype.names is not None:
            stored = np.stack([stored[name] for name in stored.dtype.names], axis=-1)
        raw = stored.reshape(*found.shape, found.channels)
    else:
        import SimpleITK

        raw = _itk_order(np.asarray(SimpleITK.GetArrayFromImage(_itk_reader(path).Execute())), found)
    return found.upright(raw)


_volume = Recent(_open, most=3, size=lambda volume: 0 if isinstance(volume, np.memmap) else volume.nbytes)
"""The numbers of the volumes that were read last: files that are not compressed stay on the disk."""


def _itk_order(array: NDArray[Any], found: Announced) -> NDArray[Any]:
    """Return ITK's [k, j, i(, channels)] as [i, j, k, channels]."""
    return array.reshape(*found.shape[::-1], found.channels).transpose(2, 1, 0, 3)


def _require_possible(path: Path, needed: int) -> None:
    if needed > _LARGEST:
        raise TooLarge(path, f"absurdly large: a volume of {needed >> 30} GiB; at most {_LARGEST >> 30} are read")
    beside = _data_file(path)
    size = path.stat().st_size + (0 if beside is None else beside.stat().st_size)
    if needed > size * _PACKED:
        raise BadImage(path, f"truncated or damaged: {size} bytes cannot hold a volume of {needed}")


def _data_file(path: Path) -> Path | None:
    """Return the file that holds the numbers of a header of its own: one beside it, and no other."""
    if suffix_of(path) in _NIFTI:
        return None
    with path.open("rb") as stream:
        named: list[str] = [
            match.decode("utf-8", "replace").strip() for match in _DATA_FILE.findall(stream.read(1 << 16))
        ]
    if not named or named[0].upper() in _LOCAL:
        return None
    beside = path.parent / named[0]
    if named[0] != Path(named[0]).name or "\\" in named[0] or not beside.is_file() or beside.is_symlink():
        raise BadImage(path, "its numbers are not in one file beside it; save it as .mha or .nrrd, which is one file")
    return beside


def _nifti(path: Path) -> nibabel.Nifti1Image:
    import nibabel

    kind = nibabel.Nifti2Image if _is_second(path) else nibabel.Nifti1Image
    return kind.from_filename(os.fspath(path))


def _is_second(path: Path) -> bool:
    opened = gzip.open if suffix_of(path).endswith(".gz") else open
    with opened(path, "rb") as stream:
        return int.from_bytes(stream.read(4), "little") in (540, int.from_bytes((540).to_bytes(4), "little"))


def _itk_reader(path: Path) -> Any:
    import SimpleITK

    _data_file(path)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(_ITK[suffix_of(path)])
    reader.SetFileName(os.fspath(path))
    return reader


@final
class VolumeOutput(Output):
    """One volume, written when it is closed: the order, the affine and the header of its source.

    Numbers have the source's type, slope and intercept where these can stand for the values of the domain, else the
    domain's own type. Where a source of floats has no value (NaN), neither has the output.
    """

    can_deidentify = True

    def __init__(self, source: Path, path: Path, found: Announced, domain: Domain) -> None:
        self._source, self._path, self._found, self._axis = source, path, found, domain.axis
        bounds = np.iinfo(found.dtype) if found.dtype.kind in "iu" else None
        keeps = bounds is None or found.scaling.holds(domain, float(bounds.min), float(bounds.max))
        self._scaling = found.scaling if keeps else Scaling()
        dtype = found.dtype.newbyteorder("=") if keeps else np.dtype(domain.dtype)
        self._raw = np.zeros((*found.shape, found.channels), dtype)
        self._slices = found.upright(self._raw)

    def put(self, image: Image, index: int = 0, box: Box | None = None) -> None:
        target = plane(self._slices, index, self._axis)
        area = (slice(None), slice(None)) if box is None else _area(box)
        target[area] = self._scaling.stored(image, self._raw.dtype)
        if self._raw.dtype.kind == "f":
            before = plane(_volume(self._source), index, self._axis)[area]
            target[area][np.isnan(before)] = np.nan

    def close(self) -> None:
        kind = {".mhd": ".mha", ".nhdr": ".nrrd"}.get(suffix_of(self._source), suffix_of(self._source))
        with quiet(), tempfile.TemporaryDirectory(dir=self._path.parent, prefix=".volume-") as folder:
            made = Path(folder, f"volume{kind}")  # both libraries choose by the suffix what they write
            if kind in _NIFTI:
                self._write_nifti(made)
            else:
                self._write_itk(made)
            shutil.move(made, self._path)

    def _write_nifti(self, made: Path) -> None:
        source = _nifti(self._source)
        header = source.header.copy()
        header.set_data_dtype(self._raw.dtype if self._found.channels == 1 else source.get_data_dtype())
        values = self._raw[..., 0]
        if self._found.channels > 1:
            values = np.ascontiguousarray(self._raw).view(header.get_data_dtype())[..., 0]
        if self.deidentify:
            header.extensions.clear()
            for name in ("descrip", "aux_file", "db_name", "intent_name"):
                if name in header:
                    header[name] = b""
        image = type(source)(values.reshape(source.shape), None, header)
        image.header.set_slope_inter(*self._scaling)
        if made.suffix != ".gz":
            image.to_filename(made)
            return
        # Without a name and a time in its header, the same volume is the same file.
        with made.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            image.to_stream(packed)

    def _write_itk(self, made: Path) -> None:
        import SimpleITK

        source = _itk_reader(self._source).Execute()
        several = self._found.channels > 1
        array = self._raw.transpose(2, 1, 0, 3)
        array = array if several else array[..., 0]
        image = SimpleITK.GetImageFromArray(array[0] if source.GetDimension() == 2 else array, isVector=several)
        image.CopyInformation(source)
        for key in () if self.deidentify else source.GetMetaDataKeys():
            image.SetMetaData(key, source.GetMetaData(key))
        SimpleITK.WriteImage(image, os.fspath(made), useCompression=_is_compressed(self._source))


def _area(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as stream:
        return re.search(rb"(?im)^(CompressedData *= *True|encoding: *(gz|bz))", stream.read(1 << 16)) is not None
