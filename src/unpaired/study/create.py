"""Make a study's folder out of folders of pictures.

Every picture becomes an 8-bit RGB PNG of one size in pixels and one length in bytes, without metadata: what a file is
called, how long it is, which program wrote it and what it says of itself would tell real from generated.
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.errors import UserError
from unpaired.core.files import atomic_folder, check_out
from unpaired.core.text import plural, printable
from unpaired.data.bad_image import BadImage
from unpaired.data.decode import decode
from unpaired.data.folders import list_images
from unpaired.data.values import DTYPE_RANGES, to_signed
from unpaired.study.description import METHOD_NAME, PICTURES, Picture, Rules, Settings, Study, write_study
from unpaired.study.store import Store

Pixels = NDArray[np.uint8]
"""[H, W, 3], uint8."""

_FILLING = b"paDd"
"""An ancillary, private chunk that is safe to copy (PNG specification, section 5.4): decoders skip it."""
_CHUNK = 12
"""Bytes of a chunk beside its content: length, type, checksum."""
_END = 12
"""Bytes of the closing chunk IEND."""


def read_pixels(path: Path) -> Pixels:
    """Decode any image that the package reads as [H, W, 3] uint8; grey becomes RGB. Raises `UserError`."""
    try:
        image = decode(path)
    except BadImage as error:
        raise UserError(f"{error}. Repair it, or take it out of the folder.") from error
    if image.shape[2] not in (1, 3):
        raise UserError(f'"{printable(path)}" has {image.shape[2]} channels. People see grey (1) or RGB (3) pictures.')
    if image.dtype.name not in DTYPE_RANGES:
        raise UserError(
            f'"{printable(path)}" holds values of type {image.dtype.name}, for which no brightness is obvious. '
            f"Store it as one of: {', '.join(DTYPE_RANGES)}."
        )
    if image.dtype != np.uint8:
        image = np.rint((to_signed(image) + 1.0) * 127.5).astype(np.uint8)
    pixels: Pixels = np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)), dtype=np.uint8)
    return pixels


def fit(pixels: Pixels, height: int, width: int) -> Pixels:
    """Crop the middle to the shape of (height, width) and resample it to that size (Lanczos)."""
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    scale = min(rows / height, columns / width)
    box_height, box_width = height * scale, width * scale
    top, left = (rows - box_height) / 2, (columns - box_width) / 2
    resized = PillowImage.fromarray(pixels).resize(
        (width, height), PillowImage.Resampling.LANCZOS, box=(left, top, left + box_width, top + box_height)
    )
    return np.asarray(resized, dtype=np.uint8)


def spoiled(pixels: Pixels, random: Generator) -> Pixels:
    """Return the picture cut into tiles that are shuffled, every second one a negative: nobody takes it for real."""
    rows, columns = pixels.shape[:2]
    side = max(1, min(rows, columns) // 8)
    high, wide = rows // side, columns // side
    inner = pixels[: high * side, : wide * side].reshape(high, side, wide, side, 3).swapaxes(1, 2)
    tiles = inner.reshape(high * wide, side, side, 3)[random.permutation(high * wide)].copy()
    tiles[::2] = 255 - tiles[::2]
    whole = pixels.copy()
    whole[: high * side, : wide * side] = (
        tiles.reshape(high, wide, side, side, 3).swapaxes(1, 2).reshape(high * side, wide * side, 3)
    )
    return whole


def encode(pixels: Pixels) -> bytes:
    """Return the pixels as a PNG file without metadata."""
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def filled_length(lengths: list[int]) -> int:
    """Return the length that files of these lengths are filled up to."""
    return max(lengths) + _CHUNK


def filled(png: bytes, length: int) -> bytes:
    """Return the PNG file made exactly `length` bytes long by a chunk of random bytes that decoders skip."""
    missing = length - len(png) - _CHUNK
    if missing < 0:
        raise ValueError(f"a file of {len(png)} bytes cannot be filled up to {length}")
    content = secrets.token_bytes(missing)
    checksum = zlib.crc32(_FILLING + content)
    chunk = struct.pack(">I", missing) + _FILLING + content + struct.pack(">I", checksum)
    return png[:-_END] + chunk + png[-_END:]


REAL = "the real pictures"


@dataclass(slots=True)
class Created:
    """What came of creating a study."""

    study: Study
    notices: list[str] = field(default_factory=list)
    """What a person should know."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A picture that was encoded and waits on the disk for its final length; memory holds one at a time."""

    name: str
    """Path inside the folder that was given."""
    path: Path
    """Where it waits, under its final, random name."""
    length: int
    """Of the file so far."""
    digest: bytes
    """Of the pixels."""


Entries = dict[str, list[_Entry]]
"""The pictures of each folder: `REAL` first, then those of every method."""


def create_study(
    real: Path,
    fakes: Mapping[str, Path],
    out: Path,
    settings: Settings,
    *,
    rules: Rules | None = None,
    size: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Created:
    """Make the new folder `out` from real pictures and those of each method.

    `size` (height, width): crop and resample every picture to it; without it all must have the same size already. With
    `pairs = "matched"` only pictures whose name without suffix every folder has are taken. Raises `UserError` where
    there are too few pictures, a generated one is a copy of a real one, sizes differ, or `out` exists; nothing
    half-made stays.
    """
    if out.exists():
        raise UserError(f'"{printable(out)}" exists already. Give --out a new folder: answers are never mixed.')
    check_out(out, reads=[real, *fakes.values()], replaces=())
    _require_methods(fakes)
    notices: list[str] = []
    paths = {REAL: (real, list_images(_folder("--real", real)))}
    paths |= {name: (path, list_images(_folder(f"--fake {name}=", path))) for name, path in fakes.items()}
    if settings.pairs == "matched":
        paths = _matched(paths, notices)
    _require_enough({label: len(files) for label, (_, files) in paths.items()}, settings)
    with atomic_folder(out, replace=False) as temporary:
        temporary.chmod(0o700)  # it holds the truth, and participants' numbers
        (temporary / PICTURES).mkdir()
        entries, shape = _read(temporary, paths, size, notices, progress)
        for group in [entries] if settings.pairs == "matched" else [{label: own} for label, own in entries.items()]:
            _drop_repeated(group, notices)
        _refuse_copies(entries)
        _require_enough({label: len(own) for label, own in entries.items()}, settings)
        study = _write(temporary, entries, shape, settings, rules or Rules())
        Store(temporary, create=True).close()
    return Created(study, notices)


def needed(settings: Settings) -> tuple[int, int]:
    """Return how many real pictures, and how many of every method, one participant sees."""
    fakes = settings.practice + settings.trials
    return fakes + settings.catch, fakes


def _require_methods(fakes: Mapping[str, Path]) -> None:
    if not fakes:
        raise UserError("no generated pictures are given. Give at least one --fake NAME=DIR.")
    for name in fakes:
        if name == REAL or not re.fullmatch(METHOD_NAME, name) or printable(name) != name:  # not unicode
            raise UserError(
                f'--fake: "{printable(name)}" cannot be a method\'s name. Use 1 to 60 letters, digits, spaces and '
                "signs, none of / \\ =."
            )


def _folder(option: str, folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f'{option} "{printable(folder)}" is not a folder. Give a folder of pictures.')
    return folder


def _require_enough(counts: Mapping[str, int], settings: Settings) -> None:
    real, fake = needed(settings)
    for label, count in counts.items():
        least = real if label == REAL else fake
        if count < least:
            catch = f" + {settings.catch} catch" if label == REAL and settings.catch else ""
            raise UserError(
                f"{label}: {count} pictures, and {least} are needed: nobody sees a picture twice, and there are "
                f"{settings.practice} practice + {settings.trials} counted{catch} trials. Give more pictures, or lower "
                "--trials, --practice or --catch."
            )


def _matched(paths: Mapping[str, tuple[Path, list[Path]]], notices: list[str]) -> dict[str, tuple[Path, list[Path]]]:
    """Keep the pictures that every folder has under one name, in the same order everywhere."""
    by_name: dict[str, dict[str, Path]] = {}
    for label, (folder, files) in paths.items():
        named: dict[str, Path] = {}
        for path in files:
            key = path.relative_to(folder).with_suffix("").as_posix()
            if key in named:
                raise UserError(
                    f'{label}: "{printable(named[key])}" and "{printable(path)}" differ in the suffix only, so it is '
                    "not clear which belongs to the pair. Remove one, or use --pairs unmatched."
                )
            named[key] = path
        by_name[label] = named
    shared = sorted(set.intersection(*(set(named) for named in by_name.values())))
    if not shared:
        raise UserError(
            "--pairs matched: no name (without suffix) is in every folder. "
            + "; ".join(f'{label} has e.g. "{printable(min(named))}"' for label, named in by_name.items())
            + ". Rename the files, or use --pairs unmatched."
        )
    for label, named in by_name.items():
        if len(named) > len(shared):
            notices.append(f"{label}: {len(named) - len(shared)} pictures left out, no partner of the same name.")
    return {label: (paths[label][0], [named[key] for key in shared]) for label, named in by_name.items()}


def _read(
    folder: Path,
    paths: Mapping[str, tuple[Path, list[Path]]],
    size: tuple[int, int] | None,
    notices: list[str],
    progress: Callable[[int, int], None] | None,
) -> tuple[Entries, tuple[int, int]]:
    """Decode, fit and encode every picture into the new folder; return them and their (height, width)."""
    total = sum(len(files) for _, files in paths.values())
    sizes: dict[str, Counter[tuple[int, int]]] = {label: Counter() for label in paths}
    entries: Entries = {label: [] for label in paths}
    for label, (given, files) in paths.items():
        for path in files:
            pixels = read_pixels(path)
            sizes[label][pixels.shape[0], pixels.shape[1]] += 1
            name = printable(path.relative_to(given).as_posix())  # it goes into JSON, which must be unicode
            entries[label].append(_enter(folder, name, fit(pixels, *size) if size else pixels))
            if progress is not None:
                progress(sum(map(len, entries.values())), total)
    _check_sizes(sizes, size, notices)
    return entries, size or next(iter(sizes[REAL]))


def _enter(folder: Path, name: str, pixels: Pixels) -> _Entry:
    data = encode(pixels)
    path = folder / PICTURES / f"{secrets.token_hex(16)}.png"
    path.write_bytes(data)
    return _Entry(name, path, len(data), hashlib.blake2b(pixels.tobytes(), digest_size=16).digest())


def _check_sizes(
    sizes: Mapping[str, Counter[tuple[int, int]]], size: tuple[int, int] | None, notices: list[str]
) -> None:
    found = set().union(*sizes.values())
    listed = "; ".join(
        f"{label}: {', '.join(f'{height} x {width} ({count})' for (height, width), count in counts.most_common(4))}"
        for label, counts in sizes.items()
    )
    if size is None and len(found) > 1:
        height, width = min(found)
        raise UserError(
            f"the pictures differ in size (height x width), which would tell real from generated. {listed}. Give "
            f"--size, such as --size {height}x{width}: every picture is then cropped in the middle and resampled to it."
        )
    if size is not None and len({frozenset(counts) for counts in sizes.values()}) > 1:
        notices.append(
            f"real and generated pictures came in different sizes ({listed}) and were resampled to "
            f"{size[0]} x {size[1]}: how sharp they are may tell them apart. Best give pictures of one size."
        )


def _drop_repeated(entries: Entries, notices: list[str]) -> None:
    """Leave out every picture that came before, with those at the same place in the other folders of `entries`."""
    seen: dict[str, set[bytes]] = {label: set() for label in entries}
    kept: Entries = {label: [] for label in entries}
    dropped = 0
    for row in zip(*entries.values(), strict=True):
        repeated = any(entry.digest in before for entry, before in zip(row, seen.values(), strict=True))
        dropped += repeated
        for label, entry in zip(entries, row, strict=True):
            if repeated:
                entry.path.unlink()
            else:
                seen[label].add(entry.digest)
                kept[label].append(entry)
    if dropped and len(entries) > 1:
        notices.append(f"{plural(dropped, 'pair')} left out: a picture of theirs came before.")
    elif dropped:
        notices.append(f"{next(iter(entries))}: {plural(dropped, 'repeated picture')} left out.")
    for label, own in kept.items():
        entries[label][:] = own


def _refuse_copies(entries: Entries) -> None:
    real = {entry.digest: entry.name for entry in entries[REAL]}
    for label in list(entries)[1:]:
        for entry in entries[label]:
            if entry.digest in real:
                raise UserError(
                    f'{label}: "{printable(entry.name)}" is pixel for pixel the real picture '
                    f'"{printable(real[entry.digest])}". A copy is not a generated picture; was a folder given twice?'
                )


def _write(folder: Path, entries: Entries, shape: tuple[int, int], settings: Settings, rules: Rules) -> Study:
    """Add the catch pictures, fill all files up to one length, and describe them."""
    random = np.random.default_rng(secrets.randbits(128))
    real = entries[REAL]
    chosen = [real[place] for place in random.choice(len(real), settings.catch, replace=False)]
    catch = [_enter(folder, entry.name, spoiled(read_pixels(entry.path), random)) for entry in chosen]
    length = filled_length([entry.length for own in (*entries.values(), catch) for entry in own])
    stored = {label: _fill(own, length) for label, own in entries.items()}
    study = Study(
        id=secrets.token_hex(16),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        settings=settings,
        rules=rules,
        height=shape[0],
        width=shape[1],
        bytes=length,
        real=stored.pop(REAL),
        catch=_fill(catch, length),
        methods=stored,
    )
    write_study(study, folder)
    return study


def _fill(entries: Sequence[_Entry], length: int) -> tuple[Picture, ...]:
    pictures = []
    for entry in entries:
        data = filled(entry.path.read_bytes(), length)
        entry.path.write_bytes(data)
        pictures.append(Picture(file=entry.path.name, name=entry.name, sha256=hashlib.sha256(data).hexdigest()))
    return tuple(pictures)
