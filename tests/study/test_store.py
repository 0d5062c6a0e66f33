from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from unpaired.core.errors import UserError
from unpaired.study.description import ACTIVE_SECONDS, Trial
from unpaired.study.messages import Answer
from unpaired.study.store import Store

TRIALS = [
    Trial("practice", "r0", "f0", 1),
    Trial("trial", "r1", "f1", 0),
    Trial("trial", "r2", "f2", 1),
]
ANSWER = Answer(side=1, exposures=(1.0, 1.0), frames=60, hidden=False, response=0.5, input="mouse")


def draw(counts: Mapping[str, int]) -> tuple[str, list[Trial]]:
    return min(counts, key=lambda name: (counts[name], name)), TRIALS


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, create=True)


def test_a_whole_participation(store: Store) -> None:
    person = store.join(None, None, draw, ["a"])
    for number, trial in enumerate(TRIALS):
        current = store.serve(person)
        assert current is not None
        assert current.token is not None
        assert (current.number, current.trial) == (number, trial)
        assert store.serve(person) == current, "asking again, before looking, changes nothing"
        files = store.fetch(person, current.token)
        assert files == ((trial.fake, trial.real) if trial.real_side else (trial.real, trial.fake))
        assert store.answer(person, current.token, ANSWER, least_seconds=0) == "stored"
        assert store.answered(person, current.token) == (trial, 1)
    assert store.serve(person) is None
    found = store.find(session=person.session)
    assert found == replace(person, finished=True)
    assert len(person.code) == 10


def test_pictures_are_sent_once_for_every_token(store: Store) -> None:
    person = store.join(None, None, draw, ["a"])
    first = store.serve(person)
    assert first is not None
    assert first.token is not None
    assert store.fetch(person, first.token) is not None
    assert store.fetch(person, first.token) is None
    again = store.serve(person)
    assert again is not None
    assert again.token not in (None, first.token)
    assert store.fetch(person, first.token) is None
    assert store.answer(person, first.token, ANSWER, least_seconds=0) == "refused", "the old token is worth nothing"
    assert store.fetch(person, again.token or "") is not None
    assert store.rows("SELECT views FROM trials WHERE number = 0") == [{"views": 2}]


def test_answers_out_of_order_early_unseen_or_by_others_change_nothing(store: Store) -> None:
    person, other = (store.join(None, None, draw, ["a"]) for _ in range(2))
    current = store.serve(person)
    assert current is not None
    token = current.token or ""
    assert store.answer(person, token, ANSWER, least_seconds=0) == "refused", "not looked at"
    assert store.fetch(other, token) is None
    store.fetch(person, token)
    assert store.answer(other, token, ANSWER, least_seconds=0) == "refused"
    assert store.answer(person, "x" * 32, ANSWER, least_seconds=0) == "refused"
    assert store.answer(person, token, ANSWER, least_seconds=5) == "early"
    assert store.rows("SELECT * FROM answers") == []
    assert store.answer(person, token, ANSWER, least_seconds=0) == "stored"
    changed = replace(ANSWER, side=0)
    assert store.answer(person, token, changed, least_seconds=0) == "refused", "a second answer"
    assert store.answered(other, token) is None
    assert store.rows("SELECT participant, side FROM answers") == [{"participant": person.id, "side": 1}]


def test_who_comes_twice_is_one(store: Store) -> None:
    person = store.join("p1", None, draw, ["a", "b"])
    assert store.join("p1", None, draw, ["a", "b"]) == person
    anonymous = store.join(None, "s" * 32, draw, ["a", "b"])
    assert store.join(None, "s" * 32, draw, ["a", "b"]) == anonymous
    assert anonymous.session == "s" * 32
    assert store.join("p2", "s" * 32, draw, ["a", "b"]).session != anonymous.session
    assert store.find(external="p1") == person
    assert store.find(session="nobody") is None
    assert store.counts(["a", "b"]) == {"a": 2, "b": 1}


def test_people_who_come_at_the_same_moment_are_balanced(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        people = list(pool.map(lambda number: store.join(f"p{number}", None, draw, ["a", "b", "c"]), range(60)))
    assert Counter(person.method for person in people) == {"a": 20, "b": 20, "c": 20}
    assert len({person.session for person in people}) == len({person.code for person in people}) == 60


def test_who_left_long_ago_makes_room(store: Store, tmp_path: Path) -> None:
    for _ in range(3):
        store.join(None, None, draw, ["a", "b"])
    assert store.counts(["a", "b"]) == {"a": 2, "b": 1}
    with sqlite3.connect(tmp_path / "answers.sqlite") as other:
        other.execute("UPDATE participants SET seen = seen - ? WHERE method = 'a'", [ACTIVE_SECONDS + 1])
    assert store.counts(["a", "b"]) == {"a": 0, "b": 1}


def test_the_file_is_in_write_ahead_mode_and_synchronous(store: Store, tmp_path: Path) -> None:
    assert store.rows("PRAGMA journal_mode") == [{"journal_mode": "wal"}]
    assert store.rows("PRAGMA synchronous") == [{"synchronous": 2}]
    store.join("kept", None, draw, ["a"])
    reader = Store(tmp_path)  # a second process reads while the first goes on
    assert reader.find(external="kept") is not None
    reader.close()


def test_a_file_that_is_no_such_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"something else, and long enough to be looked at" * 40)
    with pytest.raises(UserError, match="no database"):
        Store(tmp_path)


def test_a_write_that_fails_leaves_nothing_and_the_next_succeeds(store: Store) -> None:
    person = store.join(None, None, draw, ["a"])

    def write_what_cannot_be_committed() -> None:
        with store._writing() as connection:
            connection.execute("PRAGMA defer_foreign_keys = ON")  # so that it is the commit that fails
            connection.execute("INSERT INTO trials VALUES (99, 0, 'trial', 'r', 'f', 0, NULL, NULL, NULL, 0)")

    with pytest.raises(UserError, match="constraint"):
        write_what_cannot_be_committed()
    assert store.rows("SELECT * FROM trials WHERE participant = 99") == []
    assert store.serve(person) is not None
    pages = store.rows("PRAGMA page_count")[0]["page_count"]
    store.rows(f"PRAGMA max_page_count = {pages}")
    many = [TRIALS[0]] * 1000
    with pytest.raises(UserError, match="the disk is full"):
        store.join(None, None, lambda counts: ("a", many), ["a"])
    store.rows("PRAGMA max_page_count = 100000")
    assert store.join(None, None, draw, ["a"]).id > person.id


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    store, other = Store(tmp_path, create=True), Store(tmp_path)
    store.join(None, None, draw, ["a"])
    count = "SELECT COUNT(*) AS n FROM participants"

    def meanwhile() -> int:
        other.join(None, None, draw, ["a"])
        return 0

    store._connection.create_function("meanwhile", 0, meanwhile)
    first, _, last = store.snapshot(count, "SELECT meanwhile() AS n", count)
    assert first == last == [{"n": 1}]
    assert store.snapshot(count) == [[{"n": 2}]]


def test_missing_answers_are_not_begun_anew(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"answers .* are missing"):
        Store(tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_program_that_holds_the_file_is_named(store: Store, tmp_path: Path) -> None:
    store._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(tmp_path / "answers.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="in use by another program"):
        store.join(None, None, draw, ["a"])
    other.close()
    assert store.join(None, None, draw, ["a"]).id == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello" * 1000, "no database"), (b"", "version 1; found 0"), (None, "version 1; found 0")],
    ids=["another file", "empty", "another program's database"],
)
def test_a_file_that_is_not_the_answers_is_left_alone(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "answers.sqlite"
    if content is None:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE recipes (name TEXT)")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        Store(tmp_path)
    assert path.read_bytes() == before


def test_damaged_answers_are_said_in_words(store: Store, tmp_path: Path) -> None:
    for _ in range(50):
        store.join(None, None, draw, ["a"])
    store.close()
    path = tmp_path / "answers.sqlite"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        Store(tmp_path).find(session="x" * 32)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_folder_that_cannot_be_written_can_be_read(store: Store, tmp_path: Path) -> None:
    store.join("p1", None, draw, ["a"])
    store.close()
    with tempfile.TemporaryDirectory() as place:  # where somebody without rights gets to
        folder = Path(place)
        shutil.copy(tmp_path / "answers.sqlite", folder)
        (folder / "answers.sqlite").chmod(0o444)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(UserError, match="cannot be written"):
                Store(folder)
            reading = Store(folder, read_only=True)
            assert reading.rows("SELECT external FROM participants") == [{"external": "p1"}]
            reading.close()
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
