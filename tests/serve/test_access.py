from __future__ import annotations

import os
from pathlib import Path

import pytest
from starlette.requests import Request

from unpaired.core.errors import UserError
from unpaired.serve.access import Access, read_keys
from unpaired.web.refused import Refused

KEYS = ["first-key-0123456789", "second-key-9876543210"]


def asked(host: str = "localhost:8000", **headers: str) -> Request:
    named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    return Request(
        {"type": "http", "method": "POST", "path": "/", "query_string": b"", "scheme": "http", "headers": raw}
    )


def status(access: Access, request: Request) -> int:
    try:
        access.check(request)
    except Refused as error:
        return error.status
    return 200


def test_a_key_in_either_header_opens() -> None:
    access = Access(KEYS, "127.0.0.1", [], behind_proxy=False)
    for key in KEYS:
        assert status(access, asked(authorization=f"Bearer {key}")) == 200
        assert status(access, asked(authorization=f"bearer  {key}")) == 200
        assert status(access, asked(x_api_key=key, host="elsewhere.example")) == 200
    for wrong in ("", "x", KEYS[0][:-1], KEYS[0] + "x", "\xe9" * 20):
        assert status(access, asked(x_api_key=wrong)) == 401
        assert status(access, asked(authorization=f"Bearer {wrong}")) == 401
    assert status(access, asked(authorization=f"Basic {KEYS[0]}")) == 401
    assert status(access, asked()) == 401


@pytest.mark.parametrize(
    ("host", "origin", "granted"),
    [
        ("localhost:8000", None, 200),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", 200),
        ("[::1]:8000", "http://localhost:8000", 200),
        ("rebound.example", None, 403),
        ("localhost:8000", "https://elsewhere.example", 403),
        ("localhost:8000", "null", 403),
        ("localhost:8000", "http://[::1", 403),
        ("localhost:8000", "http://localhost.elsewhere.example", 403),
        ("localhost:8000", "http://elsewhere.example@localhost", 403),
        ("elsewhere.example@localhost", None, 403),
        ("[::1", None, 403),
        ("localhost:999999", None, 403),
        ("", None, 403),
        ("localhost:8000", "https://listed.example", 200),
    ],
)
def test_pages_of_others_do_not_reach_a_service_of_this_machine(host: str, origin: str | None, granted: int) -> None:
    request = asked(host, **({} if origin is None else {"origin": origin}))
    assert status(Access([], "127.0.0.1", ["https://listed.example"], behind_proxy=False), request) == granted
    assert status(Access([], "0.0.0.0", [], behind_proxy=False), request) == 200
    assert status(Access([], "127.0.0.1", [], behind_proxy=True), request) == 200


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_keys_are_lines_of_a_private_file(tmp_path: Path) -> None:
    assert read_keys(write(tmp_path / "keys", f"# ours\n\n{KEYS[0]}\n  {KEYS[1]}  \n")) == KEYS


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "one key per line"), ("# none\n", "one key per line"), ("short\n", "16 or more"), ("\u00e9" * 20, "ASCII")],
)
def test_no_or_weak_keys_are_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_keys(write(tmp_path / "keys", text))


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UserError, match="chmod 600"):
        read_keys(write(tmp_path / "keys", KEYS[0], mode))


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError):
            read_keys(path)
