"""What a run's folder holds, read once: settings, log, how far it is, samples, checkpoints, evaluations and audits.

Nothing that is read is trusted: a file that is damaged or says something impossible is a line of `Run.damage`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unpaired.core.errors import UserError, option
from unpaired.core.files import read_json, real_path
from unpaired.core.text import memory
from unpaired.models.best import BestCheckpoint, read_best
from unpaired.models.folder import BEST, CARD, CHECKPOINTS, TranslatorCard, checkpoints_of
from unpaired.report.image_grid import grids_of
from unpaired.report.results import Audit, Document, Evaluation, Picture, is_plain
from unpaired.report.run_charts import Curves, curves_of
from unpaired.report.run_log import METRICS, as_number, means_among, read_metrics

CONFIG = "config.json"
FOLDERS: dict[type[Document], str] = {Evaluation: "evaluations", Audit: "audits"}
"""Folders of a run in which its results lie, one folder per checkpoint."""
State = Literal["starting", "running", "finished", "interrupted", "failed"]
ENDINGS: dict[str, State] = {
    "finished": "finished",
    "interrupted": "interrupted",
    "failed": "failed",
    "resumed": "running",
}
"""Event that changes a run's state -> the state."""
RECENT = 20
"""Records over which the present speed is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """Where a run stands; None is what cannot be known yet."""

    state: State
    reason: str
    """Why the run is in its state: why it ended early, or what failed."""
    images: int
    total_images: int | None
    epoch: float | None
    """Epochs done."""
    epochs: float | None
    epoch_images: float | None
    """Images of an epoch."""
    seconds: float
    """Training time."""
    seconds_left: float | None
    images_per_second: float | None
    waiting_share: float | None
    peak_memory_bytes: int | None
    events: list[Mapping[str, Any]]

    @property
    def share(self) -> float | None:
        """Return how much of the training is done, in [0, 1]."""
        return min(self.images / self.total_images, 1.0) if self.total_images else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One evaluation or audit of a run."""

    name: str
    """Of the checkpoint, such as `000012000` or `best`."""
    folder: Path
    document: Document

    def picture(self, picture: Picture) -> Path | None:
        """Return where a picture lies, None where it is named outside this folder."""
        return self.folder / picture.file if is_plain(picture.file) else None


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
    """A run as pages and reports show it."""

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
    directions: Sequence[str]
    """Which its newest checkpoint translates; empty where no checkpoint tells."""
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
        _require_run(path)
    places = [real_path(path) for path in paths]
    for place in places:
        if places.count(place) > 1:
            raise UserError(f"{paths[places.index(place)]} is given twice. Give every run once.")
    names: list[str] = []
    for depth in range(1, max((len(place.parts) for place in places), default=0) + 1):
        names = ["/".join(place.parts[-depth:]) for place in places]  # the shortest ends that differ
        if len(set(names)) == len(names):
            break
    return [read_run(path, name, place) for place, (name, path) in enumerate(zip(names, paths, strict=True), 1)]


def read_run(path: Path, name: str = "", number: int = 1) -> Run:
    """Return what a run's folder holds; nothing need be there yet."""
    damage: list[str] = []
    config = _config(path, damage)
    try:
        records = read_metrics(path)
    except UserError as error:
        records = []
        damage.append(str(error))
    status = run_status_of(records, config)
    moments = [
        Moment(
            images=record["images"],
            values={name: value for name, value in record["evaluation"].items() if value is not None},
            best=record.get("best") is True,
            share=record.get("evaluation_share"),
        )
        for record in records
        if "event" not in record and {"evaluation", "images"} <= set(record)
    ]
    try:
        best = read_best(path)
    except UserError as error:
        best = None
        damage.append(str(error))
    versions, device, directions, auditable = _of_newest_checkpoint(path, damage)
    evaluations, bad_evaluations = read_results(path, Evaluation)
    audits, bad_audits = read_results(path, Audit)
    return Run(
        number=number,
        name=name or path.name or real_path(path).name,
        path=path,
        config=config,
        status=status,
        curves=curves_of(records),
        moments=moments,
        grids=grids_of(path),
        checkpoints=[folder.name for folder in checkpoints_of(path)],
        best=best.images_seen if best else next((each.images for each in reversed(moments) if each.best), None),
        best_kept=best,
        device=device,
        peak_memory=_peak_memory(status.events),
        versions=versions,
        directions=directions,
        auditable=auditable,
        evaluations=evaluations,
        audits=audits,
        damage=[*damage, *bad_evaluations, *bad_audits, *_outdated(best, [*evaluations, *audits])],
    )


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


def _require_run(path: Path) -> None:
    if not path.exists():
        raise UserError(f"there is no run at {path}. Give folders that `unpaired train` wrote.")
    if not path.is_dir():
        raise UserError(f"{path} is a file. A run is a folder that `unpaired train` wrote.")
    if not ((path / METRICS).is_file() or (path / CHECKPOINTS).is_dir() or _config(path, [])):
        inner = sorted(folder.parent.name for folder in path.glob(f"*/{METRICS}"))
        remedy = f"It holds runs: give {path / inner[0]}" if inner else "Give folders that `unpaired train` wrote"
        more = f" or another of its {len(inner)} folders" if len(inner) > 1 else ""
        raise UserError(
            f"{path} is not a run: it holds no {CONFIG} of a training, no {METRICS} and no {CHECKPOINTS} folder. "
            f"{remedy}{more}."
        )


def _config(path: Path, damage: list[str]) -> dict[str, Any]:
    place = path / CONFIG
    try:
        config = read_json(place)
    except UserError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        damage.append(
            f"{place} is missing: the settings are not known." if missing else f"{error} The settings are not known."
        )
        return {}
    if not {"method", "training"} <= set(config):
        damage.append(f"{place} does not hold the settings of a training: they are not known.")
        return {}
    return config


def _outdated(best: BestCheckpoint | None, found: Sequence[Measured]) -> Iterable[str]:
    for measured in found:
        seen = measured.document.model.images_seen if measured.document.model else None
        if best is not None and measured.name == best.path.name and seen not in (None, best.images_seen):
            yield (
                f"{measured.folder} is out of date: it was measured after {seen:,} images, and {best.path} is now the "
                f"checkpoint after {best.images_seen:,}. Measure it again."
            )


def _of_newest_checkpoint(path: Path, damage: list[str]) -> tuple[dict[str, str], str | None, list[str], bool]:
    """Return versions, device, directions and whether an audit can be made, of the newest checkpoint that tells."""
    directions: list[str] = []
    for folder in checkpoints_of(path):
        try:
            card = read_json(folder / CARD)
            directions = directions or sorted(card.get("translators", {}))
            device = read_json(folder / "training.json").get("device")
            versions = {str(name): str(version) for name, version in card["versions"].items()}
            searches = [TranslatorCard(**card["translators"][direction]).is_search for direction in directions]
        except (UserError, ValueError, KeyError, TypeError, AttributeError):
            damage.append(f"{folder} is damaged: device and versions are not known.")
            continue
        auditable = not any(searches)
        return versions, str(device) if device else None, directions, auditable
    return {}, None, directions, True


# -------------------------------------------------------------------------------------------------------------- status


def run_status_of(records: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> RunStatus:
    """Return where a run with these records and this `config.json` stands."""
    events = [record for record in records if "event" in record]
    measured = means_among(records)
    last = measured[-1] if measured else {}
    state, reason = _state(events, bool(measured))
    images, epoch = int(last.get("images", 0)), last.get("epoch")
    epoch_images = images / epoch if epoch else None
    total = _total_images(config, epoch_images)
    speed = _speed(measured[-RECENT:])
    left = max((total - images) / speed, 0.0) if total and speed and state == "running" else None
    peaks = [entry["peak_memory_bytes"] for entry in events if "peak_memory_bytes" in entry]
    return RunStatus(
        state=state,
        reason=reason,
        images=images,
        total_images=total,
        epoch=epoch,
        epochs=round(total / epoch_images, 2) if total and epoch_images else None,
        epoch_images=epoch_images,
        seconds=last.get("seconds", 0.0),
        seconds_left=left,
        images_per_second=speed,
        waiting_share=last.get("waiting_share"),
        peak_memory_bytes=peaks[-1] if peaks else None,
        events=events,
    )


def _state(events: Sequence[Mapping[str, Any]], begun: bool) -> tuple[State, str]:
    for entry in reversed(events):
        if entry["event"] in ENDINGS:
            return ENDINGS[entry["event"]], str(entry.get("reason") or _old_ending(entry)[0])
    return ("running" if begun else "starting"), ""


def _old_ending(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return reason and peak of memory of an ending that has no fields for them, as logs of version 0.1 wrote it."""
    reason, _, peak = entry.get("text", "").partition("; at most ")
    return reason, peak


def _peak_memory(events: Sequence[Mapping[str, Any]]) -> str | None:
    for entry in reversed([entry for entry in events if entry["event"] in ENDINGS]):
        if "peak_memory_bytes" in entry:
            kind = "GPU memory" if entry.get("device") == "cuda" else "memory"
            return f"{memory(entry['peak_memory_bytes'])} of {kind}"
        if peak := _old_ending(entry)[1]:
            return peak
    return None


def _total_images(config: Mapping[str, Any], epoch_images: float | None) -> int | None:
    """Return the length of the training: its epochs, or fewer images where `max_images` says so."""
    training = config.get("training")
    if not isinstance(training, Mapping):
        return None
    epochs = as_number(training.get("epochs")) or 0
    if training.get("schedule") not in ("cosine", "constant"):  # those know no decay phase
        epochs += as_number(training.get("decay_epochs")) or 0
    planned = round(epochs * epoch_images) if epoch_images else None
    known = [int(total) for total in (planned, as_number(training.get("max_images"))) if total]
    return min(known, default=None)


def _speed(recent: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the images per second lately, with everything that took time between the steps."""
    if not recent:
        return None
    images, seconds = (recent[-1].get(name, 0) - recent[0].get(name, 0) for name in ("images", "seconds"))
    return images / seconds if images > 0 and seconds > 0 else recent[-1].get("images_per_second")
