"""The run's page: `RUN/index.html`, one file that shows curves and how the samples changed, and asks no other."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from unpaired.core.files import write_atomic
from unpaired.core.text import duration
from unpaired.models.best import describe_best
from unpaired.models.folder import BEST, CARD, checkpoints_of
from unpaired.report.run_curves import Curves, curves_of
from unpaired.report.run_log import read_metrics
from unpaired.report.run_status import Standing, standing_of
from unpaired.report.snapshots import Snapshot, snapshots_of
from unpaired.report.webpage import webpage

PAGE = "index.html"
CONFIG = "config.json"
MOST_EVENTS = 100
"""Warnings, and lines of the history, that are listed; the latest."""


def write_page(run: Path) -> Path:
    """Write `RUN/index.html` from what the run's folder holds, atomically, and return its path.

    Nothing need be there yet: no config, no records, no samples. Everything is inside the one file: pictures, styles,
    script, numbers. The script and the styles are admitted by their hash, so nothing that a run, a file or a message
    is called can run in the page. Raises `UserError` when the disk is full.
    """
    records, config = read_metrics(run), _read_config(run)
    standing = standing_of(records, config)
    snapshots, num_grids = snapshots_of(run)
    sections = [
        _header(run, config, standing, standing.seconds / max(num_grids, 1)),
        _warnings(standing.events),
        _best(run, records),
        _samples(snapshots, num_grids, standing.epoch_images),
        _curves(curves_of(records), standing),
        _commands(run),
        _settings(config),
        _history(standing.events),
    ]
    page = _document(_title(run, standing), "\n".join(section for section in sections if section))
    path = run / PAGE
    write_atomic(path, page.encode("utf-8", "replace"))
    return path


def _document(title: str, body: str) -> str:
    assets = files("unpaired.report") / "assets"
    style, script = ((assets / name).read_text(encoding="utf-8") for name in ("old_page.css", "page.js"))
    return webpage(title, body, style=style, script=script)


def _read_config(run: Path) -> dict[str, Any]:
    try:
        config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _name_of(run: Path) -> str:
    return run.name or run.resolve().name


def _title(run: Path, standing: Standing) -> str:
    share = f"{standing.share:.0%} · " if standing.share is not None else ""
    return f"{share}{_name_of(run)} · unpaired"


# ---------------------------------------------------------------------------------------------------------- heading


def _header(run: Path, config: Mapping[str, Any], standing: Standing, interval_seconds: float) -> str:
    """Return the heading; `interval_seconds` is how often the page is written, to tell when it is overdue."""
    method = config.get("method")
    method = method.get("name") if isinstance(method, Mapping) else method
    now = datetime.now().astimezone()
    progress = "" if standing.share is None else f'<progress max="1" value="{standing.share:.4f}"></progress>'
    return f"""<header data-state="{standing.state}" data-written="{now.isoformat(timespec="seconds")}"
 data-interval="{interval_seconds:.0f}">
<div class="heading"><h1>{escape(_name_of(run))}</h1>
<span class="state {standing.state}">{escape(standing.state)}</span></div>
<p class="sub">{f"{escape(str(method))} · " if method else ""}page written {_moment(now)}<span id="age"></span></p>
{progress}
<dl class="facts">{"".join(_fact(name, value) for name, value in _facts(standing))}</dl>
{_notice(run, standing)}
<nav aria-label="parts of this page"><a href="#samples">Samples</a><a href="#curves">Curves</a>\
<a href="#commands">Commands</a></nav>
<label class="control live" hidden><input type="checkbox" id="reload"> reload this page every 30 seconds</label>
</header>"""


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _facts(standing: Standing) -> Iterable[tuple[str, str]]:
    of_images = f" of {standing.total_images:,}" if standing.total_images else ""
    if standing.share is not None:
        yield "done", f"{standing.share:.0%}"
    if standing.epoch is not None:
        of_epochs = f" of {standing.epochs:g}" if standing.epochs else ""
        yield "epochs", f"{standing.epoch:.1f}{of_epochs}"
    yield "images seen", f"{standing.images:,}{of_images}"
    if standing.images_per_second:
        yield "images per second", f"{standing.images_per_second:.3g}"
    if standing.seconds:
        yield "training time", duration(standing.seconds)
    if standing.seconds_left is not None:
        yield "time left", f"about {duration(standing.seconds_left)}"
    if standing.waiting_share is not None:
        yield "waiting for data", f"{standing.waiting_share:.0%}"


def _notice(run: Path, standing: Standing) -> str:
    resume = f"Resume it with <code>{escape(_resume(run))}</code>"
    if standing.state == "interrupted":
        return f'<p class="notice">The training was interrupted after {standing.images:,} images. {resume}</p>'
    if standing.state == "failed":
        return f'<p class="notice">The training stopped: {escape(standing.reason)} {resume}</p>'
    if standing.state == "finished" and standing.share is not None and standing.share < 1:
        return f'<p class="notice">The training ended early: {escape(standing.reason)}.</p>'
    if standing.state == "running":
        return f'<p class="notice" id="stale" hidden>The training may have stopped since. {resume}</p>'
    return ""


def _warnings(events: Sequence[Mapping[str, Any]]) -> str:
    places: dict[str, list[int]] = {}
    for entry in events:
        if entry.get("event") == "warning":
            places.setdefault(str(entry.get("text", "")), []).append(_count(entry.get("images")))
    if not places:
        return ""
    items = [f"<li>{escape(text)} <small>{_when(images)}</small></li>" for text, images in places.items()]
    more = f"<li><small>and {len(items) - MOST_EVENTS:,} earlier</small></li>" if len(items) > MOST_EVENTS else ""
    return f"""<section class="warnings" aria-labelledby="warnings">
<h2 id="warnings">{len(items)} warning{"s" if len(items) > 1 else ""}</h2>
<ul>{"".join(items[-MOST_EVENTS:])}{more}</ul></section>"""


def _when(images: Sequence[int]) -> str:
    if len(images) == 1:
        return f"at {images[0]:,} images"
    return f"{len(images):,} times, from {images[0]:,} to {images[-1]:,} images"


def _count(images: object) -> int:
    return int(images) if isinstance(images, int | float) else 0


# ------------------------------------------------------------------------------------------------- best checkpoint


def _best(run: Path, records: Sequence[Mapping[str, Any]]) -> str:
    """Say which checkpoint was measured best, and what measuring has cost; nothing where nothing was measured."""
    evaluated = [record for record in records if "evaluation" in record]
    if not evaluated:
        return ""
    share = evaluated[-1].get("evaluation_share")
    cost = f" Evaluation took {share:.1%} of the training time." if isinstance(share, int | float) else ""
    told = describe_best(run) or "No evaluation has found a finite value yet"
    count = f"{len(evaluated):,} evaluation{'s' if len(evaluated) > 1 else ''} on held-out images so far."
    return f"""<section aria-labelledby="best"><h2 id="best">Best checkpoint</h2>
<p>{escape(told)}. {count}{cost}</p></section>"""


# ---------------------------------------------------------------------------------------------------------- samples


def _samples(snapshots: Sequence[Snapshot], num_grids: int, epoch_images: float | None) -> str:
    if not snapshots:
        return '<section><h2 id="samples">Samples</h2><p class="empty">No sample grid has been drawn yet.</p></section>'
    shown = (
        f"{len(snapshots)} of {num_grids} sample grids are in this page, evenly spread; "
        "the folder <code>samples</code> holds all of them."
        if len(snapshots) < num_grids
        else f"{num_grids} sample grid{'s' if num_grids > 1 else ''}."
    )
    figures = "\n".join(_snapshot(snapshot, epoch_images) for snapshot in snapshots)
    return f"""<section aria-labelledby="samples" id="player">
<h2 id="samples">Samples</h2>
<p class="sub">The same held-out images throughout. {shown}</p>
<div class="controls live" hidden>
<button type="button" id="play">Play</button>
<button type="button" id="previous" aria-label="previous snapshot">&lsaquo;</button>
<input type="range" id="moment" min="0" max="{len(snapshots) - 1}" value="{len(snapshots) - 1}"
 aria-label="snapshot">
<button type="button" id="next" aria-label="next snapshot">&rsaquo;</button>
<output id="shown" for="moment"></output>
</div>
<div id="snapshots">{figures}</div>
<div id="ends" class="live" hidden></div>
</section>"""


def _snapshot(snapshot: Snapshot, epoch_images: float | None) -> str:
    epoch = f" · epoch {snapshot.images / epoch_images:.1f}" if epoch_images else ""
    caption = f"{snapshot.images:,} images{epoch}"
    pictures = "".join(
        f'<img src="{part.url}" width="{part.width}" height="{part.height}" '
        f'alt="Sample grid after {caption}, part {number} of {len(snapshot.parts)}">'
        for number, part in enumerate(snapshot.parts, 1)
    )
    return f'<figure class="snapshot"><figcaption>{caption}</figcaption><div class="parts">{pictures}</div></figure>'


# ----------------------------------------------------------------------------------------------------------- curves


def _curves(curves: Curves, standing: Standing) -> str:
    if not curves.charts:
        return '<section><h2 id="curves">Curves</h2><p class="empty">Nothing has been logged yet.</p></section>'
    marks = [
        {"images": _count(entry.get("images")), "kind": entry["event"], "text": str(entry.get("text", ""))}
        for entry in standing.events
        if entry.get("event") in ("warning", "resumed")
    ]
    data = {**asdict(curves), "epoch_images": standing.epoch_images, "marks": marks[-MOST_EVENTS:]}
    legend = " Dotted upright line: resumed here. Short mark at the axis: a warning." if marks else ""
    if any(chart.best is not None for chart in curves.charts):
        legend += " Dashed upright line: the best evaluation."
    return f"""<section aria-labelledby="curves">
<h2 id="curves">Curves</h2>
<noscript><p class="notice">The curves need JavaScript; the numbers below do not.</p></noscript>
<div class="controls live" hidden>
<label>smoothing <input type="range" id="smoothing" min="0" max="20" step="1" value="4"></label>
<label>over <select id="axis"><option value="images">images seen</option>\
<option value="epochs">epochs</option></select></label>
<span class="hint">Faint: as logged. Point at a curve, or focus it and use the arrow keys, to read values.\
{legend}</span>
</div>
<div id="charts"></div>
{_numbers(curves)}
<script type="application/json" id="data">{_embeddable(data)}</script>
</section>"""


def _embeddable(data: Mapping[str, Any]) -> str:
    """Return JSON that cannot end the script element that it stands in, whatever its texts are."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _numbers(curves: Curves) -> str:
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(chart.unit)}</td>'
        + "".join(f"<td>{value}</td>" for value in _summary(line))
        + "</tr>"
        for chart in curves.charts
        for name, line in chart.lines.items()
    ]
    return f"""<details><summary>The curves in numbers</summary><div class="scroll"><table class="numbers">
<thead><tr><th scope="col">curve</th><th scope="col">unit</th><th scope="col">first</th><th scope="col">lowest</th>\
<th scope="col">highest</th><th scope="col">last</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table></div></details>"""


def _summary(line: Sequence[float | None]) -> list[str]:
    values = [value for value in line if value is not None]
    if not values:
        return ["–"] * 4
    return [f"{value:.4g}" for value in (values[0], min(values), max(values), values[-1])]


# --------------------------------------------------------------------------------------- commands, settings, history


def _resume(run: Path) -> str:
    return f"unpaired train --resume {shlex.quote(str(run))}"


def _commands(run: Path) -> str:
    best = run / BEST
    model, which = (best, "best") if best.is_dir() else (run, "newest")
    translate = f"unpaired translate {shlex.quote(str(model))} IMAGES --out TRANSLATED"
    directions = _directions(run)
    lines = [f"{translate} --direction {direction}" for direction in directions] or [translate]
    items = "".join(f"<pre><code>{escape(line)}</code></pre>" for line in lines)
    return f"""<section aria-labelledby="commands">
<h2 id="commands">Commands</h2>
<p>Translate images (files or folders) with the {which} checkpoint:</p>{items}
<p>Go on with the training after it was interrupted:</p><pre><code>{escape(_resume(run))}</code></pre>
</section>"""


def _directions(run: Path) -> list[str]:
    """Return the directions of the newest checkpoint that says so; none where there is no checkpoint."""
    for folder in checkpoints_of(run):
        try:
            return sorted(json.loads((folder / CARD).read_text(encoding="utf-8"))["translators"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return []


def _settings(config: Mapping[str, Any]) -> str:
    if not config:
        return ""
    tables = "".join(_settings_table(section, value) for section, value in config.items())
    return f"<section><details><summary>Settings</summary>{tables}</details></section>"


def _settings_table(section: str, value: Any) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(_setting(setting))}</td></tr>'
        for name, setting in _flat(value if isinstance(value, Mapping) else {section: value})
    )
    return f'<h3>{escape(section)}</h3><div class="scroll"><table>{rows}</table></div>'


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _history(events: Sequence[Mapping[str, Any]]) -> str:
    if not events:
        return ""
    rows = "".join(
        f"<tr><td>{escape(_moment(entry.get('time')))}</td><td>{_count(entry.get('images')):,}</td>"
        f"<td>{escape(str(entry.get('event')))}</td><td>{escape(str(entry.get('text', '')))}</td></tr>"
        for entry in events[: -MOST_EVENTS - 1 : -1]
    )
    shown = f", the last {MOST_EVENTS} of {len(events):,}" if len(events) > MOST_EVENTS else ""
    return f"""<section><details><summary>History{shown}</summary><div class="scroll"><table class="history">
<thead><tr><th scope="col">time</th><th scope="col">images</th><th scope="col">event</th><th scope="col"></th></tr>\
</thead><tbody>{rows}</tbody></table></div></details></section>"""


def _moment(time: object) -> str:
    """Return a time, or its ISO form, to the minute; nothing where it is neither."""
    try:
        moment = time if isinstance(time, datetime) else datetime.fromisoformat(str(time))
    except ValueError:
        return ""
    return moment.strftime("%Y-%m-%d %H:%M")
