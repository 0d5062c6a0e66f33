"""How messages name a setting: by the option of the command that runs, or by its dotted name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

Flags = Callable[[], Mapping[str, str]] | Mapping[str, str]
_flags: ContextVar[Flags | None] = ContextVar("flags", default=None)


@contextlib.contextmanager
def named_by_flags(flags: Flags) -> Iterator[None]:
    """Name settings by the options of a command while the block runs: `flags` is setting -> option, or returns it."""
    token = _flags.set(flags)
    try:
        yield
    finally:
        _flags.reset(token)


def option(name: str, value: Any = None) -> str:
    """Return a setting as its user knows it: `--seed 3` where the command has that flag, else `training.seed = 3`.

    `name` is dotted, or the name of an argument; without `value` the name alone is returned. Messages are built with
    this and never rewritten.
    """
    flags = _flags.get()
    flag = (flags() if callable(flags) else flags or {}).get(name)
    if flag is None:
        return name if value is None else f"{name} = {value}"
    return flag if value is None else f"{flag} {value}"
