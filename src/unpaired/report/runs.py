"""What a run's folder holds, read once: settings, log, samples, checkpoints, evaluations and audits."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unpaired.core.errors import UserError, option
from unpaired.core.text import NONE, duration, memory, number, percent, plural
from unpaired.models.best import BestCheckpoint, read_best
from unpaired.models.folder import BEST, CARD, CHECKPOINTS, DamagedError, TranslatorCard, checkpoints_of
from unpaired.report.image_grid import grids_of
from unpaired.report.results import Audit, Document, Evaluation, Picture
from unpaired.report.run_curves import Curves, curves_of
from unpaired.report.run_log import METRICS, read_metrics
from unpaired.report.run_status import ENDINGS, RunStatus, old_ending, run_status_of

CONFIG = "config.json"
FOLDERS: dict[type[Document], str] = {Evaluation: "evaluations", Audit: "audits"}
"""Folders of a run in which its results lie, one folder per checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One evaluation or audit of a run."""

    name: str
    """Of the checkpoint, such as `000012000` or `best`."""
    folder: Path
    document: Document

    def picture(self, picture: Picture) -> Path | None:
        """Return where a picture lies, None where it is named outside this folder."""
        name = picture.file
        plain = Path(name).name == name and name not in ("", "..") and "\0" not in name
        return self.folder / name if plain else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One evaluation during training."""

    images: int
    values: Mapping[str, float]
    best: bool
    """Whether it was the best so far."""
    share: float | None
    """Of the training time that all evaluations had taken by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as the report shows it."""

    number: int
    """1, 2, ...: its name in charts and tables."""
    name: str
    path: Path
    config: Mapping[str, Any]
    status: RunStatus
    curves: Curves
    moments: Sequence[Moment]
    grids: Sequence[tuple[int, Path]]
    """Images seen and file of every sample grid."""
    checkpoints: Sequence[str]
    best: int | None
    """Images seen by the best checkpoint, None where none was chosen."""
    best_kept: BestCheckpoint | None
    device: str | None
    peak_memory: str | None
    versions: Mapping[str, str]
    auditable: bool
    """Whether it has a network for either direction; true where no checkpoint tells."""
    evaluations: Sequence[Measured]
    audits: Sequence[Measured]
    damage: Sequence[str]
    """One line on each file that cannot be read, or that is about another checkpoint than its place says."""

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the settings, empty where there is none."""
        found = self.config.get(name)
        return found if isinstance(found, Mapping) else {}


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Return runs in the order given; `UserError` for what is no run, or is given twice."""
    for path in paths:
        _check(path)
    places = [path.resolve() for path in paths]
    for place in places:
        if places.count(place) > 1:
            raise UserError(f"{paths[places.index(place)]} is given twice. Give every run once.")
    names = _names(places)
    return [_read(place, name, path) for place, (name, path) in enumerate(zip(names, paths, strict=True), 1)]


def read_results(run: Path, kind: type[Document]) -> tuple[list[Measured], list[str]]:
    """Return a run's evaluations or audits, oldest checkpoint first and `best` last, and a line on each bad file."""
    try:
        folders = [each for each in (run / FOLDERS[kind]).iterdir() if each.is_dir() and not each.name.startswith(".")]
    except OSError:
        return [], []
    found, damaged = [], []
    for folder in sorted(folders, key=lambda each: (not each.name.isdecimal(), each.name)):
        try:
            found.append(Measured(name=folder.name, folder=folder, document=kind.read(folder)))
        except UserError as error:
            damaged.append(f"{error} It was left out.")
    return found, damaged


def of_checkpoint(runs: Sequence[Run], checkpoint: str) -> list[Run]:
    """Return runs with what was measured of one checkpoint: `best`, `last` or a number of images.

    Raises `UserError` for anything else, and where nothing was measured of that checkpoint of any run.
    """
    if checkpoint not in ("best", "last") and not (checkpoint.isascii() and checkpoint.isdigit()):
        raise UserError(
            f"{option('checkpoint', checkpoint)}: allowed are best, last or a number of images, as in 12000."
        )
    found = []
    for run in runs:
        newest = run.checkpoints[0] if run.checkpoints else ""
        name = f"{int(checkpoint):09d}" if checkpoint.isdigit() else BEST if checkpoint == "best" else newest
        evaluations, audits = ([each for each in own if each.name == name] for own in (run.evaluations, run.audits))
        found.append(replace(run, evaluations=evaluations, audits=audits))
    if not any(run.evaluations or run.audits for run in found):
        there = sorted({each.name for run in runs for each in (*run.evaluations, *run.audits)})
        raise UserError(
            f"{option('checkpoint', checkpoint)}: nothing was measured of that checkpoint. Measured are: "
            f"{', '.join(there) or 'none'}. Evaluate it first: unpaired evaluate RUN --checkpoint {checkpoint}."
        )
    return found


def _check(path: Path) -> None:
    if not path.exists():
        raise UserError(f"there is no run at {path}. Give folders that `unpaired train` wrote.")
    if not path.is_dir():
        raise UserError(f"{path} is a file. A run is a folder that `unpaired train` wrote.")
    if not ((path / METRICS).is_file() or (path / CHECKPOINTS).is_dir() or _config(path)[0]):
        inner = sorted(folder.parent.name for folder in path.glob(f"*/{METRICS}"))
        remedy = f"It holds runs: give {path / inner[0]}" if inner else "Give folders that `unpaired train` wrote"
        more = f" or another of its {len(inner)} folders" if len(inner) > 1 else ""
        raise UserError(
            f"{path} is not a run: it holds no {CONFIG} of a training, no {METRICS} and no {CHECKPOINTS} folder. "
            f"{remedy}{more}."
        )


def _names(places: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that differ."""
    names: list[str] = []
    for depth in range(1, max((len(place.parts) for place in places), default=0) + 1):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names


def _config(path: Path) -> tuple[dict[str, Any], str | None]:
    """Return a run's settings, and what is wrong with the file."""
    place = path / CONFIG
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, f"{place} is missing: the settings are not known."
    except (OSError, ValueError, RecursionError):
        return {}, f"{place} is damaged: the settings are not known."
    if not isinstance(config, dict) or not {"method", "training"} <= set(config):
        return {}, f"{place} does not hold the settings of a training: they are not known."
    return config, None


def _read(place: int, name: str, path: Path) -> Run:
    config, damage = _config(path)
    records = read_metrics(path)
    status, moments = run_status_of(records, config), _moments(records)
    best, bad_best = _best(path)
    versions, device, auditable, bad_checkpoints = _of_newest_checkpoint(path)
    evaluations, bad_evaluations = read_results(path, Evaluation)
    audits, bad_audits = read_results(path, Audit)
    lines = (damage, bad_best, *bad_checkpoints, *bad_evaluations, *bad_audits, *_outdated(best, evaluations, audits))
    return Run(
        number=place,
        name=name,
        path=path,
        config=config,
        status=status,
        # Evaluations are not thinned: there are few, and the best of them must be found.
        curves=curves_of([record for record in records if "evaluation" not in record]),
        moments=moments,
        grids=grids_of(path),
        checkpoints=[folder.name for folder in checkpoints_of(path)],
        best=best.images_seen if best else next((each.images for each in reversed(moments) if each.best), None),
        best_kept=best,
        device=device,
        peak_memory=_peak_memory(status.events),
        versions=versions,
        auditable=auditable,
        evaluations=evaluations,
        audits=audits,
        damage=[line for line in lines if line],
    )


def _outdated(best: BestCheckpoint | None, *kinds: Sequence[Measured]) -> Iterable[str]:
    for measured in (each for kind in kinds for each in kind):
        seen = measured.document.model.images_seen if measured.document.model else None
        if best is not None and measured.name == best.path.name and seen not in (None, best.images_seen):
            yield (
                f"{measured.folder} is out of date: it was measured after {seen:,} images, and {best.path} is now the "
                f"checkpoint after {best.images_seen:,}. Measure it again."
            )


def _best(path: Path) -> tuple[BestCheckpoint | None, str | None]:
    try:
        return read_best(path), None
    except DamagedError as error:
        return None, str(error)


def _moments(records: Sequence[Mapping[str, Any]]) -> list[Moment]:
    moments = []
    for record in records:
        values, images = record.get("evaluation"), _finite(record.get("images"))
        if "event" in record or not isinstance(values, Mapping) or images is None:
            continue
        finite = {str(name): value for name, given in values.items() if (value := _finite(given)) is not None}
        share = _finite(record.get("evaluation_share"))
        moments.append(Moment(images=int(images), values=finite, best=record.get("best") is True, share=share))
    return moments


def _finite(value: object) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and math.isfinite(value) else None  # type: ignore[arg-type]


def _peak_memory(events: Sequence[Mapping[str, Any]]) -> str | None:
    for entry in reversed([entry for entry in events if str(entry.get("event")) in ENDINGS]):
        if isinstance(peak := entry.get("peak_memory_bytes"), int):
            return f"{memory(peak)} of {'GPU memory' if entry.get('device') == 'cuda' else 'memory'}"
        if peak_text := old_ending(entry)[1]:
            return peak_text
    return None


def _of_newest_checkpoint(path: Path) -> tuple[dict[str, str], str | None, bool, list[str]]:
    """Return versions, device and whether an audit can be made, by the newest checkpoint, and what cannot be read."""
    for folder in checkpoints_of(path):
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            state = json.loads((folder / "training.json").read_text(encoding="utf-8"))
            versions = {str(name): str(version) for name, version in card["versions"].items()}
            device = state.get("device")
            searches = [TranslatorCard(**translator).is_search for translator in card.get("translators", {}).values()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}, None, True, [f"{folder} is damaged: device and versions are not known."]
        auditable = not searches or (len(searches) == 2 and not any(searches))
        return versions, str(device) if device else None, auditable, []
    return {}, None, True, []


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
            text += f"; none of the {plural(len(later), 'later evaluation')} was better"
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
    known = [_flat(run.config) if run.config else None for run in runs]
    differing, shared = dict[str, list[str]](), dict[str, str]()
    for name in dict.fromkeys(name for settings in known if settings for name in settings):
        values = [NONE if settings is None else settings.get(name, NONE) for settings in known]
        if len({value for value, settings in zip(values, known, strict=True) if settings is not None}) == 1:
            shared[name] = next(value for value, settings in zip(values, known, strict=True) if settings is not None)
        else:
            differing[name] = values
    return differing, shared


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found
