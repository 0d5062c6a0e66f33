"""`unpaired watch`: pages of runs, drawn from their files whenever these have changed; nothing is written to them.

The training may run on another machine, as long as its folder can be read here.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, final
from urllib.parse import quote

from unpaired.core.errors import UserError, needs_extra
from unpaired.core.files import real_path
from unpaired.core.terminal import say
from unpaired.core.text import printable
from unpaired.models.folder import BEST, CHECKPOINTS
from unpaired.report.embedding import Image, embedded, encode, read_picture, split_grid
from unpaired.report.image_grid import SAMPLES, grids_of
from unpaired.report.page import page
from unpaired.report.run_log import METRICS
from unpaired.report.run_page import draw_page
from unpaired.report.runs import CONFIG, FOLDERS, RunStatus, read_run

REFRESH = 10
"""Seconds after which a page of something that goes on reloads itself."""
DEPTH, MOST_RUNS = 3, 60
"""How far below the folder runs are looked for, and how many of them are shown: the latest."""
WIDEST = 700
"""Pixels of a run's latest samples."""


class Card(NamedTuple):
    """A run on the page of all."""

    name: str
    address: str
    method: str
    status: RunStatus
    picture: Image | None
    changed: datetime


@final
@dataclass(eq=False)
class Watched:
    """Runs below a folder, or one run, as pages; each is drawn once for every state of its files."""

    root: Path
    _cache: tempfile.TemporaryDirectory[str] = field(init=False)
    _drawn: dict[str, tuple[object, str]] = field(default_factory=dict)
    _cards: dict[str, tuple[object, Card]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise UserError(f"there is no folder at {printable(self.root)}. Give a run, or a folder of runs.")
        self._cache = tempfile.TemporaryDirectory(prefix="unpaired-watch-")

    @property
    def is_run(self) -> bool:
        """Whether the folder itself is a run."""
        return _is_run(self.root)

    def close(self) -> None:
        """Delete what was kept."""
        self._cache.cleanup()

    def runs(self) -> dict[str, Path]:
        """Return the runs by their names, the latest first."""
        found = {path.relative_to(self.root).as_posix(): path for path in _find(self.root, DEPTH)}
        return dict(sorted(found.items(), key=lambda each: -_changed(each[1])))

    def index(self) -> str:
        """Return the page of all runs."""
        with self._lock:
            runs = self.runs()
            cards = [self._card(name, path) for name, path in [*runs.items()][:MOST_RUNS]]
        style = (files("unpaired.serve") / "watch.css").read_text(encoding="utf-8")
        name, going = real_path(self.root).name, any(card.status.state in ("starting", "running") for card in cards)
        return page(
            "watch.html",
            title=f"Runs in {name}",
            package="unpaired.serve",
            scripts=("watch.js",),
            style=style,
            cards=cards,
            more=max(0, len(runs) - MOST_RUNS),
            refresh=REFRESH if going or not cards else 6 * REFRESH,
        )

    def page(self, name: str = "") -> str | None:
        """Return the page of a run, None where there is none of this name; "" is the folder itself."""
        path = self.root / name if name else self.root
        if name and name not in self.runs():
            return None
        with self._lock:
            stamp = _stamp(path)
            before, content = self._drawn.get(name, (None, ""))
            if before != stamp:
                content = draw_page(
                    path,
                    written=datetime.fromtimestamp(_changed(path)).astimezone(),
                    cache=Path(self._cache.name) / hashlib.sha256(name.encode()).hexdigest(),
                    refresh=REFRESH,
                    home="../" * (name.count("/") + 2) if name else "",
                )
                self._drawn = {**dict([*self._drawn.items()][-8:]), name: (stamp, content)}
            return content

    def _card(self, name: str, path: Path) -> Card:
        stamp = _stamp(path)
        if name not in self._cards or self._cards[name][0] != stamp:
            run = read_run(path)
            picture = read_picture(run.grids[-1][1]) if run.grids else None
            method = run.section("method").get("name")
            card = Card(
                name=name,
                address=f"run/{quote(name)}/",
                method=method if isinstance(method, str) else "",
                status=run.status,
                picture=None if picture is None else embedded(encode(split_grid(picture)[0], WIDEST)[1]),
                changed=datetime.fromtimestamp(_changed(path)),
            )
            self._cards[name] = stamp, card
        return self._cards[name][1]


def serve_runs(path: Path, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve the page of a run, or the pages of the runs below a folder, until interrupted; `port` 0 is a free one.

    Raises `UserError` where the extra is not installed, there is no such folder, or the address cannot be taken.
    """
    with needs_extra("serve", "watching runs", "uvicorn", "starlette"):
        from unpaired.serve.watch_app import make_app
        from unpaired.web.server import address_of, is_local, listen, run
    watched = Watched(path)
    if not watched.is_run and not watched.runs():
        say(f"{printable(path)} holds no run yet: those that come will be shown.")
    listening = listen(host, port)
    say(f"Watch: {address_of(listening, host)}/")
    if not is_local(host):
        say("Reachable from other machines, not encrypted, and without a password: samples and settings can be seen.")
    say("Stop with Ctrl-C; the trainings go on.")
    try:
        run(make_app(watched, private=is_local(host)), listening)
    finally:
        watched.close()


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() and ((path / METRICS).is_file() or (path / CHECKPOINTS).is_dir())


def _find(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inner = sorted(each.path for each in os.scandir(folder) if each.is_dir() and not each.name.startswith("."))
    except OSError:
        return
    for path in map(Path, inner):
        if _is_run(path):
            yield path
        elif depth > 1:
            yield from _find(path, depth - 1)


def _changed(run: Path) -> float:
    """Return when a run's log was last written, in seconds since 1970."""
    for name in (METRICS, CONFIG):
        try:
            return (run / name).stat().st_mtime
        except OSError:
            continue
    return 0.0


def _stamp(run: Path) -> object:
    """Return what changes with every file that a page is drawn from."""
    names = (CONFIG, METRICS, SAMPLES, CHECKPOINTS, BEST, *FOLDERS.values())
    found: list[object] = []
    for name in names:
        try:
            status = (run / name).stat()
            found.append((name, status.st_mtime_ns, status.st_size))
        except OSError:
            found.append((name, 0, 0))
    return (*found, *(path.name for _, path in grids_of(run)[-1:]))
