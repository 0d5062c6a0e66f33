"""Make a study's folder out of folders of pictures."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from unpaired.data.folders import list_images
from unpaired.data.refusal import shown
from unpaired.errors import UserError
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


@dataclass(slots=True)
class _Source:
    """The pictures of one folder, as they will be stored."""

    label: str
    folder: Path
    images: dict[str, Pixels] = field(default_factory=dict)
    """By path inside the folder."""


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
        raise UserError(f'"{shown(out)}" exists already. Give --out a new folder: answers are never mixed.')
    _require_methods(fakes)
    notices: list[str] = []
    paths = {REAL: (real, list_images(_folder("--real", real)))}
    paths |= {name: (path, list_images(_folder(f"--fake {name}=", path))) for name, path in fakes.items()}
    if settings.pairs == "matched":
        paths = _matched(paths, notices)
    _require_enough({label: len(files) for label, (_, files) in paths.items()}, settings)
    sources = _read(paths, size, notices, progress)
    if settings.pairs == "unmatched":
        _drop_repeated(sources, notices)
    _refuse_copies(sources)
    _require_enough({source.label: len(source.images) for source in sources}, settings)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.writing")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir(mode=0o700)  # it holds the truth, and participants' numbers
        (temporary / PICTURES).mkdir()
        study = _write(temporary, sources, settings, rules or Rules())
        Store(temporary).close()
        os.replace(temporary, out)
    except OSError as error:
        raise UserError(f'cannot write "{shown(out)}": {error.strerror}.') from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Created(study, notices)


def needed(settings: Settings) -> tuple[int, int]:
    """Return how many real pictures, and how many of every method, one participant sees."""
    fakes = settings.practice + settings.trials
    return fakes + settings.catch, fakes


def _require_methods(fakes: Mapping[str, Path]) -> None:
    if not fakes:
        raise UserError("no generated pictures are given. Give at least one --fake NAME=DIR.")
    for name in fakes:
        if name == REAL or not re.match(METHOD_NAME, name):
            raise UserError(
                f'--fake: "{shown(name)}" cannot be a method\'s name. Use 1 to 60 letters, digits, spaces and signs, '
                "none of / \\ =."
            )


def _folder(option: str, folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f'{option} "{shown(folder)}" is not a folder. Give a folder of pictures.')
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
                    f'{label}: "{shown(named[key])}" and "{shown(path)}" differ in the suffix only, so it is not clear '
                    "which belongs to the pair. Remove one, or use --pairs unmatched."
                )
            named[key] = path
        by_name[label] = named
    shared = sorted(set.intersection(*(set(named) for named in by_name.values())))
    if not shared:
        raise UserError(
            "--pairs matched: no name (without suffix) is in every folder. "
            + "; ".join(f'{label} has e.g. "{shown(min(named))}"' for label, named in by_name.items())
            + ". Rename the files, or use --pairs unmatched."
        )
    for label, named in by_name.items():
        if len(named) > len(shared):
            notices.append(f"{label}: {len(named) - len(shared)} pictures left out, no partner of the same name.")
    return {label: (paths[label][0], [named[key] for key in shared]) for label, named in by_name.items()}


def _read(
    paths: Mapping[str, tuple[Path, list[Path]]],
    size: tuple[int, int] | None,
    notices: list[str],
    progress: Callable[[int, int], None] | None,
) -> list[_Source]:
    total = sum(len(files) for _, files in paths.values())
    sizes: dict[str, Counter[tuple[int, int]]] = {label: Counter() for label in paths}
    sources, done = [], 0
    for label, (folder, files) in paths.items():
        source = _Source(label, folder)
        for path in files:
            pixels = read_pixels(path)
            sizes[label][pixels.shape[0], pixels.shape[1]] += 1
            source.images[path.relative_to(folder).as_posix()] = fit(pixels, *size) if size else pixels
            done += 1
            if progress is not None:
                progress(done, total)
        sources.append(source)
    _judge_sizes(sizes, size, notices)
    return sources


def _judge_sizes(
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


def _digest(pixels: Pixels) -> bytes:
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()


def _drop_repeated(sources: Sequence[_Source], notices: list[str]) -> None:
    for source in sources:
        kept: dict[bytes, str] = {}
        for name, pixels in source.images.items():
            kept.setdefault(_digest(pixels), name)
        if len(kept) < len(source.images):
            notices.append(f"{source.label}: {len(source.images) - len(kept)} repeated pictures left out.")
        source.images = {name: source.images[name] for name in kept.values()}


def _refuse_copies(sources: Sequence[_Source]) -> None:
    real = {_digest(pixels): name for name, pixels in sources[0].images.items()}
    for source in sources[1:]:
        for name, pixels in source.images.items():
            if _digest(pixels) in real:
                raise UserError(
                    f'{source.label}: "{shown(name)}" is pixel for pixel the real picture '
                    f'"{shown(real[_digest(pixels)])}". A copy is not a generated picture; was a folder given twice?'
                )


def _write(folder: Path, sources: Sequence[_Source], settings: Settings, rules: Rules) -> Study:
    """Encode all pictures, fill them to one length and store them under random names."""
    random = np.random.default_rng(secrets.randbits(128))
    encoded = {source.label: {name: encode(pixels) for name, pixels in source.images.items()} for source in sources}
    names = list(sources[0].images)
    chosen = [names[place] for place in random.choice(len(names), settings.catch, replace=False)]
    catch = {name: encode(spoiled(sources[0].images[name], random)) for name in chosen}
    lengths = [len(data) for files in [*encoded.values(), catch] for data in files.values()]
    length = filled_length(lengths)
    height, width = next(iter(sources[0].images.values())).shape[:2]
    stored: dict[str, tuple[Picture, ...]] = {
        label: _store(folder, files, length) for label, files in [*encoded.items(), ("", catch)]
    }
    study = Study(
        id=secrets.token_hex(16),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        settings=settings,
        rules=rules,
        height=height,
        width=width,
        bytes=length,
        real=stored.pop(REAL),
        catch=stored.pop(""),
        methods=stored,
    )
    write_study(study, folder)
    return study


def _store(folder: Path, files: Mapping[str, bytes], length: int) -> tuple[Picture, ...]:
    pictures = []
    for name, png in files.items():
        data = filled(png, length)
        picture = Picture(file=f"{secrets.token_hex(16)}.png", name=name, sha256=hashlib.sha256(data).hexdigest())
        (folder / PICTURES / picture.file).write_bytes(data)
        pictures.append(picture)
    return tuple(pictures)
