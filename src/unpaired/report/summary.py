"""What came of a run, in words and in a few facts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from unpaired.core.text import duration
from unpaired.models.folder import BEST
from unpaired.report.markup import number, percent
from unpaired.report.measured import Direction
from unpaired.report.runs import Run


def sentence(run: Run) -> str:
    """Return one paragraph: what was trained, how far, and which checkpoint to use."""
    return " ".join(part for part in (_trained(run), _ended(run), _best(run), _measured(run)) if part)


def _trained(run: Run) -> str:
    data = section(run, "data")
    size = data.get("crop_size")
    root = data.get("root") or " and ".join(str(data[side]) for side in ("a", "b") if data.get(side))
    where = f" on {root}" if root else ""
    pixels = f", {_size(size)} pixels" if isinstance(size, int | list) else ""
    return f"{run.method or 'A method that is not known'}{where}{pixels}."


def _ended(run: Run) -> str:
    standing = run.standing
    if not standing.images:
        return "Nothing has been logged yet."
    epochs = f" ({number(standing.epoch, 3)} epochs)" if standing.epoch else ""
    time = f" in {duration(standing.seconds)}" if standing.seconds else ""
    of = f" of {standing.total_images:,}" if standing.total_images and standing.state != "finished" else ""
    done = f"{standing.images:,}{of} images{epochs}{time}"
    match standing.state:
        case "finished" if standing.total_images and standing.images < standing.total_images:
            return f"Ended early: {done} of {standing.total_images:,}; {standing.reason}."
        case "finished":
            return f"Finished: {done}."
        case "interrupted":
            return f"Interrupted after {done}."
        case "failed":
            return f"Failed after {done}: {standing.reason}"
    return f"Not finished: {done}."


def _best(run: Run) -> str:
    kept = run.best_kept
    if kept is not None:
        text = f"Use {kept.path}, after {kept.images_seen:,} images: {number(kept.value)}, the {kept.why}"
        later = [moment for moment in run.moments if moment.images > kept.images_seen]
        if later and not any(moment.best for moment in later):
            text += f"; the {'one' if len(later) == 1 else len(later)} after it found none better"
        return f"{text}."
    if run.best is None:
        return "No best checkpoint was chosen."
    return (
        f"Best of {len(run.moments)} evaluations on held-out images: after {run.best:,} images. "
        f"{run.path / BEST}, which would hold it, is not there."
    )


def _measured(run: Run) -> str:
    if not run.audits:
        return ""
    audit, taken = run.audits[-1], dict[str, list[str]]()
    for direction, found in audit.document.directions.items():
        for what, share in lost(found):
            taken.setdefault(what, []).append(f"{percent(share)} ({direction})")
    told = "; ".join(f"{what} takes {' and '.join(shares)}" for what, shares in taken.items())
    return f"Audit of {audit.name}: of what comes back, {told}." if told else ""


def lost(found: Direction) -> Iterable[tuple[str, float]]:
    """Return what takes which share of the reconstruction: invisible noise, and what an audit calls an ordinary file.

    Either alone misleads: detail that faint noise does not reach may still be none that anybody sees.
    """
    if found.hidden_share is not None:
        yield "invisible noise", found.hidden_share
    coded = found.figure("lost_to_jpeg")
    if coded is not None and coded.value is not None:
        yield "an ordinary JPEG file", coded.value


def speed(run: Run) -> Iterable[tuple[str, str]]:
    """Return what the training took: name and value."""
    standing = run.standing
    mean = standing.images / standing.seconds if standing.seconds else None
    yield "images per second", number(mean, 3)
    yield "images per second, lately", number(standing.images_per_second, 3)
    yield "training time", duration(standing.seconds) if standing.seconds else number(None)
    yield "peak memory", run.peak_memory or number(None)
    yield "device", run.device or number(None)
    yield "precision", str(section(run, "training").get("precision", "")) or number(None)
    waits = [share for chart in run.curves.charts for share in chart.lines.get("waiting", ()) if share is not None]
    yield "waiting for data", f"{sum(waits) / len(waits):.1f} %" if waits else number(None)
    shares = [moment.share for moment in run.moments if moment.share is not None]
    yield "evaluation's share of the time", f"{100 * shares[-1]:.1f} %" if shares else number(None)


def section(run: Run, name: str) -> Mapping[str, Any]:
    """Return a section of a run's settings, empty where it has none."""
    found = run.config.get(name)
    return found if isinstance(found, Mapping) else {}


def _size(size: int | list[Any]) -> str:
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    return f"{height} x {width}"


def command(verb: str, run: Run) -> str:
    """Return a command on a run's best checkpoint, else its newest, that can be copied into a shell."""
    model = run.path if run.best_kept is None else run.best_kept.path
    root = section(run, "data").get("root")
    # Where the images lie in folders of their own, the run knows them, and no one folder holds both.
    data = f" --data {shlex.quote(root)}" if isinstance(root, str) else ""
    return f"unpaired {verb} {shlex.quote(str(model))}{data}"
