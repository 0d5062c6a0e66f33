"""`unpaired compare`."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from unpaired.cli.app import INTERRUPTED, app
from unpaired.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unpaired.compare.start import Comparison, Done

IMAGES = Group("Images", sort_key=1)
COMPARISON = Group("Comparison", sort_key=2)


@app.command
def compare(
    plan: str,
    /,
    *,
    data: Annotated[str | None, Parameter(group=IMAGES)] = None,
    a: Annotated[str | None, Parameter(group=IMAGES)] = None,
    b: Annotated[str | None, Parameter(group=IMAGES)] = None,
    test_a: Annotated[str | None, Parameter(group=IMAGES)] = None,
    test_b: Annotated[str | None, Parameter(group=IMAGES)] = None,
    crop_size: Annotated[str | None, Parameter(group=IMAGES)] = None,
    out: Annotated[Path | None, Parameter(group=COMPARISON)] = None,
    images: Annotated[int | None, Parameter(group=COMPARISON)] = None,
    seeds: Annotated[str | None, Parameter(group=COMPARISON)] = None,
    only: Annotated[str | None, Parameter(group=COMPARISON)] = None,
    fcn: Annotated[str | None, Parameter(group=COMPARISON)] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=COMPARISON, negative=())] = None,
    dry_run: Annotated[bool, Parameter(group=COMPARISON, negative=())] = False,
    quiet: Annotated[bool, Parameter(group=COMPARISON, negative=())] = False,
) -> int:
    """Train several methods under one budget, measure them alike, and write one table and one page of pictures.

    unpaired compare paper --data camvid --out comparison --set data.labels_a.kind=index

    Interrupted? The same command goes on: finished trainings are kept, a half-done one is resumed exactly.

    Parameters
    ----------
    plan
        A TOML file, or a plan that comes with the package: paper, ablation, identity, cut.
    data
        Folder with training and test images of both domains, as for `unpaired train`.
    a
        Folder of the training images of domain A, in place of --data; with --b.
    b
        Folder of the training images of domain B.
    test_a
        Folder of held-out images of domain A, with --a and --b.
    test_b
        Folder of held-out images of domain B.
    crop_size
        Size of all images: 256, or HEIGHTxWIDTH. [that of the plan]
    out
        Folder of the comparison: runs, table.md, table.csv, results.json, index.html, pictures.png.
    images
        Training images that every translator sees. [that of the plan]
    seeds
        Seeds, such as 0,1,2: every method is trained once with each. [those of the plan]
    only
        Labels of the entries to train now, such as CycleGAN,CUT; the table shows all that are finished. [all]
    fcn
        Segmenter of unpaired segment train that labels photos, in place of a small one that is trained here.
    set_
        One setting for all, such as method.generator.width=32, or one of the plan, such as test_images=50 or
        segmenter.images=8000; may be repeated.
    dry_run
        Say what would be trained with which settings and what is there already, and do nothing.
    quiet
        Print nothing but the table, warnings and errors.
    """
    from unpaired.cli.train import read_size
    from unpaired.compare.plan import read_plan
    from unpaired.compare.start import described, open_comparison
    from unpaired.core.given import Given, read_overrides
    from unpaired.training.progress import Progress
    from unpaired.training.settings import SECTIONS

    if out is None:
        raise UserError("--out is missing: the folder that this comparison is to be written to.")
    places = {"data.root": data, "data.a": a, "data.b": b, "data.test_a": test_a, "data.test_b": test_b}
    given = {name: place for name, place in places.items() if place is not None}
    overrides = read_overrides(set_ or [])
    changes = {name: value for name, value in overrides.values.items() if name.split(".")[0] not in SECTIONS}
    flags = (("images", images), ("seeds", _numbers(seeds)), ("fcn", fcn), ("data.crop_size", crop_size))
    for name, flag in flags:
        if flag is not None and name in overrides.values:
            raise UserError(f"{name} is given twice: by --set, and by its option. Leave one of them out.")
    unused = [name for name in changes if name.startswith("segmenter.")]
    if unused and (fcn is not None or "fcn" in changes):
        raise UserError(
            f"--set {unused[0]} is a setting of the small network that --fcn takes the place of. Leave one of them out."
        )
    changes |= {name: value for name, value in flags[:3] if value is not None}
    found = read_plan(plan, changes)
    overrides = Given({n: value for n, value in overrides.values.items() if n not in changes}, overrides.origin)
    if crop_size is not None:
        overrides = Given({**overrides.values, "data.crop_size": read_size("--crop-size", crop_size)}, overrides.origin)
    labels = found.labels_in(only) if only is not None else []
    with Progress(quiet=quiet) as display:
        comparison = open_comparison(found, out, given, overrides, only=labels, progress=display.checking)
    if dry_run:
        print(described(comparison, labels))
        return 0
    return _carry_out(comparison, labels, quiet)


def _carry_out(comparison: Comparison, only: list[str], quiet: bool) -> int:
    from unpaired.compare.start import compare as carry_out
    from unpaired.core.terminal import counting

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    def bar(label: str) -> AbstractContextManager[Callable[[int, int], None]]:
        say(label)
        return counting(label, quiet=quiet)

    received: list[int] = []
    try:
        with _told_of_sigterm(received):
            done = carry_out(comparison, only=only, quiet=quiet, say=say, counting=bar)
    except KeyboardInterrupt:  # between two trainings, or while measuring
        return _stopped(comparison, *(received or [signal.SIGINT]))
    if done.outcome.signal is not None:
        return _stopped(comparison, done.outcome.signal)
    print(done.table)
    if not quiet:
        print(_places(done))
    if done.outcome.failed:
        print(f"Broke down: {', '.join(done.outcome.failed)}. The same command tries again.", file=sys.stderr)
    return 1 if done.outcome.failed else 0


@contextmanager
def _told_of_sigterm(received: list[int]) -> Iterator[None]:
    """Let SIGTERM end what is done as Ctrl-C does, and note it; trainings have handlers of their own."""

    def note(number: int, _: object) -> None:
        received[:] = [number]
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # elsewhere Python allows no handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(comparison: Comparison, number: int) -> int:
    print(
        f"Stopped; everything in {shlex.quote(str(comparison.folder))} is saved. The same command goes on.",
        file=sys.stderr,
    )
    return INTERRUPTED + number


def _places(done: Done) -> str:
    lines = [f"{path}" for path in done.written]
    if done.unfinished:
        lines.append(f"Still to be trained: {', '.join(done.unfinished)}.")
    return "\n".join(lines)


def _numbers(text: str | None) -> list[int] | None:
    """Read 0,1,2."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--seeds {text}: expected whole numbers with commas between them, such as 0,1,2.")
    return [int(part) for part in parts]
