"""The application that commands belong to, and what becomes of errors."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError

from unpaired import __version__
from unpaired.cli.hints import explain
from unpaired.core.errors import ReportedElsewhere, UserError
from unpaired.core.naming import named_by_flags

app = App(
    name="unpaired",
    help="Image-to-image translation learned from two folders of images.",
    help_epilogue="Begin with: unpaired demo",
    version=__version__,
    version_flags=["--version"],
    help_format="plaintext",
)

INTERRUPTED = 128
"""A command ended by a signal exits with this plus the signal's number, as shells expect."""
ORDER = (
    *("demo", "train", "translate", "evaluate", "report", "compare", "audit", "segment"),
    *("study", "export", "convert", "info", "settings"),
)
"""The commands as `unpaired --help` lists them: in the order of use."""

_given: list[str] = []
"""The words after `unpaired` of the command that runs."""


def command_line() -> str:
    """Return the command that runs, as it can be typed again, for files that say how they were made."""
    return shlex.join(["unpaired", *_given])


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 2 is the user's error, told in one message and without a traceback."""
    _given[:] = sys.argv[1:] if tokens is None else tokens
    try:
        code = _run(list(_given))
    except ReportedElsewhere:
        code = 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except CycloptsError as error:
        print(f"error: {explain(error, app, ORDER)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = INTERRUPTED + 2
    except BrokenPipeError:  # the reader of a pipe has gone, as in `unpaired info RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _run(tokens: list[str]) -> Any:
    """Run the command, whose options name settings in messages."""
    with named_by_flags(lambda: _flags_of(tuple(tokens))):
        return app(tokens, exit_on_error=False, print_error=False, help_on_error=False, result_action="return_value")


@functools.cache
def _flags_of(tokens: tuple[str, ...]) -> dict[str, str]:
    """Return the options of a command by what they set: a setting's dotted name, or the name of an argument."""
    _, chain, _ = app.parse_commands(tokens)
    command = chain[-1].default_command
    options = {name: found[0] for name, found in getattr(command, "options", {}).items()}
    arguments = chain[-1].assemble_argument_collection() if command else []
    named = {argument.field_info.name: argument.name for argument in arguments if argument.name.startswith("-")}
    own = {f"{section}.{name}": flag for section in ("data", "training") for name, flag in named.items()}
    places = {"data.root": named["data"]} if "data" in named else {}
    return {**own, **places, **named, "method.name": "METHOD", **options}
