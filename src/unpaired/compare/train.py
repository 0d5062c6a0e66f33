"""Carries out the trainings of a comparison, one after another; finished ones are kept, others resumed.

What a comparison was begun with is kept in its folder, and compared with what is asked for when it goes on.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from unpaired.compare.plan import Plan
from unpaired.compare.trainings import Training
from unpaired.core.errors import UserError, option
from unpaired.core.files import read_json, require_new, write_atomic
from unpaired.core.given import Given, flatten
from unpaired.data.held_out import Dataset
from unpaired.models.folder import DamagedError, checkpoints_of, newest_checkpoint, read_document, verify
from unpaired.report.results import Cost
from unpaired.report.run_log import read_metrics
from unpaired.training.health import NonFiniteError
from unpaired.training.resume import CONFIG, FEATURES, RESUMABLE
from unpaired.training.start import resume_run, start_run
from unpaired.training.state import DOCUMENT

RECORD = "comparison.json"
FORMAT = "unpaired-comparison"
FREE = RESUMABLE - {"training.epochs", "training.decay_epochs", "training.max_images"}
"""Settings that may change while a comparison goes on: they change no figure."""


def check_record(folder: Path, dataset: Dataset, trainings: Sequence[Training]) -> dict[str, Any] | None:
    """Return the record of a folder, None for none, after comparing it with what is asked for now.

    `trainings` are all of the plan, also those left out for now (`--only`). New entries and seeds may be added, and
    the settings of `FREE` may change; raises `UserError` that names everything else that differs.
    """
    before = _read(folder)
    if before is None:
        require_new(folder, "It is not the folder of a comparison. Choose another --out.")
        return None
    data = _data(dataset)
    kept = {"contents": data["contents"], **before["data"]}  # older versions did not write down what files hold
    if kept != data:
        raise UserError(
            f"the data differs from that of the comparison in {folder}: {_differences(kept, data)}. Give the same "
            "images, or another --out."
        )
    for training in trainings:
        old, settings = before["trainings"].get(training.name), _asked(training)
        if old is not None and not _same(old, settings, training.config.chosen):
            raise UserError(
                f"{training.name} was begun with other settings in {folder}: {_differences(old, settings)}. Go on with "
                "those, or choose another --out."
            )
    return before


def keep_record(
    folder: Path, plan: Plan, dataset: Dataset, trainings: Sequence[Training], chosen: Sequence[Training]
) -> None:
    """Write down what is asked for of the `chosen` trainings; raises `UserError` as `check_record` does."""
    before = check_record(folder, dataset, trainings)
    document: dict[str, Any] = {
        "format": FORMAT,
        "format_version": 1,
        "title": plan.title,
        "data": _data(dataset),
        "trainings": {each.name: _asked(each) for each in chosen} | ({} if before is None else before["trainings"]),
    }
    if document != before:
        write_atomic(folder / RECORD, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def settings_by_name(training: Training) -> dict[str, Any]:
    """Return all settings of a training by dotted name."""
    return flatten(training.config.to_json())


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        document = read_json(folder / RECORD)
    except UserError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise UserError(f"{error} Choose another --out.") from error
    tables = [document.get("data"), trainings := document.get("trainings")]
    tables += trainings.values() if isinstance(trainings, dict) else []
    if document.get("format") != FORMAT or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{folder / RECORD} is not the record of a comparison. Choose another --out.")
    return document


def _asked(training: Training) -> dict[str, Any]:
    """Return the settings that a training must keep, by dotted name, as JSON has them."""
    kept = {name: value for name, value in settings_by_name(training).items() if name not in FREE and value is not None}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain


def _data(dataset: Dataset) -> dict[str, Any]:
    return {**dataset.fingerprint, "contents": dataset.contents}


def _same(old: Mapping[str, Any], new: Mapping[str, Any], chosen: frozenset[str]) -> bool:
    """Whether settings agree; one that a newer version has, or has by default, and nobody has set is free."""
    free = {name for name in new if name not in chosen and (name not in old or name == "training.evaluate_images")}
    return all(old.get(name) == new.get(name) for name in {*old, *new} - free)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first few settings that differ, in words."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    listed = [f"{option(name)} was {_shown(old.get(name))} and is now {_shown(new.get(name))}" for name in names[:4]]
    return "; ".join(listed) + (f"; and {len(names) - 4} more" if len(names) > 4 else "")


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


RUNS = "runs"

State = Literal["new", "begun", "finished"]


@dataclass(slots=True)
class Outcome:
    """How the trainings ended."""

    signal: int | None = None
    """The signal that interrupted them; the rest is still to be done."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name of each training that diverged (losses that are not finite), and why."""


def run_of(folder: Path, training: Training) -> Path:
    """Return the run's folder of a training."""
    return folder / RUNS / training.name


def state_of(folder: Path, training: Training, *, thorough: bool = False) -> State:
    """Return how far a training is, by what its folder holds; `thorough` verifies its last checkpoint."""
    run = run_of(folder, training)
    if not (run / CONFIG).is_file():
        return "new"
    budget = training.config.training.max_images or 0
    last = [path for path in checkpoints_of(run) if int(path.name) >= budget]
    return "finished" if any(not thorough or _is_whole(path) for path in last) else "begun"


def images_done(folder: Path, training: Training) -> int:
    """Return how many images a training has seen at its newest checkpoint."""
    return max((int(path.name) for path in checkpoints_of(run_of(folder, training))), default=0)


def carry_out(folder: Path, trainings: Sequence[Training], *, quiet: bool, say: Callable[[str], None]) -> Outcome:
    """Train what is not finished. A signal ends it in a state from which the same call goes on.

    A training whose losses are not finite any more is reported and passed over; other errors are raised as they come.
    """
    outcome = Outcome()
    for number, training in enumerate(trainings, 1):
        state = state_of(folder, training, thorough=True)
        head = f"[{number}/{len(trainings)}] {training.name}"
        if state == "finished":
            say(f"{head}: finished before")
            continue
        say(f"{head}: {'training' if state == 'new' else 'resuming'}")
        _free_memory()
        try:
            outcome.signal = _train(run_of(folder, training), training, state, quiet)
        except NonFiniteError as error:
            outcome.failed[training.name] = error.reason
            say(f"{head}: diverged. {error.reason}")
        if outcome.signal is not None:
            break
    return outcome


def cost_of(run: Path) -> Cost:
    """Return what a finished training took, from its last checkpoint and its log."""
    checkpoint, _ = newest_checkpoint(run)
    counters = read_document(checkpoint, DOCUMENT)
    peaks = [record.get("peak_memory_bytes") for record in read_metrics(run) if record.get("event") is not None]
    known = [peak for peak in peaks if isinstance(peak, int)]
    try:
        seconds, images = float(counters["seconds"]), int(counters["images_seen"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamagedError(f"{checkpoint} is damaged: {DOCUMENT} does not say what the training took.") from error
    return Cost(
        seconds=seconds,
        images_per_second=images / max(seconds, 1e-9),
        peak_memory_bytes=known[-1] if known else None,
        device=str(counters.get("device", "unknown")),
        parameters=_parameters(checkpoint),
    )


def _is_whole(checkpoint: Path) -> bool:
    try:
        verify(checkpoint)
    except DamagedError:
        return False
    return True


def _train(run: Path, training: Training, state: State, quiet: bool) -> int | None:
    """Start or resume one training; return the signal that interrupted it, or that came in its last step."""
    if state == "begun":
        # Where the data lies and where to train may be others now; what is not given any more is at its default.
        now = {name: value for name, value in settings_by_name(training).items() if name in RESUMABLE}
        if now[FEATURES] is None:  # the run has recorded which it took
            del now[FEATURES]
        return resume_run(run, [Given(now, "{name}", record=True)], quiet=quiet).signal
    return start_run(training.config, run, quiet=quiet).signal


def _free_memory() -> None:
    """Free memory and reset its recorded peak, so that a training does not report that of the one before."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux resets the peak of resident memory on request, others do not
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _parameters(checkpoint: Path) -> int:
    """Count the weights that optimizers update: each has a first moment of its size."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint / "training.safetensors", "pt") as tensors:
            names = [key for key in tensors.keys() if key.startswith("optimizer.") and key.endswith("exp_avg")]  # noqa: SIM118 (the object is no mapping)
            return sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
    except (OSError, SafetensorError) as error:
        raise DamagedError(f"{checkpoint} is damaged: its training state cannot be read ({error}).") from error
