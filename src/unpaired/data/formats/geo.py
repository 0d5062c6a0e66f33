"""GeoTIFF, Cloud Optimized GeoTIFF, JPEG 2000 that says where it lies, and VRT, by rasterio (GDAL)."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import needs_extra
from unpaired.core.files import real_path
from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader, quiet, wanted_channels
from unpaired.data.formats.meaning import BANDS, Box, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.formats.tiff_tags import EXTRA_SAMPLES, GEOGRAPHIC, MASK, REDUCED, directories, flags
from unpaired.data.values import DTYPE_RANGES, Domain, Image

_VRT, _JP2 = b"<VRTDataset", b"\0\0\0\x0cjP  \r\n\x87\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PLACED = (bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03"), b"gml:", b"gml.")
"""The UUID of GeoJP2 and the words of GMLJP2, OGC 05-047r3: JPEG 2000 files that say where they lie."""
_HEAD = 1 << 18
_MOST_IN_BLOCK = 1 << 28
"""Bytes of a block (tile or strip) above which an image has no parts that could be read alone."""
_MOST_XML = 1 << 24
_LOSSLESS = ("deflate", "lzw", "zstd", "packbits", "lzma")
_OPTIONS = {
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_NUM_THREADS": "1",
    "CPL_DEBUG": "OFF",
    "GDAL_PAM_ENABLED": "YES",
}


class GeoReader(Reader):
    """Reads the bands of a file as channels, the numbers as stored: scales and offsets are copied, never applied.

    What GDAL calls alpha is a band like the others: its default for four bands of a byte is to call the last one so.
    Pixels without a value are those of nodata (in all bands) and of internal or external masks. A palette becomes RGB.
    """

    suffixes = frozenset({".vrt", ".jp2", ".tif", ".tiff"})
    extra = "geo"
    libraries = ("rasterio",)

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith((*_TIFF, _JP2)) or start.lstrip().startswith(_VRT)

    def claims(self, path: Path) -> bool:
        with path.open("rb") as stream:
            head = stream.read(512)
            head += stream.read(_HEAD) if head.startswith(_JP2) else b""
        if head.lstrip().startswith(_VRT):
            return True
        if head.startswith(_JP2):
            return _is_installed() and any(word in head for word in _PLACED)
        pages = directories(path)
        if (
            not pages
            or not GEOGRAPHIC & pages[0].keys()
            or any(not flags(page) & (REDUCED | MASK) for page in pages[1:])
        ):
            return False  # several images in one file are pages, which TIFF's own reader knows
        if EXTRA_SAMPLES in pages[0] and wanted_channels() in (1, 3):
            return False  # the last band is asked to be a mask, as TIFF's own reader takes it
        return _is_installed()

    def probe(self, path: Path) -> Header:
        with _opened(path) as source:
            return Header(source.height, source.width, _channels(source), _dtype(path, source).name)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        with _opened(path) as source:
            return _read(path, source, None, stored)

    def meaning(self, path: Path) -> Meaning:
        with _opened(path) as source:
            bits = int(source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 0))
            names = tuple(name or "" for name in source.descriptions) if any(source.descriptions) else ()
            placed = source.crs is not None and source.crs.is_projected
            transform = source.transform
            spacing = (math.hypot(transform.b, transform.e), math.hypot(transform.a, transform.d))
            unit = {"metre": "m", "meter": "m"}.get(source.crs.linear_units if placed else "", "")
            return Meaning(
                unit=source.units[0] or "",
                range=(0.0, 2.0**bits - 1) if bits and _dtype(path, source).kind == "u" else None,
                spacing=spacing if unit else (),
                spacing_unit=unit,
                channels=names,
                remarks=(BANDS,) if source.count in (2, 4) and _ends_in_alpha(source) else (),
            )

    def valid(self, path: Path, index: int = 0, axis: int = 0) -> NDArray[np.bool_] | None:
        with _opened(path) as source:
            return _valid(source, None)

    def levels(self, path: Path) -> list[tuple[int, int]]:
        with _opened(path) as source:
            sizes, count = [(source.height, source.width)], len(source.overviews(1))
        for level in range(1, count + 1):
            with _opened(path, level) as source:
                sizes.append((source.height, source.width))
        return sizes

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image | None:
        with _opened(path, level) as source:
            tall, wide = source.block_shapes[0]
            if tall * wide * source.count * _dtype(path, source).itemsize > _MOST_IN_BLOCK:
                return None
            return _read(path, source, _window(source, box), stored=False)

    def valid_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> NDArray[np.bool_] | None:
        with _opened(path, level) as source:
            return _valid(source, _window(source, box))

    def output_suffix(self, path: Path) -> str:
        return path.suffix if path.suffix.lower() in (".tif", ".tiff") else ".tif"

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        return None if count != 1 or domain.dtype not in DTYPE_RANGES else GeoOutput(self, source, path, domain, size)


class GeoOutput(Output):
    """A GeoTIFF with the place, the bands' names, nodata, mask, blocks and overviews of another file.

    Where the type holds the source's nodata, pixels without a value get it, and values that happen to equal it move to
    the next one; else a mask says which pixels have a value. A Cloud Optimized GeoTIFF becomes one again.
    """

    def __init__(self, reader: GeoReader, source: Path, path: Path, domain: Domain, size: tuple[int, int]) -> None:
        import rasterio
        from rasterio.enums import MaskFlags

        self._reader, self._source, self._path = reader, source, path
        self._folder = Path(tempfile.mkdtemp(prefix=".unpaired-", dir=path.parent))
        self._tidy = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._file = self._folder / "plain.tif"
        with _opened(source) as like:
            dtype = np.dtype(domain.dtype)
            self._cog = like.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
            self._overviews = like.overviews(1)
            same_size = size == (like.height, like.width)
            self._nodata = like.nodata if like.nodata is not None and _holds(dtype, like.nodata) else None
            flagged = [flag for band in like.mask_flag_enums for flag in band]
            self._mask = MaskFlags.per_dataset in flagged and MaskFlags.alpha not in flagged
            self._mask |= like.nodata is not None and self._nodata is None
            profile = _profile(like, domain, size)
            with _gdal():
                self._target = rasterio.open(self._file, "w", **profile, nodata=self._nodata)
                _describe(like, self._target, same_size)
        sizes = reader.levels(source)
        self._level = sizes.index(size) if size in sizes else None

    def put(self, image: Image, index: int = 0, box: Box | None = None) -> None:
        part = box or Box(0, 0, self._target.height, self._target.width)
        planes = np.ascontiguousarray(np.moveaxis(image, 2, 0))
        valid = None
        if self._level is not None:
            valid = self._reader.valid_window(self._source, part, level=self._level)
        with _gdal():
            window = _window(self._target, part)
            if self._nodata is not None and valid is not None:
                planes = _apart(planes, self._nodata)
                planes[:, ~valid] = self._nodata
            self._target.write(planes, window=window)
            if self._mask:
                mask = np.ones(image.shape[:2], bool) if valid is None else valid
                self._target.write_mask(mask, window=window)

    def close(self) -> None:
        from rasterio.shutil import copy

        with _gdal():
            blocks = self._target.block_shapes[0]
            if self._overviews:
                self._target.build_overviews(self._overviews, _resampling())
            self._target.close()
            if self._cog:
                made = self._folder / "cog.tif"
                block = blocks[1] if blocks[0] == blocks[1] else 512
                copy(self._file, made, driver="COG", blocksize=block, compress="deflate", bigtiff="if_safer")
                self._file = made
        self._file.replace(self._path)
        self._tidy()


def _ends_in_alpha(source: Any) -> bool:
    return bool(source.colorinterp[-1].name == "alpha")


def _is_installed() -> bool:
    return GeoReader().is_installed()


@contextlib.contextmanager
def _gdal() -> Iterator[None]:
    with needs_extra("geo", "this file", "rasterio"):
        import rasterio
    with quiet(), rasterio.Env(**_OPTIONS):
        yield


@contextlib.contextmanager
def _opened(path: Path, level: int = 0) -> Iterator[Any]:
    """Open a file by the one driver that its first bytes name; datasets of GDAL belong to one thread."""
    with path.open("rb") as stream:
        start = stream.read(512)
    driver = "JP2OpenJPEG" if start.startswith(_JP2) else "GTiff" if start.startswith(_TIFF) else "VRT"
    with _gdal():
        import rasterio

        if driver == "VRT":
            _require_near_sources(path)
        options = {} if level == 0 else {"overview_level": level - 1}
        with rasterio.open(real_path(path), driver=driver, **options) as source:
            yield source


def _require_near_sources(path: Path) -> None:
    """Refuse a VRT that reads anything but images beside or below it: GDAL opens any file or URL that one names."""
    content = path.read_bytes() if path.stat().st_size <= _MOST_XML else b"<!DOCTYPE"
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise BadImage(path, "no plain VRT: too large, or it declares entities")
    folder = real_path(path).parent
    for element in ElementTree.fromstring(content).iter():
        kind, name = element.get("subClass", ""), element.tag.lower()
        if kind not in ("", "VRTSourcedRasterBand"):
            raise BadImage(path, f"a VRT of kind {kind}; mosaics and selections of bands are read")
        if not name.endswith(("filename", "dataset", "file", "url")) or name == "vrtdataset":
            continue
        text = (element.text or "").strip()
        source = real_path(folder / text)
        if not (text and source.is_relative_to(folder) and source.is_file()):
            raise BadImage(path, "a VRT of other files than images beside or below it, which is not followed")
        with source.open("rb") as stream:
            if not stream.read(12).startswith((*_TIFF, _JP2, b"\x89PNG", b"\xff\xd8\xff")):
                raise BadImage(path, "a VRT of files that are no TIFF, JPEG 2000, PNG or JPEG")


def _window(source: Any, box: Box) -> Any:
    from rasterio.windows import Window

    if not (
        0 <= box.top <= box.top + box.height <= source.height and 0 <= box.left <= box.left + box.width <= source.width
    ):
        raise ValueError(f"{box} lies outside of {source.height} x {source.width} pixels")
    return Window(box.left, box.top, box.width, box.height)


def _dtype(path: Path, source: Any) -> np.dtype[np.generic]:
    if any(name.startswith("complex") for name in source.dtypes):
        raise BadImage(path, "complex numbers; save amplitude (or real and imaginary part as bands)")
    found: np.dtype[np.generic] = np.result_type(*source.dtypes)
    return found


def _is_palette(source: Any) -> bool:
    from rasterio.enums import ColorInterp

    return bool(source.count == 1 and source.colorinterp[0] == ColorInterp.palette)


def _channels(source: Any) -> int:
    return 3 if _is_palette(source) else int(source.count)


def _read(path: Path, source: Any, window: Any, stored: bool) -> Image:
    image: Image = np.moveaxis(source.read(window=window, out_dtype=_dtype(path, source)), 0, 2)
    if stored or not _is_palette(source):
        return image
    table = source.colormap(1)
    palette = np.array([table.get(number, (0, 0, 0))[:3] for number in range(max(table) + 1)], np.uint8)
    if int(image.max()) >= len(palette):
        raise BadImage(path, "damaged: pixels outside the palette")
    return palette[image[:, :, 0].astype(np.intp)]


def _valid(source: Any, window: Any) -> NDArray[np.bool_] | None:
    from rasterio.enums import MaskFlags

    flagged = source.mask_flag_enums
    if all(MaskFlags.all_valid in band or MaskFlags.alpha in band for band in flagged):
        return None
    bands = [1] if MaskFlags.per_dataset in flagged[0] else list(range(1, source.count + 1))
    mask: NDArray[np.bool_] = (source.read_masks(bands, window=window) != 0).any(axis=0)
    return None if mask.all() else mask


def _profile(like: Any, domain: Domain, size: tuple[int, int]) -> dict[str, Any]:
    """Return how a file like another one is laid out: blocks, order of bands, compression without loss, place."""
    import rasterio

    tall, wide = like.block_shapes[0]
    tiled = wide < like.width and tall % 16 == 0 and wide % 16 == 0
    compression = like.compression.value.lower() if like.compression else "none"
    lossless = compression if compression in _LOSSLESS else "none" if compression == "none" else "deflate"
    place, across, down = like.transform, like.width / size[1], like.height / size[0]
    return {
        "driver": "GTiff",
        "height": size[0],
        "width": size[1],
        "count": domain.channels,
        "dtype": domain.dtype,
        "crs": like.crs,
        "transform": rasterio.Affine(
            place.a * across, place.b * down, place.c, place.d * across, place.e * down, place.f
        ),
        "compress": lossless,
        "interleave": like.interleaving.value if like.interleaving and domain.channels > 1 else "pixel",
        "photometric": "minisblack",
        "alpha": "no",
        "bigtiff": "if_safer",
        **({"tiled": True, "blockysize": tall, "blockxsize": wide} if tiled else {}),
    }


def _describe(like: Any, target: Any, same_size: bool) -> None:
    """Copy what a file says of itself and of its bands, where the bands are as many."""
    points, system = like.gcps
    if points and same_size:
        target.gcps = points, system
    if like.rpcs is not None and same_size:
        target.rpcs = like.rpcs
    target.update_tags(**like.tags())
    if target.count == like.count:
        for band, name in enumerate(like.descriptions, start=1):
            if name:
                target.set_band_description(band, name)
        target.colorinterp = like.colorinterp
        if target.dtypes == like.dtypes and (set(like.scales), set(like.offsets)) != ({1.0}, {0.0}):
            target.scales, target.offsets = like.scales, like.offsets
        if any(like.units) and target.dtypes == like.dtypes:
            target.units = like.units


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    if dtype.kind == "f":
        return True
    bounds = np.iinfo(dtype)
    return not math.isnan(value) and value == int(value) and bounds.min <= value <= bounds.max


def _apart(planes: NDArray[Any], nodata: float) -> NDArray[Any]:
    """Return planes of which no value says that there is none: such a value becomes its neighbour."""
    if math.isnan(nodata):
        return planes
    taken = planes == nodata
    if planes.dtype.kind == "f":
        other = np.nextafter(planes.dtype.type(nodata), planes.dtype.type(np.inf if nodata <= 0 else -np.inf))
    else:
        other = planes.dtype.type(nodata - 1 if nodata == np.iinfo(planes.dtype).max else nodata + 1)
    return np.where(taken, other, planes)


def _resampling() -> Any:
    from rasterio.enums import Resampling

    return Resampling.average
