"""Participants, their trials and answers, in SQLite: what is acknowledged is on the disk.

Write-ahead mode with full synchronisation: a commit survives a killed process and a lost power supply. One connection
under one lock serves all threads of the server; other processes may read meanwhile.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from unpaired.core.errors import UserError
from unpaired.core.text import printable
from unpaired.study.description import ACTIVE_SECONDS, ANSWERS, Trial
from unpaired.study.messages import Answer

_ERRORS = {
    **dict.fromkeys(
        ("BUSY", "LOCKED"), "are in use by another program, such as a database viewer. Close it, and try again."
    ),
    **dict.fromkeys(
        ("READONLY", "CANTOPEN", "PERM", "AUTH"),
        "cannot be written. Make the file and its folder writable, or copy the study to where they are.",
    ),
    "NOTADB": "are no database: another file lies in their place. Restore the file.",
    "CORRUPT": "are damaged. Restore the file from a copy, or save what can be read: sqlite3 answers.sqlite .recover",
    "FULL": "cannot be stored: the disk is full. Free some space; what was acknowledged is stored.",
    "IOERR": "cannot be read or written: the disk fails, or is full. What was acknowledged is stored.",
}
"""What the primary error codes of SQLite mean."""
Draw = Callable[[Mapping[str, int]], tuple[str, list[Trial]]]
"""From how many participants each method has to the newcomer's method and trials."""
_CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without letters and digits that are mistaken for one another."""


@dataclass(frozen=True, slots=True)
class Participant:
    """Somebody who agreed to take part."""

    id: int
    session: str
    """Secret between this participant's browser and the server."""
    method: str
    code: str
    """What they are shown at the end."""
    finished: bool


@dataclass(frozen=True, slots=True)
class Current:
    """The trial that a participant is at."""

    number: int
    """From 0, practice included."""
    trial: Trial
    token: str | None
    """What the browser knows it by; None before it was served."""
    fetched: float | None
    """When its pictures were sent; None while they were not."""


class Store:
    """The answers of one study."""

    def __init__(self, folder: Path, *, create: bool = False, read_only: bool = False) -> None:
        """Open it, or with `create` make it; `read_only` is content with a folder that cannot be written.

        Raises `UserError`, as every other method does where the file is missing, damaged, something else or in use.
        """
        self._path = folder / ANSWERS
        self._lock = threading.Lock()
        if not create and not self._path.is_file():
            raise UserError(
                f'the answers "{printable(self._path)}" are missing. Restore the file; without it nothing is known of '
                "those who took part. To begin anew, create the study again."
            )
        with self._explained():
            self._connection = _connect(self._path, read_only)
            if create:
                self._connection.executescript((files("unpaired.study") / "assets" / "answers.sql").read_text("utf-8"))
                self._path.chmod(0o600)
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
            if version == 1 and not read_only:  # else nothing of the file is changed
                for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                    self._connection.execute(f"PRAGMA {pragma}")
        if version != 1 or not {"participants", "trials", "answers"} <= tables:
            raise UserError(
                f'"{printable(self._path)}" does not hold the answers of a study that this version of unpaired reads '
                f"(version 1; found {version}). Restore the file, or update unpaired."
            )

    def close(self) -> None:
        """Close the file; nothing is pending."""
        with self._lock, self._explained():
            self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in words what SQLite's error means, and what to do."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = str(getattr(error, "sqlite_errorname", "")).removeprefix("SQLITE_").partition("_")[0]
            raise UserError(f'the answers "{printable(self._path)}" {_ERRORS.get(code, f"fail: {error}.")}') from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock and a transaction; what was written is on the disk when the block has ended."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk ends it by itself; a failed commit does not
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Return what a query finds."""
        with self._lock, self._explained():
            return [dict(row) for row in self._connection.execute(query, values)]

    def snapshot(self, *queries: str) -> list[list[dict[str, Any]]]:
        """Return what each query finds, all at one moment, while answers may be arriving."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN")
            try:
                return [[dict(row) for row in self._connection.execute(query)] for query in queries]
            finally:
                self._connection.execute("ROLLBACK")  # nothing was written

    def find(self, *, session: str | None = None, external: str | None = None) -> Participant | None:
        """Return the participant of a session, or of the number in their link."""
        column, value = ("external", external) if external is not None else ("session", session)
        found = self.rows(f"SELECT * FROM participants WHERE {column} = ?", [value])
        return _participant(found[0]) if found else None

    def counts(self, methods: Sequence[str]) -> dict[str, int]:
        """Return how many participants each method has: the finished, and those who are at it."""
        with self._lock:
            return _counts(self._connection, methods)

    def join(
        self, external: str | None, session: str | None, draw: Draw, methods: Sequence[str], code: str | None = None
    ) -> Participant:
        """Add a participant, with a method and trials from `draw(counts)`; who is there already is returned.

        `external` is the number in their link, `session` a secret that their browser drew, used where there is no
        such number; else one is drawn here. Counting and adding are one transaction, so that people who come at the
        same moment are balanced too.
        """
        with self._writing() as connection:
            there = connection.execute(
                "SELECT * FROM participants WHERE external = ? OR (? IS NULL AND session = ?)",
                [external, external, session],
            ).fetchone()
            if there is not None:
                return _participant(dict(there))
            method, trials = draw(_counts(connection, methods))
            now = time.time()
            session = session if session is not None and external is None else secrets.token_urlsafe(24)
            code = code or "".join(secrets.choice(_CODE_LETTERS) for _ in range(10))
            cursor = connection.execute(
                "INSERT INTO participants (session, external, method, joined, seen, code) VALUES (?, ?, ?, ?, ?, ?)",
                [session, external, method, now, now, code],
            )
            number = int(cursor.lastrowid or 0)
            rows = [
                (number, place, each.kind, each.real, each.fake, each.real_side) for place, each in enumerate(trials)
            ]
            connection.executemany(
                "INSERT INTO trials (participant, number, kind, real, fake, real_side) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
        return Participant(number, session, method, code, False)

    def serve(self, participant: Participant) -> Current | None:
        """Return the trial to show, with its token; None when all are answered.

        A token is good for one look: where its pictures were sent already (the page was loaded again), the trial gets
        a new one, and that it was seen before is counted.
        """
        with self._writing() as connection:
            now = time.time()
            connection.execute("UPDATE participants SET seen = ? WHERE id = ?", [now, participant.id])
            current = _current(connection, participant.id)
            if current is None or (current.token is not None and current.fetched is None):
                return current
            token = secrets.token_urlsafe(24)
            connection.execute(
                "UPDATE trials SET token = ?, served = ?, fetched = NULL WHERE participant = ? AND number = ?",
                [token, now, participant.id, current.number],
            )
        return Current(current.number, current.trial, token, None)

    def fetch(self, participant: Participant, token: str) -> tuple[str, str] | None:
        """Spend a token on its pictures' files, in the order of the sides; None unless it is good and unspent."""
        with self._writing() as connection:
            current = _current(connection, participant.id)
            if current is None or current.token != token or current.fetched is not None:
                return None
            connection.execute(
                "UPDATE trials SET fetched = ?, views = views + 1 WHERE participant = ? AND number = ?",
                [time.time(), participant.id, current.number],
            )
        real, fake = current.trial.real, current.trial.fake
        return (fake, real) if current.trial.real_side else (real, fake)

    def answered(self, participant: Participant, token: str) -> tuple[Trial, int] | None:
        """Return the trial and the stored choice that a token was answered with, or None."""
        found = self.rows(
            "SELECT trials.*, side FROM trials JOIN answers USING (participant, number)"
            " WHERE participant = ? AND token = ?",
            [participant.id, token],
        )
        return (_trial(found[0]), int(found[0]["side"])) if found else None

    def answer(self, participant: Participant, token: str, answer: Answer, *, least_seconds: float) -> str:
        """Store the answer to the trial that the participant is at: `stored`, `early` or `refused`.

        `early`: fewer than `least_seconds` since the pictures were sent. `refused`: the token is not that of the
        current trial, or its pictures were never fetched. Only `stored` changes anything, and it is on the disk.
        """
        with self._writing() as connection:
            current = _current(connection, participant.id)
            now = time.time()
            if current is None or current.token != token or current.fetched is None:
                return "refused"
            waited = now - current.fetched
            if 0 <= waited < least_seconds:
                return "early"
            connection.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    *(participant.id, current.number, answer.side, *answer.exposures, answer.frames, answer.hidden),
                    *(answer.response, waited, answer.input, now),
                ],
            )
            last = _current(connection, participant.id) is None
            connection.execute(
                "UPDATE participants SET seen = ?, finished = ? WHERE id = ?",
                [now, now if last else None, participant.id],
            )
        return "stored"


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    def connect(name: str | Path) -> sqlite3.Connection:
        connection = sqlite3.connect(name, check_same_thread=False, isolation_level=None, timeout=30.0, uri=True)
        connection.row_factory = sqlite3.Row
        return connection

    address = path.absolute().as_uri()
    connection = connect(address)
    try:
        connection.execute("SELECT name FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        connection.close()
        log = path.with_name(f"{path.name}-wal")  # in which the latest answers are, where the server was killed
        unwritable = error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY"))
        if read_only and unwritable and not (log.exists() and log.stat().st_size):
            return connect(f"{address}?immutable=1")  # in a folder that cannot be written
        raise
    return connection


def _counts(connection: sqlite3.Connection, methods: Sequence[str]) -> dict[str, int]:
    found = connection.execute(
        "SELECT method, COUNT(*) FROM participants WHERE finished IS NOT NULL OR seen > ? GROUP BY method",
        [time.time() - ACTIVE_SECONDS],
    )
    counts = {str(method): int(count) for method, count in found}
    return {method: counts.get(method, 0) for method in methods}


def _current(connection: sqlite3.Connection, participant: int) -> Current | None:
    row = connection.execute(
        "SELECT * FROM trials WHERE participant = ? AND number = "
        "(SELECT COUNT(*) FROM answers WHERE participant = ?)",  # answered in order, so the count is the next number
        [participant, participant],
    ).fetchone()
    if row is None:
        return None
    return Current(int(row["number"]), _trial(dict(row)), row["token"], row["fetched"])


def _trial(row: Mapping[str, Any]) -> Trial:
    return Trial(row["kind"], row["real"], row["fake"], int(row["real_side"]))


def _participant(row: Mapping[str, Any]) -> Participant:
    return Participant(int(row["id"]), row["session"], row["method"], row["code"], finished=row["finished"] is not None)
