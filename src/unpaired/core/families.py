"""Registries of classes that describe themselves, and settings that choose among them by the name of a family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.extensions import Kind, allow_extensions, as_subclass, find_extension, installed, is_extension

T = TypeVar("T")
OWN = "package.module:Name"
"""What stands for a user's own family where the allowed ones are listed."""


def families_of(hint: Any) -> Families[Any] | None:
    """Return the families that a setting of this type chooses among; None for other types."""
    return next((each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Families)), None)


@final
@dataclass(frozen=True)
class Families(Generic[T]):
    """Classes by name, each with its settings in `config_class`, and beside them a user's own.

    `Annotated[Any, families]` is the type of a setting that holds the settings of one of them: a table with `family`
    and that family's settings. The settings of a user's own class need the field `family: str`.
    """

    kind: Kind
    base: type[Any]
    """What a user's own class must be derived from."""
    members: Mapping[str, type[T]]

    def find(self, name: Any) -> type[T]:
        """Return the class of a name, also a user's own (see `find_extension`). UserError where there is none."""
        if isinstance(name, str) and name in self.members:
            return self.members[name]
        if name not in self:
            what = self.kind if self.kind == "method" else f"{self.kind} family"
            raise UserError(
                f"Unknown {what} {name!r}.{did_you_mean(str(name), self.names())} Allowed: {', '.join(self.names())}."
            )
        found: type[T] = as_subclass(find_extension(name, self.kind), self.base, name)
        return found

    def config_class(self, name: str) -> type[Any]:
        """Return the settings class of a name."""
        found: Any = self.find(name)
        config: type[Any] = found.config_class
        return config

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.members or is_extension(name, self.kind))

    def config_classes(self) -> list[type[Any]]:
        """Return the settings classes of all members."""
        return [self.config_class(name) for name in self.members]

    def names(self) -> list[str]:
        """Return all that can be named, and the form of a user's own."""
        return [*self.members, *installed(self.kind), OWN]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the union of the members' settings, distinguished by `family`."""
        choices: dict[str, CoreSchema] = {name: handler(self.config_class(name)) for name in self.members}
        own = {OWN: core_schema.no_info_plain_validator_function(self._validate_own)}
        return core_schema.tagged_union_schema({**choices, **own}, discriminator=self._tag)

    def _tag(self, value: Any) -> str:
        family = value.get("family") if isinstance(value, Mapping) else getattr(value, "family", str(value))
        return OWN if family in self and family not in self.members else str(family)

    def _validate_own(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            allow_extensions([value.family])  # its class has been imported by whoever made it
            return value
        return TypeAdapter(self.config_class(value["family"])).validate_json(json.dumps(value), strict=True)
