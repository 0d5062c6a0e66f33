"""Settings classes: strict, documented by their fields, and they know what was chosen; how messages name a setting."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, dataclass_transform

import annotated_types
from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from unpaired.core.errors import UserError
from unpaired.core.errors import option as option
from unpaired.core.families import families_of
from unpaired.core.text import listing

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""For `pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)`: records read from files.

Unknown keys and impossible values are errors wherever the object is made: from a file, the command line or Python.
"""
SET_BY_USER = "__set_by_user__"
"""A key that a table of settings may hold: which of its values were chosen; without it, all of them were."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _Validated:
    """Records which fields were given, then refuses contradictions; the part of `Settings` that pydantic must see."""

    @model_validator(mode="wrap")
    @classmethod
    def _record(cls, data: Any, handler: Any) -> Any:
        if isinstance(data, cls):
            return data
        given = data.kwargs if isinstance(data, ArgsKwargs) else data
        names, marked = frozenset[str](), None
        if isinstance(given, Mapping):
            names = frozenset(name for name, value in given.items() if value is not None)
            marked = given.get(SET_BY_USER)
        if isinstance(data, Mapping):  # of JSON, whose arrays have become lists on the way here
            data = {name: _with_tuples(value) for name, value in data.items() if name != SET_BY_USER}
        settings = handler(data)
        if marked is not None:
            names = frozenset(marked)
        elif all(field.name in (given or ()) for field in dataclasses.fields(settings)):
            names = frozenset()  # a whole record, as of `dataclasses.replace`: nothing of it is a choice
        object.__setattr__(settings, "_set", names)
        settings.check()
        return settings

    def check(self) -> None:
        """Refuse settings that contradict one another; raises `UserError`. `is_set` says what was chosen."""

    def is_set(self, name: str) -> bool:
        """Say whether a field was given, be it with the value of its default.

        Not set are defaults (also those of a method), `None`, values read back from a run, and all fields of an object
        that was made with every field given, as `dataclasses.replace` does.
        """
        return name in self.__dict__["_set"]


def _with_tuples(value: Any) -> Any:
    """Return JSON's arrays as tuples, which is what settings hold."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(inner) for name, inner in value.items()}
    return tuple(_with_tuples(inner) for inner in value) if isinstance(value, list) else value


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
class Settings(_Validated):
    """A group of settings: a subclass is a frozen pydantic dataclass whose field docstrings are the documentation.

    Made in Python, from a file or the command line, unknown names and impossible values are a `UserError`.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init_subclass__(cls) -> None:
        """Make the subclass a dataclass, explain its errors, and show its fields in `help()`."""
        dataclass(frozen=True, kw_only=True, config=STRICT)(cls)
        made = cls.__init__

        @functools.wraps(made)
        def __init__(self: Settings, *positional: Any, **given: Any) -> None:
            try:
                made(self, *positional, **given)
            except ValidationError as error:
                from unpaired.core.given import explain

                message = explain(error, cls, given, lambda name: f"{cls.__name__}({name}=...)")
                raise UserError(message) from error

        cls.__init__ = __init__  # type: ignore[assignment]
        fields = "\n".join(f"{setting.name}: {setting.doc}" for setting in describe(cls))
        cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n\n{fields}\n"


@dataclasses.dataclass(frozen=True)
class Flag:
    """In a field's `Annotated`: commands that take these settings have this option for it."""

    name: str
    group: str = ""
    """Heading in `--help`, where it is not that of the other settings."""


@dataclasses.dataclass(frozen=True)
class Allowed:
    """In a type's `Annotated`: what to call the allowed values, where the type does not say it well."""

    text: str


MOST = 10**9
"""No sane number of images, epochs or steps is larger."""
Count = Annotated[int, Field(ge=1, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Threads = Annotated[int, Field(ge=0, le=1024)]
Place = Annotated[str | Path, Allowed("a path")]
"""A file or folder."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of a settings class, as help, documentation and messages show it."""

    name: str
    doc: str
    """Its docstring, on one line."""
    default: Any
    """`dataclasses.MISSING` where it must be given."""
    allowed: str
    """`auto, on or off`, `a whole number, 1 or more`, ..."""
    flag: Flag | None
    hint: Any
    """Its type."""


def describe(kind: type[Any]) -> list[Setting]:
    """Return the fields of a settings class, in order."""
    found = []
    classes = [vars(base).get("__pydantic_fields__", {}) for base in kind.__mro__]  # inherited fields keep their docs
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        docs = (fields[field.name].description for fields in classes if field.name in fields)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        hint = hints[field.name]
        flags = [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Flag)]
        found.append(
            Setting(
                name=field.name,
                doc=" ".join(next(filter(None, docs), "").split()),
                default=getattr(default, "default", default) if type(default).__name__ == "FieldInfo" else default,
                allowed=allowed_values(hint),
                flag=flags[0] if flags else None,
                hint=hint,
            )
        )
    return found


def settings_classes(hint: Any) -> list[type[Any]]:
    """Return the settings classes that a type admits, such as the families of networks."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return [hint]
    if (families := families_of(hint)) is not None:
        return families.config_classes()
    return [kind for member in typing.get_args(hint) for kind in settings_classes(member)]


def allowed_values(hint: Any) -> str:
    """Return the values that a type admits in words: `a whole number, 1 or more`."""
    if families_of(hint) is not None:
        return "a table of settings with the name of its family"
    metadata = [*getattr(hint, "__metadata__", ())]
    if metadata:
        named = [each.text for each in metadata if isinstance(each, Allowed)]
        return named[0] if named else _bounded(hint.__origin__, metadata)
    return _bounded(hint, [])


def _bounded(hint: Any, metadata: list[Any]) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return listing([str(word) for word in arguments], "or")
    if origin in (Union, UnionType):
        members = list(dict.fromkeys(allowed_values(member) for member in arguments if member is not NoneType))
        return " or ".join(members) if not settings_classes(hint) else members[0]
    if origin is tuple:
        inner = arguments[:1] if arguments[-1:] == (...,) else arguments
        what = [allowed_values(member) for member in inner]
        if len(inner) < len(arguments):
            some = any(isinstance(part, annotated_types.MinLen) for part in _constraints(metadata))
            return f"a list{', not empty' if some else ''}; each item: {what[0]}"
        return f"a list of {len(what)}; each item: {what[0]}" if len(set(what)) == 1 else f"[{', '.join(what)}]"
    if settings_classes(hint):
        families = [field.default for field in dataclasses.fields(hint) if field.name == "family"]
        return "a table of settings" + (" with the name of its family" if families else "")
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a table"}
    return names.get(origin or hint, "a value") + _bounds(metadata)


def _bounds(metadata: list[Any]) -> str:
    """Return `, 1 or more`, ` above 0`, ` from 0 to 1`, ... of pydantic's constraints."""
    bounds: dict[str, Any] = {}
    for part in _constraints(metadata):
        if isinstance(part, annotated_types.Gt | annotated_types.Ge | annotated_types.Lt | annotated_types.Le):
            bounds |= dataclasses.asdict(part)
    if isinstance(bounds.get("lt"), int) and bounds["lt"] >= 2**32:
        del bounds["lt"]  # what fits into the number's type is no news
    for name, bound in bounds.items():
        bounds[name] = f"{int(bound):,}" if bound == int(bound) else bound
    for part in _constraints(metadata):
        if getattr(part, "pattern", None):
            return f" that matches {part.pattern}"
        if isinstance(part, annotated_types.MaxLen):
            return f", at most {part.max_length} characters"
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if low is None:
        return "" if high is None else f", at most {high}"
    if high is None:
        return f" above {low}" if "gt" in bounds else f", {low} or more"
    if "gt" in bounds:
        return f" above {low}, at most {high}" if "le" in bounds else f" between {low} and {high}"
    return f" from {low} to {'' if 'le' in bounds else 'below '}{high}"


def _constraints(metadata: list[Any]) -> list[Any]:
    """Return the constraints of an annotation, those within pydantic's `Field` too."""
    return [part for each in metadata for part in getattr(each, "metadata", [each])]


def takes_text(hint: Any) -> bool:
    """Say whether a type admits any text, so that what is typed is not read as TOML."""
    if typing.get_origin(hint) in (Union, UnionType):
        return any(takes_text(member) for member in typing.get_args(hint))
    return hint is str or (hasattr(hint, "__metadata__") and takes_text(hint.__origin__))


def can_be_unset(hint: Any) -> bool:
    """Say whether the word `none` leaves a setting open: where it may be, and takes no text."""
    members = typing.get_args(hint.__origin__ if hasattr(hint, "__metadata__") else hint)
    is_value = any("none" in typing.get_args(member) for member in members)  # of a Literal
    return NoneType in members and not is_value and not takes_text(hint)


def has_words(hint: Any) -> bool:
    """Say whether a type admits a few words (`auto`, `on`, `off`), which help should list."""
    if typing.get_origin(hint) is Literal:
        return True
    return not settings_classes(hint) and any(has_words(member) for member in typing.get_args(hint))


def shown(value: Any) -> str:
    """Return a setting's value as it can be typed: `true`, `[0.5, 0.999]`, `resnet` for a family."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(shown(item) for item in value)}]"
    if dataclasses.is_dataclass(value):
        own = {field.name: value.__dict__[field.name] for field in dataclasses.fields(value)}
        own = {field.name: own[field.name] for field in dataclasses.fields(value) if own[field.name] != field.default}
        changed = ", ".join(f"{name} = {shown(inner)}" for name, inner in own.items())
        family = getattr(value, "family", "")
        return f"{family} ({changed})" if family and changed else family or changed or "its defaults"
    return "" if value is None or value is dataclasses.MISSING else str(value)
