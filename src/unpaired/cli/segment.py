"""`unpaired segment train` and `score`: a network that labels photos, for the FCN-score of generated ones."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from unpaired.cli.app import INTERRUPTED, app, command_line
from unpaired.cli.options import ASSIGNED, IMAGES, RUN, TRAINING, Quiet, Section, with_settings
from unpaired.core.errors import UserError
from unpaired.core.terminal import note, say, show

if TYPE_CHECKING:
    from unpaired.evaluation.segmentation.train import Status

SECONDS = 60.0
"""Between two lines of progress where there is no terminal."""
PLACES = {
    "root": "--data",
    "b": "--photos",
    "a": "--labels",
    "test_b": "--test-photos",
    "test_a": "--test-labels",
    "side_by_side": "--side-by-side",
    "crop_size": "--size",
}
HELP = {
    "b": "Folder of the training photos, in place of --data; with --labels.",
    "a": "Folder of their label maps, of the same names; they are domain A.",
    "test_b": "Folder of held-out photos, with --photos and --labels.",
    "test_a": "Folder of their label maps.",
    "side_by_side": "Every file of --data holds a photo and its label map: ab (A left) or ba (A right).",
    "crop_size": "Size of the photos: 256, or HEIGHTxWIDTH. [default: 256]",
}
HELP_OF_SCORE = {
    "root": "Folder as for the training; its test photos are labelled, or its training photos where there are none.",
    "b": "Folder of photos, in place of --data; with --labels.",
    "a": "Folder of their label maps, of the same names.",
    "crop_size": "Size at which label maps are compared: 256, or HEIGHTxWIDTH. [default: that of the training]",
}

segment = App(
    name="segment",
    help="Train a network that labels photos, which scores translations of label maps into photos.",
    help_epilogue="Begin with: unpaired segment train --data camvid --set data.labels_a.kind=index --out DIR",
    help_format="plaintext",
)
app.command(segment)


def _of_training() -> list[Section]:
    from unpaired.data.config import DataConfig
    from unpaired.evaluation.segmentation.config import SegmenterConfig

    return [
        Section(name="data", kind=DataConfig, group=IMAGES, flags=PLACES, help=HELP),
        Section(name="segmenter", kind=SegmenterConfig, group=TRAINING),
    ]


def _of_score() -> list[Section]:
    from unpaired.data.config import DataConfig
    from unpaired.evaluation.segmentation.config import ScoreOptions

    flags = {name: flag for name, flag in PLACES.items() if not name.startswith("test")}
    data = Section(name="data", kind=DataConfig, group=IMAGES, flags=flags, help={**HELP, **HELP_OF_SCORE})
    return [data, Section(kind=ScoreOptions, group=RUN)]


@segment.command
@with_settings(_of_training)
def train(
    *,
    out: Annotated[Path | None, Parameter(group=RUN)] = None,
    resume: Annotated[Path | None, Parameter(group=RUN)] = None,
    quiet: Quiet = False,
    given: Any = (),
) -> int:
    """Train a segmenter on photos and their label maps; the one that labels held-out photos best is kept.

    unpaired segment train --data camvid --set data.labels_a.kind=index --size 96x128 --out segmenters/camvid

    unpaired segment train --resume segmenters/camvid

    Parameters
    ----------
    out
        New folder: best (the segmenter), config.json, metrics.jsonl, state.
    resume
        Training to resume, exactly where it stopped.
    """
    from unpaired.evaluation.segmentation.train import resume_training, start_training
    from unpaired.training.progress import Progress

    if resume is not None and out is not None:
        raise UserError("--resume takes everything from the training: leave out --out.")
    folder = out if resume is None else resume
    if folder is None:
        raise UserError("--out is missing: the new folder that the segmenter is to be written to.")
    begin = start_training if resume is None else resume_training
    with Progress(quiet=quiet, every_seconds=SECONDS) as display:
        status = begin(given, folder, say=display.message, progress=display.checking)
    return _conclude(folder, status, quiet)


@segment.command
@with_settings(_of_score)
def score(
    segmenter: Path,
    /,
    *,
    quiet: Quiet = False,
    given: Any = (),
) -> int:
    """Score a segmenter on real photos: the upper bound of every FCN-score, and that of shuffled label maps.

    unpaired segment score segmenters/camvid --data camvid --out camvid.json

    Parameters
    ----------
    segmenter
        The folder that `unpaired segment train` has written.
    """
    from unpaired.core.files import check_out, write_atomic
    from unpaired.core.given import options_of
    from unpaired.evaluation.segmentation.config import ScoreOptions
    from unpaired.evaluation.segmentation.score import SegmenterScore, score_segmenter
    from unpaired.report.tables import render
    from unpaired.training.progress import Progress

    own = [one for one in given if one.origin != ASSIGNED and not any("." in name for name in one.values)]
    data = [one for one in given if one not in own]
    options = options_of(ScoreOptions, own)
    if options.out is not None:
        check_out(options.out, mark=SegmenterScore.FORMAT)
    with Progress(quiet=quiet, every_seconds=SECONDS) as display:
        found = score_segmenter(
            segmenter, data, seed=options.seed, most=options.most, device=options.device, progress=display.checking
        )
    for notice in found.notices:
        note(f"note: {notice}")
    show(render(found))
    if options.out is not None:
        document = found.model_copy(update={"command": command_line()})
        write_atomic(Path(os.path.expanduser(options.out)), document.to_json(), then="score again")
    return 0


def _conclude(folder: Path, status: Status, quiet: bool) -> int:
    place = shlex.quote(str(folder))
    if status.signal is not None:
        note(
            f"Stopped after {status.images_seen:,} images; everything is saved. Resume with:\n"
            f"  unpaired segment train --resume {place}"
        )
        return INTERRUPTED + status.signal
    best, last = status.best, status.last
    if not quiet and best is not None and last is not None:
        say(
            f"Finished: {status.images_seen:,} images. The best was that of {best['images']:,} images, with a class "
            f"IoU of {best['scores']['class_iou']:.3f} on the held-out photos (the last: "
            f"{last['scores']['class_iou']:.3f}).\n"
            f"It lies in {folder / 'best'}. Score it, and score translations with it:\n"
            f"  unpaired segment score {place} --data DATA\n"
            f"  unpaired evaluate MODEL --data DATA --fcn {place}"
        )
    return 0
