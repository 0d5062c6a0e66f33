"""Published data sets by name: where they are, what is known of them, and how they come into a folder."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import filelock
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from unpaired.core.archive import unpack
from unpaired.core.cache import user_cache_folder
from unpaired.core.download import Received, WebFile, check_file, download, local_path
from unpaired.core.errors import UserError, did_you_mean, option
from unpaired.core.files import read_json, remove, require_new, require_writable, write_atomic
from unpaired.core.settings import STRICT
from unpaired.core.terminal import counting, note, receiving
from unpaired.core.text import megabytes, plural, printable

FOLDER = "data"
"""Of the user's cache."""
DOWNLOADS = "downloads"
"""Of the user's cache: archives that are not unpacked yet, and parts of such."""
PAIRS = "_pairs"
"""End of the name of a data set of side-by-side files, where the plain name has two folders."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Dataset:
    """One entry of `catalogue.toml`."""

    name: str
    title: str
    """What its images are, in a few words."""
    a: str
    """What domain A holds."""
    b: str
    urls: tuple[str, ...] = ()
    """Where the archive is; none where it cannot be downloaded."""
    size: int | None = None
    """Bytes of the archive, where they are known."""
    about: str = ""
    """About how large it is, where its bytes are not known."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    """Where no SHA-256 was published."""
    checksum_from: str = ""
    """Who published the checksum."""
    licence: str
    source: str
    """Page on which its makers describe it."""
    layout: Literal["folders", "pairs", "images"] = "folders"
    """`folders`: trainA, trainB, testA, testB; `pairs`: train and test or val, of side-by-side files, A left; `images`:
    no training images."""
    top: str = ""
    """The archive's own folder, which is left out; by default the name."""
    folders: dict[str, str] = Field(default_factory=dict)
    """Folder of the archive -> folder here, where they are named otherwise; all else is left out."""
    instructions: str = ""
    """How a user gets it, where it cannot be downloaded."""

    @property
    def file(self) -> WebFile:
        """The archive."""
        return WebFile(urls=self.urls, size=self.size, sha256=self.sha256, md5=self.md5)

    @property
    def checksum(self) -> str:
        """Which checksum is known: `SHA-256`, `MD5` or `none`."""
        return "SHA-256" if self.sha256 else "MD5" if self.md5 else "none"

    def place(self, path: str) -> str | None:
        """Return where a file of the archive goes; None where it is left out."""
        path = path.removeprefix(f"{self.top or self.name}/")
        if not self.folders:
            return path
        return next((to + path[len(of) :] for of, to in self.folders.items() if path.startswith(f"{of}/")), None)


@functools.cache
def catalogue() -> dict[str, Dataset]:
    """Return the published data sets by name."""
    text = (files("unpaired.data") / "catalogue.toml").read_text(encoding="utf-8")
    entries = {name: {"name": name, **entry} for name, entry in tomllib.loads(text).items()}
    return TypeAdapter(dict[str, Dataset]).validate_python(entries)


def find_dataset(name: str) -> Dataset:
    """Return the data set of a name; `UserError` that names the nearest where there is none."""
    found = catalogue().get(name)
    if found is None:
        raise UserError(
            f"there is no published data set called {printable(name)[:100]!r} in the catalogue."
            f"{did_you_mean(name, catalogue())} `unpaired download` lists all of them."
        )
    return found


def is_dataset(name: str) -> bool:
    """Say whether a name that is given for a folder is that of a published data set, and no folder of this name is."""
    return name in catalogue() and not Path(name).exists()


def dataset_folder(name: str, *, pairs: bool = False) -> Path:
    """Return the folder of a published data set in the user's cache, downloaded first where it is not there.

    `pairs` chooses the variant of side-by-side files where there are two. Raises `UserError`.
    """
    known = catalogue().get(name + PAIRS) if pairs else None
    return fetch_dataset(known or find_dataset(name))


def fetch_dataset(dataset: Dataset, *, out: Path | None = None, given: str | None = None, quiet: bool = False) -> Path:
    """Bring a data set into a new folder, by default that of the user's cache, and return the folder.

    `given` is a file or another address in place of the published ones; its content must be the published one where a
    checksum is known. Where it is in the cache already, nothing is done. Raises `UserError`.
    """
    if dataset.instructions:
        raise UserError(f"{dataset.name} cannot be downloaded by a program. {dataset.instructions}")
    cache = user_cache_folder()
    folder = cache / FOLDER / dataset.name if out is None else out
    if out is not None:
        require_new(out)
        require_writable(out)
    elif folder.is_dir():
        return folder
    (cache / FOLDER).mkdir(exist_ok=True)
    with filelock.FileLock(cache / FOLDER / f"{dataset.name}.lock"):
        if out is None and folder.is_dir():  # another process has brought it meanwhile
            return folder
        if not quiet:
            note(_announcement(dataset, folder, given))
        with receive(dataset.file, archive_name(dataset), given=given, what=dataset.name, quiet=quiet) as received:
            with counting(f"Unpacking {dataset.name}", quiet=quiet) as progress:
                count = unpack(received.path, folder, rename=dataset.place, progress=progress)
            _require_layout(dataset, folder)
    if not quiet:
        checked = f"checked ({dataset.checksum})" if dataset.checksum != "none" else "no checksum is published"
        note(f"{plural(count, 'file')} in {folder}; SHA-256 of the archive {received.sha256}, {checked}.")
    return folder


@contextlib.contextmanager
def receive(
    file: WebFile, name: str, *, given: str | None, what: str, quiet: bool, keep: bool = False
) -> Iterator[Received]:
    """Yield a published file: the one that the user gave, or downloaded into the user's cache as `name`, checked.

    Where no checksum is published it must be the one that was received first, which is recorded when the block ends
    well. The cache's own is removed then, unless it is to be kept, and also where the block cannot use it. Raises
    `UserError`.
    """
    place = user_cache_folder() / DOWNLOADS / name
    local = local_path(given) if given is not None else None
    if local is not None:
        received = check_file(file, local)
    elif place.is_file():  # whole, and not yet unpacked, or kept for what else is in it
        received = check_file(file, place)
    else:
        web = file if given is None else replace(file, urls=(given,))
        with receiving(what, quiet=quiet) as progress:
            received = download(web, place, progress=progress)
    known = file.sha256 is not None or file.md5 is not None
    try:
        if not known:
            _compare_with_first(place, what, received)
        yield received
    except UserError:
        keep = False
        raise
    else:
        if not known:
            facts = {"url": received.url, "sha256": received.sha256, "received": time.strftime("%Y-%m-%d")}
            write_atomic(_record_of(place), json.dumps(facts, indent=2) + "\n")
    finally:
        if received.path == place and not keep:
            remove(place)


def _record_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.received.json")


def _compare_with_first(place: Path, what: str, received: Received) -> None:
    """Trust on first use: raise `UserError` where another file was received before."""
    try:
        before = read_json(_record_of(place))
    except UserError:
        return
    if before.get("sha256") != received.sha256:
        raise UserError(
            f"{what} has changed: its SHA-256 is {received.sha256}, and was {before.get('sha256')} on "
            f"{before.get('received')}. No checksum is published, so nobody can say which is right. Where the new one "
            f"is to be trusted, remove {_record_of(place)}, and start the same once more."
        )


def archive_name(dataset: Dataset) -> str:
    """Return what the archive is called in the cache."""
    return f"{dataset.name}-{os.path.basename(urlsplit(dataset.urls[0]).path)}"


def _announcement(dataset: Dataset, folder: Path, given: str | None) -> str:
    size = f" ({megabytes(dataset.size)})" if dataset.size else ""
    return (
        f"{dataset.name}: {dataset.title}{size}\n"
        f"  licence: {dataset.licence}\n  source:  {dataset.source}\n"
        f"  from:    {printable(given or dataset.urls[0])}\n  to:      {folder}"
    )


def _require_layout(dataset: Dataset, folder: Path) -> None:
    wanted: Iterable[str] = {"folders": ("trainA", "trainB"), "pairs": ("train",), "images": ()}[dataset.layout]
    missing = [name for name in wanted if not (folder / name).is_dir()]
    if missing:
        found = ", ".join(sorted(printable(path.name) for path in folder.iterdir())[:8])
        remove(folder)
        raise UserError(
            f"the archive of {dataset.name} holds no folder {' and no '.join(missing)}, but {found}. It is not the "
            "published one; nothing was kept."
        )


def unknown_place(setting: str, name: str, siblings: Iterable[str]) -> UserError:
    """Return the error for a folder that is not there and no published data set, which names the nearest of both."""
    path = Path(name)
    plain = path.parent in (Path(), Path.cwd())
    near = did_you_mean(path.name, siblings) or (did_you_mean(path.name, catalogue()) if plain else "")
    published = near.split('"')[1] in catalogue() if near else False
    hint = f"{near} That is a published data set, downloaded where it is first needed." if published else near
    return UserError(f"{option(setting, printable(name))}: there is no such folder.{hint}")
