"""A progress bar for commands that count files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@final
class Counter:
    """Keeps a bar up to date: called with (done, total), and `detail` for what happens within one file."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` files are done."""
        self._bar.update(self._task, completed=done, total=total)

    def detail(self, text: str) -> None:
        """Show a few words behind the counts."""
        self._bar.update(self._task, detail=text)


@contextmanager
def counting(label: str, *, quiet: bool = False) -> Iterator[Counter]:
    """Yield what keeps a bar on the terminal up to date; without a terminal it is silent."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        yield Counter(bar, bar.add_task(label, total=None, detail=""))
