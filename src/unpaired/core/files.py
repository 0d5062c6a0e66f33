"""Files that are there whole or not at all, folders that one process writes at a time, and the rule for `--out`."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

import filelock

from unpaired.core.errors import UserError, option
from unpaired.core.text import printable

MOST_BYTES = 16_000_000
"""Of one document that is read."""
LOCK = ".lock"
"""Name of the lock file in a folder that one process writes at a time."""
_LEFTOVER = re.compile(r"\.(.+)\.(?:writing|replaced)-\d+(?:-[0-9a-f]{8})?(?:\.[^/]*)?", re.DOTALL)
_HEAD = 4096
"""Bytes of a file in which it says that unpaired wrote it."""
_DOUBLE = re.compile(r"\.(?:nii|ome)\.[A-Za-z0-9]+", re.ASCII)
"""Suffixes of two parts, by which programs choose a format: `.nii.gz`, `.ome.tif`."""


def full_suffix(path: PurePath) -> str:
    """Return the suffix of a file's name as it is written, of two parts where these are one format: `.nii.gz`."""
    two = "".join(path.suffixes[-2:])
    return two if _DOUBLE.fullmatch(two) else path.suffix


def write_atomic(
    path: Path, content: bytes | memoryview | str, *, then: str = "try again", durable: bool = True
) -> None:
    """Write a file atomically: a reader finds the old or the new content, whole, even after a crash.

    Text is written as UTF-8. Parent folders are made. `durable` brings it to the disk at once, so that it survives a
    power cut too. Raises `UserError` when the disk is full or the place cannot be written; `then` is what a person does
    once that is repaired.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with atomic_file(path, then=then, durable=durable) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def atomic_file(path: Path, *, then: str = "try again", durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what the block writes there takes its place when the block ends well.

    The temporary file keeps the suffix, since some writers choose the format by it. Errors as in `write_atomic`.
    """
    stem = os.fsdecode(os.fsencode(path.stem)[:64])  # the whole name must not become too long
    temporary = path.with_name(f".{stem}.writing-{os.getpid()}-{uuid.uuid4().hex[:8]}{full_suffix(path)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if durable:
                sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error, then) from error


@contextlib.contextmanager
def atomic_folder(folder: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place when the block ends well.

    The block brings its files to the disk with `sync`. An existing folder is replaced, or without `replace` an error,
    also where another process was faster. Raises `UserError` when the disk is full or the place cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        replaced = folder.with_name(f".{folder.name}.replaced-{os.getpid()}")
        if replace and folder.exists():
            folder.rename(replaced)
        try:
            temporary.rename(folder)
        except OSError:
            if replaced.exists():
                replaced.rename(folder)
            raise
        sync(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if means_full_disk(error):
            raise UserError(
                f"the disk is full: could not write {folder}. What was written before is intact. "
                "Free some space, or choose another place with --out."
            ) from error
        if isinstance(error, OSError):
            raise UserError(f"cannot write {folder}: {error.strerror or error}.") from error
        raise


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot flush a folder
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def means_full_disk(error: BaseException) -> bool:
    """Return whether an error, or what caused it, says that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if error.__cause__ is not None and means_full_disk(error.__cause__):
        return True
    text = str(error)  # safetensors reports the operating system's words in an exception of its own
    return "No space left on device" in text or "Disk quota exceeded" in text or "os error 28" in text


def cannot_write(path: Path, error: OSError, then: str) -> UserError:
    """Return the error for a file that cannot be written."""
    return UserError(
        f"cannot write {printable(path)}: {error.strerror or error}. What was written before is intact; "
        f"free some space or make the place writable, then {then}."
    )


def require_writable(folder: Path) -> None:
    """Raise `UserError` unless files can be written into a folder, or into the one it would be made in."""
    there = folder.absolute()
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write into {printable(folder)}: {error.strerror or error} ({printable(there)}). Choose another "
            "folder, or make this one writable."
        ) from error


# ------------------------------------------------------------------------------------------------- the rule for --out


def check_out(
    out: str | Path,
    *,
    named: str = "out",
    reads: Iterable[object] = (),
    replaces: Iterable[str] | None = None,
    suffixes: Iterable[str] = (),
    mark: str = "unpaired",
) -> Path:
    """Return where a command is to write, after the rule that holds for `--out` of all commands; makes nothing.

    With `replaces`, the names of files in it, `out` is a folder, else a file (of one of these `suffixes`). Refused are:
    a name that is not valid or too long, a place that cannot be written, a folder of the images that the command reads
    (`reads`, those that are paths) or one inside, and a file in the way that unpaired has not written: a page, a JSON
    document or a plan carries its `mark`; other files are taken for ours where such a document lies beside them, and
    names it. Call it before anything is computed. Raises `UserError`.
    """
    out = Path(os.path.expanduser(out))
    called = option(named, printable(out))
    _check_name(out, called)
    endings = sorted(suffixes)
    if endings and out.suffix.lower() not in endings:
        raise UserError(f"{called}: expected a file that ends in {' or '.join(endings)}.")
    if replaces is None and out.is_dir():
        example = printable(out / f"results{min(endings, default='')}")
        raise UserError(f"{called} is a folder. Give a file, such as {example}.")
    if replaces is not None and out.exists() and not out.is_dir():
        raise UserError(f"{called} is a file. Give a folder.")
    require_outside(out, reads, named=named)
    require_writable(out.parent if replaces is None else out)
    folder, names = (out.parent, [out.name]) if replaces is None else (out, list(replaces))
    for path in (folder / name for name in names):
        if os.path.lexists(path) and not _is_ours(path, names, mark):
            raise UserError(
                f"{called}: {printable(path)} exists and is none that this command has written, so it is not "
                f"replaced. Choose another {option(named)}, or move the file."
            )
    return out


def require_outside(out: Path, folders: Iterable[object], *, named: str = "out") -> None:
    """Raise `UserError` where `out` is one of these folders of images or lies inside: outputs would become inputs."""
    there = real_path(out)
    for folder in folders:
        if isinstance(folder, str | Path) and there.is_relative_to(real_path(folder)):
            raise UserError(
                f"{option(named, printable(out))} lies in a folder of images that is read, {printable(folder)}: what "
                f"is written there would be taken for its images. Choose another {option(named)}."
            )


def real_path(path: str | Path) -> Path:
    """Return where a path leads, `~` and links followed; links in a loop and unknown users are no error."""
    return Path(os.path.realpath(os.path.expanduser(path)))


def _check_name(out: Path, called: str) -> None:
    try:
        os.fspath(out).encode()
        os.path.lexists(out) or out.exists()
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in os.fspath(out)):
            raise ValueError("it holds a control character")
    except (OSError, ValueError) as error:
        reason = "it is not valid UTF-8" if isinstance(error, UnicodeError) else getattr(error, "strerror", None)
        raise UserError(f"{called}: the name cannot be used ({reason or error}). Choose another one.") from error


def _is_ours(path: Path, names: Iterable[str], mark: str) -> bool:
    """Whether a file says that unpaired wrote it or, where its kind cannot say so, whether one beside it does."""
    marks = {".json": f'"format": "{mark}', ".html": f'name="generator" content="{mark.replace("-", " ")}'}
    marks |= {".htm": marks[".html"], ".toml": f"# {mark} plan"}
    if path.suffix.lower() not in marks:
        beside = [path.with_name(name) for name in names if Path(name).suffix.lower() in marks]
        return path.is_file() and any(_is_ours(each, (), mark) for each in beside)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return marks[path.suffix.lower()] in file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return False


# ------------------------------------------------------------------------------------------------------------- folders


@contextlib.contextmanager
def locked(folder: Path, *, patience_seconds: float = 0.0) -> Iterator[None]:
    """Hold a folder's lock while the block runs; the folder is made if need be. The lock ends with the process.

    Take the lock before looking into the folder or writing to it. Raises `UserError` where another process holds it,
    for longer than `patience_seconds`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error, "try again") from error
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=patience_seconds)
    except filelock.Timeout as error:
        raise UserError(
            f"another process is writing to {printable(folder)}. Wait for it to end, or stop it first."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def one_at_a_time(folder: Path, then: str = "try again") -> Iterator[None]:
    """Wait while another process writes into a folder, for the moment in which several files of it are replaced.

    Unlike `locked` it leaves no file behind. Where the system cannot lock folders (Windows) it does nothing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error, then) from error
    with contextlib.ExitStack() as held:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def new_folder(folder: Path, *, advice: str = "Choose another --out.") -> Iterator[None]:
    """Hold the lock of a folder that must be new or empty while the block fills it.

    Looked at before, so that nothing of a used folder is touched, and again under the lock, since another process may
    have been faster. What a process left that was killed before it wrote anything whole does not count. Raises
    `UserError`.
    """
    require_new(folder, advice)
    with locked(folder):
        require_new(folder, advice)
        yield


def require_new(folder: Path, advice: str = "Choose another --out.") -> None:
    """Raise `UserError` unless a folder is not there yet, or holds nothing but leftovers of a killed process."""
    _check_name(folder, option("out", printable(folder)))
    if folder.exists() and (not folder.is_dir() or not all(_is_leftover(path) for path in folder.iterdir())):
        raise UserError(f"{printable(folder)} exists and is not an empty folder. {advice}")


def clear_leftovers(folder: Path, *, of: Path | None = None) -> None:
    """Delete what killed processes left half-written in a folder, or of one file; call it under the lock."""
    for path in folder.iterdir() if folder.is_dir() else ():
        found = _LEFTOVER.fullmatch(path.name)
        if found and (of is None or of.stem.startswith(found[1])):
            remove(path)


def remove(path: Path) -> None:
    """Delete a file or a folder with all it holds, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_leftover(path: Path) -> bool:
    return path.name == LOCK or _LEFTOVER.fullmatch(path.name) is not None


def open_regular(path: Path, *, at_most: int, inside: Path | None = None) -> io.BufferedReader:
    """Open a file from a place that is not trusted: a regular file of at most `at_most` bytes, below `inside`.

    Nothing is read and nothing is waited for. Raises `UserError` for a device, a FIFO, a folder, a link that leads out
    of `inside` and a larger file, and `OSError` where it is missing or cannot be opened.
    """
    real = Path(os.path.realpath(path, strict=True))
    if inside is not None and not real.is_relative_to(real_path(inside)):
        raise UserError(f"{printable(path)} is a link to a place outside {printable(inside)} and is not read.")
    unix = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NOCTTY", 0)
    descriptor = os.open(real, os.O_RDONLY | unix | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kinds = {
                stat.S_IFIFO: "a FIFO",
                stat.S_IFCHR: "a device",
                stat.S_IFBLK: "a device",
                stat.S_IFDIR: "a folder",
            }
            what = kinds.get(stat.S_IFMT(status.st_mode), "something else")
            raise UserError(f"{printable(path)} is {what}, not a regular file, and is not read.")
        if status.st_size > at_most:
            raise UserError(
                f"{printable(path)} has {status.st_size:,} bytes; such a file has at most {at_most:,}. It is not read."
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, *, at_most: int, inside: Path | None = None) -> bytes:
    """Return the content of a file from a place that is not trusted; bounds and errors as in `open_regular`."""
    with open_regular(path, at_most=at_most, inside=inside) as file:
        return file.read(at_most)


def parse_json(content: bytes) -> Any:
    """Return what JSON holds, whoever wrote it: numbers that are not finite are None; `ValueError` where it is none."""
    try:
        return json.loads(content, parse_int=_whole, parse_float=_finite, parse_constant=lambda _: None)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _whole(digits: str) -> int | float | None:
    return int(digits) if len(digits) <= 20 else _finite(digits)  # beyond, it would be no number of any field


def _finite(digits: str) -> float | None:
    return value if math.isfinite(value := float(digits)) else None


def read_json(path: Path, *, at_most: int = MOST_BYTES, inside: Path | None = None) -> dict[str, Any]:
    """Return the object of a JSON file, read as `read_regular` and `parse_json` do.

    Raises `UserError` that says why where that is impossible; its cause is `FileNotFoundError` where there is none.
    """
    try:
        document = parse_json(read_regular(path, at_most=at_most, inside=inside))
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be read: {error.strerror or error}.") from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{printable(path)} is damaged (not JSON).") from error
    if not isinstance(document, dict):
        raise UserError(f"{printable(path)} is damaged (no JSON object).")
    return document
