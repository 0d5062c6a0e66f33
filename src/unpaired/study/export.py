"""A study's answers and figures as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime

from unpaired.study.published import PUBLISHED
from unpaired.study.quality import Answered
from unpaired.study.report import Person, Report

_SIDES = ("left", "right")
_TURNS = ("first", "second")


def answers_csv(report: Report) -> str:
    """Return one line per answer, practice and catch trials included; times in seconds."""
    columns = [column.name for column in fields(Answered) if column.name != "fake_file"]
    sides = _SIDES if report.study.settings.show == "together" else _TURNS
    lines = []
    for person in report.people:
        for answer in person.answers:
            values = asdict(answer)
            values |= {"real_side": sides[answer.real_side], "side": sides[answer.side], "hidden": int(answer.hidden)}
            values["answered"] = _moment(answer.answered)
            lines.append([*(values[name] for name in columns), person.method, int(answer.fooled)])
    return _csv([*columns, "method", "fooled"], lines)


def participants_csv(report: Report) -> str:
    """Return one line per participant, with the number of their link and their code, as crowd platforms ask for."""
    columns = ["participant", "external", "code", "method", "joined", "finished", "answers", "share", "left_out"]
    return _csv(columns, ([*_person(person).values()] for person in report.people))


def report_json(report: Report) -> str:
    """Return everything: settings, rules, figures, comparisons, pictures, participants and answers."""
    study = report.study
    answers = [{"method": p.method, **asdict(a), "fooled": a.fooled} for p in report.people for a in p.answers]
    content = {
        "study": {"id": study.id, "created": study.created, "height": study.height, "width": study.width},
        "settings": asdict(study.settings),
        "rules": asdict(study.rules),
        "made": _moment(report.made),
        "methods": [asdict(method) for method in report.methods],
        "comparisons": [asdict(comparison) for comparison in report.comparisons],
        "comparisons_of_everybody": [asdict(comparison) for comparison in report.comparisons_of_everybody],
        "published": [asdict(published) for published in PUBLISHED],
        "exposures": asdict(report.exposures) if report.exposures else None,
        "inputs": report.inputs,
        "pictures": [asdict(picture) for picture in report.pictures],
        "participants": [_person(person) for person in report.people],
        "answers": answers,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def _person(person: Person) -> dict[str, object]:
    counted = [answer for answer in person.answers if answer.kind == "trial"]
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


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _csv(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return buffer.getvalue()
