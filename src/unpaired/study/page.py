"""The report as one HTML file that loads nothing: verdict, shares, comparisons, pictures, how it was done."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Literal

from markupsafe import Markup
from PIL import Image as PillowImage

from unpaired.core.text import NONE, percent, plural
from unpaired.report.embedding import Image, embedded
from unpaired.report.page import environment, page
from unpaired.report.results import Table
from unpaired.study.description import PICTURES
from unpaired.study.exclusion import stated, stated_for_trials
from unpaired.study.published import PUBLISHED
from unpaired.study.report import OFF, Comparison, MethodFigures, PictureFigure, Report
from unpaired.study.statistics import RESAMPLES, Interval

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
        heading=settings.title,
        finished=sum(method.finished for method in report.methods),
        joined=sum(method.joined for method in report.methods),
        made=datetime.fromtimestamp(report.made).astimezone().strftime("%Y-%m-%d %H:%M"),
        created=study.created[:10],
        verdicts=[sentence for method in report.methods if (sentence := _verdict(method))],
        drawing=_drawing(report),
        shares=_shares(report),
        published=_published(),
        several=len(study.methods) > 1,
        comparisons=_comparisons(report),
        rules=stated(study.rules, settings),
        trial_rule=stated_for_trials(study.rules, settings),
        left_out=_left_out(report),
        galleries=_galleries(folder, report),
        facts=_facts(report),
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


def _verdict(method: MethodFigures) -> str:
    """Return one sentence: whether people can tell a method's pictures from real ones."""
    figure = method.kept or method.everybody
    if figure is None:
        return ""
    if figure.interval is None:
        return f"{method.name}: {plural(figure.participants, 'participant')}, which is too few to tell."
    text = f"{method.name}: taken for real in {percent(figure.share, 1)} of the pairs"
    if figure.interval.high < 0.5:
        return f"{text}, less often than by chance: people can tell."
    if figure.interval.low > 0.5:
        return f"{text}, more often than the real pictures."
    return f"{text}, which does not differ from chance."


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


def _galleries(folder: Path, report: Report) -> list[tuple[str, list[tuple[Image, PictureFigure]]]]:
    found = []
    for method in report.study.methods:
        own = [picture for picture in report.pictures if picture.method == method]
        for title, part in (("most", own[:MOST_SHOWN]), ("least", own[MOST_SHOWN:][-MOST_SHOWN:][::-1])):
            if part:
                found.append((f"{method}: fooled {title}", [(_thumbnail(folder, one), one) for one in part]))
    return found


def _thumbnail(folder: Path, picture: PictureFigure) -> Image:
    with PillowImage.open(folder / PICTURES / picture.file) as image:
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
    return embedded(buffer.getvalue())


def _facts(report: Report) -> dict[str, str]:
    study, settings, exposures = report.study, report.study.settings, report.exposures
    made = ", ".join(f"{len(pictures)} of {name}" for name, pictures in study.methods.items())
    facts = {
        "pictures": f"{study.height} x {study.width} pixels, {len(study.real)} real; {made}",
        "pairs": f"{settings.pairs}, shown {settings.show}",
        "trials": f"{settings.practice} practice, {settings.trials} counted, {settings.catch} catch",
        "exposure wanted": f"{settings.exposure:g} s",
    }
    if exposures is not None:
        facts["exposure measured"] = (
            f"median {exposures.median:.3f} s, 95 % between {exposures.low:.3f} and {exposures.high:.3f} s; "
            f"{exposures.off:,} of {exposures.count:,} further than {OFF * 1000:.0f} ms from it"
        )
        facts["answered with"] = ", ".join(f"{name} {count:,}" for name, count in report.inputs.items()) or NONE
    return facts


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
