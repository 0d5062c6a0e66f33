"""What a person sees while a training runs: a live display on a terminal, plain lines elsewhere, on stderr."""

from __future__ import annotations

import base64
import html
import importlib
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO, final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unpaired.core.terminal import console
from unpaired.core.text import duration

NOTEBOOK_SECONDS = 1.0
"""How often the line of a notebook changes at most."""
MOST_LOSS_COLUMNS = 4
"""Losses side by side; CycleGAN's eight stand as four pairs in 80 columns."""


@dataclass(frozen=True, slots=True)
class _Training:
    record: Mapping[str, Any]
    total_images: int
    epoch: int
    epochs: int
    at: float


@dataclass(frozen=True, slots=True)
class _Check:
    label: str
    done: int
    total: int


@final
class Progress:
    """A context manager that shows how far a training is.

    On a terminal a display that redraws itself, in a notebook one line above the latest samples; elsewhere plain
    lines, at most one every `every_seconds` seconds and one at the end of every epoch. `quiet` leaves nothing but
    warnings. All but what a notebook shows goes to `stream`, stderr by default.
    """

    def __init__(self, *, quiet: bool = False, every_seconds: float = 10.0, stream: TextIO | None = None) -> None:
        self._cell = None if stream is not None or quiet else open_cell()
        stream = stream if stream is not None else sys.stderr
        terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._quiet = quiet
        self._every_seconds = every_seconds if self._cell is None else NOTEBOOK_SECONDS
        self._console = console(stream, force_terminal=terminal, highlight=False, soft_wrap=not terminal)
        self._training: _Training | None = None
        self._check: _Check | None = None
        self._last_line = float("-inf")
        self._live = self._make_live() if terminal and not quiet else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._check = None
            self._live.stop()

    def update(self, record: Mapping[str, Any], *, total_images: int, epoch: int, epochs: int) -> None:
        """Show a record of the log (see `unpaired.report.run_log`); `epoch` of `epochs` is the running one, from 1."""
        before, self._check = self._training, None
        self._training = _Training(record, total_images, epoch, epochs, time.monotonic())
        if self._quiet:
            return
        if self._live is not None:
            self._show(self._live)
            return
        ended = before is None or int(record["epoch"]) > int(before.record["epoch"])
        finished = record["images"] >= total_images and (before is None or before.record["images"] < total_images)
        if ended or finished or self._due():
            self._line(_training_line(self._training))

    def checking(self, label: str, done: int, total: int) -> None:
        """Show how far something before the training is, such as the check of the files: `done` of `total`."""
        before, self._check = self._check, _Check(label, done, total)
        begins = before is None or before.label != label
        if before == self._check:
            return  # the end is often reported twice
        if self._quiet:
            return
        if self._live is not None:
            self._show(self._live)
        elif done >= total or (not begins and self._due()):
            self._line(f"{label}: {done:,} of {total:,}")
        elif begins:
            self._last_line = time.monotonic()

    def sample(self, picture: Path) -> None:
        """Show a new grid of samples, where pictures can be shown."""
        if self._cell is not None:
            self._cell.show(picture=picture)

    def message(self, text: str) -> None:
        """Print a line of its own, above the live display."""
        if not self._quiet:
            self._console.print(Text(text))

    def warn(self, text: str) -> None:
        """Print a warning, also when quiet."""
        self._console.print(Text(f"warning: {text}", style="yellow"))

    def _due(self) -> bool:
        return time.monotonic() - self._last_line >= self._every_seconds

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        if self._cell is not None:
            self._cell.show(line=text)
        else:
            self._console.print(Text(text))

    def _make_live(self) -> Live:
        return Live(
            console=self._console,
            refresh_per_second=2,
            get_renderable=self._render,
            redirect_stdout=sys.stdout.isatty(),  # otherwise results that are piped away would land in the display
        )

    def _show(self, live: Live) -> None:
        if not live.is_started:
            live.start()

    def _render(self) -> RenderableType:
        width = self._console.width
        if self._check is not None:
            return _render_check(self._check, width)
        if self._training is not None:
            return _render_training(self._training, width)
        return Text("")


# ------------------------------------------------------------------------------------------------------ live display


def _render_check(check: _Check, width: int) -> RenderableType:
    counts = f"{check.done:,} of {check.total:,}"
    row = Table.grid(padding=(0, 2))
    bar_width = max(8, min(40, width - len(check.label) - len(counts) - 4))
    row.add_row(check.label, ProgressBar(max(check.total, 1), check.done, width=bar_width), counts)
    return row


def _render_training(training: _Training, width: int) -> RenderableType:
    record, total = training.record, training.total_images
    share = f"{_share(record['images'], total):.0%}  {_time_left(training, time.monotonic())}".rstrip()
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(max(total, 1), record["images"], width=max(8, min(width, 100) - len(share) - 2)), share)
    facts = Text("   ").join(Text(fact) for fact in _facts(training))
    return Group(bar, facts, _loss_table(record.get("losses", {}), width))


def _loss_table(losses: Mapping[str, float | None], width: int) -> Table:
    """Return losses in as many columns as fit, filled downwards, so that the A and B of a loss stand together."""
    cells = [(name, _number(value)) for name, value in losses.items()]
    columns = [cells]
    for wanted in range(min(MOST_LOSS_COLUMNS, len(cells)), 1, -1):
        rows = -(-len(cells) // wanted)
        split = [cells[start : start + rows] for start in range(0, len(cells), rows)]
        widths = [max(len(name) for name, _ in column) + max(len(value) for _, value in column) for column in split]
        if sum(widths) + 4 * len(split) - 3 <= width:
            columns = split
            break
    table = Table.grid(padding=(0, 1))
    for _ in columns:
        table.add_column(style="dim", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
    for row in range(len(columns[0])):
        present = [column[row] for column in columns if row < len(column)]
        gaps = ["", *["  "] * (len(present) - 1)]
        table.add_row(*(text for gap, (name, value) in zip(gaps, present, strict=True) for text in (gap + name, value)))
    return table


# ------------------------------------------------------------------------------------------------------- plain lines


def _training_line(training: _Training) -> str:
    losses = training.record.get("losses", {})
    parts = [
        f"{_share(training.record['images'], training.total_images):.0%}",
        *_facts(training),
        _time_left(training, training.at),
        *(f"{name} {_number(value)}" for name, value in losses.items()),
    ]
    return "  ".join(part for part in parts if part)


def _facts(training: _Training) -> list[str]:
    record = training.record
    return [
        f"epoch {training.epoch}/{training.epochs}",
        f"{record['images']:,}/{training.total_images:,} images",
        f"{record['images_per_second']:.3g} images/s",
        f"waiting for data {record['waiting_share']:.0%}",
    ]


def _time_left(training: _Training, now: float) -> str:
    """Return how long the rest will take, or nothing while the speed is not known."""
    record = training.record
    if not record["images_per_second"]:
        return ""
    left = (training.total_images - record["images"]) / record["images_per_second"] - (now - training.at)
    return f"{duration(max(left, 0))} left"


def _share(images: int, total: int) -> float:
    return min(images / total, 1.0) if total else 1.0


def _number(value: float | None) -> str:
    """Return a number in at most seven characters or so: three decimals where they say something."""
    if value is None or math.isnan(value):
        return "nan"
    return f"{value:.3f}" if 0.001 <= abs(value) < 100 or value == 0 else f"{value:.4g}"


# ----------------------------------------------------------------------------------------------------------- notebooks


@final
class NotebookCell:
    """An output of the running cell that is replaced whenever something is to be shown."""

    def __init__(self, display: Any) -> None:
        self._display, self._handle = display, None
        self._line, self._picture = "", ""

    def show(self, *, line: str | None = None, picture: Path | None = None) -> None:
        """Replace the line, or the picture, which is a PNG file; the other stays."""
        if line is not None:
            self._line = line
        if picture is not None:
            self._picture = base64.b64encode(picture.read_bytes()).decode()
        image = f'<img alt="samples" style="max-width: 100%" src="data:image/png;base64,{self._picture}">'
        content = {
            "text/plain": self._line,
            "text/html": f"<pre>{html.escape(self._line)}</pre>{image if self._picture else ''}",
        }
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def open_cell() -> NotebookCell | None:
    """Return the running cell's output, None outside of a notebook; IPython is asked only where it runs already."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return NotebookCell(importlib.import_module("IPython.display").display)


# -------------------------------------------------------------------------------------------------------- expected time


WARM_UP_STEPS = 5
"""Steps that are not counted: kernels are chosen, networks compiled, a CUDA graph recorded."""
COUNTED_STEPS = 5
COUNTED_SECONDS = 10.0
"""The expectation rests on at least so many steps, and so much time."""
WORTH_TELLING_SECONDS = 60.0
TOO_LONG_SECONDS = 14 * 86_400.0


@final
class Pace:
    """Watches the first steps of a process and tells the expected time once."""

    def __init__(self, total_images: int) -> None:
        self._total_images = total_images
        self._steps = 0
        self._start: tuple[int, float] | None = None
        self._reported = False

    def observe(self, images_seen: int, seconds: float) -> float | None:
        """Take in a step that ended after so many images and seconds; return the expected rest, in seconds, once."""
        self._steps += 1
        if self._reported or self._steps < WARM_UP_STEPS:
            return None
        if self._start is None:
            self._start = (images_seen, seconds)
            return None
        images, elapsed = images_seen - self._start[0], seconds - self._start[1]
        if self._steps < WARM_UP_STEPS + COUNTED_STEPS or elapsed < COUNTED_SECONDS:
            return None
        self._reported = True
        return (self._total_images - images_seen) * elapsed / images


def expectation(seconds: float) -> tuple[str, bool] | None:
    """Return what to say of the expected rest of a training, and whether it is a warning; None for a short one."""
    if seconds < WORTH_TELLING_SECONDS:
        return None
    if seconds < TOO_LONG_SECONDS:
        return f"Expected time on this machine: about {duration(seconds)}.", False
    return (
        f"on this machine this training would take about {seconds / 604_800:.0f} weeks. --config small-64 trains a "
        "smaller network on smaller images; a GPU is 50 times as fast or more.",
        True,
    )
