"""The report as JSON: everything that the page shows, with paths in place of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from unpaired.report.comparison import Comparison, Comparisons, columns_of, compare
from unpaired.report.measured import Measured
from unpaired.report.pictures import Album
from unpaired.report.runs import Run
from unpaired.report.settings import MISSING, compare_settings
from unpaired.report.summary import sentence, speed

FORMAT = "unpaired-report"
VERSION = 1


def document(runs: Sequence[Run], album: Album, *, title: str, created: str, version: str) -> dict[str, Any]:
    """Return what a report holds as plain data; `created` is an ISO time, `version` that of unpaired."""
    differing, shared = compare_settings(runs)
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": created,
        "title": title,
        "versions": {"unpaired": version},
        "runs": [_run(run) for run in runs],
        "settings": {
            "differing": {name: [None if v is MISSING else v for v in values] for name, values in differing.items()},
            "shared": shared,
        },
        "figures": _comparisons(compare(columns_of(runs, "evaluation"))),
        "audit_figures": _comparisons(compare(columns_of(runs, "audit"))),
        "pictures_left_out": [str(path) for path in album.left_out],
        "pictures_unreadable": [str(path) for path in album.unreadable],
    }


def _run(run: Run) -> dict[str, Any]:
    standing = {name: value for name, value in asdict(run.standing).items() if name != "events"}
    return {
        "number": run.number,
        "name": run.name,
        "path": str(run.path),
        "summary": sentence(run),
        "config": run.config,
        "standing": standing,
        "speed": dict(speed(run)),
        "device": run.device,
        "peak_memory": run.peak_memory,
        "versions": run.versions,
        "checkpoints": run.checkpoints,
        "best": None if run.best_kept is None else asdict(run.best_kept),
        "curves": asdict(run.curves),
        "training_evaluations": [asdict(moment) for moment in run.moments],
        "samples": [{"images": images, "file": str(path)} for images, path in run.grids],
        "evaluations": [_measured(each) for each in run.evaluations],
        "audits": [_measured(each) for each in run.audits],
        "events": run.standing.events,
        "damage": run.damage,
    }


def _measured(measured: Measured) -> dict[str, Any]:
    content = asdict(measured.document)
    for name, direction in measured.document.directions.items():
        content["directions"][name]["pictures"] = [
            {**asdict(picture), "file": str(measured.picture(picture) or "")} for picture in direction.pictures
        ]
    return {"name": measured.name, **content}


def _comparisons(found: Comparisons) -> dict[str, Any]:
    return {
        "directions": {each.direction: _comparison(each) for each in found.directions},
        "protocols": {f"P{place}": protocol for place, protocol in enumerate(found.protocols, 1)},
    }


def _comparison(found: Comparison) -> Mapping[str, Any]:
    return {
        "columns": [{"run": column.run.number, "checkpoint": column.measured.name} for column in found.columns],
        "rows": [
            {
                "name": row.figure.name,
                "title": row.figure.title,
                "unit": row.figure.unit,
                "better": row.figure.better,
                "bound": row.bound,
                "protocol": f"P{row.protocol + 1}",
                "values": [None if cell is None else cell.value for cell in row.cells],
                "errors": [None if cell is None else cell.error for cell in row.cells],
                "best": row.best,
            }
            for row in found.rows
        ],
        "differences": list(found.differences),
    }
