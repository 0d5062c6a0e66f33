"""`unpaired segment train` and `score`: a network that labels photos, for the FCN-score of generated ones."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

from unpaired.cli.app import INTERRUPTED, app, command_line
from unpaired.cli.flags import flags_of
from unpaired.core.errors import UserError

if TYPE_CHECKING:
    from unpaired.core.given import Given
    from unpaired.evaluation.segmentation.train import Status

IMAGES = Group("Images", sort_key=1)
TRAINING = Group("Training", sort_key=2)
RUN = Group("Run", sort_key=3)
SECONDS = 60.0
"""Between two lines of progress where there is no terminal."""

segment = App(
    name="segment",
    help="Train an FCN-8s that labels photos, and measure it. It scores what labels-to-photos translators make.",
    help_epilogue="Begin with: unpaired segment train --data camvid --set data.labels_a.kind=index --out DIR",
    help_format="plaintext",
)
app.command(segment)


@segment.command
def train(
    *,
    data: Annotated[str | None, Parameter(group=IMAGES)] = None,
    photos: Annotated[str | None, Parameter(group=IMAGES)] = None,
    labels: Annotated[str | None, Parameter(group=IMAGES)] = None,
    test_photos: Annotated[str | None, Parameter(group=IMAGES)] = None,
    test_labels: Annotated[str | None, Parameter(group=IMAGES)] = None,
    side_by_side: Annotated[str | None, Parameter(group=IMAGES)] = None,
    size: Annotated[str | None, Parameter(group=IMAGES)] = None,
    images: Annotated[int | None, Parameter(group=TRAINING)] = None,
    batch_size: Annotated[int | None, Parameter(group=TRAINING)] = None,
    weights: Annotated[str | None, Parameter(group=TRAINING)] = None,
    seed: Annotated[int | None, Parameter(group=TRAINING)] = None,
    device: Annotated[str | None, Parameter(group=TRAINING)] = None,
    out: Annotated[Path | None, Parameter(group=RUN)] = None,
    resume: Annotated[Path | None, Parameter(group=RUN)] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=RUN, negative=())] = None,
    quiet: Annotated[bool, Parameter(group=RUN, negative=())] = False,
) -> int:
    """Train an FCN-8s on photos and their label maps; the one that labels held-out photos best is kept.

    unpaired segment train --data camvid --set data.labels_a.kind=index --size 96x128 --out segmenters/camvid

    unpaired segment train --resume segmenters/camvid

    Parameters
    ----------
    data
        Folder with trainannot and train (testannot, test), or trainA and trainB (testA, testB), as for unpaired train.
    photos
        Folder of the training photos, in place of --data; with --labels.
    labels
        Folder of their label maps, of the same names; they are domain A.
    test_photos
        Folder of held-out photos, with --photos and --labels.
    test_labels
        Folder of their label maps.
    side_by_side
        Every file of --data holds a photo and its label map: ab (A left) or ba (A right).
    size
        Size of the photos: 256, or HEIGHTxWIDTH. [256]
    images
        Photos that the training sees. [20000]
    batch_size
        Photos per step. [8]
    weights
        Weights of VGG-16 to begin with: torchvision, none, a file, or auto: torchvision's where they can be had. [auto]
    seed
        Seed of the first weights, of order, crops and dropout. [0]
    device
        auto, cpu, cuda, cuda:1 or mps. [auto]
    out
        New folder: best (the segmenter), config.json, metrics.jsonl, state.
    resume
        Training to go on with, exactly where it stopped.
    set_
        One setting of data or segmenter, such as data.labels_a.kind=index, data.labels_a.void=[11] or
        segmenter.optimizer=sgd; may be repeated.
    quiet
        Print nothing but warnings and errors.
    """
    from unpaired.evaluation.segmentation.train import resume_training, start_training
    from unpaired.training.progress import Progress

    given = _given(
        set_,
        **_places(data, photos, labels, test_photos, test_labels, side_by_side, size),
        **{"segmenter.images": images, "segmenter.batch_size": batch_size, "segmenter.weights": weights},
        **{"segmenter.seed": seed, "segmenter.device": device},
    )
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
def score(
    segmenter: Path,
    /,
    *,
    data: Annotated[str | None, Parameter(group=IMAGES)] = None,
    photos: Annotated[str | None, Parameter(group=IMAGES)] = None,
    labels: Annotated[str | None, Parameter(group=IMAGES)] = None,
    side_by_side: Annotated[str | None, Parameter(group=IMAGES)] = None,
    size: Annotated[str | None, Parameter(group=IMAGES)] = None,
    most: Annotated[int | None, Parameter(group=IMAGES)] = None,
    seed: int = 0,
    device: str = "auto",
    out: Annotated[Path | None, Parameter(group=RUN)] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=RUN, negative=())] = None,
    quiet: Annotated[bool, Parameter(group=RUN, negative=())] = False,
) -> int:
    """Measure a segmenter on real photos: the FCN-score that perfect photos would have, and that of shuffled ones.

    unpaired segment score segmenters/camvid --data camvid --out camvid.json

    Parameters
    ----------
    segmenter
        The folder that `unpaired segment train` has written.
    data
        Folder as for the training; its test photos are measured, or its training photos where there are no others.
    photos
        Folder of photos, in place of --data; with --labels.
    labels
        Folder of their label maps, of the same names.
    side_by_side
        Every file of --data holds a photo and its label map: ab (A left) or ba (A right).
    size
        Size at which photos and label maps are compared: 256, or HEIGHTxWIDTH. [that of the training]
    most
        Measure this many photos, spread evenly. [all]
    seed
        Draws which other photo's label map each is compared with, for the lower bound.
    device
        auto, cpu, cuda, cuda:1 or mps.
    out
        File for all figures and how they were measured, as JSON.
    set_
        One setting of data, such as data.labels_a.kind=index; may be repeated. [label maps as in the training]
    quiet
        Print nothing but the table, warnings and errors.
    """
    from rich.console import Console

    from unpaired.core.files import require_writable, write_atomic
    from unpaired.evaluation.segmentation.score import score_segmenter
    from unpaired.report.terminal import render
    from unpaired.training.progress import Progress

    given = _given(set_, **_places(data, photos, labels, None, None, side_by_side, size))
    if most is not None and most < 1:
        raise UserError(f"--most {most}: a number of photos, 1 or more.")
    if out is not None:
        if out.is_dir():
            raise UserError(f"--out {out} is a folder. Name the JSON file that the figures are written to.")
        require_writable(out.parent)
    with Progress(quiet=quiet, every_seconds=SECONDS) as display:
        found = score_segmenter(segmenter, given, seed=seed, most=most, device=device, progress=display.checking)
    for notice in found.notices:
        print(f"note: {notice}", file=sys.stderr)
    Console().print(render(found), highlight=False)
    if out is not None:
        document = found.model_copy(update={"command": command_line()})
        write_atomic(out, document.to_json(), then="score again")
    return 0


def _places(
    data: str | None,
    photos: str | None,
    labels: str | None,
    test_photos: str | None,
    test_labels: str | None,
    side_by_side: str | None,
    size: str | None,
) -> dict[str, Any]:
    from unpaired.cli.train import read_size

    return {
        "data.root": data,
        "data.a": labels,
        "data.b": photos,
        "data.test_a": test_labels,
        "data.test_b": test_photos,
        "data.side_by_side": side_by_side,
        "data.crop_size": read_size("--size", size),
    }


def _given(assignments: list[str] | None, **flags: Any) -> list[Given]:
    """Return the settings; those of flags win over those of `--set`."""
    from unpaired.core.given import Given, read_overrides

    names = flags_of("segment")
    chosen = {name: value for name, value in flags.items() if value is not None}
    return [read_overrides(assignments or []), *(Given({name: value}, names[name]) for name, value in chosen.items())]


def _conclude(folder: Path, status: Status, quiet: bool) -> int:
    place = shlex.quote(str(folder))
    if status.signal is not None:
        print(
            f"Stopped after {status.images_seen:,} images; everything is saved. Go on with:\n"
            f"  unpaired segment train --resume {place}",
            file=sys.stderr,
        )
        return INTERRUPTED + status.signal
    best, last = status.best, status.last
    if not quiet and best is not None and last is not None:
        print(
            f"Finished: {status.images_seen:,} images. The best was that of {best['images']:,} images, with a class "
            f"IoU of {best['scores']['class_iou']:.3f} on the held-out photos (the last: "
            f"{last['scores']['class_iou']:.3f}).\n"
            f"It lies in {folder / 'best'}. Score it, and score translations with it:\n"
            f"  unpaired segment score {place} --data DATA\n"
            f"  unpaired evaluate MODEL --data DATA --fcn {place}"
        )
    return 0
