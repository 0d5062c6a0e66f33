"""Make a study's folder out of folders of pictures."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from unpaired.core.errors import UserError
from unpaired.core.files import atomic_folder, check_out
from unpaired.core.text import plural, printable
from unpaired.data.folders import list_images
from unpaired.study.description import METHOD_NAME, PICTURES, Picture, Rules, Settings, Study, write_study
from unpaired.study.picture import Pixels, encode, filled, filled_length, fit, read_pixels, spoiled
from unpaired.study.store import Store

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
    _require_absent(out)
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


def _require_absent(out: Path) -> None:
    if out.exists():
        raise UserError(f'"{printable(out)}" exists already. Give --out a new folder: answers are never mixed.')


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
