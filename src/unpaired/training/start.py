"""Beginning and resuming a training, with settings of whatever origin."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from unpaired.core.errors import UserError
from unpaired.core.files import check_out, clear_leftovers, new_folder, remove, require_new, write_atomic
from unpaired.core.given import Given
from unpaired.data.config import DataConfig
from unpaired.data.folders import image_folders
from unpaired.data.training import TrainingData, open_training_data, with_what_was_found
from unpaired.data.transforms import training_size
from unpaired.methods import Batch, ImageShapes, Method, find_method
from unpaired.models.best import recover_best
from unpaired.models.folder import (
    CHECKPOINTS,
    DamagedError,
    checkpoints_of,
    newest_checkpoint,
    read_document,
    verify,
)
from unpaired.report.image_grid import SAMPLES
from unpaired.report.run_log import Log, MetricsLog, NoLog, event, read_metrics
from unpaired.training.best_checkpoint import with_judge
from unpaired.training.distributed import World, process_group
from unpaired.training.init import freeze, load_weights, with_generator_of
from unpaired.training.modes import explained, residual_channels, settle, widest_layer
from unpaired.training.progress import Progress
from unpaired.training.restart import PATIENCE_SECONDS, has_begun, require_same_view, take_lock
from unpaired.training.result import Callback, Result
from unpaired.training.resume import (
    CONFIG,
    Changes,
    DataChanged,
    find_changes,
    require_named,
    require_same_images,
    resumed_config,
    with_absolute_paths,
)
from unpaired.training.run import Run
from unpaired.training.settings import RunConfig, resolve
from unpaired.training.state import DOCUMENT, seed_process
from unpaired.training.trainer import Trainer


def begin_run(
    given: Sequence[Given],
    folder: Path,
    *,
    go_on: bool = False,
    data_changed: DataChanged = "refuse",
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train from the beginning; with `go_on`, resume the run in the folder where there is one."""
    if not (go_on and has_begun(folder)):
        require_named(given)
        try:
            return start_run(resolve(given), folder, go_on=go_on, quiet=quiet, callbacks=callbacks)
        except TakenError:
            if not go_on:
                raise
    patience = PATIENCE_SECONDS if go_on else 0.0
    return resume_run(
        folder, given, data_changed=data_changed, quiet=quiet, callbacks=callbacks, patience_seconds=patience
    )


class TakenError(UserError):
    """Another process has begun a run in the same folder meanwhile."""


def start_run(
    config: RunConfig,
    folder: Path,
    *,
    go_on: bool = False,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train from the beginning. Nothing is written before images and settings have been found to be good.

    Under torchrun every process calls this; the first one writes. With `go_on` the others may have found a run to
    resume, which is an error.
    """
    config = with_absolute_paths(config)
    with contextlib.ExitStack() as stack:
        world, device = stack.enter_context(process_group(config.training.device))
        if go_on:
            require_same_view(world, False, folder)
        world.on_all_ranks(lambda: _require_place(folder, config.data) if world.is_first else None)
        display = stack.enter_context(_display(world, quiet))
        run = _prepare(config, folder, display, world, device)

        def begin() -> Log:
            if not world.is_first:
                return NoLog()
            try:
                stack.enter_context(new_folder(folder, advice=_advice(folder)))
            except UserError as error:
                raise (TakenError(str(error)) if world.size == 1 and (folder / CONFIG).is_file() else error) from error
            clear_leftovers(folder)
            write_atomic(folder / CONFIG, run.config.to_file())
            return MetricsLog(folder, tensorboard=config.training.tensorboard)

        with contextlib.closing(world.on_all_ranks(begin)) as log:
            _tell_first_weights(run, log)
            return run.train(log, callbacks)


def resume_run(
    folder: Path,
    given: Sequence[Given],
    *,
    data_changed: DataChanged = "refuse",
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
    patience_seconds: float = 0.0,
) -> Result:
    """Resume a run from its newest intact checkpoint, exactly as if it had never stopped.

    What differs from when it stopped is said and logged: settings that a resumed run may change, and images, which
    `data_changed` must allow. Under torchrun every process calls this; their number may be another one than before, and
    the display says what that changes. Another process that still writes to the run is waited for `patience_seconds`.
    """
    before, config = resumed_config(folder, given)
    with contextlib.ExitStack() as stack:
        world, device = stack.enter_context(process_group(config.training.device))
        require_same_view(world, True, folder)
        display = stack.enter_context(_display(world, quiet))

        def find() -> tuple[Path | None, list[str], str | None]:
            if not world.is_first:
                return None, [], None
            take_lock(stack, folder, display.message, patience_seconds)
            return _find_checkpoint(folder)

        checkpoint, messages, diverged = world.collect(world.on_all_ranks(find))[0]
        for message in messages:
            display.warn(message)
        run = _prepare(config, folder, display, world, device, begins=checkpoint is None)
        changes = Changes()
        if checkpoint is None:
            display.message(f"{folder} stopped before its first checkpoint: starting from the beginning.")
        else:
            changes = world.on_all_ranks(lambda: _compare(checkpoint, before, run, data_changed))
            world.on_all_ranks(lambda: run.restore(checkpoint))
            run.best_checkpoints.restore_best()
            if changes.settings:
                run.require_something_left()

        def begin() -> Log:
            if not world.is_first:
                return NoLog()
            write_atomic(folder / CONFIG, run.config.to_file())
            return MetricsLog(folder, tensorboard=config.training.tensorboard, resumed_at=run.images_seen)

        with contextlib.closing(world.on_all_ranks(begin)) as log:
            text = f"from {checkpoint.name if checkpoint else 'the beginning'}"
            display.message(f"Resuming {text}: {run.images_seen:,} of {run.total_images:,} images are done.")
            log.write(event("resumed", run.images_seen, text))
            for message in messages:
                log.write(event("warning", run.images_seen, message))
            if text := changes.in_words(config.data):
                display.message(f"Changed since it stopped: {text}.")
                log.write(event("changed", run.images_seen, text, settings=changes.settings))
            elif diverged is not None:
                display.warn(f"the same steps diverged before: {diverged} {run.rescue()}")
            _tell_first_weights(run, log)
            return run.train(log, callbacks)


def _find_checkpoint(folder: Path) -> tuple[Path | None, list[str], str | None]:
    """Return the newest intact checkpoint of a run, what to say of damaged ones, and why the run diverged if it did.

    Clears what killed processes left.
    """
    try:
        if (folder / CHECKPOINTS).exists() and not (folder / CHECKPOINTS).is_dir():
            raise UserError(f"{folder / CHECKPOINTS} is not a folder. Nothing was changed. Put the run's own one back.")
        recover_best(folder)
        for place in (folder, folder / CHECKPOINTS, folder / SAMPLES):
            clear_leftovers(place)
        checkpoint, messages = newest_checkpoint(folder) if checkpoints_of(folder) else (None, [])
        _set_damaged_aside(folder, checkpoint)
        endings = [each for each in read_metrics(folder) if each.get("event") in ("failed", "finished", "interrupted")]
    except OSError as error:
        raise UserError(
            f"{folder} cannot be resumed: {error.strerror or error} ({error.filename}). Make its files readable and "
            "writable, or copy the run."
        ) from error
    last = endings[-1] if endings else {}
    return checkpoint, messages, str(last.get("text")) if last.get("topic") == "diverged" else None


def _compare(checkpoint: Path, before: RunConfig, run: Run, data_changed: DataChanged) -> Changes:
    document = read_document(checkpoint, DOCUMENT)
    try:
        changes = find_changes(before, run.config, run.data, document, int(document["images_seen"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedError(f"{checkpoint} is damaged: {DOCUMENT} holds what no training wrote ({error}).") from error
    require_same_images(changes, run.config.data, run.folder, data_changed)
    return changes


def _tell_first_weights(run: Run, log: Log) -> None:
    """Say and log what was taken from the model in `training.init_from`, where training begins."""
    if run.fits:
        run.display.message(run.fits_in_words)
        log.write(event("initialized", 0, run.fits_in_words, networks=[dataclasses.asdict(fit) for fit in run.fits]))


def _require_place(folder: Path, data: DataConfig) -> None:
    """Raise `UserError` unless a run can begin in a folder; in a folder of images its samples would become images."""
    require_new(folder, _advice(folder))
    check_out(folder, reads=image_folders(data), replaces=())


def _advice(folder: Path) -> str:
    begun = f"Resume it: unpaired train --resume {folder}. Or" if (folder / CONFIG).is_file() else "Please"
    return f"{begun} choose another --out."


@contextlib.contextmanager
def _display(world: World, quiet: bool) -> Iterator[Progress]:
    """Yield what a person sees; only the first process shows anything."""
    if world.is_first:
        with Progress(quiet=quiet) as display:
            yield display
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, Progress(quiet=True, stream=nowhere) as display:
        yield display


def _prepare(
    config: RunConfig, folder: Path, display: Progress, world: World, device: torch.device, *, begins: bool = True
) -> Run:
    """Open the data and build method and trainer; writes nothing. A run that `begins` may start from given weights."""
    if begins:
        config = world.on_all_ranks(lambda: with_generator_of(config))
    multiple, minimum, widest, residual = _demands(config)
    fixed = training_size(config.data) is not None
    training = settle(config.training, device, widest, residual=residual, fixed_sizes=fixed)
    if training.threads:
        torch.set_num_threads(training.threads)

    def open_data() -> TrainingData:
        return open_training_data(
            config.data,
            paired=find_method(config.method).paired,
            size_multiple=multiple,
            minimum_size=minimum,
            batch_size=training.batch_size,
            progress=display.checking,
        )

    data = world.first_on_each_machine(open_data)
    shapes = ImageShapes(channels_a=data.domain_a.channels, channels_b=data.domain_b.channels, size=data.size)
    kind = find_method(config.method)
    judge, said = world.on_all_ranks(lambda: with_judge(config.training, data)) if begins else (config.training, "")
    settings, notices = kind.adapt(config.settings, shapes, config.chosen_settings())
    for notice in [
        *data.notices,
        *notices,
        *([said] if said else []),
        explained(config.training, training, device, world),
    ]:
        display.message(notice)
    # What arithmetic was chosen is kept with the run; how fast it is carried out may be chosen again elsewhere.
    kept = dataclasses.replace(judge, precision=training.precision)
    found = with_what_was_found(config.data, data)
    config = dataclasses.replace(config, settings=settings, training=kept, data=found)
    _rehearse(config, shapes)
    if device.type == "cuda" and data.size is not None:
        torch.backends.cudnn.benchmark = True  # one size: the fastest kernels are found once
    torch.manual_seed(training.seed)
    method = kind(settings, shapes)
    fits, text = world.on_all_ranks(lambda: load_weights(method, config)) if begins and training.init_from else ([], "")
    world.on_all_ranks(lambda: freeze(method, training.freeze))
    trainer = Trainer(
        method,
        training,
        device,
        world=world,
        fixed_sizes=data.size is not None,
        missing=data.has_missing,
        warn=display.warn,
    )
    if not world.is_first:
        seed_process(training.seed, world.rank)
    return Run(folder, config, data, trainer, display, config.data.workers, fits, text)


def _build_without_storage(config: RunConfig, shapes: ImageShapes) -> Method:
    """Return the method with networks that have shapes and no weights, which costs next to nothing."""
    with torch.device("meta"):
        return find_method(config.method)(config.settings, shapes)


def _demands(config: RunConfig) -> tuple[int, int, int, int]:
    """Return what all translators together demand and have.

    What image sizes must be a multiple of, the smallest size, and the channels of the widest layer and residual block.
    """
    shapes = ImageShapes(channels_a=3, channels_b=3, size=training_size(config.data))
    method = _build_without_storage(config, shapes)
    generators = list(method.translators().values())
    multiple, minimum = max(g.size_multiple for g in generators), max(g.minimum_size for g in generators)
    return multiple, minimum, widest_layer(method), residual_channels(method)


def _rehearse(config: RunConfig, shapes: ImageShapes) -> None:
    """Send a batch of the training size through the first update, computing nothing, to meet size errors now."""
    if shapes.size is None:
        return
    method = _build_without_storage(config, shapes)
    rows = config.training.batch_size
    with torch.device("meta"):
        batch = Batch(
            torch.empty(rows, shapes.channels_a, *shapes.size), torch.empty(rows, shapes.channels_b, *shapes.size)
        )
        next(method.step(itertools.repeat(batch)))


def _set_damaged_aside(folder: Path, good: Path | None) -> None:
    """Rename damaged checkpoints newer than the good one, so that none of them counts as one that is kept."""
    for checkpoint in checkpoints_of(folder):
        if checkpoint == good:
            return
        try:
            verify(checkpoint)
        except DamagedError:
            aside = checkpoint.with_name(f"{checkpoint.name}.damaged")
            remove(aside)
            checkpoint.rename(aside)
