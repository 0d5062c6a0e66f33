"""A real server under attack through real sockets: connections that never send, send half, or never read."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.studies import Person, Server, make_study
from unpaired.web import connection
from unpaired.web.connection import counted_as
from unpaired.web.headers import HEADERS

HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "
QUICK = """
import sys
from unpaired.cli import main
from unpaired.web import connection
connection.REQUEST_SECONDS, connection.ANSWER_SECONDS = 1.0, 1.0
main(sys.argv[1:])
"""
"""The program with short times, so that nothing has to be waited for long."""


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Server]:
    server = Server(make_study(tmp_path)[0], program=("-c", QUICK)).start()
    yield server
    server.kill()


def connect(server: Server, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.sendall(sent)
    return client


def everything(client: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    found = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            found += part
    client.close()
    return bytes(found)


def test_half_open_requests_of_one_address_keep_nobody_out(tmp_path: Path, serve: Callable[[Path], Server]) -> None:
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 1500:
        pytest.skip("this process may not open 1,200 connections")
    server = serve(make_study(tmp_path)[0])
    with contextlib.ExitStack() as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1500), most))
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, most))
        clients = []
        for _ in range(1200):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            with contextlib.suppress(OSError):  # refused already
                client.sendall(HALF)
            clients.append(client)
        other = socket.socket()
        other.bind(("127.0.0.2", 0))  # another address of this machine
        other.settimeout(20)
        opened.enter_context(other)
        other.connect(("127.0.0.1", server.port))
        other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 200")
        answered = select.poll()  # those above the limit were answered, or reset, at once
        for client in clients:
            answered.register(client, select.POLLIN)
        assert 1200 - len(answered.poll(0)) == connection.MOST_OF_ADDRESS


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", HALF, b"POST /api/enter HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"],
    ids=["nothing", "a letter", "half a head", "half a body"],
)
def test_a_request_that_does_not_become_whole_is_given_up(quick: Server, sent: bytes) -> None:
    started = time.monotonic()
    assert b"200 OK" not in everything(connect(quick, sent))
    assert time.monotonic() - started < 15
    assert Person(quick.port).ask("GET", "/").status == 200


def test_drops_that_come_one_by_one_do_not_extend_the_time(quick: Server) -> None:
    client, started = connect(quick, HALF), time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - started < 20:
            client.sendall(b"x")
            if select.select([client], [], [], 0.05)[0] and not client.recv(100):
                break
    assert time.monotonic() - started < 10
    client.close()


def test_a_kept_connection_serves_several_requests(quick: Server) -> None:
    client = connect(quick)
    for wait in (0.0, 1.5, 0.0):  # longer than a request may take
        time.sleep(wait)
        client.sendall(b"GET /study.css HTTP/1.1\r\nHost: x\r\n\r\n")
        head = client.recv(65536)
        assert head.startswith(b"HTTP/1.1 200")
        while b"}" not in head[-3:]:
            head += client.recv(65536)
    client.close()


def test_what_is_no_http_is_answered_with_all_headers(quick: Server) -> None:
    answer = everything(connect(quick, b"\x16\x03\x01 hello\r\n\r\n")).decode()
    assert answer.startswith("HTTP/1.1 400 Bad Request")
    for name, value in HEADERS.items():
        assert f"\r\n{name}: {value}\r\n" in answer


def test_an_unforeseen_error_has_all_headers_and_says_nothing(tmp_path: Path) -> None:
    broken = "import unpaired.study.server as s\ns._App._public = lambda self: 1 / 0\n" + QUICK
    server = Server(make_study(tmp_path)[0], program=("-c", broken)).start()
    reply = Person(server.port).ask("POST", "/api/enter", {"consent": False})
    server.kill()
    assert reply.status == 500
    assert HEADERS.items() <= reply.headers.items()
    assert "division" not in reply.body.decode()


def test_answers_that_are_damaged_while_it_runs_are_said_in_words(quick: Server) -> None:
    person = Person(quick.port)
    person.enter()
    for path in quick.folder.glob("answers.sqlite*"):
        path.write_bytes(b"not a database at all" * 400)
    reply = person.ask("POST", "/api/next", {})
    assert reply.status in (500, 503)
    assert HEADERS.items() <= reply.headers.items()
    assert "sqlite" not in reply.body.decode().lower()


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_one_customer_is_one_address(host: str, counted: str) -> None:
    assert counted_as(host) == counted
