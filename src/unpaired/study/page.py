"""The report as one HTML file that asks no other: table, figure, comparisons, pictures, how it was done."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path

from PIL import Image as PillowImage

from unpaired.study.description import PICTURES, Study
from unpaired.study.figure import Row, draw
from unpaired.study.published import PUBLISHED
from unpaired.study.quality import stated, stated_for_trials
from unpaired.study.report import OFF, Comparison, Figure, MethodFigures, PictureFigure, Report
from unpaired.study.statistics import RESAMPLES, Interval

MOST_SHOWN = 6
"""Pictures of each method that fooled most, and as many that fooled least."""
_THUMBNAIL = 128


def report_page(folder: Path, study: Study, report: Report, *, served: bool = False) -> str:
    """Return the report of the study in `folder`; `served` adds the addresses of the JSON and CSV files."""
    style = (files("unpaired.study") / "assets" / "report.css").read_text(encoding="utf-8")
    sections = [
        _head(report),
        _shares(report),
        _comparisons(report),
        _left_out(report),
        _pictures(folder, report),
        _protocol(report),
        _method_notes(),
        _downloads(served),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Report: {escape(study.settings.title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
{"".join(f"<section>{section}</section>" for section in sections if section)}
</main>
</body>
</html>
"""


def _head(report: Report) -> str:
    study = report.study
    finished = sum(method.finished for method in report.methods)
    joined = sum(method.joined for method in report.methods)
    made = datetime.fromtimestamp(report.made).astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        f"<h1>{escape(study.settings.title)}</h1>"
        f"<p class=sub>{finished} of the {joined} people who began have finished · "
        f"report made {made}, study created {escape(study.created[:10])}</p>"
    )


# ----------------------------------------------------------------------------------------------------------- shares


def _shares(report: Report) -> str:
    rows = "".join(_method_row(report, method) for method in report.methods)
    lacking = any(method.finished < report.study.settings.participants for method in report.methods)
    few = "<p class=sub>* fewer than wanted: the study goes on, and figures move.</p>" if lacking else ""
    return f"""<h2>Generated pictures taken for real</h2>
<div class=scroll><table><thead>
<tr><th scope=col rowspan=2>method</th><th scope=col rowspan=2>finished</th>
<th scope=colgroup colspan=3>everybody who finished</th><th scope=colgroup colspan=3>after the rules</th></tr>
<tr><th scope=col>people</th><th scope=col>share</th><th scope=col>95 % interval</th>
<th scope=col>people</th><th scope=col>share</th><th scope=col>95 % interval</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<div class=scroll>{_drawing(report)}</div>
{few}<p class=sub>Filled circle: this study, after the rules. Open circle: everybody. Square: published, with the
paper's &plusmn; where it is confirmed. 50 %: people cannot tell. The published figures are for photos and maps of 256
pixels, judged on Amazon Mechanical Turk: other pictures and other people give other figures.</p>
<details><summary>Published figures and their sources</summary><div class=scroll><table><thead><tr><th scope=col>method
</th><th scope=col>task</th><th scope=col>share</th><th scope=col>source</th></tr></thead><tbody>{_published()}</tbody>
</table></div><p class=sub>Read in later works that quote the papers; compare with the papers before you print them.
</p></details>"""


def _method_row(report: Report, method: MethodFigures) -> str:
    wanted = report.study.settings.participants
    few = " class=few" if method.finished < wanted else ""
    return (
        f"<tr><th scope=row>{escape(method.name)}</th><td{few}>{method.finished} of {wanted}</td>"
        f"{_cells(method.everybody)}{_cells(method.kept)}</tr>"
    )


def _cells(figure: Figure | None) -> str:
    if figure is None:
        return "<td>0</td><td>–</td><td>–</td>"
    return f"<td>{figure.participants}</td><td>{_percent(figure.share)}</td><td>{_interval(figure.interval)}</td>"


def _drawing(report: Report) -> str:
    own = []
    for method in report.methods:
        for figure, mark, label in (
            (method.kept, "kept", method.name),
            (method.everybody, "everybody", f"{method.name[:20]}, everybody"),
        ):
            if figure is not None:
                low, high = (figure.interval.low, figure.interval.high) if figure.interval else (None, None)
                own.append(Row(label[:32], figure.share, low, high, "kept" if mark == "kept" else "everybody"))
    if not own:
        return "<p class=notice>Nobody has finished yet.</p>"
    published = []
    for row in PUBLISHED:
        low = None if row.deviation is None else row.share - row.deviation
        high = None if row.deviation is None else row.share + row.deviation
        published.append(Row(f"{row.method}, {row.task}", row.share, low, high, "published"))
    told = "; ".join(f"{row.label} {_percent(row.share)}" for row in own)
    return draw([own, published], f"Shares of generated pictures taken for real: {told}. Below: published shares.")


def _published() -> str:
    return "".join(
        f"<tr><th scope=row>{escape(row.method)}</th><td>{escape(row.task)}</td><td>{_percent(row.share)}"
        f"{'' if row.deviation is None else f' ± {_percent(row.deviation)}'}</td><td>{escape(row.source)}</td></tr>"
        for row in PUBLISHED
    )


# ------------------------------------------------------------------------------------------------------ comparisons


def _comparisons(report: Report) -> str:
    if len(report.study.methods) < 2:
        return ""
    if not report.comparisons_of_everybody:
        return "<h2>Between methods</h2><p class=notice>Too few participants have finished.</p>"
    after = {(found.first, found.second): found for found in report.comparisons}
    rows = "".join(
        _comparison(after.get((found.first, found.second)), found) for found in report.comparisons_of_everybody
    )
    return f"""<h2>Between methods</h2>
<div class=scroll><table class=compare><thead><tr><th scope=col>methods</th><th scope=col>difference</th>
<th scope=col>95 % interval</th><th scope=col>p, corrected</th><th scope=col>p of everybody</th>
<th scope=col>detectable</th><th scope=col>more people needed</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<p class=sub>Difference: share of the first less that of the second, after the rules, in percentage points. p:
permutation test over participants, two-sided, corrected by Holm over all pairs. Detectable: the smallest true
difference that this many participants would show in 80 of 100 studies. More people needed: what 80 % power takes if the
difference seen here is the true one; with few people it often is not, so take it as a guide.</p>"""


def _comparison(found: Comparison | None, of_everybody: Comparison) -> str:
    names = f"<tr><th scope=row>{escape(of_everybody.first)} and {escape(of_everybody.second)}</th>"
    p_of_everybody = of_everybody.p_corrected
    if found is None:  # the rules left nobody of one of them
        return f"{names}<td>–</td><td>–</td><td>–</td><td>{_p(p_of_everybody)}</td><td>–</td><td class=wrap>–</td></tr>"
    return (
        f"{names}<td>{_points(found.difference)}</td>"
        f"<td>{_points_interval(found.interval)}</td><td>{_p(found.p_corrected)}</td><td>{_p(p_of_everybody)}</td>"
        f"<td>{'–' if found.detectable is None else _points(found.detectable).lstrip('+')}</td>"
        f"<td class=wrap>{_more(found)}</td></tr>"
    )


def _more(found: Comparison) -> str:
    if found.more is None:
        return "no difference to look for" if found.interval is not None and not found.difference else "–"
    if found.more == (0, 0):
        return "none, enough are there"
    first, second = found.more
    return f"{first:,} of {escape(found.first)}, {second:,} of {escape(found.second)} ({found.needed:,} each)"


# --------------------------------------------------------------------------------------------------------- left out


def _left_out(report: Report) -> str:
    study = report.study
    rules = "".join(f"<li>{escape(rule)}</li>" for rule in stated(study.rules, study.settings))
    rows = "".join(
        f"<tr><th scope=row>{escape(method.name)}</th><td>{method.joined - method.finished}</td>"
        + "".join(f"<td>{method.left_out.get(reason, 0)}</td>" for reason in ("too fast", "same side", "catch trials"))
        + f"<td>{method.trials_left_out}</td></tr>"
        for method in report.methods
    )
    return f"""<h2>Who was left out</h2>
<p>The rules were fixed when the study was created. A participant is left out of the second figure for any of:</p>
<ul>{rules}</ul>
<p>A single trial is left out when {escape(stated_for_trials(study.rules, study.settings))}. People who did not finish
are in neither figure.</p>
<div class=scroll><table><thead><tr><th scope=col>method</th><th scope=col>did not finish</th>
<th scope=col>too fast</th><th scope=col>same side</th><th scope=col>catch trials</th>
<th scope=col>single trials</th></tr></thead>
<tbody>{rows}</tbody></table></div>"""


# --------------------------------------------------------------------------------------------------------- pictures


def _pictures(folder: Path, report: Report) -> str:
    parts = []
    for method in report.study.methods:
        own = [picture for picture in report.pictures if picture.method == method]
        if own:
            most = own[:MOST_SHOWN]
            least = own[MOST_SHOWN:][-MOST_SHOWN:][::-1]
            parts.append(f"<h3>{escape(method)}: fooled most</h3>{_gallery(folder, most)}")
            if least:
                parts.append(f"<h3>{escape(method)}: fooled least</h3>{_gallery(folder, least)}")
    if not parts:
        return ""
    return f"<h2>Pictures</h2><p class=sub>Taken for real / shown, after the rules.</p>{''.join(parts)}"


def _gallery(folder: Path, pictures: Iterable[PictureFigure]) -> str:
    return f"<div class=gallery>{''.join(_thumbnail(folder, picture) for picture in pictures)}</div>"


def _thumbnail(folder: Path, picture: PictureFigure) -> str:
    with PillowImage.open(folder / PICTURES / picture.file) as image:
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return (
        f'<figure><img src="{url}" alt="" width="{image.width}" height="{image.height}"><figcaption>'
        f"<b>{picture.fooled} / {picture.shown}</b> {escape(picture.name)}</figcaption></figure>"
    )


# ----------------------------------------------------------------------------------------------------- how it was done


def _protocol(report: Report) -> str:
    settings, exposures = report.study.settings, report.exposures
    facts = {
        "pictures": f"{report.study.height} x {report.study.width} pixels, {len(report.study.real)} real; "
        + ", ".join(f"{len(made)} of {name}" for name, made in report.study.methods.items()),
        "pairs": f"{settings.pairs}, shown {settings.show}",
        "trials": f"{settings.practice} practice, {settings.trials} counted, {settings.catch} catch",
        "exposure wanted": f"{settings.exposure:g} s",
    }
    if exposures is not None:
        facts["exposure measured"] = (
            f"median {exposures.median:.3f} s, 95 % between {exposures.low:.3f} and {exposures.high:.3f} s; "
            f"{exposures.off:,} of {exposures.count:,} further than {OFF * 1000:.0f} ms from it"
        )
        facts["answered with"] = ", ".join(f"{name} {count:,}" for name, count in report.inputs.items()) or "–"
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<h2>How it was shown</h2><dl>{items}</dl>"


def _method_notes() -> str:
    return f"""<h2>How the figures are made</h2>
<p>Each participant saw one method. A method's figure is the mean of its participants' shares. Intervals: bootstrap
over participants ({RESAMPLES:,} times), bias-corrected and accelerated (BCa), and widened for few people as a t
interval is (Hesterberg, 2015); marked
&ldquo;Wilson&rdquo; or &ldquo;Newcombe&rdquo;
where everybody had the same share and the bootstrap has nothing to draw from. They speak of other
people looking at these pictures, not of other pictures.</p>"""


def _downloads(served: bool) -> str:
    names = ("report.json", "answers.csv", "participants.csv")
    prefix = "report/" if served else ""
    links = ", ".join(f'<a href="{prefix}{name}">{name}</a>' for name in names)
    return f"<h2>Data</h2><p>{links}</p>"


# ---------------------------------------------------------------------------------------------------------- numbers


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "needs two people"
    return f"{100 * interval.low:.1f} – {100 * interval.high:.1f} %{_kind(interval)}"


def _kind(interval: Interval) -> str:
    return "" if interval.kind == "bootstrap" else f" ({interval.kind})"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def _points_interval(interval: Interval | None) -> str:
    if interval is None:
        return "needs two people"
    return f"{_points(interval.low)} to {_points(interval.high)}{_kind(interval)}"


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
