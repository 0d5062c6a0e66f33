"""The page: one HTML file with everything inside, readable without JavaScript, in the dark, on paper, on a phone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from unpaired.report.curves import curves
from unpaired.report.markup import NONE, empty, folded, section, table, text
from unpaired.report.old_figures import audits, figures, pictures
from unpaired.report.pictures import MOST_BYTES, Album, chosen_grids, moments_of
from unpaired.report.runs import Run
from unpaired.report.settings import MISSING, compare_settings, shown
from unpaired.report.summary import sentence, speed
from unpaired.report.webpage import webpage

GENERATOR = "unpaired report"
MOST_EVENTS = 100
"""Lines of a run's history that are listed; the latest."""
_PARTS = ("figures", "audit", "samples", "pictures", "curves", "settings", "speed", "history", "versions")


def page_of(runs: Sequence[Run], album: Album, *, title: str, created: datetime) -> str:
    """Return the whole page; texts of runs, files and messages are escaped, and no script is admitted."""
    body = "".join(
        (
            _header(runs, title, created),
            _damage(runs),
            figures(runs),
            audits(runs, album),
            _samples(runs, album),
            pictures(runs, album),
            _left_out(album),
            curves(runs),
            _settings(runs),
            _speed(runs),
            _history(runs),
            _versions(runs),
        )
    )
    style = (files("unpaired.report") / "assets" / "report.css").read_text(encoding="utf-8")
    kind = "alone" if len(runs) == 1 else "several"
    return webpage(f"{title} · unpaired", f'<div class="{kind}">{body}</div>', style=style, generator=GENERATOR)


def _header(runs: Sequence[Run], title: str, created: datetime) -> str:
    count = f"{len(runs)} runs" if len(runs) > 1 else "One run"
    links = "".join(f'<a href="#{name}">{name.capitalize()}</a>' for name in _PARTS)
    return f"""<header><h1>{text(title)}</h1>
<p class="sub">{count} · report written {created:%Y-%m-%d %H:%M}</p>
<nav aria-label="parts of this page">{links}</nav>
<div class="runs">{"".join(_card(run) for run in runs)}</div>
</header>
"""


def _card(run: Run) -> str:
    state = run.standing.state
    return f"""<article class="run"><h2>{_named(run)} <span class="state {state}">{state}</span></h2>
<p>{text(sentence(run))}</p><p class="sub"><code>{text(run.path)}</code></p></article>
"""


def _named(run: Run) -> str:
    return f'<span class="number">{run.number}</span> {text(run.name)}'


def _damage(runs: Sequence[Run]) -> str:
    lines = "".join(f"<li>{text(line)}</li>" for run in runs for line in run.damage)
    return (
        f'<section class="warnings"><h2>What could not be read, or is out of date</h2><ul>{lines}</ul></section>\n'
        if lines
        else ""
    )


# --------------------------------------------------------------------------------------------------------- samples


def _samples(runs: Sequence[Run], album: Album) -> str:
    intro = "The same held-out images throughout, the latest first."
    if len(runs) == 1:
        (run,) = runs
        count, grids = _moments(run, album, len(runs))
        earlier = folded(f"Earlier samples ({len(grids) - 1})", "".join(grids[1:])) if grids[1:] else ""
        body = f'<p class="sub">{intro} {count}</p>{"".join(grids[:1])}{earlier}'
        return section("Samples over time", body, "samples")
    cells = []
    for run in runs:
        count, grids = _moments(run, album, len(runs))
        earlier = folded(f"Earlier samples of {run.number} {run.name}", "".join(grids[1:])) if grids[1:] else ""
        shown_first = "".join(grids[:1])
        cells.append(
            f'<div class="beside"><h3>{_named(run)}</h3>{shown_first}{earlier}<p class="sub">{count}</p></div>'
        )
    body = f'<p class="sub">Of each run: {intro[0].lower()}{intro[1:]}</p><div class="samples">{"".join(cells)}</div>'
    return section("Samples over time", body, "samples")


def _moments(run: Run, album: Album, num_runs: int) -> tuple[str, list[str]]:
    """Return how many sample grids are shown of how many, in words, and their figures, the latest first."""
    if not run.grids:
        return "No sample grid has been drawn.", []
    chosen = chosen_grids(run, moments_of(num_runs))
    figures_of_run = [_grid(run, images, path, album) for images, path in reversed(chosen)]
    if len(chosen) == len(run.grids):
        return f"All {len(chosen)} sample grids.", figures_of_run
    folder = f"<code>{text(run.grids[0][1].parent)}</code>"
    return f"{len(chosen)} of {len(run.grids)} sample grids, evenly chosen; {folder} holds all of them.", figures_of_run


def _grid(run: Run, images: int, path: Any, album: Album) -> str:
    epoch = f" · epoch {images / run.standing.epoch_images:.1f}" if run.standing.epoch_images else ""
    caption = f"{images:,} images{epoch}"
    if path not in album.parts:
        why = "left out, there was no more room" if path in album.left_out else "it cannot be read"
        return f"<figure>{empty(f'{caption}: {why} (<code>{text(path)}</code>).')}</figure>"
    parts = album.parts[path]
    inside = "".join(
        f'<img src="{part.url}" width="{part.width}" height="{part.height}" '
        f'alt="Sample grid of {text(run.name)} after {caption}, part {place} of {len(parts)}">'
        for place, part in enumerate(parts, 1)
    )
    return f'<figure><figcaption>{caption}</figcaption><div class="parts">{inside}</div></figure>'


def _left_out(album: Album) -> str:
    if not album.left_out:
        return ""
    items = "".join(f"<li><code>{text(path)}</code></li>" for path in album.left_out)
    title = f"{len(album.left_out)} pictures were left out: a report holds at most {MOST_BYTES // 1_000_000} MB of them"
    return folded(title, f"<ul>{items}</ul>")


# ----------------------------------------------------------------------------------- settings, speed, history, versions


def _settings(runs: Sequence[Run]) -> str:
    differing, shared = compare_settings(runs)
    rows = [
        [text(name), *(NONE if v is MISSING else text(shown(v)) for v in values)] for name, values in differing.items()
    ]
    same = table("Settings", ["setting", "value"], ([text(n), text(shown(v))] for n, v in shared.items()), "settings")
    if len(runs) == 1:
        return section("Settings", folded(f"All {len(shared)} settings", same), "settings")
    head = ["setting", *(_named(run) for run in runs)]
    body = table("Settings that differ", head, rows, "settings") if rows else empty("All settings are alike.")
    if rows:
        body = f"<h3>Settings that differ</h3>{body}"
    return section(
        "Settings", body + (folded(f"{len(shared)} settings that are alike", same) if shared else ""), "settings"
    )


def _speed(runs: Sequence[Run]) -> str:
    facts = [dict(speed(run)) for run in runs]
    rows = [[text(name), *(text(found[name]) for found in facts)] for name in facts[0]]
    return section("Speed", table("Speed", ["", *(_named(run) for run in runs)], rows), "speed")


def _history(runs: Sequence[Run]) -> str:
    return section("Warnings and history", "".join(_of(run, alone=len(runs) == 1) for run in runs), "history")


def _of(run: Run, *, alone: bool) -> str:
    events = run.standing.events
    found = dict.fromkeys(str(entry.get("text", "")) for entry in events if entry.get("event") == "warning")
    heading = "" if alone else f"<h3>{_named(run)}</h3>"
    warnings = (
        f'<div class="warnings"><ul>{"".join(f"<li>{text(line)}</li>" for line in [*found][-MOST_EVENTS:])}</ul></div>'
        if found
        else empty("No warnings.")
    )
    rows = [
        [
            text(str(entry.get("time", ""))[:16].replace("T", " ")),
            _count(entry.get("images")),
            text(entry.get("event")),
            text(entry.get("text", "")),
        ]
        for entry in events[: -MOST_EVENTS - 1 : -1]
    ]
    of_all = f", the last {MOST_EVENTS} of {len(events):,}" if len(events) > MOST_EVENTS else ""
    history = folded(f"History{of_all}", table("History", ["time", "images", "event", ""], rows, "history"))
    return f"{heading}{warnings}{history if rows else ''}"


def _count(images: object) -> str:
    return f"{images:,}" if isinstance(images, int) else NONE


def _versions(runs: Sequence[Run]) -> str:
    rows = list(_version_rows(runs))
    body = table("Versions", ["", "versions", "command"], rows) if rows else empty("No versions are known.")
    return section("Versions", body, "versions")


def _version_rows(runs: Sequence[Run]) -> Iterable[list[str]]:
    for run in runs:
        if run.versions:
            yield [f"{_named(run)}: newest checkpoint", _listed(run.versions), NONE]
        for kind, each in [*(("evaluation", e) for e in run.evaluations), *(("audit", a) for a in run.audits)]:
            told = f"<code>{text(each.document.command)}</code>" if each.document.command else NONE
            yield [f"{_named(run)}: {kind} of {text(each.name)}", _listed(each.document.versions), told]


def _listed(versions: Any) -> str:
    return text(", ".join(f"{name} {version}" for name, version in versions.items())) or NONE
