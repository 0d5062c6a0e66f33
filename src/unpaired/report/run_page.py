"""The run's page: `RUN/index.html`, one file that shows samples, curves and how far the run is, and loads no other."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from unpaired.core.files import write_atomic
from unpaired.core.given import flatten
from unpaired.core.text import percent, plural
from unpaired.models.best import describe_best
from unpaired.models.folder import BEST
from unpaired.report.embedding import snapshots_of
from unpaired.report.page import asset, page
from unpaired.report.results import Mark, Table
from unpaired.report.run_charts import evaluation_charts, training_charts
from unpaired.report.runs import Run, read_run

PAGE = "index.html"
MOST_EVENTS = 100
"""Warnings, and lines of the history, that are listed; the latest."""
REFRESH = 30
"""Seconds after which the page of a running training reloads itself."""


def write_page(path: Path) -> Path:
    """Write `RUN/index.html` from what the run's folder holds, atomically, and return its path.

    Nothing need be there yet: no config, no records, no samples. Raises `UserError` when the disk is full.
    """
    content = draw_page(path, written=datetime.now().astimezone())
    write_atomic(path / PAGE, content.encode("utf-8", "replace"))
    return path / PAGE


def draw_page(
    path: Path, *, written: datetime, cache: Path | None = None, refresh: int = REFRESH, home: str = ""
) -> str:
    """Return the page of a run from what its folder holds.

    `written` is when that was written. Pictures as they are embedded are kept in `cache`, by default in the run.
    `refresh` are the seconds after which it reloads while the run is on, and `home` is the page of all runs.
    """
    run = read_run(path)
    status, (snapshots, num_grids) = run.status, snapshots_of(path, cache)
    method = run.config.get("method")
    warnings = _warnings(status.events)
    marks = [
        Mark(x=entry.get("images", 0), kind=entry["event"], text=entry.get("text", ""))
        for entry in [each for each in status.events if each["event"] in ("warning", "resumed")][-MOST_EVENTS:]
    ]
    charts = training_charts([run], marks)
    losses = [chart for chart in charts if chart.y_label == "loss"]
    model, which = (path / BEST, "best") if (path / BEST).is_dir() else (path, "newest")
    translate = f"unpaired translate {shlex.quote(str(model))} IMAGES --out TRANSLATED"
    return page(
        "run.html",
        title=f"{f'{percent(status.share)} · ' if status.share is not None else ''}{run.name} · unpaired",
        scripts=("run.js",),
        style=asset("run.css"),
        name=run.name,
        method=method.get("name") if isinstance(method, Mapping) else method,
        status=status,
        written=written,
        home=home,
        interval=status.seconds / max(num_grids, 1),
        refresh=refresh if status.state in ("starting", "running") else None,
        resume=f"unpaired train --resume {shlex.quote(str(path))}",
        warnings=warnings[-MOST_EVENTS:],
        num_warnings=len(warnings),
        snapshots=[(caption(run, each.images), each.parts) for each in snapshots],
        num_grids=num_grids,
        best=_best(run),
        charts=[*losses, *evaluation_charts([run], marks), *charts[len(losses) :]],
        marked=bool(marks),
        which=which,
        commands=[f"{translate} --direction {each}" for each in run.directions] or [translate],
        settings=[_settings(section, value) for section, value in run.config.items() if section != "sha256"],
        history=history(status.events),
    )


def caption(run: Run, images: int) -> str:
    """Return after how many images a sample grid was drawn, and how many epochs that is."""
    epoch = f" · epoch {images / run.status.epoch_images:.1f}" if run.status.epoch_images else ""
    return f"{plural(images, 'image')}{epoch}"


def history(events: Sequence[Mapping[str, Any]]) -> Table:
    """Return what happened, the latest first."""
    shown = f", the last {MOST_EVENTS} of {len(events):,}" if len(events) > MOST_EVENTS else ""
    rows = tuple(
        (entry.get("time", "")[:16].replace("T", " "), entry.get("images"), entry["event"], entry.get("text", ""))
        for entry in events[: -MOST_EVENTS - 1 : -1]
    )
    return Table(title=f"History{shown}", columns=("time", "images", "event", "message"), rows=rows)


def _warnings(events: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return each warning once, and after how many images it was given."""
    places: dict[str, list[int]] = {}
    for entry in events:
        if entry["event"] == "warning":
            places.setdefault(entry.get("text", ""), []).append(entry.get("images", 0))
    return [
        (
            text,
            f"at {plural(images[0], 'image')}"
            if len(images) == 1
            else f"{plural(len(images), 'time')}, from {images[0]:,} to {plural(images[-1], 'image')}",
        )
        for text, images in places.items()
    ]


def _best(run: Run) -> str:
    """Say which checkpoint was measured best, and what measuring has cost; nothing where nothing was measured."""
    if not run.moments:
        return ""
    share = run.moments[-1].share
    cost = f" Evaluation took {percent(share, 1)} of the training time." if share is not None else ""
    best = describe_best(run.path) or "No evaluation has found a finite value yet"
    return f"{best}. {plural(len(run.moments), 'evaluation')} on held-out images so far.{cost}"


def _settings(section: str, value: Any) -> Table:
    flat = flatten(value if isinstance(value, Mapping) else {section: value})
    rows = tuple((name, setting_text(each)) for name, each in flat.items())
    return Table(title=section, columns=("setting", "value"), rows=rows)


def setting_text(value: Any) -> str:
    """Return a setting's value as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
