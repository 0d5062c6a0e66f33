"""`RUN/best`: the checkpoint whose translations of held-out images were measured best, kept whatever else is deleted.

It is a checkpoint like the others (its files are links to theirs) with one document more, `best.json`, which says why.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unpaired.core.errors import UserError
from unpaired.models.folder import CHECKPOINTS, MANIFEST, DamagedError, link_folder, read_document, verify
from unpaired.training.selection import Selection

BEST = "best"
"""Folder of a run that holds its best checkpoint."""
DOCUMENT = "best.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BestCheckpoint:
    """The best checkpoint of a run; the content of `best.json` but for the path."""

    path: Path
    """`RUN/best`, a model folder."""
    measure: str
    """Name of the measure that chose it, such as `swd`."""
    directions: tuple[str, ...]
    """The directions whose mean is compared."""
    value: float
    images_seen: int
    why: str
    """One phrase: what was compared with how many others."""


def keep_best(run: Path, selection: Selection, *, images: dict[str, int], held_out_from: str) -> None:
    """Make the checkpoint of the best evaluation, which must exist, the folder `RUN/best`.

    The folder is replaced whole. `images` are how many images of each domain were measured, `held_out_from` where they
    come from (`test` or `train`).
    """
    best = selection.best
    assert best is not None
    document = {
        "format": "unpaired-best",
        "format_version": 1,
        "measure": selection.measure.name,
        "directions": list(selection.directions),
        "value": best.value,
        "better": "higher" if selection.measure.higher_is_better else "lower",
        "images_seen": best.images_seen,
        "why": selection.why(),
        "evaluations": best.number,
        "images": images,
        "held_out_from": held_out_from,
    }
    link_folder(run / BEST, run / CHECKPOINTS / f"{best.images_seen:09d}", {DOCUMENT: document})


def read_best(run: Path) -> BestCheckpoint | None:
    """Return what `RUN/best` says of itself; None where there is none, `DamagedError` where it is damaged."""
    folder = run / BEST
    if not (folder / MANIFEST).is_file():
        return None
    verify(folder, [DOCUMENT])
    document: dict[str, Any] = read_document(folder, DOCUMENT)
    try:
        return BestCheckpoint(
            path=folder,
            measure=str(document["measure"]),
            directions=tuple(document["directions"]),
            value=float(document["value"]),
            images_seen=int(document["images_seen"]),
            why=str(document["why"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{folder} is damaged: {DOCUMENT} does not say what is best ({error}).") from error


def describe_best(run: Path) -> str | None:
    """Return one line about `RUN/best` for people; None where there is none."""
    try:
        best = read_best(run)
    except DamagedError as error:
        return str(error)
    if best is None:
        return None
    return f"{best.path}, after {best.images_seen:,} images: {best.value:.4g}, the {best.why}"


def recover_best(run: Path) -> None:
    """Finish what a process began that was killed while it replaced `RUN/best`, and delete what it left over."""
    leftovers = [*run.glob(f".{BEST}.writing-*"), *run.glob(f".{BEST}.replaced-*")]
    for leftover in leftovers:
        if not (run / BEST).exists() and _is_whole(leftover):
            leftover.rename(run / BEST)
        else:
            shutil.rmtree(leftover, ignore_errors=True)


def restore_best(run: Path, selection: Selection, *, images: dict[str, int], held_out_from: str) -> bool:
    """Bring `RUN/best` to what a resumed training remembers as its best, where that checkpoint still exists.

    Where it does not, `RUN/best` stays as it is: a checkpoint later than that from which the training goes on (the
    newest was damaged) is still one of this training, which will reach it again. Returns False where `RUN/best` should
    be there and is gone or damaged.
    """
    best = selection.best
    if best is None:
        return True
    is_whole = _is_whole(run / BEST)
    if is_whole and (found := read_best(run)) is not None and found.images_seen == best.images_seen:
        return True
    if _is_whole(run / CHECKPOINTS / f"{best.images_seen:09d}"):
        keep_best(run, selection, images=images, held_out_from=held_out_from)
        return True
    return is_whole


def _is_whole(folder: Path) -> bool:
    try:
        verify(folder)
    except (UserError, OSError):
        return False
    return True
