"""The run's page: `RUN/index.html`, one file that shows samples, curves and how far the run is, and loads no other."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from unpaired.core.files import write_atomic
from unpaired.core.text import duration, memory, percent, plural
from unpaired.models.best import describe_best
from unpaired.models.folder import BEST, CARD, checkpoints_of
from unpaired.report.page import asset, page
from unpaired.report.results import Cell, Mark, Table
from unpaired.report.run_curves import charts_of, curves_of
from unpaired.report.run_log import read_metrics
from unpaired.report.run_status import RunStatus, run_status_of
from unpaired.report.snapshots import snapshots_of

PAGE = "index.html"
CONFIG = "config.json"
MOST_EVENTS = 100
"""Warnings, and lines of the history, that are listed; the latest."""
REFRESH = 30
"""Seconds after which the page of a running training reloads itself."""


def write_page(run: Path) -> Path:
    """Write `RUN/index.html` from what the run's folder holds, atomically, and return its path.

    Nothing need be there yet: no config, no records, no samples. Raises `UserError` when the disk is full.
    """
    records, config = read_metrics(run), _read_config(run)
    status = run_status_of(records, config)
    snapshots, num_grids = snapshots_of(run)
    method = config.get("method")
    warnings = _warnings(status.events)
    marks = _marks(status.events)
    best = run / BEST
    model, which = (best, "best") if best.is_dir() else (run, "newest")
    translate = f"unpaired translate {shlex.quote(str(model))} IMAGES --out TRANSLATED"
    name = run.name or run.resolve().name
    share = f"{percent(status.share)} · " if status.share is not None else ""
    content = page(
        "run.html",
        title=f"{share}{name} · unpaired",
        scripts=("run.js",),
        style=asset("run.css"),
        name=name,
        method=method.get("name") if isinstance(method, Mapping) else method,
        status=status,
        written=datetime.now().astimezone(),
        interval=status.seconds / max(num_grids, 1),
        refresh=REFRESH if status.state in ("starting", "running") else None,
        facts=list(_facts(status)),
        notice=_notice(status),
        resume=f"unpaired train --resume {shlex.quote(str(run))}",
        resume_now=status.state in ("interrupted", "failed", "running"),
        warnings=warnings[-MOST_EVENTS:],
        num_warnings=len(warnings),
        snapshots=[(_caption(each.images, status), each.parts) for each in snapshots],
        num_grids=num_grids,
        best=_best(run, records),
        charts=charts_of(curves_of(records), marks),
        marked=bool(marks),
        which=which,
        commands=[f"{translate} --direction {each}" for each in _directions(run)] or [translate],
        settings=[_settings(section, value) for section, value in config.items()],
        history=_history(status.events),
    )
    path = run / PAGE
    write_atomic(path, content.encode("utf-8", "replace"))
    return path


def _read_config(run: Path) -> dict[str, Any]:
    try:
        config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _facts(status: RunStatus) -> Iterable[tuple[str, str]]:
    of_images = f" of {status.total_images:,}" if status.total_images else ""
    if status.share is not None:
        yield "done", percent(status.share)
    if status.epoch is not None:
        of_epochs = f" of {status.epochs:g}" if status.epochs else ""
        yield "epochs", f"{status.epoch:.1f}{of_epochs}"
    yield "images seen", f"{status.images:,}{of_images}"
    if status.images_per_second:
        yield "images per second", f"{status.images_per_second:.3g}"
    if status.seconds:
        yield "training time", duration(status.seconds)
    if status.seconds_left is not None:
        yield "time left", f"about {duration(status.seconds_left)}"
    if status.waiting_share is not None:
        yield "waiting for data", percent(status.waiting_share)
    if status.peak_memory_bytes is not None:
        yield "peak memory", memory(status.peak_memory_bytes)


def _notice(status: RunStatus) -> str:
    match status.state:
        case "interrupted":
            return f"The training was interrupted after {plural(status.images, 'image')}."
        case "failed":
            return f"The training stopped: {status.reason}"
        case "finished" if status.share is not None and status.share < 1:
            return f"The training ended early: {status.reason}."
        case "running":
            return "The training may have stopped since."
    return ""


def _warnings(events: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return each warning once, and after how many images it was given."""
    places: dict[str, list[int]] = {}
    for entry in events:
        if entry.get("event") == "warning":
            places.setdefault(str(entry.get("text", "")), []).append(_count(entry.get("images")))
    return [(text, _when(images)) for text, images in places.items()]


def _when(images: Sequence[int]) -> str:
    if len(images) == 1:
        return f"at {plural(images[0], 'image')}"
    return f"{plural(len(images), 'time')}, from {images[0]:,} to {plural(images[-1], 'image')}"


def _marks(events: Sequence[Mapping[str, Any]]) -> list[Mark]:
    found = [entry for entry in events if entry.get("event") in ("warning", "resumed")]
    return [
        Mark(x=_count(entry.get("images")), kind=entry["event"], text=str(entry.get("text", "")))
        for entry in found[-MOST_EVENTS:]
    ]


def _count(images: object) -> int:
    return int(images) if isinstance(images, int | float) else 0


def _caption(images: int, status: RunStatus) -> str:
    epoch = f" · epoch {images / status.epoch_images:.1f}" if status.epoch_images else ""
    return f"{plural(images, 'image')}{epoch}"


def _best(run: Path, records: Sequence[Mapping[str, Any]]) -> str:
    """Say which checkpoint was measured best, and what measuring has cost; nothing where nothing was measured."""
    evaluated = [record for record in records if "evaluation" in record]
    if not evaluated:
        return ""
    share = evaluated[-1].get("evaluation_share")
    cost = f" Evaluation took {percent(share, 1)} of the training time." if isinstance(share, int | float) else ""
    best = describe_best(run) or "No evaluation has found a finite value yet"
    return f"{best}. {plural(len(evaluated), 'evaluation')} on held-out images so far.{cost}"


def _directions(run: Path) -> list[str]:
    """Return the directions of the newest checkpoint that says so; none where there is no checkpoint."""
    for folder in checkpoints_of(run):
        try:
            return sorted(json.loads((folder / CARD).read_text(encoding="utf-8"))["translators"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return []


def _settings(section: str, value: Any) -> Table:
    flat = _flat(value if isinstance(value, Mapping) else {section: value})
    return Table(title=section, columns=("setting", "value"), rows=tuple((name, _setting(each)) for name, each in flat))


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _history(events: Sequence[Mapping[str, Any]]) -> Table | None:
    if not events:
        return None
    rows: list[tuple[Cell, ...]] = [
        (
            str(entry.get("time", ""))[:16].replace("T", " "),
            f"{_count(entry.get('images')):,}",
            str(entry.get("event")),
            str(entry.get("text", "")),
        )
        for entry in events[: -MOST_EVENTS - 1 : -1]
    ]
    shown = f", the last {MOST_EVENTS} of {len(events):,}" if len(events) > MOST_EVENTS else ""
    return Table(title=f"History{shown}", columns=("time", "images", "event", "message"), rows=tuple(rows))
