"""The application that commands belong to, and what becomes of errors."""

from __future__ import annotations

import _thread
import contextlib
import errno
import functools
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from cyclopts import App, CycloptsError

from unpaired import __version__
from unpaired.cli.hints import explain
from unpaired.core.errors import ReportedElsewhere, UserError, named_by_flags
from unpaired.core.terminal import discard, note, set_typed
from unpaired.core.text import printable

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
UNEXPECTED = 70
"""Exit code of an error that no message was written for (EX_SOFTWARE of sysexits.h)."""
ORDER = (
    *("demo", "download", "plan", "train", "watch", "translate", "serve", "evaluate", "report", "compare", "audit"),
    *("segment", "study", "export", "convert", "push", "info", "formats", "settings"),
)
"""The commands as `unpaired --help` lists them: in the order of use."""

_given: list[str] = []
"""The words after `unpaired` of the command that runs."""


def command_line() -> str:
    """Return the command that runs, as it can be typed again, for files that say how they were made."""
    return shlex.join(["unpaired", *_given])


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 2 is the user's error in one message, 70 an unexpected one with a log."""
    _given[:] = sys.argv[1:] if tokens is None else tokens
    set_typed(_given)
    _repair_streams()
    with _interruptible() as interrupted:
        try:
            code = _run(list(_given))
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            code = INTERRUPTED + signal.SIGINT if interrupted else _explained(error)
    sys.exit(code if isinstance(code, int) else 0)


def _run(tokens: list[str]) -> Any:
    """Run the command, whose options name settings in messages."""
    with named_by_flags(lambda: _flags_of(tuple(tokens))):
        return app(tokens, exit_on_error=False, print_error=False, help_on_error=False, result_action="return_value")


def _explained(error: BaseException) -> int:
    """Print what an error means and return the exit code."""
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED + signal.SIGINT
        case ReportedElsewhere():
            return 2
        case UserError():
            message = str(error)
        case CycloptsError():
            message = explain(error, app, ORDER)
        case BrokenPipeError():  # the reader of a pipe has gone, as in `unpaired info RUN | head`
            discard(sys.stdout)
            return 0
        case OSError() if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
            discard(sys.stdout)
            message = f"cannot write the output: {error.strerror}."
        case FileNotFoundError() if "temporary directory" in str(error):
            message = "no folder for temporary files can be written. Free some space, or name another in TMPDIR."
        case OSError() if error.filename is not None:
            name = printable(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else ""
            message = f"cannot use {name[:200]}: {error.strerror or error}. Check the name and its permissions."
        case MemoryError():
            message = "not enough memory. Give smaller images, or fewer at a time."
        case _:
            note(
                f"error: unexpected {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}\n"
                f"This is a fault of unpaired. Please report it with this log: {_write_log(error)}"
            )
            return UNEXPECTED
    note(f"error: {message}")
    return 2


def _write_log(error: BaseException) -> str:
    """Write the command, versions and traceback into the user's cache, or a temporary file; return its path."""
    from unpaired.core.cache import user_cache_folder

    lines = [command_line(), f"unpaired {__version__}, Python {sys.version}", *traceback.format_exception(error)]
    content = "\n".join(lines).encode("utf-8", "backslashreplace")
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for find in (lambda: user_cache_folder() / "logs", tempfile.gettempdir):
        with contextlib.suppress(OSError, UserError):
            folder = Path(find())
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
            return str(folder / name)
    return "(it cannot be written anywhere)"


def _repair_streams() -> None:
    """Let what no terminal can show be escaped, and give output a place where there is none (`>&-`)."""
    for name in ("stdout", "stderr"):
        stream = vars(sys)[name]
        if stream is None:
            vars(sys)[name] = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for the life of the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Let Ctrl-C end the command whatever it is doing; yields a list that is not empty once it was pressed.

    Within an import it waits for the import to end, since libraries in C++ would abort or turn it into another error; a
    destructor can lose it: then it is sent again.
    """
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # elsewhere Python allows no handlers
        yield pressed
        return

    def stop(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                again = threading.Timer(0.02, _thread.interrupt_main)
                again.daemon = True
                again.start()
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    def lost(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        else:
            hook(unraisable)

    hook, sys.unraisablehook = sys.unraisablehook, lost
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where it is ignored, as in the background of a shell
        signal.signal(signal.SIGINT, stop)
    try:
        yield pressed
    finally:
        sys.unraisablehook = hook
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)


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
    short = {name.rpartition(".")[2]: flag for name, flag in options.items()}
    return {**short, **own, **places, **named, "method.name": "METHOD", **options}
