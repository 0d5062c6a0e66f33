"""Carries out the trainings of a comparison, one after another; what is finished is kept, what is begun is resumed."""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from unpaired.compare.plan import Plan, names_of
from unpaired.compare.trainings import Training
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.core.given import Given
from unpaired.data.held_out import Material
from unpaired.models.folder import DamagedError, checkpoints_of, newest_checkpoint, read_document, verify
from unpaired.report.run_log import read_metrics
from unpaired.training.health import NonFiniteError
from unpaired.training.start import CONFIG, RESUMABLE, resume_run, start_run
from unpaired.training.state import DOCUMENT

RECORD = "comparison.json"
"""File, in the folder of a comparison, of what was asked for."""
RUNS = "runs"
FORMAT = "unpaired-comparison"

FREE = RESUMABLE - {"training.epochs", "training.decay_epochs", "training.max_images"}
"""Settings in which a comparison that goes on may differ from what it was begun with: they change no figure."""

State = Literal["new", "begun", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a finished training took."""

    seconds: float
    images_per_second: float
    peak_memory: str | None
    """In words, as the run's log tells it; None where it is not known."""
    device: str
    parameters: int
    """Of all its networks, trained together."""


@dataclass(slots=True)
class Outcome:
    """How the trainings ended."""

    signal: int | None = None
    """The signal that interrupted them; the rest is still to be done."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name of each training that broke down (losses that are not finite), and why."""


def run_of(folder: Path, training: Training) -> Path:
    """Return the run's folder of a training."""
    return folder / RUNS / training.name


def state_of(folder: Path, training: Training, *, thorough: bool = False) -> State:
    """Say how far a training is, by what its folder holds.

    `thorough` reads the checkpoint and compares its checksums: a damaged one is not taken for a finished training.
    """
    run = run_of(folder, training)
    if not (run / CONFIG).is_file():
        return "new"
    budget = training.config.training.max_images or 0
    last = [path for path in checkpoints_of(run) if int(path.name) >= budget]
    return "finished" if any(not thorough or _is_whole(path) for path in last) else "begun"


def _is_whole(checkpoint: Path) -> bool:
    try:
        verify(checkpoint)
    except DamagedError:
        return False
    return True


def images_done(folder: Path, training: Training) -> int:
    """Return how many images a training has seen at its newest checkpoint."""
    return max((int(path.name) for path in checkpoints_of(run_of(folder, training))), default=0)


def compare_record(folder: Path, material: Material, trainings: Sequence[Training]) -> dict[str, Any] | None:
    """Return the record that stands in a folder, None for none, after comparing it with what is asked for now.

    `trainings` are all that would stand in the table, those left out for now (`--only`) as well. Raises `UserError`
    that names what differs: a comparison goes on with the settings and data that it began with. New entries and seeds
    may be added, and places, devices and intervals of samples may change.
    """
    before = read_record(folder)
    if before is None:
        # A process killed while it wrote the first record leaves a hidden file.
        if folder.exists() and (not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir())):
            raise UserError(f"{folder} exists and is not the folder of a comparison. Choose another --out.")
        return None
    now = _data(material)
    kept = {"contents": now["contents"], **before["data"]}  # older versions did not write down what files hold
    if kept != now:
        told = _differences(kept, now)
        raise UserError(
            f"the data differs from that of the comparison in {folder}: {told}. Give the same images, or another --out."
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
    folder: Path,
    plan: Plan,
    material: Material,
    trainings: Sequence[Training],
    chosen: Sequence[Training] | None = None,
) -> None:
    """Write down what was asked for: the `chosen` trainings, or all; raises `UserError` as `compare_record` does."""
    before = compare_record(folder, material, trainings)
    document: dict[str, Any] = {
        "format": FORMAT,
        "format_version": 1,
        "title": plan.title,
        "data": _data(material),
        "trainings": {each.name: _asked(each) for each in (trainings if chosen is None else chosen)},
    }
    if before is not None:
        document["trainings"] = {**document["trainings"], **before["trainings"]}
    if document != before:
        write_atomic(folder / RECORD, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a comparison; None where there is none yet."""
    try:
        document = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / RECORD} cannot be read ({error}). Choose another --out.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UserError(f"{folder / RECORD} is not the record of a comparison. Choose another --out.")
    return document


def carry_out(folder: Path, trainings: Sequence[Training], *, quiet: bool, say: Callable[[str], None]) -> Outcome:
    """Train what is not finished. A signal ends it in a state from which the same call goes on.

    A training whose losses are not finite any more is told and passed over; other errors are raised as they come.
    """
    outcome = Outcome()
    for number, training in enumerate(trainings, 1):
        state = state_of(folder, training, thorough=True)
        head = f"[{number}/{len(trainings)}] {training.name}"
        if state == "finished":
            say(f"{head}: finished before")
            continue
        say(f"{head}: {'training' if state == 'new' else 'going on'}")
        _forget_the_last()
        try:
            result = _train(run_of(folder, training), training, state, quiet)
        except NonFiniteError as error:
            outcome.failed[training.name] = str(error)
            say(f"{head}: broke down. {error}")
            continue
        if result is not None:
            outcome.signal = result
            return outcome
    return outcome


def cost_of(folder: Path, training: Training) -> Cost:
    """Return what a finished training took, from its newest checkpoint and its log."""
    run = run_of(folder, training)
    checkpoint, _ = newest_checkpoint(run)
    counters = read_document(checkpoint, DOCUMENT)
    ends = [record.get("text", "") for record in read_metrics(run) if record.get("event") == "finished"]
    memory = str(ends[-1]).partition("at most ")[2] if ends else ""
    seconds = float(counters["seconds"])
    return Cost(
        seconds=seconds,
        images_per_second=counters["images_seen"] / max(seconds, 1e-9),
        peak_memory=memory or None,
        device=str(counters.get("device", "unknown")),
        parameters=_parameters(checkpoint),
    )


def _train(run: Path, training: Training, state: State, quiet: bool) -> int | None:
    """Start or resume one training; return the signal that interrupted it, or that came in its last step."""
    if state == "begun":
        # Where the data lies and where to train may be others now; what is not given any more is at its default.
        now = {name: value for name, value in _flat(training).items() if name in FREE}
        result = resume_run(run, [Given(now, "{name}")], quiet=quiet)
    else:
        if run.is_dir() and all(path.name.startswith(".") for path in run.iterdir()):
            shutil.rmtree(run)  # killed before a word was written
        result = start_run(training.config, run, quiet=quiet)
    return result.signal


def _forget_the_last() -> None:
    """Give memory back and begin to measure its peak anew, so that a training is not told that of the one before."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux resets the peak of resident memory on request, others do not
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _parameters(checkpoint: Path) -> int:
    """Count the weights that optimisers move: each has a first moment of its size."""
    from safetensors import safe_open

    total = 0
    with safe_open(checkpoint / "training.safetensors", "pt") as tensors:
        for key in tensors.keys():  # noqa: SIM118 (the object is no mapping)
            if key.startswith("optimizer.") and key.endswith("exp_avg"):
                shape = tensors.get_slice(key).get_shape()
                total += int(torch.Size(shape).numel())
    return total


def _asked(training: Training) -> dict[str, Any]:
    """Return the settings that a training must keep, by dotted name, as JSON has them."""
    kept = {name: value for name, value in _flat(training).items() if name not in FREE and value is not None}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain


def _data(material: Material) -> dict[str, Any]:
    """Return what tells images from others."""
    return {**material.fingerprint, "contents": material.contents}


def _flat(training: Training) -> dict[str, Any]:
    """Return all settings of a training by dotted name."""
    flat: dict[str, Any] = {}
    for section, settings in training.config.to_json().items():
        flat |= names_of(settings, section)
    return flat


def _same(old: Mapping[str, Any], new: Mapping[str, Any], chosen: frozenset[str]) -> bool:
    """Whether settings agree; one that a newer version has and nobody has set is at what it was without it."""
    later = {name for name in new if name not in old and name not in chosen}
    return {name: value for name, value in new.items() if name not in later} == dict(old)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first few settings that differ, in words."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    told = [f"{name} was {_told(old.get(name))} and is now {_told(new.get(name))}" for name in names[:4]]
    return "; ".join(told) + (f"; and {len(names) - 4} more" if len(names) > 4 else "")


def _told(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
