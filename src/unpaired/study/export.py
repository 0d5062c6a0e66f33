"""A study's report as files: the page, and answers and figures as CSV and JSON."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

from unpaired.core.files import check_out, write_atomic
from unpaired.core.text import csv_text, percent
from unpaired.study.description import read_study
from unpaired.study.exclusion import Answered
from unpaired.study.page import report_page
from unpaired.study.published import PUBLISHED
from unpaired.study.report import Figure, Person, Report, make_report
from unpaired.study.store import Store

FILES = ("index.html", "report.json", "answers.csv", "participants.csv")
FORMAT = "unpaired-study-report"
_SIDES = {"together": ("left", "right"), "in-turn": ("first", "second")}


def write_report(folder: Path, out: Path | None = None) -> tuple[Report, Path]:
    """Write `index.html`, `report.json`, `answers.csv` and `participants.csv`; return the report and the page's path.

    The study may be running. `out` is `STUDY/report` by default; files of an earlier report are replaced. Raises
    `UserError` where the study is not whole or the files cannot be written.
    """
    study = read_study(folder, verify=True)
    target = folder / "report" if out is None else check_out(out, replaces=FILES)
    with contextlib.closing(Store(folder, read_only=True)) as store:
        report = make_report(study, store)
    contents = {
        "answers.csv": answers_csv(report),
        "participants.csv": participants_csv(report),
        "report.json": report_json(report),
        "index.html": report_page(folder, report),
    }
    for name, text in contents.items():
        write_atomic(target / name, text, then="choose another --out")
    return report, target / "index.html"


def summary(report: Report) -> str:
    """Return one line per method: the share taken for real, after the rules and of everybody."""
    wanted = report.study.settings.participants
    return "\n".join(
        f"{method.name}: {_share(method.kept)} after the rules, {_share(method.everybody)} of everybody "
        f"({method.finished} participants finished, {wanted} wanted)"
        for method in report.methods
    )


def answers_csv(report: Report) -> str:
    """Return one line per answer, practice and catch trials included; times in seconds."""
    columns = [column.name for column in fields(Answered) if column.name != "fake_file"]
    sides = _SIDES[report.study.settings.show]
    lines = []
    for person in report.people:
        for answer in person.answers:
            values = asdict(answer)
            values |= {"real_side": sides[answer.real_side], "side": sides[answer.side], "hidden": int(answer.hidden)}
            values["answered"] = _moment(answer.answered)
            lines.append([*(values[name] for name in columns), person.method, int(answer.fooled)])
    return csv_text([[*columns, "method", "fooled"], *lines])


def participants_csv(report: Report) -> str:
    """Return one line per participant, with the number of their link and their code, as crowd platforms ask for."""
    columns = ["participant", "external", "code", "method", "joined", "finished", "answers", "share", "left_out"]
    return csv_text([columns, *(_person(person).values() for person in report.people)])


def report_json(report: Report) -> str:
    """Return everything: settings, rules, figures, comparisons, pictures, participants and answers."""
    study, content = report.study, {"format": FORMAT} | asdict(report)
    content |= {
        "study": {"id": study.id, "created": study.created, "height": study.height, "width": study.width},
        "settings": asdict(study.settings),
        "rules": asdict(study.rules),
        "made": _moment(report.made),
        "published": [published._asdict() for published in PUBLISHED],
        "participants": [_person(person) for person in report.people],
        "answers": [{"method": p.method, **asdict(a), "fooled": a.fooled} for p in report.people for a in p.answers],
    }
    del content["people"]
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def _person(person: Person) -> dict[str, object]:
    counted = person.counted
    return {
        "participant": person.id,
        "external": person.external,
        "code": person.code,
        "method": person.method,
        "joined": _moment(person.joined),
        "finished": None if person.finished is None else _moment(person.finished),
        "answers": len(person.answers),
        "share": sum(answer.fooled for answer in counted) / len(counted) if counted else None,
        "left_out": "; ".join(person.reasons),
    }


def _share(figure: Figure | None) -> str:
    if figure is None:
        return "nothing yet"
    limits = (figure.interval.low, figure.interval.high) if figure.interval else ()
    return percent(figure.share, 1) + (f" [{', '.join(percent(limit, 1) for limit in limits)}]" if limits else "")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
