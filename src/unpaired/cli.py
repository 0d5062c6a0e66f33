"""The command line: one function per command; parse, call, print.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from unpaired import __version__
from unpaired.errors import UserError

if TYPE_CHECKING:
    from unpaired.config import Given
    from unpaired.training.run import Result

app = App(
    name="unpaired",
    help="Image-to-image translation learned from two folders of images.",
    help_epilogue="Begin with: unpaired demo",
    version=__version__,
    version_flags=["--version"],
    help_format="plaintext",
)

IMAGES = Group("Images", sort_key=1)
TRAINING = Group("Training", sort_key=2)
RUN = Group("Run", sort_key=3)

FLAGS = {
    "method.name": "METHOD",
    "data.root": "--data",
    "data.a": "--a",
    "data.b": "--b",
    "data.test_a": "--test-a",
    "data.test_b": "--test-b",
    "data.crop_size": "--crop-size",
    "data.load_size": "--load-size",
    "data.preprocess": "--preprocess",
    "data.cache": "--cache",
    "data.on_bad_image": "--on-bad-image",
    "training.epochs": "--epochs",
    "training.decay_epochs": "--decay-epochs",
    "training.max_images": "--max-images",
    "training.batch_size": "--batch-size",
    "training.seed": "--seed",
    "training.device": "--device",
    "training.precision": "--precision",
}
"""The settings that `train` has flags for; messages name the flag, which is what the user knows."""
INTERRUPTED = 128
"""A command ended by a signal exits with this plus the signal's number, as shells expect."""


@app.command
def train(
    method: Annotated[str | None, Parameter(help="The method: cyclegan.")] = None,
    /,
    *,
    data: Annotated[str | None, Parameter(group=IMAGES)] = None,
    a: Annotated[str | None, Parameter(group=IMAGES)] = None,
    b: Annotated[str | None, Parameter(group=IMAGES)] = None,
    test_a: Annotated[str | None, Parameter(group=IMAGES)] = None,
    test_b: Annotated[str | None, Parameter(group=IMAGES)] = None,
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
    out: Annotated[Path | None, Parameter(group=RUN)] = None,
    resume: Annotated[Path | None, Parameter(group=RUN)] = None,
    config: Annotated[Path | None, Parameter(group=RUN)] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=RUN, negative=())] = None,
    quiet: Annotated[bool, Parameter(group=RUN, negative=())] = False,
) -> int:
    """Train a method on two folders of images, or resume a run.

    unpaired train cyclegan --data horse2zebra --out runs/h2z

    unpaired train --resume runs/h2z

    Parameters
    ----------
    data
        Folder that holds trainA and trainB (and testA, testB), or train/A and train/B (and test/A, test/B).
    a
        Folder of the images of domain A, in place of --data; with --b.
    b
        Folder of the images of domain B.
    test_a
        Folder of held-out images of domain A, with --a and --b.
    test_b
        Folder of held-out images of domain B.
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
        fp32, bf16 or fp16. [fp32]
    out
        New folder of the run: settings, log, samples, checkpoints and index.html, a page to watch it.
    resume
        Run to go on with, exactly where it stopped.
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
        "data.crop_size": _size("--crop-size", crop_size),
        "data.load_size": _size("--load-size", load_size),
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
    }
    given = _given(config, set_, values)
    if resume is None:
        result = _start(given, method, out, quiet)
    else:
        if out is not None or config is not None:
            raise UserError("--resume takes everything from the run: leave out --out and --config.")
        from unpaired.training.start import resume_run

        result = resume_run(resume, given, quiet=quiet)
    return _conclude(result, quiet)


def _given(config: Path | None, assignments: Sequence[str] | None, values: dict[str, Any]) -> list[Given]:
    from unpaired.config import Given, read_file, read_overrides

    given = [read_file(config)] if config else []
    if assignments:
        given.append(read_overrides(assignments))
    given.extend(Given({name: value}, FLAGS[name]) for name, value in values.items() if value is not None)
    return given


def _start(given: list[Given], method: str | None, out: Path | None, quiet: bool) -> Result:
    from unpaired.config import resolve
    from unpaired.training.start import start_run

    named = method is not None or any("method.name" in source.values for source in given)
    if not named:
        raise UserError(
            "METHOD is missing. Say which method to train, such as: unpaired train cyclegan --data ROOT --out RUN."
        )
    config = resolve(given)
    if out is None:
        raise UserError("--out is missing: the new folder that this run is to be written to.")
    return start_run(config, out, quiet=quiet)


def _size(option: str, text: str | None) -> int | list[int] | None:
    """Read 256 or HEIGHTxWIDTH."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(parts) > 2:
        raise UserError(f"{option} {text}: expected a number of pixels (256) or HEIGHTxWIDTH (256x512).")
    return int(parts[0]) if len(parts) == 1 else [int(part) for part in parts]


def _conclude(result: Result, quiet: bool) -> int:
    if result.state == "interrupted":
        print(
            f"Stopped after {result.images_seen:,} images; everything is saved. Go on with:\n"
            f"  unpaired train --resume {_quoted(result.run)}",
            file=sys.stderr,
        )
        return INTERRUPTED + (result.signal or 0)
    if not quiet:
        print(
            f"Finished: {result.images_seen:,} images. Look at {result.run / 'index.html'}, and translate with:\n"
            f"  unpaired translate {_quoted(result.run)} IMAGES --out OUT --direction a2b"
        )
    return 0


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


@app.command
def translate(
    model: Path,
    inputs: Annotated[list[Path], Parameter(name="INPUT", negative=())],
    /,
    *,
    out: Path,
    direction: str | None = None,
    format: str = "png",
    bit_depth: Literal[8, 16, 32] | None = None,
    existing: Literal["fail", "skip", "overwrite"] = "fail",
    batch_size: int = 8,
    device: str = "auto",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Translate images with a trained model; every output has the size of its input.

    unpaired translate runs/h2z photos/ portrait.jpg --out zebras

    Exit code 1 when some of the files could not be translated; the rest is done.

    Parameters
    ----------
    model
        A run (its newest checkpoint), a checkpoint, or a converted model.
    inputs
        Images and folders of images, any mixture of sizes; folders are searched recursively and keep their structure.
    out
        Folder for the translations.
    direction
        a2b or b2a; by default a2b, or the only one there is.
    format
        png, jpg, webp, tiff or npy.
    bit_depth
        8, 16 or 32 (floating point); by default that of the images that the model was trained on.
    existing
        What to do when an output is there already: fail before anything is done, skip it, or overwrite it.
    batch_size
        Images of equal size that are translated together.
    device
        auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps.
    precision
        Arithmetic: fp32, bf16 or fp16.
    quiet
        Print nothing but warnings and errors.
    """
    from unpaired.inference.files import translate_files
    from unpaired.inference.translator import Translator
    from unpaired.terminal import counting

    translator = Translator.load(model, direction, device=device, precision=precision)
    for notice in translator.notices:
        print(f"warning: {notice}", file=sys.stderr)
    with counting("Translating", quiet=quiet) as progress:
        report = translate_files(
            translator,
            inputs,
            out,
            format=format,
            bit_depth=bit_depth,
            existing=existing,
            batch_size=batch_size,
            progress=progress,
        )
    for failure in report.failed:
        print(f"could not translate {failure.path}: {failure.reason}", file=sys.stderr)
    if not quiet:
        skipped = f", {report.skipped} skipped (already there)" if report.skipped else ""
        failed = f", {len(report.failed)} failed" if report.failed else ""
        print(f"{report.written} written to {out}{skipped}{failed}.")
    return 1 if report.failed else 0


@app.command
def convert(
    weights: Path,
    /,
    *,
    out: Path,
    to_official: Annotated[bool, Parameter(negative=())] = False,
    direction: str | None = None,
) -> int:
    """Read generator weights of the authors' PyTorch code or of PyTorch-GAN, or write the authors' format.

    unpaired convert latest_net_G_A.pth --out models/h2z

    unpaired convert runs/h2z --to-official --direction a2b --out latest_net_G_A.pth

    Parameters
    ----------
    weights
        A .pth or .safetensors file; with --to-official a run, a checkpoint or a model.
    out
        Folder of the new model; with --to-official the new .pth file.
    to_official
        Write the authors' format.
    direction
        Which way the weights translate: a2b or b2a. [a2b, or the only one there is]
    """
    from unpaired.convert.files import from_file, to_file

    print(to_file(weights, out, direction) if to_official else from_file(weights, out, direction))
    return 0


@app.command
def info(
    what: Path,
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Describe a model, a run, a folder of images or an image.

    Parameters
    ----------
    what
        A run, a checkpoint, a model, a data folder or an image.
    as_json
        Print JSON.
    """
    from unpaired.inform import describe, render
    from unpaired.terminal import counting

    with counting("Reading", quiet=as_json) as count:
        description = describe(what, progress=lambda label, done, total: count(done, total))
    if as_json:
        print(json.dumps(description, indent=2, ensure_ascii=False, default=str))
    else:
        from rich.console import Console

        Console().print(render(description))
    return 0


@app.command
def demo(
    *,
    out: Path = Path("unpaired-demo"),
    seed: int = 0,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Train a small CycleGAN on two drawn domains, in under three minutes; needs no files and no network.

    Parameters
    ----------
    out
        New folder for the images, the run and the picture of the result.
    seed
        Seed of the images and of the training.
    quiet
        Print nothing but the scores.
    """
    from unpaired.demo import run_demo

    return run_demo(out, seed=seed, quiet=quiet)


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 2 is the user's error, told in one message and without a traceback."""
    try:
        code = app(tokens, exit_on_error=False, print_error=False, help_on_error=False, result_action="return_value")
    except (UserError, CycloptsError) as error:
        print(f"error: {_told(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = INTERRUPTED + 2
    except BrokenPipeError:  # the reader of a pipe has gone, as in `unpaired info RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: UserError | CycloptsError) -> str:
    if isinstance(error, UserError):
        return re.sub(r"\b((?:data|training)\.[a-z_]+)( = )?", _as_flag, str(error))
    error.verbose = False
    return f"{' '.join(str(error).split())} See unpaired --help."


def _as_flag(setting: re.Match[str]) -> str:
    """Return the flag of a setting, `--seed 3` for `training.seed = 3`; what has no flag stays as it is."""
    flag = FLAGS.get(setting[1])
    return setting[0] if flag is None else flag + (" " if setting[2] else "")


if __name__ == "__main__":
    main()
