"""Which evaluation is the best so far, when to evaluate again, and when to stop; numbers alone, no images, no files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural
from unpaired.evaluation.metrics import METRICS, Metric, Need
from unpaired.models.best import BestCheckpoint
from unpaired.models.folder import BEST
from unpaired.report.results import Better
from unpaired.training.config import TrainingConfig

MOST_SHARE = 0.05
"""Share of the training time that evaluation may take where its interval was not given."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One evaluation, reduced to the value that is compared."""

    value: float
    images_seen: int
    number: int
    """Which evaluation of the training it is, from 1."""


class Selection:
    """What a training remembers of its evaluations; every process of it holds the same.

    `directions` are those of the method, `paired` says whether there are true images, `searches` whether translators
    are searches. Raises `UserError` where the settings ask for what this method or data cannot give.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        directions: tuple[str, ...],
        paired: bool,
        epoch_images: int,
        total_images: int,
        searches: bool = False,
    ) -> None:
        self._config, self._total_images = config, total_images
        self.metrics = _chosen_metrics(config, directions, paired=paired, searches=searches)
        self.directions = _chosen_directions(config, directions)
        self.interval = config.evaluate_every_images or epoch_images
        self.best: Score | None = None
        self.last: Score | None = None
        self.evaluations = self.without_better = 0
        self.seconds = 0.0

    @property
    def is_of_features(self) -> bool:
        """Whether the values depend on the network that `training.evaluate_features` names."""
        return any(Need.FEATURES in metric.needs for metric in self.metrics)

    @property
    def measure(self) -> str:
        """Name what is compared: `swd+colour`, `l1`."""
        return "+".join(metric.name for metric in self.metrics)

    @property
    def better(self) -> Better:
        """Which values are better."""
        return self.metrics[0].better or "lower"

    # ------------------------------------------------------------------------------------------------- what is due

    def is_due(self, before: int, now: int) -> bool:
        """Whether an evaluation is due after a step from `before` to `now` images: at intervals, and in the end."""
        return now // self.interval > before // self.interval or now >= self._total_images

    @property
    def is_exhausted(self) -> bool:
        """Whether `training.patience` evaluations in a row were no better than the best, so that training ends."""
        return self._config.patience is not None and self.without_better >= self._config.patience

    def reason_to_end(self) -> str:
        """Say why the training ends early."""
        count = plural(self.without_better, "evaluation")
        return f"{count} without a better {self.title} (training.patience)"

    # ------------------------------------------------------------------------------------------------- what was found

    def observe(self, figures: Mapping[str, float], images_seen: int) -> bool:
        """Take in an evaluation's figures by key (`swd_a2b`, ...); return whether it is the best so far.

        One whose value is not finite is never the best.
        """
        self.evaluations += 1
        value = self.value_of(figures)
        found = Score(value=value, images_seen=images_seen, number=self.evaluations)
        self.last = found if math.isfinite(value) else None
        better = self.last is not None and (self.best is None or self._is_better(value, self.best.value))
        if better:
            self.best = self.last
        self.without_better = 0 if better else self.without_better + 1
        return better

    def _is_better(self, value: float, other: float) -> bool:
        return value > other if self.better == "higher" else value < other

    @property
    def _superlative(self) -> str:
        return "highest" if self.better == "higher" else "lowest"

    def value_of(self, figures: Mapping[str, float]) -> float:
        """Return what is compared: the sum of the metrics, a mean of the directions; NaN where one was not measured."""
        pairs = [(metric.name, direction) for metric in self.metrics for direction in self.directions]
        return sum(figures.get(f"{name}_{direction}", math.nan) for name, direction in pairs) / len(self.directions)

    def spend(self, evaluation_seconds: float, training_seconds: float, images_seen: int) -> str | None:
        """Count the seconds of an evaluation; evaluate less often where the share would be too large, and say so.

        `training_seconds` are those of the whole training so far, with all its evaluations. An interval that was given
        is never changed. The last evaluation is provided for.
        """
        self.seconds += evaluation_seconds
        if self._config.evaluate_every_images is not None:
            return None
        per_image = max(training_seconds - self.seconds, 0.0) / max(images_seen, 1)
        before = self.interval
        while True:
            upcoming = (images_seen // self.interval + 1) * self.interval
            after = training_seconds + (upcoming - images_seen) * per_image + 2 * evaluation_seconds
            share = (self.seconds + 2 * evaluation_seconds) / max(after, 1e-9)
            if share <= MOST_SHARE or upcoming >= self._total_images:
                break
            self.interval *= 2
        if self.interval == before:
            return None
        return (
            f"evaluations take {evaluation_seconds:.2g} s each, so there is one every {self.interval:,} images now in "
            f"place of {before:,}: at most {MOST_SHARE:.0%} of the training time. training.evaluate_every_images sets "
            "an interval of your own."
        )

    # ------------------------------------------------------------------------------------------------------- messages

    @property
    def title(self) -> str:
        """Return what is compared, such as `SWD (mean of a2b and b2a)`."""
        of = self.directions[0] if len(self.directions) == 1 else f"mean of {' and '.join(self.directions)}"
        seen = " of EfficientNet-Lite0" if self.is_of_features and self._config.evaluate_features == "lite0" else ""
        return f"{' + '.join(short(metric.name) for metric in self.metrics)}{seen} ({of})"

    def why(self) -> str:
        """Say why the best was the best when it was found."""
        number = 0 if self.best is None else self.best.number
        of = f"of the first {number} evaluations" if number > 1 else "at the first evaluation"
        return f"{self._superlative} {self.title} {of}"

    def best_checkpoint(self, run: Path, *, images: dict[str, int], held_out_from: str) -> BestCheckpoint | None:
        """Return what `RUN/best` says of itself; None where nothing was found yet. `images` are counts by domain."""
        if self.best is None:
            return None
        return BestCheckpoint(
            path=run / BEST,
            measure=self.measure,
            directions=self.directions,
            value=self.best.value,
            better=self.better,
            images_seen=self.best.images_seen,
            why=self.why(),
            evaluations=self.best.number,
            images=images,
            held_out_from=held_out_from,
        )

    def advice(self, seconds: float) -> str | None:
        """Say which checkpoint to use and why, after a training of so many seconds; None where nothing was measured."""
        if self.best is None:
            return None
        found, took = f"after {self.best.images_seen:,} images", f"Evaluation took {self.share(seconds):.1%} of the"
        if self.evaluations == 1:
            text = f"the only evaluation, {self.title} {self.best.value:.4g}"
        else:
            text = f"{self._superlative} {self.title}, {self.best.value:.4g}, of {self.evaluations} evaluations; "
            if self.last is None:
                text += "the last one found no finite value"
            elif self.last == self.best:
                text += "it is also the last one"
            else:
                text += f"the last one, after {self.last.images_seen:,} images, has {self.last.value:.4g}"
        return f"{found}: {text}. {took} training time."

    def share(self, seconds: float) -> float:
        """Return the share of a training of so many seconds that its evaluations took."""
        return self.seconds / max(seconds, self.seconds, 1e-9)

    # ----------------------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Return the state, exact."""
        scores = {"best": self.best, "last": self.last}
        counters = ("evaluations", "without_better", "interval", "seconds")
        return {
            **{name: None if score is None else dataclasses.asdict(score) for name, score in scores.items()},
            **{name: vars(self)[name] for name in counters},
            "measure": self.measure,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; an interval that was given wins over the one in it."""
        self.best = None if state["best"] is None else Score(**state["best"])
        self.last = None if state["last"] is None else Score(**state["last"])
        self.evaluations, self.without_better = state["evaluations"], state["without_better"]
        self.seconds = state["seconds"]
        if self._config.evaluate_every_images is None:
            self.interval = state["interval"]

    def forget(self) -> None:
        """Choose the best anew, because what was measured is not comparable with what will be."""
        self.best = self.last = None
        self.evaluations = self.without_better = 0


def short(name: str) -> str:
    """Return a metric's name as it stands in a sentence: `SWD`, `L1`, `reconstruction L1`."""
    if name in ("frechet", "kernel"):
        return METRICS[name].title.replace("Kernel", "kernel")
    return " ".join(part if part in ("reconstruction", "colour") else part.upper() for part in name.split("_"))


def _chosen_metrics(
    config: TrainingConfig, directions: tuple[str, ...], *, paired: bool, searches: bool
) -> tuple[type[Metric], ...]:
    """Return what is added up; SWD, times 1000, and colours, in levels, are of one order, and each sees what the other
    does not."""
    if config.best == "auto":
        return (METRICS["l1"],) if paired and not searches else (METRICS["swd"], METRICS["colour"])
    reason = None
    if config.best in ("l1", "ssim", "psnr") and not paired:
        reason = "compares translations with their true images, which only pairs have"
    elif config.best == "reconstruction_l1" and len(directions) < 2:
        reason = f"needs both directions, and this method translates {directions[0]} alone"
    elif config.best in ("reconstruction_l1", "l1", "ssim", "psnr") and searches:
        reason = "needs translations, and this method's, which are searches, would take minutes each time"
    if reason:
        raise UserError(
            f"{option('training.best', config.best)} {reason}. Leave it out, or set {option('training.best', 'swd')}."
        )
    return (METRICS[config.best],)


def _chosen_directions(config: TrainingConfig, directions: tuple[str, ...]) -> tuple[str, ...]:
    if config.best_direction == "both":
        return directions
    if config.best_direction not in directions:
        raise UserError(
            f"{option('training.best_direction', config.best_direction)}: this method translates "
            f"{' and '.join(directions)} alone. Leave it out, or set method.direction."
        )
    return (config.best_direction,)
