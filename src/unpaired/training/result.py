"""How a training ended, and how that is shown in a notebook."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from unpaired.models.best import BestCheckpoint
from unpaired.report.chart import svg_file
from unpaired.report.image_grid import SAMPLES
from unpaired.report.results import Chart, Line
from unpaired.report.run_log import means_among, read_metrics
from unpaired.training.memory import described

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
    is_first: bool = True
    """Whether this process is the one that speaks for all that trained together."""

    @property
    def peak_memory(self) -> str | None:
        """The peak of memory in words: `1.25 GiB of GPU memory`."""
        return None if self.peak_memory_bytes is None else described(self.peak_memory_bytes, self.device)

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
