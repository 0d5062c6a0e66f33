"""Beginning and resuming a training, from Python and from the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.extensions import allow_extensions, is_spec
from unpaired.core.files import check_out, clear_leftovers, locked, new_folder, remove, require_new, write_atomic
from unpaired.core.given import Given, without_none
from unpaired.core.settings import option
from unpaired.data.config import DataConfig
from unpaired.data.folders import image_folders
from unpaired.data.training import TrainingData, open_training_data, with_found_labels
from unpaired.data.transforms import training_size
from unpaired.methods import Batch, ImageShapes, Method, find_method
from unpaired.metrics.features import with_absolute_path
from unpaired.models.best import recover_best
from unpaired.models.folder import CHECKPOINTS, DamagedError, checkpoints_of, newest_checkpoint, verify
from unpaired.report.image_grid import SAMPLES
from unpaired.report.run_log import Log, MetricsLog, NoLog, event
from unpaired.training.callbacks import Callback
from unpaired.training.config import TrainingConfig
from unpaired.training.distributed import World, process_group
from unpaired.training.modes import explained, settle, widest_layer
from unpaired.training.progress import Progress
from unpaired.training.result import Result
from unpaired.training.run import Run
from unpaired.training.settings import RunConfig, find_settings_class, read_file, resolve
from unpaired.training.state import seed_process
from unpaired.training.trainer import Trainer

CONFIG = "config.json"
AUTO = "auto"
"""In place of a run to resume: begin, or go on with what is there, as job schedulers want it."""
_SECTIONS = (("data", DataConfig), ("training", TrainingConfig))

RESUMABLE = frozenset(
    {
        *(f"data.{name}" for name in ("root", "a", "b", "test_a", "test_b", "cache", "workers")),
        *(f"training.{name}" for name in ("epochs", "decay_epochs", "max_images", "device", "threads")),
        *(f"training.{name}" for name in ("log_every_images", "sample_every_images", "checkpoint_every_images")),
        *(f"training.{name}" for name in ("compile", "graph", "memory_format", "recompute")),
        *(f"training.{name}" for name in ("evaluate_every_images", "evaluate_features", "patience")),
        *(f"training.{name}" for name in ("num_samples", "keep_last", "keep_every", "tensorboard")),
    }
)
"""Settings that a resumed training may change: where the data lies, how long to go on, what to keep, where to run."""


def train(
    method: str = "cyclegan",
    *,
    data: str | Path | None = None,
    a: str | Path | None = None,
    b: str | Path | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
    extensions: Sequence[str] = (),
    **named: Any,
) -> Result:
    """Train a method on two folders of images, or resume a run; the same as `unpaired train`.

    - `data` is a folder with both domains, or `a` and `b` are one folder each; `out` is the run's new folder.
    - Any setting may be given by its name: `crop_size=128`, `epochs=5`, `cycle_weight=5.0`. `config` is a TOML file (or
      the name of a shipped one), `settings` maps dotted names to values (`{"training.epochs": 5}`); settings given by
      name win over `settings`, and these over the file. `unpaired settings METHOD` lists all of them.
    - `resume` is a run to go on with, given with nothing else but settings that a resumed run may change. With
      `resume="auto"` and `out`, the run in `out` is begun, or gone on with where it exists.
    - `callbacks` are told of the log, samples, checkpoints and the end, see `unpaired.Callback`.
    - `method` may be a user's own, `package.module:Name`, and so may families of networks. A run that is resumed needs
      those that it names once more, in `extensions`.

    Raises `UserError`.
    """
    allow_extensions([*extensions, *([method] if is_spec(method) else [])])
    given = [read_file(config)] if config is not None else []
    if settings:
        given.append(Given(dict(settings), "settings['{name}']"))
    places = {"data.root": data, "data.a": a, "data.b": b}
    flags = {name: str(value) for name, value in places.items() if value is not None}
    given.append(Given(flags | _by_name(method, named), "{name}"))
    if resume is not None and str(resume) != AUTO:
        if any(value is not None for value in (data, a, b, out, config)):
            raise UserError("resume takes everything from the run: leave out data, a, b, out and config.")
        return resume_run(Path(resume), given, quiet=quiet, callbacks=callbacks)
    if out is None:
        raise UserError("out is missing: the folder that this run is to be written to.")
    given.append(Given({"method.name": method}, "method"))
    return begin_run(given, Path(out), go_on=resume is not None, quiet=quiet, callbacks=callbacks)


def _by_name(method: str, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that were given without their section by their dotted names."""
    sections: dict[str, str] = {}
    for section, kind in (("method", find_settings_class(method)), *_SECTIONS):
        sections |= {field.name: section for field in dataclasses.fields(kind)}
    for name in named:
        if name not in sections:
            near = did_you_mean(name, sections)
            raise UserError(
                f"{name}: train() has no such argument and {method} no such setting.{near} "
                f"See: unpaired settings {method}."
            )
    return {f"{sections[name]}.{name}": value for name, value in named.items() if value is not None}


def begin_run(
    given: Sequence[Given],
    folder: Path,
    *,
    go_on: bool = False,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train from the beginning; with `go_on`, resume the run in the folder where there is one."""
    if go_on and (folder / CONFIG).is_file():
        return resume_run(folder, given, quiet=quiet, callbacks=callbacks)
    return start_run(resolve(given), folder, quiet=quiet, callbacks=callbacks)


def start_run(config: RunConfig, folder: Path, *, quiet: bool = False, callbacks: Sequence[Callback] = ()) -> Result:
    """Train from the beginning. Nothing is written before images and settings have been found to be good.

    Under torchrun every process calls this; the first one writes.
    """
    config = _with_absolute_paths(config)
    with contextlib.ExitStack() as stack:
        world, device = stack.enter_context(process_group(config.training.device))
        world.on_all_ranks(lambda: _require_place(folder, config.data) if world.is_first else None)
        display = stack.enter_context(_display(world, quiet))
        run = _prepare(config, folder, display, world, device)

        def begin() -> Log:
            if not world.is_first:
                return NoLog()
            stack.enter_context(new_folder(folder, advice=_advice(folder)))
            clear_leftovers(folder)
            write_atomic(folder / CONFIG, _to_bytes(run.config))
            return MetricsLog(folder, tensorboard=config.training.tensorboard)

        with contextlib.closing(world.on_all_ranks(begin)) as log:
            return run.train(log, callbacks)


def resume_run(
    folder: Path, given: Sequence[Given], *, quiet: bool = False, callbacks: Sequence[Callback] = ()
) -> Result:
    """Go on with a run from its newest intact checkpoint, exactly as if it had never stopped.

    Under torchrun every process calls this; their number may be another one than before, and the display says what
    that changes.
    """
    if not (folder / CONFIG).is_file():
        raise UserError(f"{option('resume')} {folder}: this is not a run; it holds no {CONFIG}.")
    config = _resumed_config(folder, given)
    with contextlib.ExitStack() as stack:
        world, device = stack.enter_context(process_group(config.training.device))
        display = stack.enter_context(_display(world, quiet))

        def find() -> tuple[Path | None, list[str]]:
            if not world.is_first:
                return None, []
            stack.enter_context(locked(folder))
            recover_best(folder)
            for place in (folder, folder / CHECKPOINTS, folder / SAMPLES):
                clear_leftovers(place)
            checkpoint, messages = newest_checkpoint(folder) if checkpoints_of(folder) else (None, [])
            _set_damaged_aside(folder, checkpoint)
            return checkpoint, messages

        checkpoint, messages = world.collect(world.on_all_ranks(find))[0]
        for message in messages:
            display.warn(message)
        run = _prepare(config, folder, display, world, device)
        if checkpoint is None:
            display.message(f"{folder} stopped before its first checkpoint: starting from the beginning.")
        else:
            world.on_all_ranks(lambda: run.restore(checkpoint))
            run.best_checkpoints.restore_best()
            if any(source.values for source in given):
                run.require_something_left()

        def begin() -> Log:
            if not world.is_first:
                return NoLog()
            write_atomic(folder / CONFIG, _to_bytes(run.config))
            return MetricsLog(folder, tensorboard=config.training.tensorboard, resumed_at=run.images_seen)

        with contextlib.closing(world.on_all_ranks(begin)) as log:
            text = f"from {checkpoint.name if checkpoint else 'the beginning'}"
            display.message(f"Resuming {text}: {run.images_seen:,} of {run.total_images:,} images are done.")
            log.write(event("resumed", run.images_seen, text))
            for message in messages:
                log.write(event("warning", run.images_seen, message))
            return run.train(log, callbacks)


def _resumed_config(folder: Path, given: Sequence[Given]) -> RunConfig:
    """Return a run's settings with those that were given; `UserError` for a change that a resumed run cannot take."""
    saved = read_file(folder / CONFIG)
    before, config = (_with_absolute_paths(resolve(sources)) for sources in ([saved], [saved, *given]))
    for source in given:
        for name in source.values.keys() - RESUMABLE:
            if _value(config, name) != _value(before, name):
                raise UserError(
                    f"{source.called(name)}: cannot be changed when a run is resumed. Start a new run, or change only: "
                    f"{', '.join(sorted(RESUMABLE))}."
                )
    return config


def _value(config: RunConfig, name: str) -> Any:
    value: Any = config.to_json()
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _require_place(folder: Path, data: DataConfig) -> None:
    """Raise `UserError` unless a run can begin in a folder; in a folder of images its samples would become images."""
    require_new(folder, _advice(folder))
    check_out(folder, reads=image_folders(data), replaces=())


def _advice(folder: Path) -> str:
    begun = f"Go on with it: unpaired train --resume {folder}. Or" if (folder / CONFIG).is_file() else "Please"
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


def _prepare(config: RunConfig, folder: Path, display: Progress, world: World, device: torch.device) -> Run:
    """Open the data and build method and trainer; writes nothing."""
    multiple, minimum, widest = _demands(config)
    training = settle(config.training, device, widest, fixed_sizes=training_size(config.data) is not None)
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
    settings, notices = kind.adapt(config.settings, shapes, config.chosen_settings())
    for notice in [*data.notices, *notices, explained(config.training, training, device, world)]:
        display.message(notice)
    # What arithmetic was chosen is kept with the run; how fast it is carried out may be chosen again elsewhere.
    kept = dataclasses.replace(config.training, precision=training.precision)
    found = with_found_labels(config.data, data)
    config = dataclasses.replace(config, settings=settings, training=kept, data=found)
    _rehearse(config, shapes)
    if device.type == "cuda" and data.size is not None:
        torch.backends.cudnn.benchmark = True  # one size: the fastest kernels are found once
    torch.manual_seed(training.seed)
    method = kind(settings, shapes)
    trainer = Trainer(method, training, device, world=world, fixed_sizes=data.size is not None, warn=display.warn)
    if not world.is_first:
        seed_process(training.seed, world.rank)
    return Run(folder, config, data, trainer, display, config.data.workers)


def _build_without_storage(config: RunConfig, shapes: ImageShapes) -> Method:
    """Return the method with networks that have shapes and no weights, which costs next to nothing."""
    with torch.device("meta"):
        return find_method(config.method)(config.settings, shapes)


def _demands(config: RunConfig) -> tuple[int, int, int]:
    """Return what image sizes must be a multiple of, the smallest size, and the widest layer, of all translators."""
    shapes = ImageShapes(channels_a=3, channels_b=3, size=training_size(config.data))
    method = _build_without_storage(config, shapes)
    generators = list(method.translators().values())
    return max(g.size_multiple for g in generators), max(g.minimum_size for g in generators), widest_layer(method)


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
        next(method.step(iter([batch])))


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """Make the places of data and of features absolute, so that a run can be resumed from anywhere."""
    places = {name: value for name, value in dataclasses.asdict(config.data).items() if name in _FOLDERS and value}
    absolute = {name: os.path.abspath(os.path.expanduser(value)) for name, value in places.items()}
    features = config.training.evaluate_features
    training = dataclasses.replace(config.training, evaluate_features=features and with_absolute_path(features))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **absolute), training=training)


_FOLDERS = ("root", "a", "b", "test_a", "test_b")


def _to_bytes(config: RunConfig) -> bytes:
    return (json.dumps(without_none(config.to_json()), indent=2, ensure_ascii=False) + "\n").encode()


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
