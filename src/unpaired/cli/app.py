"""The application that commands belong to, and what becomes of errors."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence

from cyclopts import App, CycloptsError

from unpaired import __version__
from unpaired.cli.flags import flags_of
from unpaired.core.errors import ToldElsewhere, UserError
from unpaired.core.settings import named_by_flags

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


PARAMETERS = (
    *("direction", "checkpoint", "existing", "bit_depth", "format", "out", "device", "engine", "precision"),
    *("calibrate", "overwrite"),
)
"""Parameters of commands that messages name; in Python they have the same names without dashes."""
_given: list[str] = []
"""The words after `unpaired` of the command that runs."""


def command_line() -> str:
    """Return the command that runs, as it can be typed again, for files that say how they were made."""
    return shlex.join(["unpaired", *_given])


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 2 is the user's error, told in one message and without a traceback."""
    _given[:] = sys.argv[1:] if tokens is None else tokens
    try:
        with named_by_flags({name: f"--{name.replace('_', '-')}" for name in PARAMETERS}):
            code = app(
                tokens, exit_on_error=False, print_error=False, help_on_error=False, result_action="return_value"
            )
    except ToldElsewhere:
        code = 2
    except (UserError, CycloptsError) as error:
        print(f"error: {_told(error, flags_of(_given[0] if _given else None))}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = INTERRUPTED + 2
    except BrokenPipeError:  # the reader of a pipe has gone, as in `unpaired info RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: UserError | CycloptsError, flags: Mapping[str, str]) -> str:
    """Return the message, with flags in place of settings: `--seed 3` for `training.seed = 3`."""
    if isinstance(error, UserError):
        return re.sub(
            r"\b((?:data|training|segmenter)\.[a-z_]+)( = )?", lambda found: _as_flag(found, flags), str(error)
        )
    error.verbose = False
    return f"{' '.join(str(error).split())} See unpaired --help."


def _as_flag(setting: re.Match[str], flags: Mapping[str, str]) -> str:
    """Return the flag of a setting; what has no flag stays as it is."""
    flag = flags.get(setting[1])
    return setting[0] if flag is None else flag + (" " if setting[2] else "")
