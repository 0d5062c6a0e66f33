"""The one place from which text goes to the terminal: lines, tables, and a progress bar for commands that count files.

What files, models and messages are called is never obeyed by a terminal: control and direction characters are escaped.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast, final

from unpaired.core.text import printable, safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


_typed: list[str] = []
"""Words of the command line that hold line breaks."""


def set_typed(words: Iterable[str]) -> None:
    """Take the words of a command line: what was typed, such as a path, never begins a line of its own."""
    parts = [part for word in words for part in (word, word.partition("=")[2]) if "\n" in part]
    _typed[:] = sorted({each for part in parts for each in (part, Path(part).stem) if "\n" in each}, key=len)[::-1]


def _one_line(text: str) -> str:
    for word in _typed:
        text = text.replace(word, printable(word))
    return safe(text)


def say(text: str = "", *, end: str = "\n") -> None:
    """Print a result."""
    print(_one_line(text), end=end, flush=True)


def note(text: str) -> None:
    """Print a notice, a warning or an error to stderr; where that is gone, nobody reads it."""
    try:
        print(_one_line(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere: its pipe, terminal or disk takes no more."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@final
class Unfailing(io.TextIOBase):
    """A stream that never fails: once its pipe, terminal or disk takes no more, what is written goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own."""
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            discard(self._stream)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what was written."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            discard(self._stream)

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's own."""
        return self._stream.fileno()


def show(renderable: Any) -> None:
    """Print what `rich` draws: tables and styled text."""
    console().print(renderable, highlight=False)


def console(stream: TextIO | None = None, **options: Any) -> Console:
    """Return a `rich.console.Console` that shows text of others safely: a display on `stream`, which never fails (see
    `Unfailing`), or results on stdout."""
    return _console_class()(file=stream and cast("TextIO", Unfailing(stream)), **options)


@functools.cache
def _console_class() -> type[Console]:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class SafeConsole(Console):
        """Escapes what is drawn; rich's own control codes are segments of their own."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for part in super().render(renderable, options):
                yield part if part.control else Segment(safe(part.text), part.style)

        def on_broken_pipe(self) -> None:
            raise  # in place of rich's exit code 1: whoever reads may stop when they have seen enough

    return SafeConsole


@final
class Counter:
    """Keeps a bar up to date: called with (done, total), and `detail` for what happens within one file."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` files (or bytes) are done; 0 where it is not known of how many."""
        self._bar.update(self._task, completed=done, total=total or None)

    def detail(self, text: str) -> None:
        """Show a few words behind the counts."""
        self._bar.update(self._task, detail=text)


@contextlib.contextmanager
def counting(label: str, *, quiet: bool = False) -> Iterator[Counter]:
    """Yield what keeps a bar on the terminal up to date; without a terminal it is silent."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    display = console(sys.stderr)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=display, disable=quiet or not display.is_terminal, transient=True) as bar:
        yield Counter(bar, bar.add_task(label, total=None, detail=""))


@contextlib.contextmanager
def receiving(label: str, *, quiet: bool = False) -> Iterator[Counter]:
    """Yield what keeps the bar of a download up to date, in bytes; without a terminal it is silent."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    display = console(sys.stderr)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=display, disable=quiet or not display.is_terminal, transient=True) as bar:
        yield Counter(bar, bar.add_task(label, total=None))


@contextlib.contextmanager
def stages(*, quiet: bool = False) -> Iterator[Any]:
    """Yield what shows one bar after the other: called with (stage, done, total)."""
    current: list[tuple[str, Counter]] = []
    with contextlib.ExitStack() as stack:

        def progress(stage: str, done: int, total: int) -> None:
            if not current or current[0][0] != stage:
                stack.close()
                label = stage[:1].upper() + stage[1:]
                current[:] = [(stage, stack.enter_context(counting(label, quiet=quiet)))]
            current[0][1](done, total)

        yield progress
