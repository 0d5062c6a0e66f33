"""The one error that a person is meant to read, and how its messages name a setting."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from unpaired.core.text import safe

Flags = Callable[[], Mapping[str, str]] | Mapping[str, str]
_flags: ContextVar[Flags | None] = ContextVar("flags", default=None)


class UserError(ValueError):
    """Something that the user asked for cannot be done.

    The message says what was wrong, what was received, what is allowed and what to do. The command line prints it
    without a traceback and exits with code 2; in Python it is an ordinary `ValueError`, in a notebook one line.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {safe(str(self))}"]


class ReportedElsewhere(UserError):
    """A `UserError` that another process of the same command tells; the command line ends with code 2 and is silent."""


class LostError(UserError):
    """Another process of this training has ended or no longer answers."""


def did_you_mean(received: str, allowed: Iterable[str]) -> str:
    """Return ` Did you mean "x"?` for the nearest allowed word, or an empty string when none is near."""
    names = list(allowed)
    near = difflib.get_close_matches(received, names, n=1, cutoff=0.6)
    if not near:
        folded = {name.lower(): name for name in names}
        near = [folded[word] for word in difflib.get_close_matches(received.lower(), list(folded), n=1, cutoff=0.6)]
    return f' Did you mean "{near[0]}"?' if near else ""


@contextlib.contextmanager
def needs_extra(extra: str, what: str, *modules: str) -> Iterator[None]:
    """Turn a missing library into one message while the block imports: `what` needs it, and `extra` brings it.

    `modules` are the top-level modules that the extra brings; any other that is missing is an error of its own.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in modules:
            raise
        raise UserError(
            f"{what} needs {error.name}, which is not installed. Install the extra: pip install 'unpaired[{extra}]' "
            f"(in a checkout: pip install '.[{extra}]')."
        ) from error


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
    if isinstance(value, bool):
        return flag if value else f"--no-{flag.removeprefix('--')}"
    return flag if value is None else f"{flag} {value}"
