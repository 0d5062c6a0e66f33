"""Who may ask: API keys, and for a service of this machine alone the pages that it did not send."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import final

from fastapi import Request

from unpaired.core.errors import UserError
from unpaired.core.files import open_regular
from unpaired.core.settings import option
from unpaired.core.text import printable
from unpaired.web.refused import Refused
from unpaired.web.server import is_local, names_this_machine

SHORTEST = 16
"""Characters of a key: fewer can be guessed."""
_MOST_BYTES = 1 << 20


def read_keys(path: Path) -> list[str]:
    """Return the keys of a file, one per line; empty lines and those that begin with # are passed over.

    Raises `UserError` where it cannot be read, others may read it, it holds none, or one is too short.
    """
    called = option("keys", printable(path))
    try:
        with open_regular(path, at_most=_MOST_BYTES) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read().decode("utf-8")
    except OSError as error:
        raise UserError(f"{called}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{called}: it is not text in UTF-8.") from error
    if os.name == "posix" and mode & 0o077:
        raise UserError(f"{called}: other users may read or change it (mode {mode:o}). Protect it: chmod 600 {path}.")
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not keys or any(len(key) < SHORTEST or not key.isascii() for key in keys):
        raise UserError(
            f"{called}: expected one key per line, each of {SHORTEST} or more characters of ASCII. Make one: "
            "openssl rand -hex 32."
        )
    return keys


@final
class Access:
    """Says whether a request is granted."""

    def __init__(self, keys: Collection[str], host: str, origins: Collection[str], *, behind_proxy: bool) -> None:
        self._keys = [_digest(key) for key in keys]
        self._origins = frozenset(origins)
        self._private = not keys and is_local(host) and not behind_proxy

    def check(self, request: Request) -> None:
        """Raise `Refused` unless the request brings a key; without keys, where a foreign page sent it to this machine.

        Such a page reaches it directly, or as `names_this_machine` says.
        """
        if self._keys:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            given = _digest(token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", ""))
            found = [hmac.compare_digest(given, key) for key in self._keys]  # all of them, whichever it is
            if not any(found):
                raise Refused(401, "key", "This service needs an API key (Authorization: Bearer KEY, or X-API-Key).")
        elif self._private:
            origin = request.headers.get("origin")
            own = names_this_machine(request.headers.get("host", ""))
            if not own or (origin and origin not in self._origins and not _is_own(origin)):
                reason = "This service is for this machine alone: call it localhost, and allow other pages with --cors."
                raise Refused(403, "origin", reason)


def _is_own(origin: str) -> bool:
    scheme, _, authority = origin.partition("://")
    return scheme in ("http", "https") and names_this_machine(authority)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
