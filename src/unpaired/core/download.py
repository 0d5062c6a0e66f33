"""Files from the web: resumed where a connection was cut, of bounded size, checked, from one mirror after the other."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    url2pathname,
)

import filelock

from unpaired.core.errors import UserError
from unpaired.core.files import cannot_write, sync
from unpaired.core.text import megabytes, plural, printable

PATIENCE = 30.0
"""Seconds that a server may be silent before its connection counts as cut."""
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts that bring nothing; after the last one the next mirror is asked."""
MOST_CONNECTIONS = 100
"""Connections to one mirror, however little each of them brings."""
MOST_REDIRECTS = 5
LARGEST = 1 << 36
"""Bytes of a file whose size is not known beforehand."""
BLOCK = 1 << 18
"""Bytes read at a time."""
PART = ".part"
"""Suffix of a file that is not complete; what is in it is kept when a download is interrupted."""

Progress = Callable[[int, int], None]
"""Takes the bytes that are there, and those of the whole file (0 where the server does not say)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFile:
    """A file on the web, and what is known of its content."""

    urls: tuple[str, ...]
    """Where it is, in the order in which they are tried."""
    size: int | None = None
    """Bytes, where they are known."""
    sha256: str | None = None
    md5: str | None = None
    """Checksums that were published, in hexadecimal digits; the MD5 where there is no other."""


class Received(NamedTuple):
    """What came of a download."""

    path: Path
    url: str
    size: int
    sha256: str
    """Computed from what was received, whether or not a checksum was published."""


class DownloadError(UserError):
    """No mirror gave the file; `reasons` says what each of them answered."""

    def __init__(self, name: str, reasons: list[str]) -> None:
        self.reasons = "; ".join(reasons)
        super().__init__(
            f"could not download {name} from any of {plural(len(reasons), 'address', 'addresses')}. {self.reasons}. "
            "Start it again later, which goes on where it stopped, or get the file elsewhere."
        )


class _Unavailable(Exception):
    """This mirror cannot give the file; the next one may."""


class _Cut(Exception):
    """A connection ended early; what came is kept."""


def download(file: WebFile, path: Path, *, progress: Progress | None = None) -> Received:
    """Bring a file to `path`, which is there whole and checked afterwards or not at all; other processes wait.

    What was received is kept beside it (`.part`) when the connection, the process or the power fails, and the next call
    asks for the rest (`Range` with `If-Range`); a server without ranges, or whose file has changed, sends all of it
    again. Proxies are those of the environment. A file that is there already is compared where a checksum is known.
    Raises `DownloadError` that says what each mirror answered.
    """
    reasons: list[str] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_name(path.name + ".lock")):
            if path.is_file() and (file.sha256 or file.md5):  # another process has brought it meanwhile
                return check_file(file, path)
            for url in file.urls:
                try:
                    return _from_mirror(file, url, path, progress)
                except _Unavailable as error:
                    reasons.append(f"{printable(url)}: {error}")
    except OSError as error:
        raise cannot_write(path, error, "start the same download again, which goes on where it stopped") from error
    raise DownloadError(path.name, reasons)


def check_file(file: WebFile, path: Path) -> Received:
    """Return what a file at hand is, after comparing it with what is known; `UserError` where it is another."""
    digests = _Digests()
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                digests.update(block)
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be read: {error.strerror or error}.") from error
    if wrong := digests.differs(file):
        raise UserError(f"{printable(path)} is not the published file: {wrong}. It is damaged, or something else.")
    return Received(path, path.absolute().as_uri(), digests.size, digests.sha256.hexdigest())


def local_path(place: str) -> Path | None:
    """Return the path that a file's place is, plain or as a file:// address; None for an address on the web.

    Raises `UserError` for an address of another kind.
    """
    parts = urlsplit(place)
    if "://" not in place:
        return Path(os.path.expanduser(place))
    if parts.scheme.lower() == "file":
        return Path(url2pathname(parts.path))
    _require_web(place)
    return None


def _require_web(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise UserError(f"{printable(url)[:200]}: allowed are addresses that begin with https:// or http://.")


# -------------------------------------------------------------------------------------------------------- one mirror


class _Digests:
    """Size and checksums of what was written so far."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin again with nothing."""
        self.size, self.sha256, self.md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def update(self, block: bytes) -> None:
        self.size += len(block)
        self.sha256.update(block)
        self.md5.update(block)

    def differs(self, file: WebFile) -> str:
        """Return how the content differs from what is known; empty where it does not."""
        for name, wanted, found in (
            ("SHA-256", file.sha256, self.sha256.hexdigest()),
            ("MD5", file.md5, self.md5.hexdigest()),
        ):
            if wanted is not None and wanted.lower() != found:
                return f"its {name} is {found}, expected {wanted}"
        if file.size is not None and file.size != self.size:
            return f"it has {self.size:,} bytes, expected {file.size:,}"
        return ""


def _from_mirror(file: WebFile, url: str, path: Path, progress: Progress | None) -> Received:
    _require_web(url)
    part = path.with_name(path.name + PART)
    pauses, digests = iter(PAUSES), _Digests()
    for _ in range(MOST_CONNECTIONS):
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(file, url, part, digests, progress)
        except _Cut as error:
            if (part.stat().st_size if part.exists() else 0) > before:
                pauses = iter(PAUSES)  # it goes on, if slowly
            pause = next(pauses, None)
            if pause is None:
                raise _Unavailable(f"{error}, {len(PAUSES) + 1} times in a row") from error
            time.sleep(pause)
            continue
        wrong = digests.differs(file)
        if wrong:
            _forget(part)
            if before:  # of another mirror, or of another version of the file: once more from the beginning
                continue
            raise _Unavailable(wrong)
        sync(part)
        part.replace(path)
        _forget(part)
        return Received(path, url, digests.size, digests.sha256.hexdigest())
    raise _Unavailable(f"the connection was cut {MOST_CONNECTIONS} times")


def _receive(file: WebFile, url: str, part: Path, digests: _Digests, progress: Progress | None) -> None:
    """Append what is missing to the part, and take it into the checksums of all that is there.

    Raises `_Cut` where the connection ends early, `_Unavailable` where this mirror cannot give the file.
    """
    have, validator = _resumable(file, url, part)
    headers = {"User-Agent": "unpaired", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", **({"If-Range": validator} if validator else {})}
    with _answer(Request(url, headers=headers), part) as answer:
        resumed = have > 0 and answer.status == 206 and _starts_at(answer, have)
        if answer.status == 206 and not resumed:
            _forget(part)
            raise _Cut("the server sent another part than was asked for")
        total = _length(answer) + have * resumed if _length(answer) is not None else None  # type: ignore[operator]
        most = file.size if file.size is not None else LARGEST
        if total is not None and (total > most or file.size not in (None, total)):
            raise _Unavailable(f"the file there has {total:,} bytes, expected {_expected(file)}")
        with part.open("r+b" if resumed else "wb") as stream:
            if not resumed:
                digests.restart()
                _remember(part, url, answer)
            elif digests.size != have:  # of an earlier process
                digests.restart()
                _read_again(stream, digests, have)
            stream.seek(digests.size)
            _copy(answer, stream, digests, most, lambda done: progress(done, total or 0) if progress else None)
    if digests.size > most:
        _forget(part)
        raise _Unavailable(f"the file there has more than {most:,} bytes, expected {_expected(file)}")
    whole = total or file.size or 0
    if digests.size < whole:
        raise _Cut(f"the connection was cut after {megabytes(digests.size)} of {megabytes(whole)}")


def _copy(
    answer: HTTPResponse, stream: BinaryIO, digests: _Digests, most: int, progress: Callable[[int], None]
) -> None:
    progress(digests.size)
    while digests.size <= most:
        try:
            block = answer.read1(BLOCK)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: a chunk's length that is no number
            raise _Cut(f"the connection was cut after {megabytes(digests.size)} ({_words(error)})") from error
        if not block:
            return
        stream.write(block)
        digests.update(block)
        progress(digests.size)


def _expected(file: WebFile) -> str:
    return f"at most {LARGEST:,}" if file.size is None else f"{file.size:,}"


def _read_again(stream: BinaryIO, digests: _Digests, size: int) -> None:
    """Take what is there into the checksums, and drop what is more."""
    while digests.size < size and (block := stream.read(min(BLOCK, size - digests.size))):
        digests.update(block)
    stream.truncate(digests.size)


# ------------------------------------------------------------------------------------------------------------ answers


@contextlib.contextmanager
def _answer(request: Request, part: Path) -> Iterator[HTTPResponse]:
    try:
        answer = _opener().open(request, timeout=PATIENCE)
    except HTTPError as error:
        with error:
            if error.code == 416:  # the part is no beginning of this file
                _forget(part)
            reason = f"{error.code} {printable(error.reason)}"
        if error.code in (408, 416, 425, 429) or (error.code >= 500 and error.code != 501):
            raise _Cut(reason) from error
        raise _Unavailable(reason) from error
    except URLError as error:
        raise _Unavailable(_words(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _Cut(_words(error)) from error
    with answer:
        yield answer


class _Redirects(HTTPRedirectHandler):
    """Follows a few redirects, to the web only, and never from an encrypted connection to an open one."""

    max_redirections = MOST_REDIRECTS
    max_repeats = 2

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        scheme = urlsplit(newurl).scheme.lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise HTTPError(newurl, code, f"a redirect to {newurl[:200]} is not followed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> OpenerDirector:
    opener = OpenerDirector()
    for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPErrorProcessor, _Redirects):
        opener.add_handler(handler())
    return opener


def _length(answer: HTTPResponse) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _starts_at(answer: HTTPResponse, first: int) -> bool:
    return answer.headers.get("Content-Range", "").replace(" ", "").startswith(f"bytes{first}-")


def _words(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "the server is silent"
    text = str(getattr(error, "strerror", None) or error)
    return printable(text)[:200] or type(error).__name__


# ---------------------------------------------------------------------------------------------------------- the part


def _state_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _resumable(file: WebFile, url: str, part: Path) -> tuple[int, str]:
    """Return how many bytes of the part can be kept, and the validator that the server compares; 0 to begin again.

    Without a validator of the same address a checksum must be known, which tells at the end whether the parts fit.
    """
    have = part.stat().st_size if part.exists() else 0
    if have == 0 or (file.size is not None and have > file.size):
        return 0, ""
    validator = ""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        state = json.loads(_state_of(part).read_text(encoding="utf-8"))
        validator = str(state.get("validator", "")) if state.get("url") == url else ""
    if file.size == have and (file.sha256 or file.md5):
        return have - 1, validator  # one byte more, so that the server has something to answer
    return (have, validator) if validator or file.sha256 or file.md5 else (0, "")


def _remember(part: Path, url: str, answer: HTTPResponse) -> None:
    etag = answer.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")  # a weak one proves nothing
    _state_of(part).write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")


def _forget(part: Path) -> None:
    for path in (part, _state_of(part)):
        path.unlink(missing_ok=True)
