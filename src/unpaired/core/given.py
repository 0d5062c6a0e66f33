"""Settings given by dotted names, from files, the command line or Python: joined, built, and mistakes explained."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.extensions import allow_extensions, is_spec
from unpaired.core.families import OWN, families_of
from unpaired.core.files import read_regular
from unpaired.core.settings import SET_BY_USER, allowed_values, can_be_unset, settings_classes, takes_text
from unpaired.core.text import printable

T = TypeVar("T")
LARGEST_DOCUMENT = 1 << 24
"""Bytes of a file of settings."""
Origin = Callable[[str], str]
"""How a message calls the setting of a dotted name: `--set data.crop_size`, `train.toml: data.crop_size`."""


MOST_LEVELS = 16
"""Tables within tables that settings may have."""


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """Settings from one place, and what to call that place in a message."""

    values: Mapping[str, Any]
    """Dotted name -> value."""
    origin: str
    """`{name}` stands for the dotted name."""
    record: bool = False
    """Whether all values were written down by a run, so that none of them is a choice that could contradict another."""

    def called(self, name: str) -> str:
        """Return what a message calls a setting of this place."""
        return self.origin.replace("{name}", name)


def read_overrides(assignments: Iterable[str]) -> Given:
    """Read `section.name=value` assignments; values are TOML, and plain words need no quotes."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise UserError(f"--set {assignment}: expected section.name=value, such as method.cycle_weight=5.")
        values[name.strip()] = parse_value(text.strip())
        _require_shallow({name.strip(): values[name.strip()]}, f"--set {name.strip()[:80]}")
    return Given(values, "--set {name}")


def parse_value(text: str, hint: Any = None) -> Any:
    """Read a value that was typed: TOML, a size (256x512) or a plain word; as it stands where `hint` takes text."""
    if hint is not None and takes_text(hint):
        return text
    if re.fullmatch(r"\d+x\d+", text):  # a size, HEIGHTxWIDTH
        return [int(part) for part in text.split("x")]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def read_document(path: Path, called: str, *, missing: str = "") -> dict[str, Any]:
    """Read a TOML or JSON file; a `UserError` calls it `called`, and adds `missing` where there is no such file."""
    try:
        text = read_regular(path, at_most=LARGEST_DOCUMENT).decode("utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError as error:
        raise UserError(f"{called}: there is no such file.{missing}") from error
    except RecursionError as error:
        raise UserError(f"{called}: cannot be read (nested too deeply).") from error
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{called}: not valid {path.suffix.lstrip('.').upper() or 'TOML'}: {error}.") from error
    except (OSError, ValueError) as error:  # such as a name that is too long, or a number of 5,000 digits
        raise UserError(f"{called}: cannot be read ({str(error).rstrip('.')}).") from error
    if not isinstance(document, dict):
        what = {list: "a list", str: "text", type(None): "nothing"}.get(type(document), "a single value")
        raise UserError(f"{called}: expected tables of settings, received {what}.")
    _require_shallow(document, called)
    return document


def _require_shallow(document: Mapping[str, Any], called: str) -> None:
    """Raise `UserError` for tables within tables beyond what any setting has, which would exhaust the stack."""
    level: list[Any] = [document]
    for _ in range(MOST_LEVELS):
        tables = [table for table in level if isinstance(table, Mapping)]
        if any(name.count(".") > MOST_LEVELS for table in tables for name in table):
            break
        lists = [item for items in level if isinstance(items, list) for item in items]
        level = [*lists, *(value for table in tables for value in table.values())]
        if not level:
            return
    raise UserError(f"{called}: nested too deeply. Settings have at most {MOST_LEVELS} levels.")


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names: `{"data": {"flip": True}}` -> `{"data.flip": True}`."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        inner = isinstance(value, Mapping) and value
        flat |= flatten(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out settings that are None, which is what leaving them out means."""
    return {
        key: without_none(value) if isinstance(value, Mapping) else value
        for key, value in document.items()
        if value is not None
    }


class Joined:
    """Settings of several places, later ones over earlier ones."""

    def __init__(self, given: Sequence[Given] = ()) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, Given] = {}
        self.records: set[str] = set()
        for source in given:
            self.add(source)

    def add(self, source: Given) -> None:
        """Put settings over those that are there; a new family, or a whole table, forgets what was set inside it."""
        # Families first: naming one forgets what was set inside the family before it.
        for name, value in sorted(source.values.items(), key=lambda item: not item[0].endswith(".family")):
            outer, _, last = name.rpartition(".")
            prefix = f"{outer}." if last == "family" else f"{name}."
            for old in [old for old in self.values if old.startswith(prefix)]:
                del self.values[old]
            self.values[name], self.sources[name] = value, source
            (self.records.add if source.record else self.records.discard)(name)
            named = value.get("family") if isinstance(value, Mapping) else value
            if is_spec(named) and not source.record and (named != value or last == "family" or name == "method.name"):
                allow_extensions([str(named)])  # named by the user, not by a run's own record alone

    def add_defaults(self, values: Mapping[str, Any], whose: str) -> None:
        """Take values for settings that nobody gave; they are not choices."""
        open_names = {
            name: value
            for name, value in values.items()
            if not any(known == name or known.startswith(f"{name}.") for known in self.values)
        }
        self.add(Given(open_names, f"{{name}} (the default of {whose})", record=True))

    def build(self, kind: type[Any], section: str, of: str | None = None) -> Any:
        """Return the settings of one section, an instance of `kind`; names of other sections are passed over.

        `of` is what a message says that an unknown name is no setting of. Raises `UserError`.
        """
        nested: dict[str, Any] = {}
        start = f"{section}." if section else ""
        for name, value in self.values.items():
            if name.startswith(start):
                self._put(nested, name.removeprefix(start).split("."), value, name)
        hints = typing.get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            self._keep_family(nested, field, f"{start}{field.name}")
            if nested.get(field.name) == "none" and can_be_unset(hints[field.name]):
                nested[field.name] = None
        self._mark(nested, start)
        return validated(kind, nested, self.called, section, of if of is not None else section)

    def _put(self, nested: dict[str, Any], path: list[str], value: Any, name: str) -> None:
        for key in path[:-1]:
            nested = nested.setdefault(key, {})
            if not isinstance(nested, dict):
                raise UserError(f"{self.called(name)}: {key} is a single value, not a table.")
        nested[path[-1]] = value

    def _keep_family(self, nested: dict[str, Any], field: dataclasses.Field[Any], name: str) -> None:
        """Let a table keep what the default of the same family says, where it does not say otherwise."""
        inner: Any = nested.get(field.name)
        default: Any = field.default
        family = getattr(default, "family", None)
        if isinstance(inner, dict) and family is not None and inner.get("family", family) == family:
            kept = {key: value for key, value in dataclasses.asdict(default).items() if key not in inner}
            self.records |= {f"{name}.{key}" for key in kept}
            nested[field.name] = {**kept, **inner}

    def _mark(self, nested: dict[str, Any], start: str) -> bool:
        """Say in every table which values were chosen, where some were not; return whether any was."""
        chosen = [
            key
            for key, value in nested.items()
            if start + key not in self.records
            and (not isinstance(value, dict) or self._mark(value, f"{start}{key}.") or not value)
        ]
        if len(chosen) < len(nested):
            nested[SET_BY_USER] = chosen
        return bool(chosen)

    def called(self, name: str) -> str:
        """Return what a message calls a setting: as it was typed, or as what it is part of, or holds, was."""
        outer = re.split(r"(?=[.\[])", name)
        for known in ("".join(outer[:end]) for end in range(len(outer), 0, -1)):
            if known in self.sources:
                return self.sources[known].called(name)
        inner = (source.called(known) for known, source in self.sources.items() if known.startswith(f"{name}."))
        return next(inner, name)


def settings_of(section: str, kind: type[Any], given: Sequence[Given]) -> Any:
    """Return the settings of one section, an instance of `kind`: later ones over earlier ones, with the defaults.

    Names of other sections are passed over. Raises `UserError`.
    """
    return Joined(given).build(kind, section)


def options_of(kind: type[T], given: Sequence[Given], **own: Any) -> T:
    """Return the options of a command, an instance of `kind`; `own` are those that have no flag. Raises `UserError`."""
    made: T = Joined([*given, Given(without_none(own), "{name}")]).build(kind, "", of="this command")
    return made


def validated(kind: Any, document: Mapping[str, Any], called: Origin, section: str = "", of: str = "") -> Any:
    """Return the settings that a nested document holds; `UserError` explains the first mistake.

    `called` gets dotted names that begin with `section`; `of` is what an unknown name is no setting of.
    """
    for name, value in flatten(document, f"{section}." if section else "").items():
        if isinstance(value, str | Path) and not _is_unicode(str(value)):
            raise UserError(f"{called(name)}: {printable(value)} is not valid UTF-8. Give it another name.")
    try:
        # Through JSON: lists pass for tuples, and nothing else is converted silently.
        return TypeAdapter(kind).validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise UserError(explain(error, kind, document, called, section, of)) from error


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


_UNKNOWN_NAME = ("unexpected_keyword_argument", "extra_forbidden")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")


def explain(error: ValidationError, kind: Any, document: Any, called: Origin, section: str = "", of: str = "") -> str:
    """Return one sentence for the first thing that pydantic refused; unknown names come before missing ones."""
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] in _UNKNOWN_NAME), found[0])
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")
    place = _locate(kind, first["loc"], document, section)
    last = str(first["loc"][-1]) if first["loc"] else ""
    if first["type"] in _UNKNOWN_NAME:
        owner = f" of {of}" if of and place.is_top else ""
        name = place.name if place.found_all else place.inside(last)
        near = did_you_mean(last, place.names)
        return f"{called(name)}: unknown setting{owner}.{near} Settings: {', '.join(place.names)}."
    if first["type"] in _MISSING:
        where, missing = called(place.name), place.inside(last)
        where = "" if where == place.name else f"{where}: "
        return f"{where}{missing} is missing. Settings: {', '.join(place.names)}."
    if first["type"] == "union_tag_invalid":
        allowed = [word.strip("' ") for word in first["ctx"]["expected_tags"].split(",")]
        received = str(first["ctx"]["tag"])
        near = did_you_mean(received, allowed)
        return f"{called(place.name)}: no such family: {received!r}.{near} Allowed: {', '.join(allowed)}."
    if first["type"] == "dataclass_type" and place.inner:
        such = place.inside(place.inner[0])
        return f"{called(place.name)}: received {first['input']!r}, where a table of settings belongs, such as {such}."
    words = re.findall(r"'([^']+)'", first["msg"]) if first["type"] == "literal_error" else []
    near = did_you_mean(str(first["input"]), words)
    finite = "a finite number" if first["type"] == "finite_number" else ""
    allowed_here = finite or place.allowed or first["msg"].removeprefix("Input should be ")
    if first["type"] in ("less_than", "less_than_equal"):
        ((bound, most),) = first["ctx"].items()
        exceeded = f"{'below' if bound == 'lt' else 'at most'} {most:,}"
        allowed_here += f" ({exceeded})" if f"{most:,}" not in allowed_here else ""
    return f"{called(place.name)}: received {_shown(first['input'])}; allowed: {allowed_here}.{near}"


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)[:200]


@dataclasses.dataclass(slots=True)
class _Place:
    """Where in a document an error is."""

    name: str = ""
    """Dotted, items counted from 1: `entries[2].label`."""
    names: list[str] = dataclasses.field(default_factory=list)
    """Settings of the innermost table around it."""
    inner: list[str] = dataclasses.field(default_factory=list)
    """Settings of the table that belongs here, if one does."""
    allowed: str = ""
    is_top: bool = True
    found_all: bool = False

    def inside(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name


def _locate(kind: Any, loc: Sequence[int | str], document: Any, section: str) -> _Place:
    """Follow pydantic's path through the document and the types of the settings, by names that the user typed."""
    owner = _owner(kind, document)
    place = _Place(name=section, names=_names(owner))
    hint: Any = kind
    for number, part in enumerate(loc):
        if isinstance(part, int) and isinstance(document, Sequence) and not isinstance(document, str):
            document = document[part] if part < len(document) else None
            place.name += f"[{part + 1}]"
        elif isinstance(document, Mapping) and part in document:
            place.name, document = place.inside(str(part)), document[part]
            hint = typing.get_type_hints(owner, include_extras=True).get(str(part)) if owner else None
            place.allowed = allowed_values(hint) if hint is not None else ""
            place.found_all = number == len(loc) - 1
            place.inner = _names(_owner(hint, document))
        elif isinstance(document, Mapping) and part in (document.get("family"), OWN):
            continue  # pydantic's name for the member of a union, nothing that the user typed
        else:
            break
        if isinstance(document, Mapping) and settings_classes(hint):
            owner = _owner(hint, document)
            place.names, place.is_top = _names(owner), False
    return place


def _names(owner: type[Any] | None) -> list[str]:
    return [field.name for field in dataclasses.fields(owner)] if owner is not None else []


def _owner(hint: Any, document: Any) -> type[Any] | None:
    """Return the settings class that a document is of; of several families that which it names."""
    family = document.get("family") if isinstance(document, Mapping) else None
    families, kinds = families_of(hint), settings_classes(hint)
    if families is not None and isinstance(family, str) and family in families:
        return families.config_class(family)
    named = [kind for kind in kinds if any(field.default == family for field in dataclasses.fields(kind))]
    return next(iter(named if family is not None and named else kinds), None)
