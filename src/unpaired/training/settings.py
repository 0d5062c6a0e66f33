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
import json
import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from unpaired.configs import FOLDER, find_config, shipped, suggestion
from unpaired.core.errors import UserError, did_you_mean
from unpaired.data.config import DataConfig
from unpaired.methods import METHODS
from unpaired.training.config import TrainingConfig

SECTIONS = ("method", "data", "training")


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
        """Return the content of a run's `config.json`."""
        return {
            "method": {"name": self.method, **dataclasses.asdict(self.settings)},
            "data": dataclasses.asdict(self.data),
            "training": dataclasses.asdict(self.training),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """Settings from one place, and what to call that place in a message."""

    values: Mapping[str, Any]
    """Dotted name -> value."""
    origin: str
    """`{name}` stands for the dotted name."""


def read_file(path: str | Path) -> Given:
    """Read a TOML file of settings (or a run's config.json), or the shipped one of that name: `cyclegan-no-pool`."""
    path = find_config(path) or Path(path)
    if path.parent == FOLDER and path.stem in shipped("plan"):
        raise UserError(
            f"--config {path.stem}: this is the plan of a comparison, for: unpaired compare {path.stem} --data ROOT "
            f"--out DIR.{suggestion('', 'run')}"
        )
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError as error:
        raise UserError(f"--config {path}: there is no such file.{suggestion(path, 'run')}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: cannot be read ({error}).") from error
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"--config {path}: not valid {path.suffix.lstrip('.').upper() or 'TOML'}: {error}.") from error
    return Given(_flatten(document), f"{path}: {{name}}")


def read_overrides(assignments: Sequence[str]) -> Given:
    """Read `section.name=value` assignments; values are TOML, and plain words need no quotes."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise UserError(f"--set {assignment}: expected section.name=value, such as method.cycle_weight=5.")
        values[name.strip()] = _parse_value(text.strip())
    return Given(values, "--set {name}")


def _parse_value(text: str) -> Any:
    if re.fullmatch(r"\d+x\d+", text):  # a size, HEIGHTxWIDTH
        return [int(part) for part in text.split("x")]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def resolve(given: Sequence[Given]) -> RunConfig:
    """Join settings, later ones over earlier ones, with the defaults, and check all of them.

    Raises `UserError` that names the place, the name as typed, what was received and allowed, and the nearest match.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in given:
        # Families first: naming one forgets what was set inside the family before it.
        for name, value in sorted(source.values.items(), key=lambda item: not item[0].endswith(".family")):
            _forget_inner(values, name)
            values[name] = value
            origins[name] = source.origin.format(name=name)
            _check_section(name, origins[name])
    method = values.pop("method.name", "cyclegan")
    if method not in METHODS:
        raise unknown_method(str(method), origins["method.name"])
    chosen = list(_flatten(values))
    for name, value in METHODS[method].defaults.items():
        if not any(known == name or known.startswith(f"{name}.") for known in values):
            values[name], origins[name] = value, f"{name} (the default of {method})"
    types = {"method": METHODS[method].config, "data": DataConfig, "training": TrainingConfig}
    parts = {section: _build(section, types[section], values, origins, method) for section in SECTIONS}
    return RunConfig(
        method=method,
        settings=parts["method"],
        data=parts["data"],
        training=parts["training"],
        chosen=frozenset(chosen),
    )


def settings_of(section: str, kind: type[Any], given: Sequence[Given]) -> Any:
    """Return the settings of one section, an instance of `kind`: later ones over earlier ones, with the defaults.

    Names of other sections are passed over. Raises `UserError` as `resolve` does.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in given:
        for name, value in source.values.items():
            _forget_inner(values, name)
            values[name], origins[name] = value, source.origin.format(name=name)
    return _build(section, kind, values, origins, "")


def _forget_inner(values: dict[str, Any], name: str) -> None:
    """A new family, or a whole table, replaces what was set inside it before."""
    outer, _, last = name.rpartition(".")
    prefix = f"{outer}." if last == "family" else f"{name}."
    for old in [old for old in values if old.startswith(prefix)]:
        del values[old]


def unknown_method(name: str, origin: str = "METHOD") -> UserError:
    """Return the error for a method that there is not."""
    return UserError(
        f"{origin}: there is no method {name!r}.{did_you_mean(name, METHODS)} Methods: {', '.join(METHODS)}."
    )


def _check_section(name: str, origin: str) -> None:
    section, dot, _ = name.partition(".")
    if section not in SECTIONS or not dot:
        near = did_you_mean(section, SECTIONS)
        raise UserError(f"{origin}: unknown setting.{near} Settings are method.*, data.* and training.*.")


def _build(section: str, kind: type[Any], values: Mapping[str, Any], origins: Mapping[str, str], method: str) -> Any:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith(f"{section}."):
            _put(nested, name.split(".")[1:], value, origins[name])
    for field in dataclasses.fields(kind):
        inner = nested.get(field.name)
        # A table keeps what the method's default of that family says, where it does not say otherwise.
        default: Any = field.default
        named = inner.get("family", getattr(default, "family", None)) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and named is not None and named == getattr(default, "family", None):
            nested[field.name] = {**dataclasses.asdict(default), **inner}
    try:
        # Through JSON: lists pass for tuples, and nothing else is converted silently.
        return TypeAdapter(kind).validate_json(json.dumps(nested, default=str), strict=True)
    except ValidationError as error:
        raise UserError(_explain(section, kind, error, nested, origins, method)) from error


def _put(nested: dict[str, Any], path: list[str], value: Any, origin: str) -> None:
    for key in path[:-1]:
        nested = nested.setdefault(key, {})
        if not isinstance(nested, dict):
            raise UserError(f"{origin}: {key} is a single value, not a table.")
    nested[path[-1]] = value


_UNKNOWN_NAME = ("unexpected_keyword_argument", "extra_forbidden")


def _explain(
    section: str,
    kind: type[Any],
    error: ValidationError,
    nested: Mapping[str, Any],
    origins: Mapping[str, str],
    method: str,
) -> str:
    """Return one sentence for the first thing that pydantic refused; unknown names come first."""
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] in _UNKNOWN_NAME), found[0])
    path, options = _locate(kind, first["loc"], nested)
    name = ".".join([section, *path])
    origin = next((origins[known] for known in origins if known == name or known.startswith(f"{name}.")), name)
    if first["type"] in _UNKNOWN_NAME:
        owner = f"setting of {method}" if section == "method" else f"setting of {section}"
        return f"{origin}: unknown {owner}.{did_you_mean(path[-1], options)} Settings: {', '.join(options)}."
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return message
    if first["type"] == "missing" and isinstance(first["loc"][-1], str):
        return f"{origin}: {name}.{first['loc'][-1]} is missing. Settings of {name}: {', '.join(options)}."
    if first["type"] == "dataclass_type":
        inner = dataclasses.fields(_type_of(kind, path[-1], None))[0].name
        return f"{origin}: received {first['input']!r}, where a table of settings belongs, such as {name}.{inner}."
    if first["type"] == "union_tag_invalid":
        allowed = [word.strip("' ") for word in first["ctx"]["expected_tags"].split(",")]
        received = str(first["ctx"]["tag"])
        return (
            f"{origin}: no such family: {received!r}.{did_you_mean(received, allowed)} Allowed: {', '.join(allowed)}."
        )
    allowed_words = re.findall(r"'([^']+)'", message) if first["type"] == "literal_error" else []
    near = did_you_mean(str(first["input"]), allowed_words)
    return f"{origin}: received {first['input']!r}; {message.replace('Input should', 'it should')}.{near}"


def _locate(kind: type[Any], loc: tuple[int | str, ...], nested: Any) -> tuple[list[str], list[str]]:
    """Return the setting's path as the user would type it, and the names allowed beside it."""
    path: list[str] = []
    owner = kind
    for part in loc:
        if isinstance(nested, Mapping) and part in nested:
            path.append(str(part))
            inner = nested[part]
            if isinstance(inner, Mapping):
                owner = _type_of(owner, str(part), inner.get("family"))
            nested = inner
        elif isinstance(nested, Mapping) and part == nested.get("family"):
            continue  # pydantic's name for the member of a union, nothing that the user typed
        else:
            break
    return path, [field.name for field in dataclasses.fields(owner)]


def _type_of(owner: type[Any], name: str, family: object) -> type[Any]:
    """Return the settings class of a field; of several families that which is named."""
    hint = typing.get_type_hints(owner).get(name)
    members = [member for member in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(member)]
    for member in members:
        if isinstance(member, type) and any(field.default == family for field in dataclasses.fields(member)):
            return member
    return members[0] if members and isinstance(members[0], type) else owner


def without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out settings that are None, which is what leaving them out means."""
    return {
        key: without_none(value) if isinstance(value, Mapping) else value
        for key, value in document.items()
        if value is not None
    }
