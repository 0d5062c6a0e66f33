"""What a training tells its caller: how it ended, shown in a notebook, and callbacks while it runs."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

from unpaired.core.text import memory
from unpaired.models.best import BestCheckpoint
from unpaired.report.chart import svg_file
from unpaired.report.image_grid import SAMPLES
from unpaired.report.results import Chart, Line
from unpaired.report.run_log import means_among, read_metrics
from unpaired.training.init import Fit

State = Literal["finished", "interrupted"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a training ended; in a notebook it shows itself: the latest samples, curves and advice."""

    run: Path
    """The run's folder; `unpaired.Translator.load(run)` translates with its best checkpoint."""
    checkpoint: Path
    """The checkpoint written last."""
    directions: tuple[str, ...]
    """Which ways it translates: `a2b`, `b2a` or both."""
    state: State
    images_seen: int
    seconds: float
    """Training time, over all the times that the run was resumed."""
    losses: dict[str, float]
    """Mean of each loss since the last line of the log."""
    device: str
    """Type of the device that it was computed on: `cpu`, `cuda` or `mps`."""
    signal: int | None = None
    """Number of the signal that interrupted it, or that came in the very last step of one that is finished."""
    peak_memory_bytes: int | None = None
    """What a process has taken at most, on CUDA of the GPU's memory; None where it is not known."""
    best: BestCheckpoint | None = None
    """The checkpoint that was measured best on held-out images, kept as `RUN/best`; None where none was measured."""
    advice: str | None = None
    """What the evaluations say of the best checkpoint and of the last one, in words."""
    ended_early: str | None = None
    """Why the training ended before its last image; None where it did not."""
    initialized: tuple[Fit, ...] = ()
    """What each network took from the model in `training.init_from`; empty where training began elsewhere."""
    is_first: bool = True
    """Whether this process is the one that speaks for all that trained together."""
    translates: bool = True
    """Whether the model translates; if not, its weights are for `training.init_from`."""

    @property
    def peak_memory(self) -> str | None:
        """The peak of memory in words: `1.25 GiB of GPU memory`."""
        if self.peak_memory_bytes is None:
            return None
        return f"{memory(self.peak_memory_bytes)} {'of GPU memory' if self.device == 'cuda' else 'of memory'}"

    def latest_sample(self) -> Path | None:
        """Return the newest grid of samples, None where there is none."""
        return max((self.run / SAMPLES).glob("[0-9]*.png"), default=None)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        early = f" Ended early: {self.ended_early}." if self.ended_early else ""
        lines = [f"{self.state.capitalize()} after {self.images_seen:,} images: {self.run}.{early}"]
        if self.best is not None and self.advice:
            lines.append(f"Use {self.best.path}, {self.advice}")
        parts = [f"<p>{html.escape(line)}</p>" for line in lines]
        if picture := self.latest_sample():
            content = base64.b64encode(picture.read_bytes()).decode()
            parts.append(f'<img alt="samples" style="max-width: 100%" src="data:image/png;base64,{content}">')
        if charts := list(loss_and_metric_charts(read_metrics(self.run))):
            content = base64.b64encode(svg_file(charts).encode()).decode()
            parts.append(f'<img alt="curves" style="max-width: 100%" src="data:image/svg+xml;base64,{content}">')
        return "".join(parts)


def loss_and_metric_charts(records: list[dict[str, Any]]) -> Iterator[Chart]:
    """Yield a chart of the losses and one of what evaluations measured, of those that there are."""
    for title, part, found in (
        ("Losses", "losses", means_among(records)),
        ("On held-out images", "evaluation", [record for record in records if "evaluation" in record]),
    ):
        lines = tuple(_lines(found, part))
        if lines:
            yield Chart(title=title, x_label="images", smooth=part == "losses", lines=lines)


def _lines(records: Iterable[Mapping[str, Any]], part: str) -> Iterator[Line]:
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in record.get(part, {}).items():
            if value is not None:
                points.setdefault(name, []).append((record["images"], value))
    for name, found in points.items():
        x, y = zip(*found, strict=True)
        yield Line(name=name, x=x, y=y)


class Callback:
    """Override what you need; everything is called between steps, in the first process alone.

    A callback that raises an `Exception` is reported, by name, and not called again; the training goes on and is not
    harmed. To end a training from a callback, raise `KeyboardInterrupt`: nothing since the last checkpoint is kept.
    """

    def on_start(self, run: Path, settings: Mapping[str, Any]) -> None:
        """The training begins or is resumed; `settings` has the sections `method`, `data` and `training`."""

    def on_log(self, record: Mapping[str, Any]) -> None:
        """A line of `metrics.jsonl` was written: `losses` and speed, an `evaluation`, or an `event`; all have `images`.

        Losses that are not finite are NaN here.
        """

    def on_sample(self, picture: Path, images: int) -> None:
        """A grid of samples was written as PNG after so many images."""

    def on_checkpoint(self, checkpoint: Path, images: int) -> None:
        """A checkpoint, which is a model folder, was written after so many images."""

    def on_end(self, result: Result | None) -> None:
        """The training has finished or was interrupted; None where it failed with an error."""


@final
class Callbacks:
    """Calls several callbacks, so that none of them can harm a training."""

    def __init__(self, callbacks: Sequence[Callback], warn: Callable[[str], None]) -> None:
        self._callbacks, self._warn = list(callbacks), warn

    def call(self, name: str, action: Callable[[Callback], None]) -> None:
        """Call the method `name` of all, which `action` does for one."""
        for callback in tuple(self._callbacks):
            try:
                action(callback)
            except Exception as error:
                self._callbacks.remove(callback)
                self._warn(
                    f"the callback {type(callback).__name__} failed in {name} ({type(error).__name__}: {error}). It is "
                    "not called again; the training goes on."
                )
