"""The evaluations of a run, put together: what is measured, what is chosen by it, and `RUN/best`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unpaired.core.errors import UserError
from unpaired.core.text import number
from unpaired.data.directions import Side
from unpaired.data.groups import LEAST_IN_PART
from unpaired.data.training import TrainingData
from unpaired.metrics.features import Features, has_lite0, open_features
from unpaired.models.best import BestCheckpoint, keep_best, restore_best
from unpaired.models.folder import BEST
from unpaired.models.loading import load_generator
from unpaired.training.config import TrainingConfig
from unpaired.training.distributed import Watchdog, World
from unpaired.training.evaluation import HeldOut, Measured, divided, own_random_numbers
from unpaired.training.progress import Progress
from unpaired.training.selection import Selection
from unpaired.training.trainer import Trainer


def with_judge(config: TrainingConfig, data: TrainingData) -> tuple[TrainingConfig, str]:
    """Return the settings of a training that begins with what chooses its best checkpoint, and what to say of it.

    Where EfficientNet-Lite0 is installed and nobody chose otherwise that is the kernel distance of its features. A run
    records it, so that it keeps its judge when it is resumed elsewhere.
    """
    asked = config.best in ("frechet", "kernel")
    if config.evaluate_features is not None or not config.evaluate_images or not (asked or config.best == "auto"):
        return config, ""
    if (data.paired and not asked) or not has_lite0():
        return config, ""
    fewest = min(config.evaluate_images, *map(len, divided(data, config).selection.values()))
    domains = (data.domain_a, data.domain_b)
    reason = ""
    if any(domain.labels is not None for domain in domains):
        reason = "it says nothing of label maps"
    elif odd := [domain.channels for domain in domains if domain.channels not in (1, 3)]:
        reason = f"its network sees grey or RGB images, and these have {odd[0]} channels"
    elif fewest < LEAST_IN_PART:
        reason = f"it takes {LEAST_IN_PART} held-out images of each domain that choose, and there are {fewest}"
    if reason and not asked:
        kernel = "the kernel distance of EfficientNet-Lite0's features"
        return config, f"the best checkpoint is chosen by SWD + colour and not by {kernel}: {reason}"
    return replace(config, evaluate_features="lite0", best=config.best if asked else "kernel"), ""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation came to; the same in every process."""

    is_best: bool
    seconds: float
    """Training time so far, this evaluation included."""
    record: dict[str, Any]
    """Its line of the log."""
    notice: str | None
    """What a user should know about later evaluations."""


class BestCheckpoints:
    """Evaluates a run's translators where that is due, and keeps the best checkpoint.

    Every process of a training has one. The first measures; all hear the same figures and the same seconds, so they
    decide the same. Raises `UserError` where the settings ask for a metric that the method or the images cannot give.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        data: TrainingData,
        trainer: Trainer,
        display: Progress,
        *,
        epoch_images: int,
        total_images: int,
    ) -> None:
        self._folder, self._data, self._trainer, self._display = folder, data, trainer, display
        self._world: World = trainer.world
        translators = trainer.translators()
        # On all ranks: an error of settings is one of every process, and is to be reported once.
        self.selection = self._world.on_all_ranks(
            lambda: Selection(
                config,
                directions=tuple(translators),
                paired=data.paired,
                searches=any(network.is_search for network in translators.values()),
                epoch_images=epoch_images,
                total_images=total_images,
            )
        )
        self._fingerprint: str | None = None
        self._features: Features | None = None
        self._config, self._reported, self._is_outdated = config, "", False
        self._parts = self._world.on_all_ranks(lambda: divided(data, config))
        self._held_out = self._open()

    def _open(self) -> HeldOut | None:
        config = self._config
        metric = max(self.selection.metrics, key=lambda metric: metric.smallest)
        if not config.evaluate_images:
            return None
        device = self._trainer.device
        features = self._world.on_all_ranks(lambda: self._open_features(config.evaluate_features, device))
        self._features = features
        self._fingerprint = self._world.collect(None if features is None else features.fingerprint)[0]
        places = self._parts.selection
        held_out = self._world.on_all_ranks(
            lambda: HeldOut(self._data, config.evaluate_images, device, features, places)
        )
        if held_out.shortest_side >= metric.smallest:
            return held_out
        reason = (
            f"{metric.title} needs images of at least {metric.smallest} x {metric.smallest} pixels, and the "
            f"shortest side of the held-out images has {held_out.shortest_side}"
        )
        self._world.on_all_ranks(lambda: _refuse_where_asked_for(config, reason))
        self._display.message(f"{reason}: there are no evaluations, and no best checkpoint is kept.")
        return None

    def _open_features(self, spec: str | None, device: torch.device) -> Features | None:
        """Open the features in the process that measures."""
        if spec is None or not self._world.is_first:
            return None
        try:
            with own_random_numbers(device):
                return open_features(spec, device=device, notice=self._display.message)
        except UserError as error:
            raise UserError(f"training.evaluate_features: {error}") from error

    def is_due(self, before: int, now: int) -> bool:
        """Whether to evaluate after a step that went from `before` to `now` images."""
        return self._held_out is not None and self.selection.is_due(before, now)

    def evaluate(self, images_seen: int, seconds: float, watchdog: Watchdog) -> Evaluated:
        """Measure the translators after `images_seen` images and so many seconds of training.

        The other processes wait for the first one, for as long as it takes.
        """
        found: tuple[Measured, float]
        with watchdog.paused():
            found = self._world.collect(self._world.on_all_ranks(lambda: self._measure(seconds)))[0]
        measured, seconds = found
        is_best = self.selection.observe(measured.figures, images_seen)
        notice = self.selection.spend(measured.seconds, seconds, images_seen)
        record = {
            "images": images_seen,
            "evaluation": measured.figures,
            "errors": measured.errors,
            "seconds": seconds,
            "evaluation_seconds": measured.seconds,
            "evaluation_share": self.selection.share(seconds),
            "best": is_best,
        }
        return Evaluated(is_best, seconds, record, notice)

    def _measure(self, seconds: float) -> tuple[Measured, float] | None:
        if self._held_out is None or not self._world.is_first:
            return None
        measured = self._held_out.measure(self._trainer.translators())
        return measured, seconds + measured.seconds

    def keep(self) -> None:
        """Make the best evaluation's checkpoint, which has been written, `RUN/best`."""
        self._world.on_all_ranks(self._keep)

    def _keep(self) -> None:
        best = self._best()
        if best is not None:
            keep_best(best)

    def _best(self) -> BestCheckpoint | None:
        """Return the best so far, in the process that keeps it."""
        if self._held_out is None or not self._world.is_first:
            return None
        counts = self._held_out.counts
        return self.selection.best_checkpoint(self._folder, images=counts, held_out_from=self._from)

    def advice(self, seconds: float) -> str | None:
        """Say which checkpoint to use and why, after so many seconds of training; None where nothing was measured."""
        advice = self.selection.advice(seconds)
        if advice is None or self._reported:
            return advice and f"{advice} {self._reported}"
        if self._from == "test":
            return (
                f"{advice} It was chosen on all held-out images, so that what is reported of them is a little too good."
            )
        return f"{advice} There are no test images: training images were measured, which says less of others."

    def report(self, watchdog: Watchdog) -> dict[str, Any] | None:
        """Measure the last and the selected checkpoint on the report part; None where there is none.

        Call it once, after the last evaluation.
        """
        if self._held_out is None or self._parts.report is None or self.selection.best is None:
            return None
        with watchdog.paused():
            found = self._world.collect(self._world.on_all_ranks(self._report))[0]
        if found is None:
            return None
        counts, last, selected = found["counts"], *(self.selection.value_of(found[one]) for one in ("last", "selected"))
        same = "" if self.selection.best == self.selection.last else f", the last checkpoint has {number(last)}"
        self._reported = (
            f"On images that chose nothing ({counts['a']} of A, {counts['b']} of B) it has {number(selected)}{same}."
        )
        return {"text": self._reported, **found}

    def _report(self) -> dict[str, Any] | None:
        if not self._world.is_first or self._parts.report is None:
            return None
        device, translators = self._trainer.device, self._trainer.translators()
        try:
            held_out = HeldOut(self._data, self._config.evaluate_images, device, self._features, self._parts.report)
            last = selected = held_out.measure(translators).figures
            if self.selection.best != self.selection.last:
                best = {name: load_generator(self._folder / BEST, name).network.to(device) for name in translators}
                selected = held_out.measure(best).figures
        except UserError as error:  # the training itself has ended well
            self._display.warn(f"nothing is reported of other images: {error}")
            return None
        return {"counts": held_out.counts, "last": last, "selected": selected}

    @property
    def _from(self) -> str:
        return self._data.held_out_from

    # ----------------------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must remember, as plain JSON."""
        state = {**self.selection.state_dict(), "contents": self._data.contents, "features": self._fingerprint}
        if self._held_out is not None and self._from == "test":
            state["selection"] = None if self._parts.report is None else self._digests(self._parts.selection)
        return state

    def _digests(self, places: Mapping[Side, Sequence[int]]) -> dict[Side, list[str]]:
        """Return what the images at these places hold, so that whoever reports on others knows them anywhere."""
        parts = self._data.held_out_parts
        return {
            side: sorted({self._data.sources[parts[side]].images[place].digest.hex() for place in chosen})
            for side, chosen in places.items()
        }

    def load_state_dict(self, kept: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint remembers; it is empty in those of versions that did not evaluate."""
        if not kept:
            return
        self.selection.load_state_dict(kept)
        if kept.get("selection") is None and self._parts.report is not None and self._config.select_on == "auto":
            self._config = replace(self._config, select_on="all")  # as it began
            self._parts = divided(self._data, self._config)
            self._is_outdated = True
        if kept.get("measure") != self.selection.measure:
            self._choose_anew(f"{self.selection.title} of whole images at the size of training is compared from now on")
        elif kept["contents"] != self._data.contents:
            self._choose_anew("The images have changed")
        elif self.selection.is_of_features and kept.get("features", self._fingerprint) != self._fingerprint:
            self._choose_anew("The feature network (training.evaluate_features) has changed")

    def restore_best(self) -> None:
        """After `load_state_dict` in every process: bring `RUN/best` to the best that is remembered."""
        if self._is_outdated:
            self._held_out = self._open()
        is_there = self._world.collect(self._world.on_all_ranks(self._restore_best))[0]
        if not is_there:
            self._choose_anew(f"{self._folder / BEST} is missing or damaged")

    def _restore_best(self) -> bool:
        best = self._best()
        return best is None or restore_best(best)

    def _choose_anew(self, why: str) -> None:
        """Forget what was measured, which no longer compares."""
        self._display.message(f"{why}: the best checkpoint is chosen anew.")
        self.selection.forget()


def _refuse_where_asked_for(config: TrainingConfig, reason: str) -> None:
    """Raise UserError where the settings rest on evaluations that cannot be made."""
    asked_for = {
        "best": config.best != "auto",
        "best_direction": config.best_direction != "both",
        "patience": config.patience is not None,
        "evaluate_features": config.evaluate_features is not None,
        "evaluate_every_images": config.evaluate_every_images is not None,
        "select_on": config.select_on == "part",
    }
    for name, is_set in asked_for.items():
        if is_set:
            raise UserError(
                f"training.{name}: {reason}. Leave training.{name} out, train on larger images, or let "
                "another metric choose (training.best)."
            )
