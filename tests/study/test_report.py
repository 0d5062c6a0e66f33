from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import re
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from study.studies import make_study
from unpaired.cli import main
from unpaired.study import store as store_module
from unpaired.study.description import Study, Trial
from unpaired.study.messages import Answer
from unpaired.study.page import PUBLISHED, answers_csv, participants_csv, report_page
from unpaired.study.report import Report, make_report
from unpaired.study.store import Store

HOSTILE = "<script>alert(1)</script>"


class _Clock:
    """In place of the module `time`: it stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now


def take_part(
    store: Store,
    study: Study,
    method: str,
    fooled: Sequence[bool],
    *,
    number: str | None = None,
    response: float = 0.7,
    reloads: int = 0,
    stop: int | None = None,
) -> None:
    """Add somebody who was fooled in the given counted trials, and right in two practice and one catch trial."""
    made, real = study.methods[method], study.real
    kinds = ["practice", "practice", *["trial"] * len(fooled), "catch"]
    trials = [
        Trial(kind, real[n].file, study.catch[0].file if kind == "catch" else made[n].file, n % 2)  # type: ignore[arg-type]
        for n, kind in enumerate(kinds)
    ]
    person = store.join(number, None, lambda counts: (method, trials), list(study.methods))
    wrong = [False, False, *fooled, False]
    clock = _Clock()
    with mock.patch.object(store_module, "time", clock):
        for n, trial in enumerate(trials[:stop]):
            for _ in range(1 + (reloads if n == 2 else 0)):
                current = store.serve(person)
                assert current is not None
                store.fetch(person, current.token or "")
            clock.now += 0.02 + response
            side = trial.real_side ^ int(wrong[n])
            by: Any = "touch" if n % 2 else "keyboard"
            answer = Answer(side=side, exposures=(0.02, 0.02), frames=2, hidden=False, response=response, input=by)
            assert store.answer(person, current.token or "", answer, least_seconds=0) == "stored"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Report]:
    folder, study = make_study(tmp_path)
    store = Store(folder)
    take_part(store, study, "ours", [True, True, True, False, False, False], number="n1")
    take_part(store, study, "ours", [True, False, False, False, False, False], reloads=1)
    take_part(store, study, "ours", [True, True, True, True, True, False], response=0.01)
    take_part(store, study, "theirs", [False, False, False, False, False, False])
    take_part(store, study, "theirs", [True, False, False, False, False, False])
    take_part(store, study, "theirs", [True, False, False, False, False, False], stop=5)
    report = make_report(study, store)
    store.close()
    return folder, report


def test_figures_by_hand(made: tuple[Path, Report]) -> None:
    ours, theirs = made[1].methods
    assert (ours.joined, ours.finished, theirs.joined, theirs.finished) == (3, 3, 3, 2)
    assert ours.everybody is not None
    assert ours.kept is not None
    assert ours.everybody.share == pytest.approx((3 / 6 + 1 / 6 + 5 / 6) / 3)
    assert (ours.everybody.participants, ours.everybody.answers) == (3, 18)
    # After the rules the third (too fast) is gone, and of the second the trial that was loaded twice.
    assert ours.kept.share == pytest.approx((3 / 6 + 0 / 5) / 2)
    assert (ours.kept.participants, ours.kept.answers) == (2, 11)
    assert (ours.left_out, ours.trials_left_out) == ({"too fast": 1}, 1)
    assert theirs.kept is not None
    assert theirs.kept.share == pytest.approx(1 / 12)
    assert theirs.left_out == {}
    (compared,) = made[1].comparisons
    assert compared.difference == pytest.approx(1 / 4 - 1 / 12)
    assert compared.p == compared.p_corrected == 1.0  # .5, 0 and 0, 1/6: every one of the six splits is as far apart
    assert compared.needed is not None
    assert compared.more == (compared.needed - 2, compared.needed - 2)
    (of_everybody,) = made[1].comparisons_of_everybody
    assert of_everybody.difference == pytest.approx(1 / 2 - 1 / 12)


def test_pictures_are_ranked_after_the_rules(made: tuple[Path, Report]) -> None:
    ours = [picture for picture in made[1].pictures if picture.method == "ours"]
    assert [(picture.name, picture.fooled, picture.shown) for picture in ours] == [
        ("002.png", 1, 1),  # seen by the first only: the second loaded it twice
        ("003.png", 1, 2),
        ("004.png", 1, 2),
        ("005.png", 0, 2),
        ("006.png", 0, 2),
        ("007.png", 0, 2),
    ]


def test_the_same_answers_give_the_same_report(made: tuple[Path, Report]) -> None:
    folder, report = made
    store = Store(folder)
    again = make_report(report.study, store)
    store.close()
    assert (again.methods, again.comparisons) == (report.methods, report.comparisons)


def test_the_command_writes_everything(made: tuple[Path, Report], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = made
    with pytest.raises(SystemExit) as ended:
        main(["study", "report", str(folder)])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "ours: 25.0 % [" in said
    assert "(3 participants finished, 3 wanted)" in said
    content = json.loads((folder / "report" / "report.json").read_text())
    assert content["methods"][0]["kept"]["share"] == pytest.approx(0.25)
    assert len(content["answers"]) == 5 * 9 + 5
    with (folder / "report" / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50
    counted = [row for row in rows if row["participant"] == "1" and row["kind"] == "trial"]
    assert [row["fooled"] for row in counted] == ["1", "1", "1", "0", "0", "0"]
    assert all((row["side"] != row["real_side"]) == (row["fooled"] == "1") for row in rows)
    assert {row["real_side"] for row in rows} == {"left", "right"}
    with (folder / "report" / "participants.csv").open(newline="") as file:
        people = list(csv.DictReader(file))
    assert [person["external"] for person in people] == ["n1", "", "", "", "", ""]
    assert people[2]["left_out"] == "too fast"
    assert people[5]["finished"] == ""
    assert len({person["code"] for person in people}) == 6


def test_the_page_asks_for_nothing_and_shows_both_figures_and_the_published(made: tuple[Path, Report]) -> None:
    folder, report = made
    page = report_page(folder, report)
    assert not re.search(r"<script|\son\w+=|style=|https?:|@import|url\(", page)
    assert "25.0 %" in page
    assert "50.0 %" in page
    for published in PUBLISHED:
        assert published.method in page
    assert "26.8 % ± 2.8 %" in page
    assert "23.2 % ± 3.4 %" in page
    assert page.count("<figure>") == 6 + 6
    assert "n1" not in re.sub(r"base64,[^\"]+", "", page), "participants' numbers stay in the file for payment"


def test_names_become_no_markup(tmp_path: Path) -> None:
    folder, study = make_study(tmp_path, methods=("R&D; b",), title=HOSTILE)
    store = Store(folder)
    take_part(store, study, "R&D; b", [True, False, True, False, True, False])
    page = report_page(folder, make_report(study, store))
    store.close()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "R&amp;D; b" in page


def test_no_cell_of_the_csv_files_is_a_formula(tmp_path: Path) -> None:
    folder, study = make_study(tmp_path, ("-ours", "+1", "@SUM(A1)"))
    with contextlib.closing(Store(folder)) as store:
        for method in study.methods:
            take_part(store, study, method, [True] * 6)
        report = make_report(study, store)
    report.people[0].answers[0] = dataclasses.replace(report.people[0].answers[0], real="=HYPERLINK(1)", waited=-0.5)
    texts = answers_csv(report), participants_csv(report)
    cells = [cell for text in texts for row in csv.reader(io.StringIO(text)) for cell in row]
    assert {cell for cell in cells if re.match(r"[=+\-@\t\r]", cell)} == {"-0.5"}, "numbers stay numbers"
    assert {"'-ours", "'+1", "'@SUM(A1)", "'=HYPERLINK(1)"} <= set(cells)


def test_forged_answers_are_said_to_be_damaged(tmp_path: Path) -> None:
    folder, study = make_study(tmp_path)
    with contextlib.closing(Store(folder)) as store:
        take_part(store, study, "ours", [True] * 6)
    database = sqlite3.connect(folder / "answers.sqlite")
    database.execute("UPDATE answers SET response = 'soon'")
    database.commit()
    database.close()
    with pytest.raises(SystemExit) as ended:
        main(["study", "report", str(folder)])
    assert ended.value.code == 2
    assert not (folder / "report").exists()


def test_a_study_that_nobody_has_seen_has_a_report(tmp_path: Path) -> None:
    folder, study = make_study(tmp_path)
    store = Store(folder)
    report = make_report(study, store)
    store.close()
    page = report_page(folder, report)
    assert "Nobody has finished yet." in page
    assert "Too few participants have finished." in page
    assert report.exposures is None


def test_where_the_rules_leave_nobody_the_comparison_of_everybody_stays(tmp_path: Path) -> None:
    folder, study = make_study(tmp_path)
    store = Store(folder)
    for method, fooled in (("ours", [True, False, True]), ("theirs", [False, False, True])):
        for _ in range(3):
            take_part(store, study, method, fooled, response=0.01)
    report = make_report(study, store)
    store.close()
    assert not report.comparisons
    assert len(report.comparisons_of_everybody) == 1
    page = report_page(folder, report)
    assert "Too few participants" not in page
    assert "ours and theirs" in page
