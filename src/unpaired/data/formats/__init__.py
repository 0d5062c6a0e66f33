"""The readers of image files, one per family: a reader is one file and one line of `READERS`.

A user's own readers, `package.module:Name` or entry points of the group `unpaired.readers`, are asked first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from unpaired.core.errors import UserError
from unpaired.core.extensions import as_subclass, find_extension, import_name, installed, named_extensions
from unpaired.data.formats.arrays import ArrayReader
from unpaired.data.formats.base import Header as Header
from unpaired.data.formats.base import Reader as Reader
from unpaired.data.formats.codecs import CodecReader
from unpaired.data.formats.content import Frame as Frame
from unpaired.data.formats.content import ImageBytes as ImageBytes
from unpaired.data.formats.content import cut as cut
from unpaired.data.formats.content import suffix_of as suffix_of
from unpaired.data.formats.czi import CziReader
from unpaired.data.formats.dicom import DicomReader
from unpaired.data.formats.exr import ExrReader
from unpaired.data.formats.geo import GeoReader
from unpaired.data.formats.heif import HeifReader
from unpaired.data.formats.lif import LifReader
from unpaired.data.formats.meaning import Box as Box
from unpaired.data.formats.meaning import Meaning as Meaning
from unpaired.data.formats.nd2 import Nd2Reader
from unpaired.data.formats.npy import NpyReader
from unpaired.data.formats.ome import OmeReader
from unpaired.data.formats.ome_zarr import OmeZarrReader
from unpaired.data.formats.output import Output as Output
from unpaired.data.formats.pillow import PillowReader
from unpaired.data.formats.png import DeepPngReader
from unpaired.data.formats.pnm import DeepPnmReader
from unpaired.data.formats.slides import SlideReader
from unpaired.data.formats.tiff import TiffReader
from unpaired.data.formats.video import VideoReader
from unpaired.data.formats.volumes import VolumeReader

READERS: dict[str, Reader] = {
    "dicom": DicomReader(),
    "volumes": VolumeReader(),
    "npy": NpyReader(),
    "arrays": ArrayReader(),
    "geo": GeoReader(),
    "slides": SlideReader(),
    "ome": OmeReader(),
    "ome zarr": OmeZarrReader(),
    "czi": CziReader(),
    "nd2": Nd2Reader(),
    "lif": LifReader(),
    "tiff": TiffReader(),
    "deep png": DeepPngReader(),
    "deep pnm": DeepPnmReader(),
    "codecs": CodecReader(),
    "exr": ExrReader(),
    "heif": HeifReader(),
    "video": VideoReader(),
    "pillow": PillowReader(),
}
"""The readers that come with the package, in the order in which they are asked; the last one takes what is left."""


def use_readers(specs: Sequence[str], needed_by: str = "the data") -> None:
    """Raise `UserError` unless these readers of the user are installed or named, see `unpaired.core.extensions`."""
    for spec in specs:
        as_subclass(find_extension(spec, "reader", needed_by), Reader, spec)


def missing_readers(specs: Sequence[str]) -> list[str]:
    """Return those of the readers that are neither installed nor named."""
    missing = []
    for spec in specs:
        try:
            find_extension(spec, "reader")
        except UserError:
            missing.append(spec)
    return missing


def own_readers() -> dict[str, Reader]:
    """Return the user's own readers by name or spec: those named in this process, and those installed."""
    named = {spec: _named(spec) for spec in named_extensions()}
    return {**{spec: reader for spec, reader in named.items() if reader is not None}, **_installed()}


def find_reader(start: bytes, suffix: str, path: Path) -> Reader:
    """Return the reader of a file that begins with these bytes (512) and has this suffix (in lower case)."""
    every = (*own_readers().values(), *READERS.values())
    accepting = (reader for reader in every if reader.accepts(start, suffix) and reader.claims(path))
    return next(accepting, READERS["pillow"])


def readable_suffixes(*, installed: bool = False) -> frozenset[str]:
    """Return the suffixes (in lower case) of the files that are read as images, with `installed` by what is there."""
    readers = (*READERS.values(), *own_readers().values())
    return frozenset().union(*(reader.suffixes for reader in readers if not installed or reader.is_installed()))


def missing_extras() -> dict[str, str]:
    """Return the extra that would read the files of a suffix (in lower case), for those that nothing here reads."""
    readable = readable_suffixes(installed=True)
    missing = [reader for reader in READERS.values() if not reader.is_installed()]
    return {suffix: reader.extra for reader in missing for suffix in sorted(reader.suffixes - readable)}


def container_suffixes() -> frozenset[str]:
    """Return the suffixes (in lower case) of the files that may hold several images."""
    return frozenset().union(*(reader.containers for reader in (*READERS.values(), *own_readers().values())))


def written_suffixes() -> frozenset[str]:
    """Return the suffixes (in lower case) of the files that may be written like one that was read."""
    every = (*READERS.values(), *own_readers().values())
    able = (reader for reader in every if type(reader).output_suffix is not Reader.output_suffix)
    return frozenset().union(*(reader.suffixes for reader in able))


def is_image_folder(path: Path) -> bool:
    """Return whether a folder is to be read as one file, by its suffix."""
    suffix = path.suffix.lower()
    return any(suffix in reader.folders for reader in (*own_readers().values(), *READERS.values()))


@cache
def _named(spec: str) -> Reader | None:
    """Return a reader where that is what the user has named; it may also be a method or a network."""
    found = import_name(spec)
    return found() if isinstance(found, type) and issubclass(found, Reader) else None


@cache
def _installed() -> dict[str, Reader]:
    return {name: as_subclass(find_extension(name, "reader"), Reader, name)() for name in installed("reader")}
