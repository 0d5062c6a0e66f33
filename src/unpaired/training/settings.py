"""The description of a run: put together from defaults, a file, overrides and flags; strict, saved with every run.

A run has three sections: `method` (its `name` and the settings of that method), `data` and `training`. Files are TOML:

    [method]
    name = "cyclegan"
    identity_weight = 0.0
    generator = { family = "resnet", blocks = 6 }

    [data]
    crop_size = 128
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from unpaired.configs import FOLDER, find_config, shipped, suggestion
from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.extensions import is_extension
from unpaired.core.given import Given, Joined, flatten, read_document, without_none
from unpaired.data.config import DataConfig
from unpaired.methods import METHODS, find_method
from unpaired.training.config import Recipe, TrainingConfig

RECIPE = "training.recipe"
SECTIONS = ("method", "data", "training")
PLAN = "plan"
"""Section of a plan's file that says how it came about; no settings."""
CHECKSUM = "sha256"
"""Key of a run's `config.json`: the checksum of all the rest."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run does."""

    method: str
    settings: Any
    """The method's own `Config`."""
    data: DataConfig
    training: TrainingConfig
    chosen: frozenset[str] = frozenset()
    """Dotted names that the user gave; the rest are defaults."""

    def chosen_settings(self) -> frozenset[str]:
        """Return the names of the method's settings that the user gave: of `generator.width` also `generator`."""
        paths = [name.split(".")[1:] for name in self.chosen if name.startswith("method.")]
        return frozenset(".".join(path[:end]) for path in paths for end in range(1, len(path) + 1))

    def to_json(self) -> dict[str, Any]:
        """Return all settings as plain JSON, section by section."""
        return {
            "method": {"name": self.method, **dataclasses.asdict(self.settings)},
            "data": dataclasses.asdict(self.data),
            "training": dataclasses.asdict(self.training),
        }

    def to_file(self) -> str:
        """Return the content of a run's `config.json`."""
        document = without_none(self.to_json())
        document[CHECKSUM] = checksum(document)
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def checksum(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the settings in a run's `config.json`, however the file is laid out."""
    settings = {name: value for name, value in document.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def read_file(path: str | Path) -> Given:
    """Read a TOML file of settings (or a run's config.json), or the shipped one of that name: `cyclegan-no-pool`."""
    path = find_config(path) or Path(path)
    if path.parent == FOLDER and path.stem in shipped("plan"):
        raise UserError(
            f"--config {path.stem}: this is the plan of a comparison, for: unpaired compare {path.stem} --data ROOT "
            f"--out DIR.{suggestion('', 'run')}"
        )
    document = read_document(path, f"--config {path}", missing=suggestion(path, "run"))
    document.pop(CHECKSUM, None)
    if path.suffix != ".json":
        document.pop(PLAN, None)
    return Given(flatten(document), f"{path}: {{name}}", record=path.suffix == ".json")


def resolve(given: Sequence[Given]) -> RunConfig:
    """Join settings, later ones over earlier ones, with the defaults, and check all of them.

    Raises `UserError` that names the place, the name as typed, what was received and allowed, and the nearest match.
    """
    recipe = _recipe(given)
    joined = Joined(recipe)
    for source in given:
        for name in source.values:
            _check_section(name, source.called(name))
        joined.add(source)
    method = joined.values.pop("method.name", "cyclegan")
    if method not in METHODS and not is_extension(method, "method"):
        raise unknown_method(str(method), joined.called("method.name"))
    kind = find_method(method)
    chosen = frozenset(name for name in flatten(joined.values) if joined.sources.get(name) not in recipe)
    joined.add_defaults(kind.defaults, method)
    return RunConfig(
        method=method,
        settings=joined.build(kind.config_class, "method", of=method),
        data=joined.build(DataConfig, "data"),
        training=joined.build(TrainingConfig, "training"),
        chosen=chosen,
    )


def _recipe(given: Sequence[Given]) -> list[Given]:
    """Return the settings of the recipe that was asked for, which all others win over; they are no choices.

    A run wrote down what its recipe set, so that recipe is not read again: it may be another one meanwhile.
    """
    source = next((source for source in reversed(given) if RECIPE in source.values), None)
    if source is None or source.record or source.values[RECIPE] in ("published", None):
        return []
    method = next((each.values["method.name"] for each in reversed(given) if "method.name" in each.values), "cyclegan")
    recipe, called = str(source.values[RECIPE]), source.called(RECIPE)
    own = [name for name in get_args(Recipe) if (FOLDER / recipe_file(str(method), name)).is_file()]
    if recipe in get_args(Recipe) and recipe not in own:
        allowed = ", ".join(["published", *own])
        raise UserError(
            f"{called}: {method} has no recipe {recipe!r}. Allowed: {allowed}. Leave it out, or train cyclegan."
        )
    if any(each.record for each in given):
        raise UserError(
            f"{called} sets what nothing else sets, and a run's own file sets everything. Leave one of them out."
        )
    if recipe not in own:
        return []  # no recipe at all, which the settings' own check says
    values = flatten(read_document(FOLDER / recipe_file(str(method), recipe), f"the recipe {recipe}"))
    return [Given(values, f"{{name}} (of the recipe {recipe})", record=True)]


def recipe_file(method: str, recipe: str) -> str:
    """Return the name of the file of a recipe in `unpaired.configs`."""
    return f"{method}-{recipe}.toml"


def find_settings_class(method: str) -> type[Any]:
    """Return the settings class of a method; raises `UserError` for a method that there is not."""
    return find_method(method).config_class


def unknown_method(name: str, origin: str = "METHOD") -> UserError:
    """Return the error for a method that there is not."""
    return UserError(
        f"{origin}: there is no method {name!r}.{did_you_mean(name, METHODS)} Methods: {', '.join(METHODS)}."
    )


def _check_section(name: str, origin: str) -> None:
    section, dot, _ = name.partition(".")
    if section not in SECTIONS or not dot:
        near = "" if section in SECTIONS else did_you_mean(section, SECTIONS)
        raise UserError(f"{origin}: unknown setting.{near} Settings are method.*, data.* and training.*.")
