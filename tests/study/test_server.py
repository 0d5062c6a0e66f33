from __future__ import annotations

import io
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.studies import Person, Reply, Server, make_study
from unpaired.cli import main
from unpaired.study.description import Study
from unpaired.study.server import MOST_BYTES
from unpaired.study.store import Store
from unpaired.web.headers import HEADERS


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Study]]:
    folder, study = make_study(tmp_path_factory.mktemp("study"))
    server = Server(folder).start()
    yield server, study
    server.kill()


@pytest.fixture
def person(running: tuple[Server, Study]) -> Person:
    someone = Person(running[0].port)
    someone.enter()
    return someone


def show(person: Person) -> tuple[str, bytes]:
    """Go on to the next trial and look at it for long enough; return its token and the pictures."""
    trial = person.next()["trial"]
    pair = person.look(trial)
    assert pair.status == 200
    time.sleep(0.025)
    return trial, pair.body


def test_nothing_that_is_sent_tells_real_from_generated(running: tuple[Server, Study]) -> None:
    server, study = running
    person, replies, lengths = Person(server.port, number="someone-1"), list[Reply](), list[int]()
    ask = person.ask

    def record(*arguments: Any, **named: Any) -> Reply:
        replies.append(ask(*arguments, **named))
        return replies[-1]

    person.ask = record  # type: ignore[method-assign]
    person.enter()
    answers = []
    while (task := person.next())["state"] == "trial":
        pair = person.look(task["trial"])
        lengths.append(len(pair.body))
        time.sleep(0.025)
        answers.append(person.choose(task["trial"], len(answers) % 2).json)
        expected = {"stored", "real", "right"} if task["part"] == "practice" else {"stored"}
        assert set(answers[-1]) == expected
        assert set(task) == {"state", "trial", "part", "number", "of"}
    assert len(answers) == 9
    assert set(lengths) == {2 * study.bytes}
    pairs = [reply for reply in replies if reply.headers["content-type"] == "application/octet-stream"]
    assert len(pairs) == 9
    texts = "\n".join(f"{reply.headers}\n{'' if reply in pairs else reply.body.decode()}" for reply in replies)
    for word in [*study.pictures(), *study.methods, "catch", "fake", ".png", "etag", "last-modified", "server-timing"]:
        assert word not in texts.replace(study.settings.consent, ""), word
    shapes = {json.dumps(sorted(reply.headers.items() - {("date", reply.headers.get("date", ""))})) for reply in pairs}
    assert len(shapes) == 1, "the headers of all pairs are the same"


def test_the_pictures_are_those_of_the_trial_in_the_order_of_its_sides(running: tuple[Server, Study]) -> None:
    server, study = running
    someone = Person(server.port, number="order-1")
    someone.enter()
    sides = []
    for _ in range(study.settings.practice):
        trial, body = show(someone)
        halves = [body[: study.bytes], body[study.bytes :]]
        real = someone.choose(trial, 0).json["real"]
        sources = {}
        for side, half in enumerate(halves):
            stored = [name for name in study.pictures() if (server.folder / "pictures" / name).read_bytes() == half]
            sources[side] = stored[0]
            with Image.open(io.BytesIO(half)) as image:
                assert np.asarray(image).shape == (study.height, study.width, 3)
        assert sources[real] in {picture.file for picture in study.real}
        assert sources[1 - real] not in {picture.file for picture in study.real}
        sides.append(real)
    assert set(sides) <= {0, 1}


def test_every_answer_has_the_security_headers(running: tuple[Server, Study], person: Person) -> None:
    for reply in (
        person.ask("GET", "/"),
        person.ask("GET", "/study.js"),
        person.ask("GET", "/nothing"),
        person.ask("POST", "/api/next", {}),
        person.ask("DELETE", "/api/next"),
    ):
        assert HEADERS.items() <= reply.headers.items()
        assert "server" not in reply.headers
        assert "set-cookie" not in reply.headers
    assert "unsafe" not in str(HEADERS)
    assert "http" not in str(HEADERS)
    page = person.ask("GET", "/").body.decode()
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|style=|https?:", page)


@pytest.mark.parametrize(
    "path",
    [
        "/study.json",
        "/answers.sqlite",
        "/pictures/",
        "/../study.json",
        "/%2e%2e/study.json",
        "/api/pair/..%2f..%2fstudy.json",
        "/api/pair/../../study.json",
        "/assets/../study.json",
        "//etc/passwd",
    ],
)
def test_no_path_leads_to_a_file(person: Person, path: str) -> None:
    assert person.ask("GET", path).status in (404, 410)


def test_there_is_nothing_to_upload_to(person: Person) -> None:
    assert person.ask("PUT", "/pictures/x.png", b"x").status in (404, 405)
    assert person.ask("POST", "/", {}).status == 405
    assert person.ask("POST", "/api/enter", b" " * (MOST_BYTES + 1)).status == 413
    assert person.ask("POST", "/api/enter", {}, {"Content-Type": "text/plain"}).status == 415


@pytest.mark.parametrize(
    "changes",
    [
        {"side": 2},
        {"side": "0"},
        {"side": True},
        {"exposures": [1.0]},
        {"exposures": [-1.0, 1.0]},
        {"response": 1e9},
        {"input": "eye"},
        {"hidden": 1},
        {"correct": True},
        {"trial": "x' OR 1=1 --........"},
    ],
    ids=str,
)
def test_messages_are_checked_field_by_field(person: Person, changes: dict[str, Any]) -> None:
    trial, _ = show(person)
    reply = person.choose(**{"trial": trial, "side": 0} | changes)
    assert reply.status == 400
    assert reply.json["error"] == "message"
    assert person.next()["trial"] != trial, "its pictures were sent, so it has a new token; nothing was stored"
    for body in (b"", b"[]", b"{", b'{"consent": NaN}', b"\xff"):
        assert person.ask("POST", "/api/enter", body).status == 400


def test_manipulated_and_repeated_answers(running: tuple[Server, Study], person: Person) -> None:
    other = Person(running[0].port)
    other.enter()
    trial = person.next()["trial"]
    assert person.choose(trial, 0).status == 409, "not looked at yet"
    assert other.look(trial).status == 410, "somebody else's"
    assert person.look(trial).status == 200
    early = person.choose(trial, 0)
    time.sleep(0.025)
    assert other.choose(trial, 0).status == 409
    assert person.look(trial).status == 410, "pictures are sent once"
    first = early if early.status == 200 else person.choose(trial, 0)
    assert first.status == 200
    repeated = person.choose(trial, 0)
    assert (repeated.status, repeated.body) == (200, first.body), "an acknowledgement that was lost is sent again"
    changed = person.choose(trial, 1)
    assert changed.status == 409
    assert "real" not in changed.json
    assert person.choose("A" * 32, 0).status == 409


def test_an_answer_before_the_exposure_can_have_ended_is_refused(
    tmp_path: Path, serve: Callable[[Path], Server]
) -> None:
    folder, _ = make_study(tmp_path, exposure=1.5, show="in-turn")
    person = Person(serve(folder).port)
    person.enter()
    trial = person.next()["trial"]
    person.look(trial)
    time.sleep(1.6)  # one picture could have been seen, not both
    refused = person.choose(trial, 0)
    assert (refused.status, refused.json["error"]) == (425, "early")
    time.sleep(1.4)
    assert person.choose(trial, 0).status == 200


def test_sessions_are_needed(running: tuple[Server, Study]) -> None:
    stranger = Person(running[0].port)
    assert stranger.ask("POST", "/api/next", {}).status == 401
    stranger.session = "A" * 32
    assert stranger.ask("POST", "/api/next", {}).status == 401
    assert stranger.look("A" * 32).status == 401
    with ThreadPoolExecutor(4) as pool:  # an unknown session fills no bucket of its own
        statuses = set(pool.map(lambda _: stranger.ask("POST", "/api/next", {}).status, range(120)))
    assert statuses == {401}
    assert stranger.enter(consent=False)["state"] == "new"
    assert stranger.session is None


def test_coming_back_continues_and_finishing_is_once(running: tuple[Server, Study]) -> None:
    server, study = running
    person = Person(server.port, number="back-1")
    person.enter()
    first = person.session
    for _ in range(4):
        trial, _ = show(person)
        assert person.choose(trial, 1).status == 200
    again = Person(server.port, number="back-1")
    assert again.enter(consent=False)["state"] == "going"
    assert again.session == first
    assert again.next()["number"] == 4 - study.settings.practice + 1
    while again.next()["state"] == "trial":
        trial, _ = show(again)
        again.choose(trial, 1)
    code = again.next()["code"]
    for consent in (True, False):
        entered = Person(server.port, number="back-1").enter(consent=consent)
        assert (entered["state"], entered["code"]) == ("done", code)


def test_links_only_and_one_code_for_all(tmp_path: Path, serve: Callable[[Path], Server]) -> None:
    folder, _ = make_study(tmp_path, links_only=True, completion_code="C0DE", practice=0, trials=1, catch=0)
    server = serve(folder)
    refused = Person(server.port).ask("POST", "/api/enter", {"consent": True})
    assert (refused.status, refused.json["error"]) == (403, "link")
    person = Person(server.port, number="a")
    person.enter()
    trial, _ = show(person)
    person.choose(trial, 0)
    assert person.next() == {"state": "done", "code": "C0DE"}


def test_who_asks_too_often_has_to_wait(person: Person) -> None:
    statuses = []
    while (reply := person.ask("POST", "/api/next", {})).status == 200 and len(statuses) < 1000:
        statuses.append(reply.status)
    assert reply.status == 429
    assert int(reply.headers["retry-after"]) >= 1
    assert len(statuses) >= 50, "nobody who takes part is ever that fast"
    other = Person(person.port)
    assert other.enter()["state"] == "going", "others are not slowed down"


def test_the_report_needs_its_token(running: tuple[Server, Study]) -> None:
    server, _ = running
    reader = Person(server.port)
    files = ["/report", "/report/report.json", "/report/answers.csv", "/report/participants.csv"]
    assert [reader.ask("GET", path).status for path in files] == [403] * 4
    entered = reader.ask("GET", f"/report?token={server.token}")
    assert (entered.status, entered.headers["location"]) == (303, "report")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    page = reader.ask("GET", "/report", headers={"Cookie": cookie.split(";")[0]})
    assert page.status == 200
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    policy = re.search(rb'http-equiv="Content-Security-Policy" content="([^"]+)"', page.body)
    assert policy is not None
    assert b"script" not in policy[1]
    assert policy[1].startswith(b"default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-") or policy[
        1
    ].startswith(b"default-src 'none'; img-src data:; style-src 'sha256-")
    reader.session = server.token  # as a bearer token, for programs
    assert [reader.ask("GET", path).status for path in files] == [200] * 4
    assert json.loads(reader.ask("GET", files[1]).body)["settings"]["trials"] == 6


def test_guessing_the_token_ends_soon(tmp_path: Path, serve: Callable[[Path], Server]) -> None:
    folder, _ = make_study(tmp_path)
    server = serve(folder)
    reader = Person(server.port)
    guesses = [reader.ask("GET", f"/report?token=guess{number}").status for number in range(15)]
    assert guesses[:10] == [403] * 10
    assert set(guesses[11:]) == {429}
    assert reader.ask("GET", f"/report?token={server.token}").status == 303, "the right one is never locked out"
    reader.session = server.token
    assert reader.ask("GET", "/report").status == 200
    assert reader.ask("GET", "/report?token=guess").status == 429, "guessing stays throttled"


def test_fifty_people_at_once_lose_nothing_while_the_server_is_killed(
    tmp_path: Path, serve: Callable[[Path], Server]
) -> None:
    folder, _ = make_study(tmp_path, methods=("a", "b"), practice=1, trials=4, catch=1)
    server = serve(folder)
    acknowledged: list[list[tuple[str, int]]] = [[] for _ in range(50)]
    codes: dict[int, str] = {}

    def take_part(number: int) -> None:
        person = Person(server.port, number=f"p{number}", patient=True)
        person.enter()
        random = np.random.default_rng(number)
        while (task := person.next())["state"] == "trial":
            if person.look(task["trial"]).status == 410:
                continue  # they were on their way when the server died: the next request gets a new token
            time.sleep(0.01)
            side = int(random.integers(2))
            if person.choose(task["trial"], side).status == 200:
                acknowledged[number].append((task["trial"], side))
        codes[number] = task["code"]

    with ThreadPoolExecutor(50) as pool:
        futures = [pool.submit(take_part, number) for number in range(50)]
        for wanted in (60, 150):
            while sum(map(len, acknowledged)) < wanted:
                time.sleep(0.005)
            server.kill()
            killed_at = sum(map(len, acknowledged))
            assert killed_at < 300, "the server died while people were at it"
            server.start()
        for future in futures:
            future.result(timeout=120)

    store = Store(folder)
    query = (
        "SELECT token, side FROM answers JOIN trials USING (participant, number) JOIN participants ON id = participant"
        " WHERE external = ? ORDER BY number"
    )
    for number in range(50):
        stored = [(row["token"], row["side"]) for row in store.rows(query, [f"p{number}"])]
        assert stored == acknowledged[number], "what was acknowledged is there, once, in order, and nothing else"
        assert len(stored) == 6
    assert len(set(codes.values())) == 50
    assert store.counts(["a", "b"]) == {"a": 25, "b": 25}
    assert store.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    store.close()


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "unpaired.web.server", raising=False)  # imported by another test before
    with pytest.raises(SystemExit) as ended:
        main(["study", "serve", str(tmp_path)])
    assert ended.value.code == 2
    assert "pip install 'unpaired[study]'" in capsys.readouterr().err


def test_a_taken_port_and_a_missing_study_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], running: tuple[Server, Study]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit) as ended:
            main(["study", "serve", str(running[0].folder), "--port", port])
    assert ended.value.code == 2
    assert f"cannot listen on --host 127.0.0.1 --port {port}" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["study", "serve", str(tmp_path)])
    assert ended.value.code == 2
    assert "is no study" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65536", "99999"])
def test_a_port_that_does_not_exist_is_no_other_one(
    port: str, capsys: pytest.CaptureFixture[str], running: tuple[Server, Study]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["study", "serve", str(running[0].folder), "--port", port])
    assert ended.value.code == 2
    assert f"--port {port}: expected 1 to 65535" in capsys.readouterr().err
