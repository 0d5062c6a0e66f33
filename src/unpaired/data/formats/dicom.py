"""DICOM files: slices and frames in the unit of their modality, and derived images like the ones they are made from.

Values are slope x stored + intercept in double precision: int16 where that is exact (Hounsfield), else float32; files
without either keep their integers. MONOCHROME1, which asks for low values to be shown bright, changes nothing about
values that have a unit; where they have none, they are turned over within the bits that are used, so that bright means
the same in every file. YBR and palettes become RGB.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader
from unpaired.data.formats.meaning import Meaning
from unpaired.data.formats.output import Output
from unpaired.data.formats.scaling import Recent, Scaling
from unpaired.data.values import Domain, Image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_AT, _MAGIC = 128, b"DICM"
_WITHOUT_PREAMBLE = (b"\x02\0\0\0", b"\x08\0\x05\0", b"\x08\0\0\0")
_INVERTED, _PALETTE = "MONOCHROME1", "PALETTE COLOR"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_UNITS = {"BQML": "Bq/ml", "GML": "g/ml", "GY": "Gy", "CNTS": "counts"}
_NO_UNIT = ("", "US", "OD", "NONE", "RELATIVE")
_FRAME_OF_JPEG = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Markers of JPEG and JPEG-LS that announce height and width."""


class Announced(NamedTuple):
    """What a file says of its images, without its pixels."""

    height: int
    width: int
    samples: int
    """Stored per pixel."""
    frames: int
    bits: tuple[int, int]
    """Of each sample: allocated and used."""
    signed: bool
    floating: bool
    photometric: str
    scalings: tuple[Scaling, ...]
    """One, or one for each frame."""
    padding: tuple[int, int] | None
    """Stored numbers that are no values, from and to."""
    unit: str
    spacing: tuple[float, ...]
    group: str
    compressed: bool
    looked_up: bool
    """Whether values are found in a table of the file, which has no way back."""

    @property
    def stored_range(self) -> tuple[int, int]:
        """The smallest and the largest number that its bits hold."""
        top = 1 << (self.bits[1] - self.signed)
        return (-top if self.signed else 0), top - 1

    @property
    def inverts(self) -> bool:
        """Whether values are turned over."""
        return self.photometric == _INVERTED and not self.unit

    def scaling(self, index: int) -> Scaling:
        """Return the scaling of a frame."""
        return self.scalings[index if len(self.scalings) > 1 else 0]


class DicomReader(Reader):
    """Reads DICOM files of one or several frames, compressed or not."""

    suffixes = frozenset({".dcm", ".dicom", ".ima"})
    containers = suffixes
    extra = "medical"
    libraries = ("pydicom", "pylibjpeg")

    def accepts(self, start: bytes, suffix: str) -> bool:
        return is_dicom(start) or (suffix in self.suffixes and start[:4] in _WITHOUT_PREAMBLE)

    def probe(self, path: Path) -> Header:
        found = announced(path)
        colour = found.samples > 1 or found.photometric == _PALETTE
        kind = "uint8" if found.bits[0] <= 8 else f"{'' if found.signed else 'u'}int{found.bits[0]}"
        return Header(found.height, found.width, 3 if colour else 1, "float64" if found.floating else kind)

    def count(self, path: Path, axis: int = 0) -> int:
        if axis:
            raise BadImage(path, "DICOM files are cut already; along other axes only volumes are (NIfTI, MHA, NRRD)")
        return announced(path).frames

    def read(self, path: Path, *, stored: bool = False) -> Image:
        frames = announced(path).frames
        if frames > 1:
            raise BadImage(path, f"it holds {frames} frames, and one image is asked for")
        return _stored(path, 0)[0] if stored else self.read_frame(path, 0)

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        found, (stored, dataset) = announced(path), _stored(path, index)
        if found.photometric == _PALETTE:
            return _of_palette(stored, dataset)
        if found.samples > 1:
            return stored
        if found.looked_up:
            from pydicom.pixels import apply_modality_lut

            return np.asarray(apply_modality_lut(stored, dataset))
        low, high = found.stored_range
        if found.inverts:
            stored = (low + high - stored.astype(np.int64)).astype(stored.dtype)
        if found.unit and not found.floating and found.bits[1] > 15:
            # Sixteen bits and an intercept fit no int16, and Hounsfield units always do.
            padding = _padding(found, stored)
            values = stored if padding is None or padding.all() else stored[~padding]
            low, high = int(values.min()), int(values.max())
            stored = np.clip(stored, low, high)
        return found.scaling(index).values(stored, low, high)

    def series(self, path: Path) -> tuple[Path, ...]:
        return next((files for files in _series_in(path.parent) if path in files), ())

    def meaning(self, path: Path) -> Meaning:
        found = announced(path)
        plain = found.samples == 1 and found.bits[1] < 16 and not (found.floating or found.looked_up)
        ends = [scaling.ends(*found.stored_range) for scaling in found.scalings] if plain else []
        span = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None
        unit = "mm" if found.spacing else ""
        return Meaning(unit=found.unit, range=span, spacing=found.spacing, spacing_unit=unit, group=found.group)

    def valid(self, path: Path, index: int = 0, axis: int = 0) -> NDArray[np.bool_] | None:
        found = announced(path)
        padding = None if found.padding is None else _padding(found, _stored(path, index)[0])
        return None if padding is None or not padding.any() else ~padding[:, :, 0]

    def output_suffix(self, path: Path) -> str:
        return ".dcm"

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        from unpaired.data.formats.dicom_output import open_derived

        return open_derived(source, path, announced(source), domain, size, count)


def is_dicom(start: bytes) -> bool:
    """Return whether a file that begins with these bytes is DICOM, whatever stands in its preamble."""
    return start[_AT : _AT + 4] == _MAGIC


def is_bare_dicom(file: os.DirEntry[str] | Path) -> bool:
    """Return whether a file whose name has no suffix, or ends in a number as identifiers do, is DICOM inside."""
    suffix = os.path.splitext(file.name)[1][1:]
    if (suffix and not suffix.isdecimal()) or file.name == "DICOMDIR":
        return False
    try:
        with open(file, "rb") as stream:
            return is_dicom(stream.read(_AT + 4))
    except OSError:
        return False


def read_dataset(path: Path, **options: Any) -> Dataset:
    """Return what a file holds; `BadImage` where it is no DICOM file, or packed as a whole."""
    import pydicom

    with path.open("rb") as stream:
        if not is_dicom(stream.read(_AT + 4)):
            raise BadImage(path, "no DICOM file: it lacks the 128 bytes and the letters DICM at its beginning")
    if pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID") == _DEFLATED:
        raise BadImage(path, "DICOM that is deflated as a whole, whose size is not known before; store it uncompressed")
    return pydicom.dcmread(path, **options)


def stored_frame(path: Path, index: int) -> NDArray[Any]:
    """Return the stored numbers of a frame, [H, W, samples]."""
    return _stored(path, index)[0]


def padding_of(found: Announced, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return which stored numbers are no values; None where every number is one."""
    return _padding(found, stored)


def _padding(found: Announced, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    if found.padding is None:
        return None
    return np.asarray((stored >= found.padding[0]) & (stored <= found.padding[1]))


def _announced(path: Path) -> Announced:
    dataset = read_dataset(path, stop_before_pixels=True)
    height, width, samples = (dataset.get(name) for name in ("Rows", "Columns", "SamplesPerPixel"))
    if not height or not width or not samples:
        kind = dataset.get("SOPClassUID")
        raise BadImage(path, f"DICOM without an image: {getattr(kind, 'name', None) or 'of an unknown kind'}")
    frames, compressed = int(dataset.get("NumberOfFrames") or 1), dataset.file_meta.TransferSyntaxUID.is_compressed
    least = 1 if compressed else height * width * samples * int(dataset.get("BitsAllocated", 8)) // 8
    if not 0 < frames * least <= path.stat().st_size:
        raise BadImage(path, f"truncated or damaged: it cannot hold {frames} frames of {height} x {width} pixels")
    shared, each = _functional(dataset, frames)
    measures = _inner(each[0] if each else None, shared, "PixelMeasuresSequence") or dataset
    spacing = measures.get("PixelSpacing") or dataset.get("ImagerPixelSpacing") or ()
    between = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
    padding = dataset.get("PixelPaddingValue")
    limit = dataset.get("PixelPaddingRangeLimit", padding)
    allocated = int(dataset.get("BitsAllocated", 8))
    return Announced(
        height=int(height),
        width=int(width),
        samples=int(samples),
        frames=frames,
        bits=(allocated, int(dataset.get("BitsStored", allocated))),
        signed=bool(dataset.get("PixelRepresentation", 0)),
        floating="BitsStored" not in dataset,
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        scalings=_scalings(path, dataset, shared, each),
        padding=None if padding is None or samples > 1 else (min(padding, limit), max(padding, limit)),
        unit=_unit(dataset, _inner(each[0] if each else None, shared, "PixelValueTransformationSequence")),
        spacing=tuple(float(number) for number in [*spacing, *([between] if between and spacing else [])]),
        group=str(dataset.get("PatientID") or "").strip(),
        compressed=compressed,
        looked_up="ModalityLUTSequence" in dataset,
    )


announced = Recent(_announced, most=64)
"""What a file says of its images; `BadImage` for files that hold none."""


def _slices(folder: Path) -> list[tuple[Path, ...]]:
    """Return the files of every series in a folder, in the order in which they lie along its normal."""
    import pydicom

    tags = ["SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber"]
    found = defaultdict[str, list[tuple[float, str, Path]]](list)
    for path in folder.iterdir():
        if path.suffix.lower() in DicomReader.suffixes or is_bare_dicom(path):
            with contextlib.suppress(Exception):  # whoever reads it says what is wrong
                one = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
                place = float(one.get("InstanceNumber") or 0)
                if one.get("ImagePositionPatient") and one.get("ImageOrientationPatient"):
                    rows, columns = np.reshape(one.ImageOrientationPatient, (2, 3))
                    place = float(np.cross(rows, columns) @ np.asarray(one.ImagePositionPatient))
                found[str(one.get("SeriesInstanceUID"))].append((place, path.name, path))
    return [tuple(path for *_, path in sorted(files)) for files in found.values()]


_series_in = Recent(_slices, most=16)


def _functional(dataset: Dataset, frames: int) -> tuple[Dataset | None, list[Dataset]]:
    """Return what an enhanced file says of all its frames, and of each."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or [None]
    each = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    return shared[0], each if len(each) == frames else []


def _inner(frame: Dataset | None, shared: Dataset | None, name: str) -> Dataset | None:
    for group in (frame, shared):
        if group is not None and group.get(name):
            inner: Dataset = group[name].value[0]
            return inner
    return None


def _scalings(path: Path, dataset: Dataset, shared: Dataset | None, each: list[Dataset]) -> tuple[Scaling, ...]:
    if dataset.get("DoseGridScaling"):
        return (Scaling(float(dataset.DoseGridScaling)),)
    found = [_inner(group, shared, "PixelValueTransformationSequence") or dataset for group in each or [None]]
    slopes = [Scaling(float(one.get("RescaleSlope") or 1), float(one.get("RescaleIntercept") or 0)) for one in found]
    if not all(np.isfinite(scaling).all() for scaling in slopes):
        raise BadImage(path, "damaged: slope or intercept of its values is no number")
    return tuple(slopes) if len(set(slopes)) > 1 else (slopes[0],)


def _unit(dataset: Dataset, transformation: Dataset | None) -> str:
    if dataset.get("SamplesPerPixel", 1) > 1:
        return ""
    scaled = transformation or dataset
    named = str(scaled.get("RescaleType") or dataset.get("Units") or dataset.get("DoseUnits") or "").strip().upper()
    if named not in _NO_UNIT:
        return _UNITS.get(named, named)
    localizer = "LOCALIZER" in (dataset.get("ImageType") or ())
    scales = "RescaleIntercept" in scaled
    return "HU" if dataset.get("Modality") == "CT" and scales and not localizer else ""


def _stored(path: Path, index: int) -> tuple[NDArray[Any], Dataset]:
    """Return a frame as stored, [H, W, samples], colour as RGB, and what the file says of its pixels."""
    from pydicom.dataset import Dataset
    from pydicom.pixels import pixel_array

    found, dataset = announced(path), Dataset()
    if found.compressed:
        _require_announced(path, index, found)
    pixels = np.asarray(pixel_array(path, ds_out=dataset, index=index))
    return pixels.reshape(found.height, found.width, found.samples), dataset


def _of_palette(stored: NDArray[Any], dataset: Dataset) -> Image:
    from pydicom.pixels import apply_color_lut

    colours = np.asarray(apply_color_lut(stored[:, :, 0], dataset))
    entries = dataset.RedPaletteColorLookupTableDescriptor[2]
    return (colours >> 8).astype(np.uint8) if entries == 16 and colours.dtype == np.uint16 else colours


def _require_announced(path: Path, index: int, found: Announced) -> None:
    """Refuse a compressed frame that announces another size than its file, before it is decoded."""
    from pydicom import dcmread
    from pydicom.encaps import get_frame

    with path.open("rb") as stream:
        dcmread(stream, stop_before_pixels=True, specific_tags=[])
        stream.seek(12, 1)  # the element's tag, its VR and a length that is not known
        frame = get_frame(stream, index, number_of_frames=found.frames)
    size = _size_in(frame)
    if size is not None and size != (found.height, found.width):
        raise BadImage(path, f"damaged: {found.height} x {found.width} pixels, and {size[0]} x {size[1]} inside")


def _size_in(frame: bytes) -> tuple[int, int] | None:
    """Return the (height, width) that a codestream of JPEG 2000, JPEG or JPEG-LS announces; None for others."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start >= 0:
        right, bottom, left, top = struct.unpack(">4I", frame[start + 8 : start + 24])
        return bottom - top, right - left
    at = 2
    while frame.startswith(b"\xff\xd8") and at + 9 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in _FRAME_OF_JPEG:
            height, width = struct.unpack(">HH", frame[at + 5 : at + 9])
            return height, width
        at += 1 if frame[at + 1] == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4])
    return None
