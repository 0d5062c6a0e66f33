"""`unpaired train`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from unpaired.cli.app import INTERRUPTED, app
from unpaired.cli.flags import FLAGS
from unpaired.core.errors import UserError

if TYPE_CHECKING:
    from unpaired.core.given import Given
    from unpaired.training.result import Result

IMAGES = Group("Images", sort_key=1)
TRAINING = Group("Training", sort_key=2)
RUN = Group("Run", sort_key=3)
METHODS_HELP = (
    "The method: cyclegan, cut, fastcut, pix2pix (learns from pairs), simgan, feature_gan, bigan or cogan. Those of "
    "one direction go from A to B unless --set method.direction=b2a."
)


@app.command
def train(
    method: Annotated[str | None, Parameter(help=METHODS_HELP)] = None,
    /,
    *,
    data: Annotated[str | None, Parameter(group=IMAGES)] = None,
    a: Annotated[str | None, Parameter(group=IMAGES)] = None,
    b: Annotated[str | None, Parameter(group=IMAGES)] = None,
    test_a: Annotated[str | None, Parameter(group=IMAGES)] = None,
    test_b: Annotated[str | None, Parameter(group=IMAGES)] = None,
    side_by_side: Annotated[str | None, Parameter(group=IMAGES)] = None,
    crop_size: Annotated[str | None, Parameter(group=IMAGES)] = None,
    load_size: Annotated[str | None, Parameter(group=IMAGES)] = None,
    preprocess: Annotated[str | None, Parameter(group=IMAGES)] = None,
    cache: Annotated[str | None, Parameter(group=IMAGES)] = None,
    on_bad_image: Annotated[str | None, Parameter(group=IMAGES)] = None,
    epochs: Annotated[int | None, Parameter(group=TRAINING)] = None,
    decay_epochs: Annotated[int | None, Parameter(group=TRAINING)] = None,
    max_images: Annotated[int | None, Parameter(group=TRAINING)] = None,
    batch_size: Annotated[int | None, Parameter(group=TRAINING)] = None,
    seed: Annotated[int | None, Parameter(group=TRAINING)] = None,
    device: Annotated[str | None, Parameter(group=TRAINING)] = None,
    precision: Annotated[str | None, Parameter(group=TRAINING)] = None,
    compile: Annotated[str | None, Parameter(group=TRAINING)] = None,
    out: Annotated[Path | None, Parameter(group=RUN)] = None,
    resume: Annotated[Path | None, Parameter(group=RUN)] = None,
    config: Annotated[Path | None, Parameter(group=RUN)] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=RUN, negative=())] = None,
    quiet: Annotated[bool, Parameter(group=RUN, negative=())] = False,
) -> int:
    """Train a method on two folders of images, or resume a run.

    unpaired train cyclegan --data horse2zebra --out runs/h2z

    unpaired train pix2pix --data facades --side-by-side ab --out runs/facades

    unpaired train --resume runs/h2z

    Parameters
    ----------
    data
        Folder that holds trainA and trainB (and testA, testB), train/A and train/B (and test/A, test/B), or trainannot
        and train (and testannot, test); see also --side-by-side.
    a
        Folder of the images of domain A, in place of --data; with --b.
    b
        Folder of the images of domain B.
    test_a
        Folder of held-out images of domain A, with --a and --b.
    test_b
        Folder of held-out images of domain B.
    side_by_side
        Every file of --data (train and test or val in it, or its own) holds two images: ab (A left) or ba (A right).
    crop_size
        Size of the training images: 256, or HEIGHTxWIDTH. [256]
    load_size
        Size to which images are brought before the crop. [1.12 x the crop size]
    preprocess
        resize_and_crop, crop, scale_width, scale_width_and_crop or none. [resize_and_crop]
    cache
        Where decoded images are kept: auto, memory, disk or none. [auto]
    on_bad_image
        fail with the list of all bad files, or skip them. [fail]
    epochs
        Epochs at the full learning rate. [100]
    decay_epochs
        Further epochs in which it falls to zero. [100]
    max_images
        Stop after this many images.
    batch_size
        Images of each domain per step. [1]
    seed
        Seed of weights, order, crops and pools. [0]
    device
        auto, cpu, cuda, cuda:1 or mps. [auto]
    precision
        Arithmetic: auto (bf16 where the hardware has it), fp32 (as published), bf16 or fp16. [auto]
    compile
        Compile the networks with torch.compile: auto, on or off. [auto]
    out
        New folder of the run: settings, log, samples, checkpoints and index.html, a page to watch it.
    resume
        Run to go on with, exactly where it stopped; with auto, the run in --out is begun, or gone on with.
    config
        TOML file of settings (sections method, data, training).
    set_
        One setting, such as method.generator.blocks=6; may be repeated. It wins over --config.
    quiet
        Print nothing but warnings and errors.
    """
    values = {
        "method.name": method,
        "data.root": data,
        "data.a": a,
        "data.b": b,
        "data.test_a": test_a,
        "data.test_b": test_b,
        "data.side_by_side": side_by_side,
        "data.crop_size": read_size("--crop-size", crop_size),
        "data.load_size": read_size("--load-size", load_size),
        "data.preprocess": preprocess,
        "data.cache": cache,
        "data.on_bad_image": on_bad_image,
        "training.epochs": epochs,
        "training.decay_epochs": decay_epochs,
        "training.max_images": max_images,
        "training.batch_size": batch_size,
        "training.seed": seed,
        "training.device": device,
        "training.precision": precision,
        "training.compile": compile,
    }
    given = _given(config, set_, values)
    if resume is None or str(resume) == "auto":
        result = _start(given, method, out, go_on=resume is not None, quiet=quiet)
    else:
        if out is not None or config is not None:
            raise UserError("--resume takes everything from the run: leave out --out and --config.")
        from unpaired.training.start import resume_run

        result = resume_run(resume, given, quiet=quiet)
    return _conclude(result, quiet)


def _given(config: Path | None, assignments: Sequence[str] | None, values: dict[str, Any]) -> list[Given]:
    from unpaired.core.given import Given, read_overrides
    from unpaired.training.settings import read_file

    given = [read_file(config)] if config else []
    if assignments:
        given.append(read_overrides(assignments))
    given.extend(Given({name: value}, FLAGS[name]) for name, value in values.items() if value is not None)
    return given


def _start(given: list[Given], method: str | None, out: Path | None, *, go_on: bool, quiet: bool) -> Result:
    from unpaired.training.start import begin_run

    named = method is not None or any("method.name" in source.values for source in given)
    if not named:
        raise UserError(
            "METHOD is missing. Say which method to train, such as: unpaired train cyclegan --data ROOT --out RUN."
        )
    if out is None:
        raise UserError("--out is missing: the new folder that this run is to be written to.")
    return begin_run(given, out, go_on=go_on, quiet=quiet)


def read_size(option: str, text: str | None) -> int | list[int] | None:
    """Read 256 or HEIGHTxWIDTH."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(parts) > 2:
        raise UserError(f"{option} {text}: expected a number of pixels (256) or HEIGHTxWIDTH (256x512).")
    return int(parts[0]) if len(parts) == 1 else [int(part) for part in parts]


def _conclude(result: Result, quiet: bool) -> int:
    if result.state == "interrupted" and not result.is_first:
        return INTERRUPTED + (result.signal or 0)
    if result.state == "interrupted":
        print(
            f"Stopped after {result.images_seen:,} images; everything is saved. Go on with:\n"
            f"  unpaired train --resume {_quoted(result.run)}",
            file=sys.stderr,
        )
        return INTERRUPTED + (result.signal or 0)
    if not quiet and result.is_first:
        memory = f" Peak: {result.peak_memory}." if result.peak_memory else ""
        early = f" Stopped early: {result.ended_early}." if result.ended_early else ""
        best = f"Use {result.best.path}, {result.advice}\n" if result.best and result.advice else ""
        model = result.best.path if result.best else result.run
        print(
            f"Finished: {result.images_seen:,} images.{early}{memory}\n{best}"
            f"Look at {result.run / 'index.html'}, and translate with:\n"
            f"  unpaired translate {_quoted(model)} IMAGES --out OUT --direction {result.directions[0]}"
        )
    return 0


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
