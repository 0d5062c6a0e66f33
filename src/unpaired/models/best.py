"""`RUN/best`: the checkpoint whose translations of held-out images were measured best, kept whatever else is deleted.

It is a checkpoint like the others (its files are links to theirs) with one document more, `best.json`, which says why.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from unpaired.core.errors import UserError
from unpaired.models.folder import BEST, MANIFEST, DamagedError, checkpoint_folder, link_folder, read_document, verify

DOCUMENT = "best.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BestCheckpoint:
    """The best checkpoint of a run; the content of `best.json` but for the path."""

    path: Path
    """`RUN/best`, a model folder."""
    measure: str
    """Name of the metric that chose it, such as `swd`."""
    directions: tuple[str, ...]
    """The directions whose mean is compared."""
    value: float
    better: Literal["higher", "lower"]
    """Which values of the metric are better."""
    images_seen: int
    why: str
    """One phrase: what was compared with how many others."""
    evaluations: int
    """How many evaluations there were when it was chosen."""
    images: dict[str, int]
    """How many images of each domain were measured."""
    held_out_from: str
    """Where they come from: `test` or `train`."""


def keep_best(best: BestCheckpoint) -> None:
    """Make the checkpoint after `best.images_seen` images, which must exist, the folder `best.path`.

    The folder is replaced whole.
    """
    document = {"format": "unpaired-best", "format_version": 1, **asdict(best)}
    del document["path"]
    link_folder(best.path, checkpoint_folder(best.path.parent, best.images_seen), {DOCUMENT: document})


def read_best(run: Path) -> BestCheckpoint | None:
    """Return what `RUN/best` says of itself; None where there is none, `DamagedError` where it is damaged."""
    folder = run / BEST
    if not (folder / MANIFEST).is_file():
        return None
    verify(folder, [DOCUMENT])
    document = read_document(folder, DOCUMENT)
    names = {field.name for field in fields(BestCheckpoint)}
    try:
        return TypeAdapter(BestCheckpoint).validate_python(
            {"path": folder, **{name: value for name, value in document.items() if name in names}}
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise DamagedError(f"{folder} is damaged: {DOCUMENT} does not say what is best ({reason}).") from error


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


def restore_best(best: BestCheckpoint) -> bool:
    """Bring `RUN/best` to what a resumed training remembers as its best, where that checkpoint still exists.

    Where it does not, `RUN/best` stays as it is: a checkpoint later than that from which the training goes on (the
    newest was damaged) is still one of this training, which will reach it again. Returns False where `RUN/best` should
    be there and is gone or damaged.
    """
    is_whole = _is_whole(best.path)
    if is_whole and (found := read_best(best.path.parent)) is not None and found.images_seen == best.images_seen:
        return True
    if _is_whole(checkpoint_folder(best.path.parent, best.images_seen)):
        keep_best(best)
        return True
    return is_whole


def _is_whole(folder: Path) -> bool:
    try:
        verify(folder)
    except (UserError, OSError):
        return False
    return True
