"""`unpaired report`: one or several runs on one page, and the same as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import check_out, write_atomic
from unpaired.core.given import flatten
from unpaired.core.text import NONE, duration, number, percent, plural
from unpaired.models.folder import BEST
from unpaired.report.embedding import Album, chosen_grids, embed
from unpaired.report.page import page
from unpaired.report.results import GROUPS, Answer, Audit, Check, Document, Evaluation, Table
from unpaired.report.run_charts import evaluation_charts, training_charts
from unpaired.report.run_log import plain
from unpaired.report.run_page import caption, history, setting_text
from unpaired.report.runs import Measured, Run, of_checkpoint, read_runs
from unpaired.report.side_by_side import SideBySide, columns_of, shown_fact, side_by_side, table_of, verdicts
from unpaired.report.verdict import with_verdict

GENERATOR = "unpaired report"
FORMAT, VERSION = "unpaired-report", 1
_THEN = "write the report again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was written."""

    page: Path
    data: Path | None
    runs: Sequence[Run]
    pictures_left_out: int


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    title: str | None = None,
    checkpoint: str | None = None,
) -> Report:
    """Write the page `out` and, where `data` is given, the same as JSON; both atomically.

    `checkpoint` (`best`, `last` or a number of images) shows only what was measured of that one; all by default.
    An earlier report is replaced. Raises `UserError` for folders that are no runs, for a file in the way that is no
    report, and when the disk is full; nothing is written then.
    """
    if not runs:
        raise UserError("no run is given. Give one or several folders that `unpaired train` wrote.")
    if title is not None and not title.strip():
        raise UserError("--title is empty. Give a heading, or leave it out.")
    out = check_out(out, suffixes={".html", ".htm"}, mark=FORMAT)
    if data is not None:
        data = check_out(data, named="data", suffixes={".json"}, mark=FORMAT)
    found = read_runs(runs)
    if checkpoint is not None:
        found = of_checkpoint(found, checkpoint)
    heading = title.strip() if title is not None else _title(found)
    album, created = embed(found), datetime.now().astimezone()
    parts = Parts(found)
    if data is not None:
        content = plain(document(parts, album, title=heading, created=created.isoformat(timespec="seconds")))
        write_atomic(data, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", then=_THEN)
    write_atomic(out, report_page(parts, album, title=heading, created=created), then=_THEN)
    return Report(page=out, data=data, runs=found, pictures_left_out=len(album.left_out))


class Parts:
    """What page and JSON share: the runs, and their figures side by side."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.protocols: list[Mapping[str, Any]] = []
        self.figures = side_by_side(columns_of(runs, Evaluation), self.protocols)
        self.audits = side_by_side(columns_of(runs, Audit), self.protocols)
        self.differing, self.shared = compare_settings(runs)


def report_page(parts: Parts, album: Album, *, title: str, created: datetime) -> str:
    """Return the whole page: pictures, verdicts, tables, curves, then everything else, folded."""
    runs = parts.runs
    trained = training_charts(runs)
    # Of several runs every loss has a chart of its own.
    main = [chart for chart in trained if chart.y_label == "loss"] if len(runs) == 1 else []
    evaluated = evaluation_charts(runs)
    main = main if evaluated or len(runs) == 1 else trained
    return page(
        "report.html",
        title=f"{title} · unpaired",
        generator=GENERATOR,
        heading=title,
        created=f"{created:%Y-%m-%d %H:%M}",
        runs=[_shown_run(run, album, len(runs)) for run in runs],
        several=len(runs) > 1,
        figures=[(each.heading, table_of(each), verdicts(each)) for each in parts.figures],
        audits=[(each.heading, table_of(each)) for each in parts.audits],
        cautions=list(
            dict.fromkeys(
                line
                for run in runs
                for each in run.evaluations[-1:]
                for found in each.document.directions.values()
                for line in found.warnings
            )
        ),
        curves=[*evaluated, *main],
        more_curves=[chart for chart in trained if chart not in main],
        protocols=[
            (f"P{place}", [(name.replace("_", " "), shown_fact(value)) for name, value in facts.items()])
            for place, facts in enumerate(parts.protocols, 1)
        ],
        settings=Table(
            columns=("setting", *(f"{run.number} {run.name}" for run in runs)),
            rows=tuple((name, *values) for name, values in parts.differing.items()),
        ),
        shared=Table(columns=("setting", "value"), rows=tuple(parts.shared.items())),
        cost=Table(
            columns=("training", *((f"{run.number} {run.name}" for run in runs) if len(runs) > 1 else ("",))),
            rows=tuple(zip(costs(runs[0]), *(costs(run).values() for run in runs), strict=True)),
        ),
        left_out=[str(path) for path in album.left_out],
    )


def _shown_run(run: Run, album: Album, num_runs: int) -> dict[str, Any]:
    grids = [
        {"caption": caption(run, images), "images": album.parts.get(path, ()), "file": str(path)}
        for images, path in reversed(chosen_grids(run, num_runs))
    ]
    events = run.status.events
    return {
        "run": run,
        "summary": summary(run),
        "grids": grids,
        "num_grids": len(run.grids),
        "evaluated": [_shown_measured(each, album) for each in run.evaluations[-1:]],
        "audited": [_shown_measured(each, album) for each in run.audits],
        "evaluate": "" if run.evaluations else command("evaluate", run),
        "audit": command("audit", run) if run.auditable and not run.audits else "",
        "warnings": list(dict.fromkeys(e.get("text", "") for e in events if e["event"] == "warning")),
        "history": history(events),
        "made_by": [
            (each.name, each.document.command, each.document.versions) for each in (*run.evaluations, *run.audits)
        ],
    }


def _shown_measured(measured: Measured, album: Album) -> dict[str, Any]:
    """Return an evaluation or audit with its pictures: embedded, or the file where there was no room."""
    directions, questions = [], dict[str, list[tuple[str, Answer]]]()
    for name, found in sorted(measured.document.directions.items()):
        pictures = []
        for part in found.answers:
            question = part.name if isinstance(part, Check) else "audit"
            if isinstance(part, Check) or part.verdict or part.charts or part.summary:
                questions.setdefault(GROUPS.get(question, question), []).append((found.heading or name, part))
        for picture in (picture for part in found.answers for picture in part.pictures):
            path = measured.picture(picture)
            images = album.parts.get(path, ()) if path else ()
            alt = picture.alt or picture.title or picture.file
            pictures.append((picture.title or picture.file, alt, images[0] if images else None, path or picture.file))
        if not found.verdict and isinstance(measured.document, Evaluation):  # one of version 0.1
            found = with_verdict(found)
        directions.append({"name": name, "found": found, "pictures": pictures})
    model = measured.document.model
    title = model.title if model is not None else measured.name
    return {"name": title, "directions": directions, "questions": questions}


# ----------------------------------------------------------------------------------------------------------------- JSON


def document(parts: Parts, album: Album, *, title: str, created: str) -> dict[str, Any]:
    """Return what a report holds as plain data, with paths in place of pictures."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": created,
        "title": title,
        "versions": {"unpaired": __version__},
        "runs": [_run_data(run) for run in parts.runs],
        "settings": {"differing": parts.differing, "shared": parts.shared},
        "figures": {each.direction: _rows_data(each) for each in parts.figures},
        "audit_figures": {each.direction: _rows_data(each) for each in parts.audits},
        "protocols": {f"P{place}": dict(facts) for place, facts in enumerate(parts.protocols, 1)},
        "pictures_left_out": [str(path) for path in album.left_out],
        "pictures_unreadable": [str(path) for path in album.unreadable],
    }


def _run_data(run: Run) -> dict[str, Any]:
    status = asdict(run.status)
    return {
        "number": run.number,
        "name": run.name,
        "path": str(run.path),
        "summary": summary(run),
        "config": run.config,
        "events": status.pop("events"),
        "status": status,
        "costs": costs(run),
        "versions": run.versions,
        "checkpoints": run.checkpoints,
        "best": None if run.best_kept is None else {**asdict(run.best_kept), "path": str(run.best_kept.path)},
        "curves": asdict(run.curves),
        "training_evaluations": [asdict(moment) for moment in run.moments],
        "samples": [{"images": images, "file": str(path)} for images, path in run.grids],
        "evaluations": [_document_data(each) for each in run.evaluations],
        "audits": [_document_data(each) for each in run.audits],
        "damage": run.damage,
    }


def _document_data(measured: Measured) -> dict[str, Any]:
    found: Document = measured.document
    return {"name": measured.name, "folder": str(measured.folder), **found.plain()}


def _rows_data(found: SideBySide) -> dict[str, Any]:
    return {
        "columns": [{"run": column.run.number, "checkpoint": column.measured.name} for column in found.columns],
        "rows": [
            {
                **row.figure.model_dump(include={"name", "title", "unit", "better"}),
                "bound": row.bound,
                "protocol": f"P{row.protocol + 1}",
                "values": [None if cell is None else cell.value for cell in row.cells],
                "errors": [None if cell is None else cell.error for cell in row.cells],
                "best": row.best,
            }
            for row in found.rows
        ],
        "verdicts": verdicts(found),
        "differences": list(found.differences),
    }


# --------------------------------------------------------------------------------------------------------------- places


def _title(runs: Sequence[Run]) -> str:
    names = ", ".join(run.name for run in runs)
    return names if len(names) <= 60 or len(runs) == 1 else f"{len(runs)} runs"


# ------------------------------------------------------------------------------------------------------------- summary


def summary(run: Run) -> str:
    """Return one paragraph: what was trained, how far, and which checkpoint to use."""
    return " ".join(part for part in (_trained(run), _ended(run), _advice(run)) if part)


def _trained(run: Run) -> str:
    data = run.section("data")
    root = data.get("root") or " and ".join(str(data[side]) for side in ("a", "b") if data.get(side))
    size = data.get("crop_size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    pixels = f", {height} x {width} pixels" if size else ""
    method = run.section("method").get("name")
    return f"{method or 'Unknown method'}{f' on {root}' if root else ''}{pixels}."


def _ended(run: Run) -> str:
    status = run.status
    if not status.images:
        return "Nothing has been logged yet."
    epochs = f" ({number(status.epoch, 3)} epochs)" if status.epoch else ""
    time = f" in {duration(status.seconds)}" if status.seconds else ""
    total = status.total_images
    of = f" of {total:,}" if total and status.state != "finished" else ""
    done = f"{status.images:,}{of} images{epochs}{time}"
    match status.state:
        case "finished" if total and status.images < total:
            return f"Ended early: {done} of {total:,}; {status.reason}."
        case "finished":
            return f"Finished: {done}."
        case "interrupted":
            return f"Interrupted after {done}."
        case "failed":
            return f"Failed after {done}: {status.reason}"
    return f"Not finished: {done}."


def _advice(run: Run) -> str:
    kept = run.best_kept
    if kept is not None:
        text = f"Use {kept.path}, after {kept.images_seen:,} images: {number(kept.value)}, the {kept.why}"
        later = [moment for moment in run.moments if moment.images > kept.images_seen]
        if later and not any(moment.best for moment in later):
            count = len(later)
            text += (
                "; the later one was not better"
                if count == 1
                else f"; none of the {count} later evaluations was better"
            )
        return f"{text}."
    if run.best is None:
        return "No best checkpoint was chosen."
    return (
        f"Best of {plural(len(run.moments), 'evaluation')} on held-out images: after {run.best:,} images. "
        f"{run.path / BEST}, which would hold it, is missing."
    )


def costs(run: Run) -> dict[str, str]:
    """Return what the training took, by name."""
    status = run.status
    waits = [share for chart in run.curves.charts for share in chart.lines.get("waiting", ()) if share is not None]
    shares = [moment.share for moment in run.moments if moment.share is not None]
    return {
        "images per second": number(status.images / status.seconds, 3) if status.seconds else NONE,
        "images per second, recently": number(status.images_per_second, 3),
        "training time": duration(status.seconds) if status.seconds else NONE,
        "peak memory": run.peak_memory or NONE,
        "device": run.device or NONE,
        "precision": str(run.section("training").get("precision", "")) or NONE,
        "waiting for data": f"{sum(waits) / len(waits):.1f} %" if waits else NONE,
        "evaluation's share of the time": percent(shares[-1], 1) if shares else NONE,
    }


def command(verb: str, run: Run) -> str:
    """Return a command on a run that can be copied into a shell."""
    root = run.section("data").get("root")
    # Where the images lie in folders of their own, the run knows them, and no one folder holds both.
    data = f" --data {shlex.quote(root)}" if isinstance(root, str) else ""
    return f"unpaired {verb} {shlex.quote(str(run.path))}{data}"


# ------------------------------------------------------------------------------------------------------------ settings


def compare_settings(runs: Sequence[Run]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the settings that differ, by name with the value of every run, and those that all share, as text."""
    known = [
        {name: setting_text(each) for name, each in flatten(run.config).items()} if run.config else None for run in runs
    ]
    differing, shared = dict[str, list[str]](), dict[str, str]()
    for name in dict.fromkeys(name for settings in known if settings for name in settings):
        values = [NONE if settings is None else settings.get(name, NONE) for settings in known]
        if len({value for value, settings in zip(values, known, strict=True) if settings is not None}) == 1:
            shared[name] = next(value for value, settings in zip(values, known, strict=True) if settings is not None)
        else:
            differing[name] = values
    return differing, shared
