"""A study's report as files: the page, which loads nothing, and answers and figures as CSV and JSON."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

from markupsafe import Markup
from PIL import Image as PillowImage

from unpaired.core.files import check_out, write_atomic
from unpaired.core.text import NONE, csv_text, percent
from unpaired.report.embedding import Image, embedded
from unpaired.report.page import environment, page
from unpaired.report.results import Table
from unpaired.study.description import PICTURES, read_study
from unpaired.study.report import (
    OFF,
    Answered,
    Comparison,
    Figure,
    Person,
    PictureFigure,
    Report,
    make_report,
    stated,
    stated_for_trials,
)
from unpaired.study.statistics import RESAMPLES, Interval
from unpaired.study.store import Store


class Published(NamedTuple):
    """One published figure; shares from 0 to 1; `deviation` is what the paper prints after its plus-minus sign."""

    method: str
    task: str
    share: float
    deviation: float | None
    source: str


def _published_figures() -> tuple[Published, ...]:
    rows = csv.DictReader((files("unpaired.study") / "assets" / "published.csv").read_text("utf-8").splitlines())
    return tuple(
        Published(
            each["method"], each["task"], float(each["share"]), float(each["deviation"] or 0) or None, each["source"]
        )
        for each in rows
    )


PUBLISHED = _published_figures()
"""Amazon Mechanical Turk, 256 pixels, one second, 10 practice and 40 counted trials, 25 participants per method."""


MOST_SHOWN = 6
"""Pictures of each method that fooled most, and as many that fooled least."""
_THUMBNAIL = 128


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the drawing; shares from 0 to 1."""

    label: str
    share: float
    low: float | None
    high: float | None
    mark: Literal["kept", "everybody", "published"]


def report_page(folder: Path, report: Report, *, served: bool = False) -> str:
    """Return the report of the study in `folder`; `served` puts the addresses of its data below `report/`."""
    study, settings = report.study, report.study.settings
    prefix = "report/" if served else ""
    return page(
        "report.html",
        package="unpaired.study",
        title=f"Report: {settings.title}",
        style=(files("unpaired.study") / "assets" / "report.css").read_text(encoding="utf-8"),
        report=report,
        made=datetime.fromtimestamp(report.made).astimezone().strftime("%Y-%m-%d %H:%M"),
        drawing=_drawing(report),
        shares=_shares(report),
        published=_published(),
        comparisons=_comparisons(report),
        rules=stated(study.rules, settings),
        trial_rule=stated_for_trials(study.rules, settings),
        left_out=_left_out(report),
        thumbnail=lambda picture: _thumbnail(folder, picture),
        most_shown=MOST_SHOWN,
        off=OFF,
        resamples=RESAMPLES,
        downloads=[(prefix + name, name) for name in ("report.json", "answers.csv", "participants.csv")],
    )


def draw(groups: Sequence[Sequence[Bar]], description: str) -> Markup:
    """Return shares with their intervals on one axis as SVG, groups apart; the marks differ in shape."""
    bars = [bar for group in groups for bar in group]
    most = max([0.5, *(bar.share if bar.high is None else bar.high for bar in bars)])
    tenths = min(10, math.ceil(most * 10 + 0.5))
    template = environment("unpaired.study").get_template("shares.svg")
    return Markup(template.render(groups=groups, count=len(bars), tenths=tenths, description=description))


def _shares(report: Report) -> Table:
    wanted, rows = report.study.settings.participants, []
    for method in report.methods:
        cells = [method.name, f"{method.finished} of {wanted}{' *' if method.finished < wanted else ''}"]
        for figure in (method.everybody, method.kept):
            found = figure and (str(figure.participants), percent(figure.share, 1), _interval(figure.interval))
            cells += found or ("0", NONE, NONE)
        rows.append(tuple(cells))
    few = any(method.finished < wanted for method in report.methods)
    return Table(
        columns=(
            *("method", "finished", "everybody who finished", "share", "95 % interval"),
            *("after the rules", "share", "95 % interval"),
        ),
        rows=tuple(rows),
        notes=("* fewer than wanted: the study goes on, and figures move.",) if few else (),
    )


def _drawing(report: Report) -> Markup | None:
    own = list[Bar]()
    for method in report.methods:
        if method.kept is not None:
            own.append(_bar(method.name, method.kept.share, method.kept.interval, "kept"))
        if method.everybody is not None:
            label = f"{method.name[:20]}, everybody"
            own.append(_bar(label, method.everybody.share, method.everybody.interval, "everybody"))
    if not own:
        return None
    published = []
    for name, task, share, deviation, _ in PUBLISHED:
        low, high = (None, None) if deviation is None else (share - deviation, share + deviation)
        published.append(Bar(f"{name}, {task}", share, low, high, "published"))
    listed = "; ".join(f"{bar.label} {percent(bar.share, 1)}" for bar in own)
    return draw([own, published], f"Shares of generated pictures taken for real: {listed}. Below: published shares.")


def _bar(label: str, share: float, interval: Interval | None, mark: Literal["kept", "everybody"]) -> Bar:
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Bar(label[:32], share, low, high, mark)


def _published() -> Table:
    rows = [
        (name, task, percent(share, 1) + (f" ± {percent(deviation, 1)}" if deviation else ""), source)
        for name, task, share, deviation, source in PUBLISHED
    ]
    note = "Read in later works that quote the papers; compare with the papers before you print them."
    return Table(columns=("method", "task", "share", "source"), rows=tuple(rows), notes=(note,))


def _comparisons(report: Report) -> Table | None:
    after = {(found.first, found.second): found for found in report.comparisons}
    rows = [_comparison(after.get((all_.first, all_.second)), all_) for all_ in report.comparisons_of_everybody]
    columns = ("methods", "difference", "95 % interval", "p, corrected", "p of everybody", "detectable")
    return Table(columns=(*columns, "more people needed"), rows=tuple(rows)) if rows else None


def _comparison(found: Comparison | None, of_everybody: Comparison) -> tuple[str, ...]:
    names, p = f"{of_everybody.first} and {of_everybody.second}", _p(of_everybody.p_corrected)
    if found is None:  # the rules left nobody of one of them
        return names, NONE, NONE, NONE, p, NONE, NONE
    interval = NONE if found.interval is None else f"{_points(found.interval.low)} to {_points(found.interval.high)}"
    detectable = NONE if found.detectable is None else _points(found.detectable).lstrip("+")
    difference = _points(found.difference)
    return names, difference, f"{interval}{_kind(found.interval)}", _p(found.p_corrected), p, detectable, _more(found)


def _more(found: Comparison) -> str:
    if found.more is None:
        return "no difference to look for" if found.interval is not None and not found.difference else NONE
    if found.more == (0, 0):
        return "none, enough are there"
    first, second = found.more
    return f"{first:,} of {found.first}, {second:,} of {found.second} ({found.needed:,} each)"


def _left_out(report: Report) -> Table:
    reasons = ("too fast", "same side", "catch trials")
    rows = [
        (
            method.name,
            method.joined - method.finished,
            *(method.left_out.get(reason, 0) for reason in reasons),
            method.trials_left_out,
        )
        for method in report.methods
    ]
    return Table(columns=("method", "did not finish", *reasons, "single trials"), rows=tuple(rows))


def _thumbnail(folder: Path, picture: PictureFigure) -> Image:
    with PillowImage.open(folder / PICTURES / picture.file) as image:
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
    return embedded(buffer.getvalue())


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "needs two people"
    return f"{100 * interval.low:.1f} – {percent(interval.high, 1)}{_kind(interval)}"


def _kind(interval: Interval | None) -> str:
    return "" if interval is None or interval.kind == "bootstrap" else f" ({interval.kind})"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


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
