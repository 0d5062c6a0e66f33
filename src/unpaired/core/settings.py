"""What every settings class has in common, and how a message names a setting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""For `pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)`.

Unknown keys and impossible values are errors wherever the object is made: from a file, the command line or Python.
"""

_flags: ContextVar[Mapping[str, str] | None] = ContextVar("flags", default=None)


@contextlib.contextmanager
def named_by_flags(flags: Mapping[str, str]) -> Iterator[None]:
    """Name settings by the flags of the command that runs while the block runs: dotted name -> flag."""
    token = _flags.set(flags)
    try:
        yield
    finally:
        _flags.reset(token)


def option(name: str, value: Any = None) -> str:
    """Return a setting as its user knows it: `--seed 3` where the command has that flag, else `training.seed = 3`.

    `name` is dotted; without `value` the name alone is returned. Messages are built with this and never rewritten.
    """
    flag = (_flags.get() or {}).get(name)
    if flag is None:
        return name if value is None else f"{name} = {value}"
    return flag if value is None else f"{flag} {value}"
