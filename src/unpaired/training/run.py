"""The loop: steps until the end, and between them the learning rate, the log, samples, warnings and checkpoints."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unpaired.core.errors import ReportedElsewhere, UserError, option
from unpaired.core.given import without_none
from unpaired.core.interrupt import Interrupt
from unpaired.data.changes import record_images
from unpaired.data.loader import UnpairedLoader
from unpaired.data.training import TrainingData
from unpaired.methods.base import Batch
from unpaired.models.best import BestCheckpoint, read_best
from unpaired.models.folder import CHECKPOINTS, DamagedError, checkpoints_of
from unpaired.report.image_grid import save_grid
from unpaired.report.run_log import EventKind, Log, event
from unpaired.report.run_page import write_page
from unpaired.training import health
from unpaired.training.averages import Means
from unpaired.training.best_checkpoint import BestCheckpoints
from unpaired.training.distributed import STEP_TIMEOUT, Watchdog
from unpaired.training.init import Fit
from unpaired.training.modes import peak_memory
from unpaired.training.preview import Preview
from unpaired.training.progress import Pace, Progress, expectation
from unpaired.training.result import Callback, Callbacks, Result, State
from unpaired.training.resume import CONFIG, Kept
from unpaired.training.schedule import Plateau, factor
from unpaired.training.settings import RunConfig
from unpaired.training.state import Counters, Parts, load_checkpoint, prune, save_checkpoint
from unpaired.training.trainer import Trainer

DISPLAY_SECONDS = 0.5
"""How often the progress display asks the device for the losses."""
LISTEN_STEPS = 10
"""On a GPU, which must be waited for, a process looks this often whether another one wants to stop."""
PATIENCE_SECONDS = 5.0
"""With several processes, a signal that comes again so soon is the same one, passed on by torchrun."""


class Run:
    """One training in one folder."""

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        data: TrainingData,
        trainer: Trainer,
        display: Progress,
        workers: int,
        fits: Sequence[Fit] = (),
        fits_in_words: str = "",
    ) -> None:
        self.folder, self.config, self.data, self.trainer, self.display = folder, config, data, trainer, display
        self.workers, self.fits, self.fits_in_words = workers, fits, fits_in_words
        self.kept = {"images": Kept(record_images(data).to_json()), "config": Kept(without_none(config.to_json()))}
        self.preview = Preview(data, config.training.num_samples, trainer.device)
        self.epoch_images = max(len(data.a), len(data.b))
        planned = config.training.total_epochs * self.epoch_images
        self.total_images = min(planned, config.training.max_images or planned)
        self.counters = Counters()
        device = trainer.device
        self.interval, self.epoch_means, self.plateau = Means(device), Means(device), Plateau()
        self.interval_start = (0, 0.0, 0.0)  # images, seconds, seconds waited when the interval began
        self.last_losses: dict[str, float] = {}
        self.saved_at: int | None = None
        self.world = trainer.world
        self.callbacks = Callbacks([], display.warn)
        self.pace = Pace(self.total_images)
        self.watchdog = Watchdog(STEP_TIMEOUT.total_seconds())
        lengths = {"epoch_images": self.epoch_images, "total_images": self.total_images}
        self.best_checkpoints = BestCheckpoints(folder, config.training, data, trainer, display, **lengths)
        self.selection = self.best_checkpoints.selection

    # ------------------------------------------------------------------------------------------------------ state

    @property
    def images_seen(self) -> int:
        """Images of each domain so far."""
        return self.counters.images_seen

    def parts(self) -> Parts:
        """Return all that, beside the trainer, saves and loads itself."""
        return {
            "": self.counters,
            "epoch_means": self.epoch_means,
            "plateau": self.plateau,
            "evaluation": self.best_checkpoints,
            **self.kept,
        }

    def restore(self, checkpoint: Path) -> None:
        """Bring everything to the state of a checkpoint; say so where the number of processes is another one."""
        document = load_checkpoint(checkpoint, self.trainer, self.parts())
        self.saved_at = self.images_seen
        self._compare_processes(document.get("processes", 1))

    def require_something_left(self) -> None:
        """Raise `UserError` where the run has reached its end already, naming what sets it."""
        if self.selection.is_exhausted and self.images_seen < self.total_images:
            raise UserError(
                f"this run has ended after {self.images_seen:,} images: {self.selection.reason_to_end()}. Nothing was "
                f"changed. Set training.patience to more than {self.selection.without_better} to go on."
            )
        if self.images_seen < self.total_images:
            return
        limit = self.config.training.max_images
        ends = limit is not None and limit == self.total_images
        names = ("training.max_images",) if ends else ("training.epochs", "training.decay_epochs")
        length = f"the epochs make {self.total_images:,} images"
        remedy = f"{option('training.max_images')} is {limit}" if ends else length
        raise UserError(
            f"nothing is left to train: {self.images_seen:,} images are done, and {remedy}. Nothing was changed. Raise "
            f"{' or '.join(option(name) for name in names)}."
        )

    def _compare_processes(self, before: int) -> None:
        now, training = self.world.size, self.config.training
        if before == now:
            return
        rows = training.batch_size * training.accumulate
        self.display.message(
            f"This run was trained by {before} process{'es' if before > 1 else ''} and goes on with {now}: images per "
            f"domain and update change from {rows * before} to {rows * now}. "
            + ("The new processes begin with empty pools." if now > before else "The pools of the others are dropped.")
        )

    # ------------------------------------------------------------------------------------------------------- loop

    def train(self, log: Log, callbacks: Sequence[Callback] = ()) -> Result:
        """Train to the end or to the first signal; `callbacks` are called in the first process."""
        training = self.config.training
        self.callbacks = Callbacks(callbacks if self.world.is_first else (), self.display.warn)
        loader = UnpairedLoader(
            self.data,
            batch_size=training.batch_size,
            seed=training.seed,
            start_images=self.images_seen,
            rank=self.world.rank,
            world_size=self.world.size,
            workers=self.workers,
            device=self.trainer.device,
        )
        result: Result | None = None
        try:
            with Interrupt(PATIENCE_SECONDS if self.world.size > 1 else 0.0) as interrupt, self._watched():
                self.callbacks.call("on_start", lambda each: each.on_start(self.folder, self.config.to_json()))
                result = self._train(log, loader, interrupt)
            return result
        except UserError as error:
            diverged = isinstance(error, health.NonFiniteError)
            if diverged and not self.world.is_first:
                raise ReportedElsewhere(str(error)) from error  # losses and weights are the same everywhere
            with contextlib.suppress(UserError):  # on a full disk the log cannot say so either
                self._event(log, "failed", str(error), **({"topic": "diverged"} if diverged else {}))
            raise (health.NonFiniteError(str(error), self.rescue()) if diverged else error) from error.__cause__
        finally:
            loader.close()
            self.trainer.close()
            with contextlib.suppress(UserError):
                self._write_page()
            self.callbacks.call("on_end", lambda each: each.on_end(result))

    def rescue(self) -> str:
        """Say what helps a training that diverged, and how to resume it."""
        training = self.config.training
        rate = f"training.learning_rate={training.learning_rate / 2:g}"
        remedies = [f"a smaller {option('training.learning_rate')} (it is {training.learning_rate:g})"]
        remedies += [] if training.clip_norm else ["training.clip_norm = 1"]
        remedies += [f"{option('training.precision', 'fp32')}"] if training.precision != "fp32" else []
        text = f"What usually helps: {', '.join(remedies)}, and a look at the images for values outside their range."
        there = [int(folder.name) for folder in checkpoints_of(self.folder)]
        if not there:
            return f"{text} No checkpoint was written yet: start a new run with that changed."
        return (
            f"{text} The checkpoint after {max(there):,} images is intact. A resumed run would repeat the same steps: "
            f"change some when resuming: unpaired train --resume {self.folder} --set {rate} --set training.clip_norm=1."
        )

    def _require_folder(self) -> None:
        """Raise `UserError` where the run's folder was deleted or moved: a new one would hold half a run."""
        if self.world.is_first and not (self.folder / CONFIG).is_file():
            raise UserError(
                f"{self.folder} was deleted or moved while it was trained, so nothing more can be saved. What was "
                f"moved can be resumed: unpaired train --resume FOLDER."
            )

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Let the watchdog end this process when steps end no more, where nothing else would."""
        watches = self.world.size > 1 and self.trainer.device.type != "cpu"
        with self.watchdog if watches else contextlib.nullcontext():
            yield

    def _train(self, log: Log, loader: UnpairedLoader, interrupt: Interrupt) -> Result:
        self._write(log, {"images": self.images_seen, "declared": self.trainer.method.declared()})
        batches = (Batch(x, y) for x, y in loader)
        started, before = time.monotonic(), self.counters.seconds
        shown = 0.0
        self.interval_start = (self.images_seen, self.counters.seconds, 0.0)
        if self.images_seen == 0:
            self._sample(log)
        while not self._is_complete and not self._is_to_stop(interrupt):
            seen = self.images_seen
            self.trainer.set_rate(self._rate(seen // self.epoch_images))
            losses = self.trainer.step(batches)
            self.watchdog.beat()
            self.counters.step += 1
            if self.trainer.device.type == "cpu":
                health.check_finite(losses, self.counters.step)
            self.interval.add(losses)
            self.epoch_means.add(losses)
            self.counters.images_seen = loader.images_seen
            self.counters.seconds = before + time.monotonic() - started
            self._show_expected_time()
            if self.world.is_first and time.monotonic() - shown > DISPLAY_SECONDS:
                self._show(self._record(loader))
                shown = time.monotonic()
            self._after_step(seen, log, loader)
        state: State = "finished" if self._is_complete else "interrupted"
        return self._end(log, loader, state, interrupt)

    def _show_expected_time(self) -> None:
        rest = self.pace.observe(self.images_seen, self.counters.seconds)
        if rest is not None and (expected := expectation(rest)):
            text, is_warning = expected
            (self.display.warn if is_warning else self.display.message)(text)

    @property
    def _is_complete(self) -> bool:
        return self.images_seen >= self.total_images or self.selection.is_exhausted

    def _is_to_stop(self, interrupt: Interrupt) -> bool:
        """Whether to stop before the next step; all processes must say the same, so they ask with their gradients."""
        if self.world.size == 1:
            return interrupt.received is not None
        if interrupt.received is not None:
            self.trainer.request_stop()
        waits = self.trainer.device.type != "cpu"
        return not (waits and self.counters.step % LISTEN_STEPS) and self.trainer.stop_heard()

    def _rate(self, epoch: int) -> float:
        return (
            self.plateau.factor if self.config.training.schedule == "plateau" else factor(self.config.training, epoch)
        )

    def _after_step(self, seen: int, log: Log, loader: UnpairedLoader) -> None:
        """Do what is due between `seen` and `images_seen`."""
        training = self.config.training

        def due(every: int) -> bool:
            return self.images_seen // every > seen // every

        if due(training.log_every_images) or self.images_seen >= self.total_images:
            self._log(log, loader)
        if due(self.epoch_images):
            self._end_epoch(log)
        is_best = self.best_checkpoints.is_due(seen, self.images_seen) and self._evaluate(log)
        last = self._is_complete  # an evaluation may have been the last one too
        is_sampled = due(training.sample_every_images or self.epoch_images) or last
        if is_sampled:
            self._sample(log)
        if due(training.checkpoint_every_images or self.epoch_images) or last or is_best:
            self.save(log)
        if is_best:
            self.best_checkpoints.keep()
        if is_sampled:
            self._write_page()

    def _evaluate(self, log: Log) -> bool:
        verdict = self.best_checkpoints.evaluate(self.images_seen, self.counters.seconds, self.watchdog)
        self.counters.seconds = verdict.seconds
        self._write(log, verdict.record)
        if verdict.notice and "evaluations" not in self.counters.warned:
            self.counters.warned.add("evaluations")
            self.display.message(verdict.notice)
            self._event(log, "thinned", verdict.notice)
        return verdict.is_best

    def _end_epoch(self, log: Log) -> None:
        means = self.epoch_means.read()
        self.plateau.observe(sum(health.without_discriminators(means, self.trainer.method).values()))
        self._warn(log, health.discriminator_warnings(means, self.trainer.method))
        self.epoch_means.clear()

    def _end(self, log: Log, loader: UnpairedLoader, state: State, interrupt: Interrupt) -> Result:
        checkpoint = self.folder / CHECKPOINTS / f"{self.images_seen:09d}"
        if self.saved_at != self.images_seen:
            self._log(log, loader)
            checkpoint = self.save(log)
        peaks = [peak for peak in self.world.collect(peak_memory(self.trainer.device)) if peak is not None]
        if state == "finished" and (report := self.best_checkpoints.report(self.watchdog)):
            self._event(log, "reported", **report)
        early = self.selection.reason_to_end() if state == "finished" and self.images_seen < self.total_images else None
        memory = max(peaks, default=None)
        self._event(
            log,
            state,
            f"{self.images_seen} of {self.total_images} images" + (f"; {early}" if early else ""),
            reason=early,
            seconds=self.counters.seconds,
            peak_memory_bytes=memory,
            device=self.trainer.device.type,
        )
        return Result(
            run=self.folder,
            checkpoint=checkpoint,
            directions=tuple(self.trainer.translators()),
            state=state,
            images_seen=self.images_seen,
            seconds=self.counters.seconds,
            losses=self.last_losses,
            signal=int(interrupt.received or signal.SIGTERM) if state == "interrupted" or interrupt.received else None,
            device=self.trainer.device.type,
            peak_memory_bytes=memory,
            best=self._best(),
            advice=self.best_checkpoints.advice(self.counters.seconds),
            ended_early=early,
            is_first=self.world.is_first,
            initialized=tuple(self.fits),
            translates=self.trainer.method.translates,
        )

    def _best(self) -> BestCheckpoint | None:
        try:
            return read_best(self.folder)
        except DamagedError as error:  # the training itself has ended well
            self.display.warn(str(error))
            return None

    # ---------------------------------------------------------------------------------------------- what is written

    def save(self, log: Log) -> Path:
        """Write a checkpoint and delete those that are no longer to be kept."""
        health.check_finite(self.epoch_means.sums() or {"none": torch.zeros(())}, self.counters.step)
        health.check_weights(self.trainer.parameters, self.counters.step)
        self._require_folder()
        self.counters.checkpoints_written += 1
        folder = self.folder / CHECKPOINTS / f"{self.images_seen:09d}"
        save_checkpoint(
            folder,
            self.trainer,
            self.parts(),
            method=self.config.method,
            domains={"a": self.data.domain_a, "b": self.data.domain_b},
            training_size=self.data.size,
            scale=self.data.scale,
            readers=self.config.data.readers,
            side_by_side=self.config.data.side_by_side,
        )
        self.saved_at = self.images_seen
        if not self.world.is_first:
            return folder
        training = self.config.training
        for old in prune(checkpoints_of(self.folder), training.keep_last, training.keep_every):
            shutil.rmtree(old, ignore_errors=True)
        self._event(log, "checkpoint", folder.name)
        self.callbacks.call("on_checkpoint", lambda each: each.on_checkpoint(folder, self.images_seen))
        return folder

    def _record(self, loader: UnpairedLoader) -> dict[str, Any]:
        images, seconds, waited = self.interval_start
        elapsed = max(self.counters.seconds - seconds, 1e-9)
        return {
            "images": self.images_seen,
            "epoch": self.images_seen / self.epoch_images,
            "step": self.counters.step,
            "seconds": self.counters.seconds,
            "images_per_second": (self.images_seen - images) / elapsed,
            "waiting_share": min(1.0, (loader.waiting_seconds - waited) / elapsed),
            "learning_rates": self.trainer.rates(),
            "losses": self.interval.read() or self.last_losses,
        }

    def _log(self, log: Log, loader: UnpairedLoader) -> None:
        if not self.interval.count:
            return
        sums: dict[str, Tensor] = self.interval.sums()
        health.check_finite(sums, self.counters.step)
        record = self._record(loader)
        self.last_losses = record["losses"]
        self._write(log, record)
        self._show(record)
        self.interval.clear()
        self.interval_start = (self.images_seen, self.counters.seconds, loader.waiting_seconds)

    def _show(self, record: dict[str, Any]) -> None:
        epoch = min(int(record["epoch"]) + 1, -(-self.total_images // self.epoch_images))
        self.display.update(
            record, total_images=self.total_images, epoch=epoch, epochs=-(-self.total_images // self.epoch_images)
        )

    def _sample(self, log: Log) -> None:
        if not self.config.training.num_samples or not self.world.is_first:
            return
        self._require_folder()
        self.preview.keep_inputs(self.folder)
        grid, warnings = self.preview.draw(self.trainer.translators(), self.images_seen, self.trainer.method)
        picture = save_grid(self.folder, self.images_seen, grid)
        log.image("samples", grid, self.images_seen)
        self.display.sample(picture)
        self.callbacks.call("on_sample", lambda each: each.on_sample(picture, self.images_seen))
        if self.images_seen >= min(self.epoch_images, 1000):  # untrained networks invert and repeat as they like
            self._warn(log, warnings)

    def _write_page(self) -> None:
        if self.world.is_first and (self.folder / CONFIG).is_file():
            write_page(self.folder)

    def _warn(self, log: Log, warnings: dict[str, str]) -> None:
        for kind, text in warnings.items():
            if kind not in self.counters.warned:  # once is a message, every epoch is noise
                self.counters.warned.add(kind)
                self.display.warn(text)
                self._event(log, "warning", text, topic=kind)

    def _event(self, log: Log, kind: EventKind, text: str, **facts: Any) -> None:
        self._write(log, event(kind, self.images_seen, text, **facts))

    def _write(self, log: Log, record: Mapping[str, Any]) -> None:
        log.write(record)
        self.callbacks.call("on_log", lambda each: each.on_log(record))
