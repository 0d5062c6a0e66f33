"""The one error that a person is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something that the user asked for cannot be done.

    The message says what was wrong, what was received, what is allowed and what to do. The command line prints it
    without a traceback and exits with code 2; in Python it is an ordinary `ValueError`, in a notebook one line.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


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
