"""What a training writes down while it runs: `metrics.jsonl` for programs, TensorBoard events for curves.

`metrics.jsonl` holds one JSON object per line. A line with an `event` key tells of something that happened (`text`,
`time`), one with an `evaluation` key of what was measured on held-out images, one with `declared` of what the method
says of its loss `terms` and `players`: kind and role by name; every other line holds the means since the one before.
All kinds have `images`, the images seen so far.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.files import cannot_write, parse_json, read_regular, write_atomic

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

METRICS = "metrics.jsonl"
"""Name of the log in a run's folder."""
TENSORBOARD = "tensorboard"
"""Name of the folder of TensorBoard events in a run's folder."""

MOST_BYTES = 2_000_000_000
"""Of a log that is read."""
MOST_NUMBER = 1e15
"""Larger counts and times are none."""
_NUMBERS = frozenset(
    [
        "images",
        "epoch",
        "seconds",
        "images_per_second",
        "waiting_share",
        "evaluation_share",
        "evaluation_seconds",
        "peak_memory_bytes",
    ]
)
_TABLES = frozenset({"losses", "learning_rates", "evaluation", "errors"})
_WORDS = frozenset({"event", "text", "reason", "time", "device"})

EventKind = Literal[
    "warning",
    "resumed",
    "changed",
    "initialized",
    "checkpoint",
    "thinned",
    "reported",
    "finished",
    "interrupted",
    "failed",
]


def event(kind: EventKind, images: int, text: str, **facts: Any) -> dict[str, Any]:
    """Return a record of something that happened now, after `images` images.

    `facts` are for programs; endings have `reason` (why before the last image), `seconds`, `peak_memory_bytes` and
    `device`, warnings have `topic` (see `unpaired.training.health`).
    """
    return {
        "event": kind,
        "images": images,
        "text": text,
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        **facts,
    }


@final
class MetricsLog:
    """Appends records to a run's `metrics.jsonl`, and their numbers to TensorBoard (step = images seen).

    A line is written in one call and at once, so a killed process leaves at most one torn last line, which the next
    `MetricsLog` of the run cuts off. `resumed_at` is the number of images that a resumed training starts from: what
    was logged beyond it is dropped here and hidden in TensorBoard, so that curves do not double. Not thread-safe.
    """

    def __init__(self, run: Path, *, tensorboard: bool = True, resumed_at: int | None = None) -> None:
        self._path = run / METRICS
        try:
            run.mkdir(parents=True, exist_ok=True)
            if resumed_at is not None:
                truncate(run, resumed_at)
            _cut_torn_line(self._path)
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise cannot_write(self._path, error, "resume the training") from error
        self._board = _open_tensorboard(run / TENSORBOARD, resumed_at) if tensorboard else None

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record; NaN and infinity become null in the file. Raises `UserError` when the disk is full."""
        line = json.dumps(plain(record), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
        try:
            # File names that are not Unicode hold lone surrogates, which backslashreplace turns into JSON's own escape.
            _write_all(self._file.fileno(), line.encode("utf-8", "backslashreplace"))
            if self._board is not None:
                _write_scalars(self._board, record)
        except OSError as error:
            raise cannot_write(self._path, error, "resume the training") from error

    def image(self, tag: str, picture: NDArray[np.uint8], images: int) -> None:
        """Show a picture, [H, W, 3] uint8, in TensorBoard; does nothing where TensorBoard is off."""
        if self._board is None:
            return
        try:
            self._board.add_image(tag, picture, images, dataformats="HWC")
        except OSError as error:
            raise cannot_write(self._path.with_name(TENSORBOARD), error, "resume the training") from error

    def close(self) -> None:
        """Close the files; calling it again does nothing."""
        self._file.close()
        board, self._board = self._board, None
        if board is not None:
            try:
                board.close()
            except OSError as error:
                raise cannot_write(self._path.with_name(TENSORBOARD), error, "resume the training") from error


@final
class NoLog:
    """The log of a process that writes none, since the first one writes for all."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Do nothing."""

    def image(self, tag: str, picture: NDArray[np.uint8], images: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


Log = MetricsLog | NoLog


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the records of a run in order, none where there is no log yet.

    Lines that do not hold a JSON object are left out: a killed process may leave a torn one, a power cut worse. What
    a known field should not hold is left out too, so that readers need not ask: numbers are finite and not negative,
    tables hold numbers or None. Raises `UserError` where the log cannot be read.
    """
    try:
        content = read_regular(run / METRICS, at_most=MOST_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{run / METRICS} cannot be read: {error.strerror or error}.") from error
    return [_checked(record) for line in content.split(b"\n") if (record := _parse(line)) is not None]


def as_number(value: object, *, most: float = MOST_NUMBER) -> float | None:
    """Return a number from 0 to `most`; None for anything else."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most else None


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    for name in _NUMBERS & record.keys():
        found = as_number(record[name])
        record[name] = int(found) if found is not None and name in ("images", "peak_memory_bytes") else found
    for name in _TABLES & record.keys():
        table = record[name].items() if isinstance(record[name], Mapping) else ()
        record[name] = {key: value if isinstance(value, int | float) else None for key, value in table}
    for name in _WORDS & record.keys():
        record[name] = str(record[name])
    if (record.get("epoch") or 1) < 1e-9:
        record["epoch"] = None
    return {name: value for name, value in record.items() if value is not None or name not in _NUMBERS}


def means_among(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the records that hold means of the training: no events, evaluations or declarations."""
    return [record for record in records if not {"event", "evaluation", "declared"} & set(record)]


def declared_terms(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the kind of every loss term as the method declares it; logs of version 0.1 declare none."""
    terms: dict[str, str] = {}
    for record in records:
        declared = record.get("declared")
        found = declared.get("terms") if isinstance(declared, Mapping) else None
        terms |= {str(name): str(kind) for name, kind in found.items()} if isinstance(found, Mapping) else {}
    return terms


def truncate(run: Path, images: int) -> None:
    """Drop every record beyond `images` images and every line that cannot be read, atomically.

    For a training that resumes from a checkpoint older than the log. TensorBoard's part is `MetricsLog(resumed_at=)`.
    """
    path = run / METRICS
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    kept = bytearray()
    for line in content.split(b"\n"):
        record = _parse(line)
        if record is not None and (as_number(record.get("images")) or 0) <= images:
            kept += line + b"\n"
    if kept != content:
        write_atomic(path, bytes(kept))


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse_json(line) if line.strip() else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _cut_torn_line(path: Path) -> None:
    """Remove what follows the last line break, so that the next record begins a line."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _write_all(descriptor: int, data: bytes) -> None:
    # The system may take less than all of it when the disk is nearly full; the next call then says so.
    while data:
        data = data[os.write(descriptor, data) :]


def plain(value: Any) -> Any:
    """Return `value` in JSON's own types; numbers that JSON cannot hold become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _open_tensorboard(folder: Path, resumed_at: int | None) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    purge_step = None if resumed_at is None else resumed_at + 1
    try:
        return SummaryWriter(str(folder), purge_step=purge_step, flush_secs=30)
    except OSError as error:
        raise cannot_write(folder, error, "resume the training") from error


def _write_scalars(board: SummaryWriter, record: Mapping[str, Any]) -> None:
    images = record["images"]
    if "event" in record:
        board.add_text("events", f"{record['event']}: {record.get('text', '')}", images)
        return
    for group in ("losses", "learning_rates", "evaluation"):
        for name, value in record.get(group, {}).items():
            board.add_scalar(f"{group}/{name}", value, images)
    for name in ("images_per_second", "waiting_share"):
        if name in record:
            board.add_scalar(f"speed/{name}", record[name], images)
