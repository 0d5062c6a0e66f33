"""What a resumed training may change, and what has changed since it stopped: settings, images, its own files."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unpaired.core.errors import UserError, option
from unpaired.core.extensions import allow_extensions, is_spec, named_extensions
from unpaired.core.given import Given, flatten, read_document
from unpaired.core.text import printable
from unpaired.data.catalogue import is_dataset
from unpaired.data.changes import ImageRecord, PartChange, compare_records, record_images
from unpaired.data.config import DataConfig
from unpaired.data.streams.stream import absolute
from unpaired.data.training import TrainingData
from unpaired.metrics.features import is_code, with_absolute_path
from unpaired.models.folder import checkpoints_of
from unpaired.models.folder import read_document as read_part
from unpaired.models.named import is_model_name
from unpaired.training.schedule import factor
from unpaired.training.settings import CHECKSUM, RunConfig, checksum, resolve
from unpaired.training.state import DOCUMENT

CONFIG = "config.json"
FEATURES = "training.evaluate_features"
DataChanged = Literal["refuse", "continue"]
"""What to do where a run is resumed with other images."""
FOLDERS = ("root", "a", "b", "test_a", "test_b")
RESUMABLE = frozenset(
    {
        *(f"data.{name}" for name in (*FOLDERS, "cache", "workers", "shard_cache")),
        *(f"training.{name}" for name in ("epochs", "decay_epochs", "max_images", "device", "threads")),
        *(f"training.{name}" for name in ("log_every_images", "sample_every_images", "checkpoint_every_images")),
        *(f"training.{name}" for name in ("compile", "graph", "memory_format", "convolution", "recompute")),
        *(f"training.{name}" for name in ("evaluate_every_images", "evaluate_features", "patience")),
        *(f"training.{name}" for name in ("num_samples", "keep_last", "keep_every", "tensorboard")),
    }
)
"""Settings that a resumed training may change: where the data lies, how long to go on, what to keep, where to run."""
_FORMER = {"feature_gan": {"method.features": "vgg"}}
"""By method: the values of settings that runs of earlier versions do not name."""
RESCUING = frozenset(f"training.{name}" for name in ("learning_rate", "clip_norm", "precision"))
"""Settings that it may change as well, to be rescued where it diverged; they lead to other weights."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Plain JSON that a checkpoint keeps for whoever resumes it."""

    document: Mapping[str, Any]

    def state_dict(self) -> dict[str, Any]:
        """Return it."""
        return dict(self.document)

    def load_state_dict(self, state: Any) -> None:
        """Do nothing: it is compared before anything is loaded."""


# ----------------------------------------------------------------------------------------------------------- settings


def read_run(folder: Path) -> Given:
    """Return the settings of a run; `UserError` where its file was edited."""
    path = folder / CONFIG
    if not path.is_file():
        shared = " All machines need it on a file system that they share." if os.environ.get("WORLD_SIZE") else ""
        raise UserError(f"{option('resume')} {printable(folder)}: this is not a run; it holds no {CONFIG}.{shared}")
    document = read_document(path, f"{option('resume')} {path}")
    stated = document.pop(CHECKSUM, None)  # earlier versions wrote none
    flat = flatten(document)
    if stated is not None and stated != checksum(document):
        kept = _kept_settings(folder)
        names = [name for name in sorted(kept.keys() | flat.keys()) if kept and kept.get(name) != flat.get(name)]
        differs = "".join(f" {name} is {flat.get(name)}; it was {kept.get(name)}." for name in names)
        raise UserError(
            f"{printable(path)} was edited: its checksum differs.{differs} Nothing was changed. Undo that, and give a "
            f"changed setting when you resume: unpaired train --resume {printable(folder)} --set NAME=VALUE. Or start "
            f"a new run with the edited file: unpaired train --config {printable(path)} --out RUN."
        )
    former = _FORMER.get(flat.get("method.name", ""), {})
    return Given({**former, **flat}, f"{path}: {{name}}", record=True)


def _kept_settings(folder: Path) -> dict[str, Any]:
    """Return the settings that the newest checkpoint remembers, empty for none."""
    try:
        return flatten(read_part(checkpoints_of(folder)[0], DOCUMENT).get("config", {}))
    except (UserError, OSError, IndexError, AttributeError):
        return {}


def resumed_config(folder: Path, given: Sequence[Given]) -> tuple[RunConfig, RunConfig]:
    """Return a run's settings as they were, and with those that were given; repeating its own value is no change.

    Raises `UserError` for a change that a resumed run cannot take, and for code that only the run's folder names.
    """
    saved = read_run(folder)
    require_named([saved, *given])
    given = [_without_repeated(source, saved.values) for source in given]
    for source in given:
        if "method.name" in source.values:
            raise UserError(
                f"{source.called('method.name')}: {printable(folder)} is a run of {saved.values.get('method.name')}, "
                "and a run keeps its method. Leave it out."
            )
    before = with_absolute_paths(resolve([saved]))
    config = with_absolute_paths(resolve([_without_other_places(saved, given), *given]))
    for source in given:
        for name in source.values.keys() - RESUMABLE - RESCUING:
            if _value(config, name) != _value(before, name):
                raise UserError(
                    f"{source.called(name)}: cannot be changed when a run is resumed. Start a new run (with the "
                    f"weights of this one: {option('training.init_from')}), or change only: "
                    f"{', '.join(sorted(RESUMABLE | RESCUING))}."
                )
    return before, config


def require_named(given: Sequence[Given]) -> None:
    """Raise `UserError` where features that are code are named by a run's own file alone."""
    source = next((source for source in reversed(given) if FEATURES in source.values), None)
    spec = None if source is None else source.values[FEATURES]
    by_folder = source is not None and source.record and spec not in named_extensions()
    if source is not None and by_folder and isinstance(spec, str) and is_code(spec):
        raise UserError(
            f"{source.called(FEATURES)}: {printable(spec)} is code, and what only the folder of a run names is not "
            f"run. If you trust it, name it again: --set {FEATURES}={printable(spec)} on the command line, "
            f'settings={{"{FEATURES}": ...}} in Python.'
        )


def _without_repeated(source: Given, saved: Mapping[str, Any]) -> Given:
    values = {}
    for name, value in flatten(source.values).items():
        if not _is_same(name, value, saved.get(name)):
            values[name] = value
        else:  # named by the user all the same
            words = [value, *(value if isinstance(value, list | tuple) else ())]
            allow_extensions([] if source.record else [word for word in words if is_spec(word) and name != FEATURES])
    return dataclasses.replace(source, values=values)


def _is_same(name: str, value: Any, saved: Any) -> bool:
    if name == "training.precision" and value == "auto":
        return saved is not None  # was decided when the run began
    section, _, last = name.partition(".")
    if isinstance(value, str | Path) and section == "data" and last in FOLDERS:
        return bool(saved == absolute(str(value)))
    if name in (FEATURES, "training.init_from") and isinstance(value, str | Path):
        return saved in (with_absolute_path(str(value)), os.path.abspath(os.path.expanduser(value)))
    plain = json.loads(json.dumps(value, default=str))
    if isinstance(plain, list) and plain == [saved, saved] and name.endswith("_size"):
        return True  # 256x256 is 256
    return bool(plain == saved) and isinstance(plain, bool) == isinstance(saved, bool)


def _without_other_places(saved: Given, given: Sequence[Given]) -> Given:
    """Return a run's settings without the folders that other ones replace: `data.root` or those of each domain."""
    named = {name for source in given for name, value in source.values.items() if value is not None}
    dropped: set[str] = set()
    if "data.root" in named:
        dropped = {f"data.{name}" for name in FOLDERS[1:]}
    elif named & {"data.a", "data.b"}:
        dropped = {"data.root"}
    kept = {name: value for name, value in saved.values.items() if name not in dropped}
    return dataclasses.replace(saved, values=kept)


def _value(config: RunConfig, name: str) -> Any:
    value: Any = config.to_json()
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Make the places of data, features and first weights absolute, so that a run can be resumed from anywhere."""
    places = {name: value for name, value in dataclasses.asdict(config.data).items() if name in FOLDERS and value}
    moved: dict[str, Any] = {name: absolute(value) for name, value in places.items()}
    if config.data.root is not None and is_dataset(config.data.root):  # its name leads to the cache from anywhere
        del moved["root"]
    features, first = config.training.evaluate_features, config.training.init_from
    training = dataclasses.replace(
        config.training,
        evaluate_features=features and with_absolute_path(features),
        init_from=first if first is None or is_model_name(first) else os.path.abspath(os.path.expanduser(first)),
    )
    data: DataConfig = dataclasses.replace(config.data, **moved)
    return dataclasses.replace(config, data=data, training=training)


# ------------------------------------------------------------------------------------------------------- what changed


@dataclass(frozen=True, slots=True)
class Changes:
    """What is other than when the run stopped."""

    settings: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Dotted name -> value before and now."""
    images: tuple[PartChange, ...] = ()
    images_differ: bool = False
    """Whether training images differ; the checkpoints of earlier versions say no more."""
    moved: tuple[str, ...] = ()
    """How epoch and learning rate move, one phrase each."""

    def in_words(self, data: DataConfig) -> str:
        """Return one sentence, empty where nothing has changed."""
        parts = [f"{name}: {before} -> {now}" for name, (before, now) in self.settings.items()]
        parts += [change.in_words(change.part.title(data)) for change in self.images]
        parts += ["other images than before"] if self.images_differ and not self.images else []
        return "; ".join([*parts, *self.moved])


def find_changes(
    before: RunConfig, now: RunConfig, data: TrainingData, document: Mapping[str, Any], images_seen: int
) -> Changes:
    """Compare settings and images with what a checkpoint remembers in its `training.json`."""
    old, new = flatten(before.to_json()), flatten(now.to_json())
    names = sorted(name for name in RESUMABLE | RESCUING if old.get(name) != new.get(name))
    settings = {name: (old.get(name), new.get(name)) for name in names}
    epoch_now = epoch_before = max(len(data.a), len(data.b))
    images: tuple[PartChange, ...] = ()
    if document.get("images"):
        images = compare_records(ImageRecord.from_json(document["images"]), record_images(data))
        counts = {change.part.side: change.before for change in images if not change.part.test}
        epoch_before = max(counts.get("a", len(data.a)), counts.get("b", len(data.b)))
        differ = bool(counts)
    else:
        contents = document.get("evaluation", {}).get("contents")
        differ = contents is not None and contents != data.contents
    moved = []
    places = [
        (images_seen / each, config.training.total_epochs)
        for each, config in ((epoch_before, before), (epoch_now, now))
    ]
    if places[0] != places[1]:
        moved.append("epoch {:.2f} of {} -> {:.2f} of {}".format(*places[0], *places[1]))
    plateau = document.get("plateau", {}).get("factor", 1.0)
    rates = [
        config.training.learning_rate
        * (plateau if config.training.schedule == "plateau" else factor(config.training, images_seen // each))
        for each, config in ((epoch_before, before), (epoch_now, now))
    ]
    if rates[0] != rates[1]:
        moved.append(f"learning rate {rates[0]:.3g} -> {rates[1]:.3g}")
    return Changes(settings, images, differ, tuple(moved))


def require_same_images(changes: Changes, data: DataConfig, folder: Path, allowed: DataChanged) -> None:
    """Raise `UserError` where training images have changed and that is not allowed."""
    if not changes.images_differ or allowed == "continue":
        return
    text = dataclasses.replace(changes, settings={}).in_words(data)
    raise UserError(
        f"the images have changed since {printable(folder)} stopped. {text}; the best checkpoint is chosen anew. "
        "Nothing was changed. Put the former images back, or train with these: "
        f"{option('data_changed', 'continue')}."
    )
