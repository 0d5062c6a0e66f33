"""How far a run is, read from its records and its settings alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unpaired.report.run_log import means_among

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


def run_status_of(records: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> RunStatus:
    """Return where a run with these records and this `config.json` stands."""
    events = [record for record in records if "event" in record]
    measured = means_among(records)
    last = measured[-1] if measured else {}
    state, reason = _state(events, bool(measured))
    images, epoch = int(_number(last.get("images")) or 0), _number(last.get("epoch"))
    epoch_images = images / epoch if epoch else None
    total_images = _total_images(config, epoch_images)
    speed = _speed(measured[-RECENT:])
    left = (total_images - images) / speed if total_images and speed and state == "running" else None
    return RunStatus(
        state=state,
        reason=reason,
        images=images,
        total_images=total_images,
        epoch=epoch,
        epochs=round(total_images / epoch_images, 2) if total_images and epoch_images else None,
        epoch_images=epoch_images,
        seconds=_number(last.get("seconds")) or 0.0,
        seconds_left=None if left is None else max(left, 0.0),
        images_per_second=speed,
        waiting_share=_number(last.get("waiting_share")),
        peak_memory_bytes=_peak(events),
        events=events,
    )


def _state(events: Sequence[Mapping[str, Any]], begun: bool) -> tuple[State, str]:
    for entry in reversed(events):
        if str(entry["event"]) in ENDINGS:
            reason = entry.get("reason") or old_ending(entry)[0]
            return ENDINGS[str(entry["event"])], str(reason)
    return ("running" if begun else "starting"), ""


def old_ending(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return reason and peak of memory of an ending that has no fields for them, as logs of version 0.1 wrote it."""
    reason, _, peak = str(entry.get("text", "")).partition("; at most ")
    return reason, peak


def _peak(events: Sequence[Mapping[str, Any]]) -> int | None:
    found = [entry["peak_memory_bytes"] for entry in events if isinstance(entry.get("peak_memory_bytes"), int)]
    return found[-1] if found else None


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _total_images(config: Mapping[str, Any], epoch_images: float | None) -> int | None:
    """Return the length of the training: its epochs, or fewer images where `max_images` says so."""
    training = config.get("training")
    if not isinstance(training, Mapping):
        return None
    epochs = _number(training.get("epochs")) or 0
    if training.get("schedule") not in ("cosine", "constant"):  # those know no decay phase
        epochs += _number(training.get("decay_epochs")) or 0
    most = _number(training.get("max_images"))
    planned = round(epochs * epoch_images) if epoch_images else None
    known = [int(total) for total in (planned, most) if total]
    return min(known, default=None)


def _speed(recent: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the images per second lately, with everything that took time between the steps."""
    if not recent:
        return None
    first, last = recent[0], recent[-1]
    images = (_number(last.get("images")) or 0) - (_number(first.get("images")) or 0)
    seconds = (_number(last.get("seconds")) or 0) - (_number(first.get("seconds")) or 0)
    if images > 0 and seconds > 0:
        return images / seconds
    return _number(last.get("images_per_second"))
