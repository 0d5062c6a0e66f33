"""The image of a request: sent as a form or as it is, or named in the service's own storage; of bounded size."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message

from unpaired.core.errors import UserError
from unpaired.core.files import open_regular, parse_json
from unpaired.data.formats import ImageBytes
from unpaired.web.refused import Refused

_IN_MEMORY = 1 << 20
"""Bytes of an image that wait in memory; more wait in a temporary file without a name."""
_MOST_FIELD_BYTES = 1 << 14
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:/")


class Received(NamedTuple):
    """What came with a request."""

    file: IO[bytes]
    """The image, at its beginning."""
    suffix: str
    """Of the file's name, where it has one."""
    fields: list[tuple[str, str]]
    """Further fields of a form, or of a JSON document; names may come several times."""

    def image(self) -> ImageBytes:
        """Read the image."""
        self.file.seek(0)
        return ImageBytes(self.file.read(), f"image{self.suffix}")


async def receive(request: Request, *, max_bytes: int, root: Path | None) -> Received:
    """Read a request's body, at most `max_bytes`; raises `Refused` for what holds no image, and `ClientDisconnect`."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > max_bytes:
        raise _too_long(max_bytes)
    bounded = _Bounded(request, max_bytes)
    try:
        return await _receive(Request(request.scope, bounded.receive), max_bytes, root)
    except (MultiPartException, HTTPException) as error:  # a form's files are closed for the first of them alone
        if bounded.left < 0:
            raise _too_long(max_bytes) from error
        reason = error.message if isinstance(error, MultiPartException) else error.detail
        raise Refused(400, "form", f"The form cannot be read: {reason}") from error


async def _receive(request: Request, max_bytes: int, root: Path | None) -> Received:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request)
    if kind == "application/json":
        return await _stored(request, max_bytes, root)
    if kind.startswith(("text/", "application/x-www-form-urlencoded")):
        raise Refused(
            415,
            "type",
            'Send an image as it is (image/png, application/octet-stream, ...) or as multipart/form-data, or {"path": '
            "...} as application/json.",
        )
    file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # for the life of the request
    try:
        async for part in request.stream():
            file.write(part)
        if not file.tell():
            raise Refused(400, "empty", "The request has no body. Send an image.")
    except BaseException:
        file.close()
        raise
    return Received(file, "", [])


class _Bounded:
    """Counts what a request brings."""

    def __init__(self, request: Request, max_bytes: int) -> None:
        self._receive, self.left = request.receive, max_bytes

    async def receive(self) -> Message:
        message = await self._receive()
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise MultiPartException("too long")
        return message


def _too_long(max_bytes: int) -> Refused:
    return Refused(413, "bytes", f"A request has at most {max_bytes:,} bytes.")


async def _form(request: Request) -> Received:
    form = await request.form(max_files=1, max_fields=16, max_part_size=_MOST_FIELD_BYTES)
    images = [value for value in form.values() if isinstance(value, UploadFile)]
    if not images:
        raise Refused(400, "form", "The form holds no file. Send the image as a file in the field image.")
    fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str) and value]
    return Received(images[0].file, _suffix(images[0].filename or ""), fields)


async def _stored(request: Request, max_bytes: int, root: Path | None) -> Received:
    try:
        document = parse_json(await request.body())
    except ValueError as error:
        raise Refused(400, "json", "The body is not JSON.") from error
    path = document.pop("path", None) if isinstance(document, dict) else None
    if not isinstance(path, str) or not all(isinstance(value, str) for value in document.values()):
        raise Refused(422, "json", 'Expected an object of texts with the path of an image: {"path": "photos/1.png"}.')
    if _URL.match(path):
        raise Refused(422, "path", "Images are read from the service's own storage; nothing is fetched from elsewhere.")
    if root is None:
        raise Refused(422, "path", "This service has no storage of its own (--root); send the image itself.")
    try:
        file = open_regular(root / path, at_most=max_bytes, inside=root)
    except (OSError, UserError, ValueError) as error:  # nothing is said of what lies outside
        raise Refused(404, "path", f"The storage has no such file of at most {max_bytes:,} bytes.") from error
    return Received(file, _suffix(path), [*document.items()])


def _suffix(name: str) -> str:
    found = re.search(r"\.[A-Za-z0-9]{1,10}$", name)
    return found[0].lower() if found else ""
