"""`unpaired compare`."""

from __future__ import annotations

import shlex
import signal
import threading
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from unpaired.cli.app import INTERRUPTED, app
from unpaired.cli.options import ASSIGNED, IMAGES, Extension, Quiet, Section, Whole, allow, read_size, with_settings
from unpaired.core.errors import UserError, option
from unpaired.core.terminal import counting, note, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unpaired.compare.start import Comparison, Done

COMPARISON = Group("Comparison", sort_key=2)
SIZE = "Size of all images: 256, or HEIGHTxWIDTH. [that of the plan]"


def _sections() -> list[Section]:
    from unpaired.data.config import DataConfig

    flags = {name: f"--{name.replace('_', '-')}" for name in ("a", "b", "test_a", "test_b", "crop_size")}
    flags = {"root": "--data", **flags}
    return [Section(name="data", kind=DataConfig, group=IMAGES, flags=flags, help={"crop_size": SIZE})]


@app.command
@with_settings(_sections)
def compare(
    plan: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(group=COMPARISON)] = None,
    images: Annotated[Whole | None, Parameter(group=COMPARISON)] = None,
    seeds: Annotated[str | None, Parameter(group=COMPARISON)] = None,
    only: Annotated[str | None, Parameter(group=COMPARISON)] = None,
    fcn: Annotated[str | None, Parameter(group=COMPARISON)] = None,
    checkpoint: Annotated[str | None, Parameter(group=COMPARISON)] = None,
    dry_run: Annotated[bool, Parameter(group=COMPARISON, negative=(), show_default=False)] = False,
    extension: Extension = None,
    quiet: Quiet = False,
    given: Any = (),
) -> int:
    """Train several methods under one budget and compare them: one table and one page of pictures.

    unpaired compare paper --data camvid --out comparison --set data.labels_a.kind=index

    Interrupted? Give the same command again: finished trainings are kept, an unfinished one is resumed exactly.

    Parameters
    ----------
    plan
        A TOML file, or a plan that comes with the package: paper, ablation, identity, cut. --set changes its settings
        too, such as test_images=50 or segmenter.images=8000.
    out
        Folder of the comparison: runs, tables, results as JSON, index.html, pictures.
    images
        Training images that every method sees. [default: that of the plan]
    seeds
        Seeds, such as 0,1,2: every method is trained once with each. [default: those of the plan]
    only
        Labels of the entries to train now, such as CycleGAN,CUT; the table shows all that are finished. [default: all]
    fcn
        Segmenter of unpaired segment train that labels photos, in place of a small one that is trained here.
    checkpoint
        Which checkpoint of every training is measured: last (all have seen as many images), best or a number of images.
        [default: the last one in all tables, and the best one beside it in a table of both]
    dry_run
        Print what would be trained with which settings and what is there already, and do nothing.
    """
    from unpaired.compare.plan import read_plan
    from unpaired.compare.start import described, open_comparison
    from unpaired.core.given import Given
    from unpaired.training.progress import Progress

    if out is None:
        raise UserError("--out is missing: the folder that this comparison is to be written to.")
    if checkpoint not in (None, "best", "last") and not (checkpoint.isascii() and checkpoint.isdigit()):
        raise UserError(f"--checkpoint {checkpoint}: expected best, last or a number of images.")
    allow(extension)
    places = {name: value for one in given if one.origin != ASSIGNED for name, value in one.values.items()}
    size = places.pop("data.crop_size", None)
    size = read_size("--crop-size", size) if isinstance(size, str) else size
    own = {"images": images, "seeds": _numbers(seeds), "fcn": fcn, "data.crop_size": size}
    changes, overrides = _settings(given, own)
    found = read_plan(plan, changes)
    labels = found.labels_in(only) if only is not None else []
    with Progress(quiet=quiet) as display:
        trained = Given(overrides, ASSIGNED)
        comparison = open_comparison(found, out, places, trained, only=labels, progress=display.checking)
    if dry_run:
        say(described(comparison, labels))
        return 0
    return _carry_out(comparison, labels, checkpoint, quiet)


def _settings(given: Any, own: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is set of the plan and of its trainings; `UserError` where it is set twice, or nothing uses it."""
    from unpaired.training.settings import SECTIONS

    assigned = {name: value for one in given if one.origin == ASSIGNED for name, value in one.values.items()}
    flags = {name: value for name, value in own.items() if value is not None}
    for name in flags.keys() & assigned.keys():
        raise UserError(f"{option(name)} and --set {name} give the same setting. Leave one of them out.")
    settings = assigned | flags
    overrides = {name: value for name, value in settings.items() if name.split(".")[0] in SECTIONS}
    changes = {name: value for name, value in settings.items() if name not in overrides}
    unused = [name for name in changes if name.startswith("segmenter.")]
    if unused and "fcn" in changes:
        raise UserError(
            f"--set {unused[0]} is a setting of the small network that --fcn takes the place of. Leave one of them out."
        )
    return changes, overrides


def _carry_out(comparison: Comparison, only: list[str], checkpoint: str | None, quiet: bool) -> int:
    from unpaired.compare.document import markdown
    from unpaired.compare.start import compare as carry_out

    def tell(text: str) -> None:
        if not quiet:
            note(text)

    def bar(label: str) -> AbstractContextManager[Callable[[int, int], None]]:
        tell(label)
        return counting(label, quiet=quiet)

    received: list[int] = []
    try:
        with _noting_sigterm(received):
            done = carry_out(comparison, only=only, checkpoint=checkpoint, quiet=quiet, say=tell, counting=bar)
    except KeyboardInterrupt:  # between two trainings, or while measuring
        return _stopped(comparison, *(received or [signal.SIGINT]))
    if done.outcome.signal is not None:
        return _stopped(comparison, done.outcome.signal)
    assert done.document is not None
    say(markdown(done.document))
    if not quiet:
        say(_places(done))
    if done.outcome.failed:
        note(f"Diverged: {', '.join(done.outcome.failed)}. The same command tries again.")
    return 1 if done.outcome.failed else 0


@contextmanager
def _noting_sigterm(received: list[int]) -> Iterator[None]:
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
    note(f"Stopped; everything in {shlex.quote(str(comparison.folder))} is saved. The same command goes on.")
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
