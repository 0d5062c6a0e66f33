"""`unpaired evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unpaired.cli.app import app, command_line
from unpaired.cli.options import (
    IMAGES,
    METRICS,
    RUN,
    BatchSize,
    Checkpoint,
    Device,
    Engine,
    Extension,
    Json,
    Precision,
    Quiet,
    allow,
    read_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from unpaired.core.terminal import Counter
    from unpaired.evaluation.options import Options


@app.command
def evaluate(
    model: Path | None = None,
    /,
    *,
    checkpoint: Checkpoint = None,
    data: Annotated[str | None, Parameter(group=IMAGES)] = None,
    real: Annotated[str | None, Parameter(group=IMAGES)] = None,
    fake: Annotated[str | None, Parameter(group=IMAGES)] = None,
    input: Annotated[str | None, Parameter(group=IMAGES)] = None,
    paired: Annotated[bool, Parameter(group=IMAGES, negative=(), show_default=False)] = False,
    direction: Annotated[str, Parameter(group=IMAGES)] = "both",
    size: Annotated[str | None, Parameter(group=IMAGES)] = None,
    images: Annotated[int | None, Parameter(group=IMAGES)] = None,
    on_bad_image: Annotated[Literal["fail", "skip"] | None, Parameter(group=IMAGES)] = None,
    metrics: Annotated[str | None, Parameter(name=("--metrics", "--measures"), group=METRICS)] = None,
    features: Annotated[str | None, Parameter(group=METRICS)] = None,
    inception: Annotated[str | None, Parameter(group=METRICS)] = None,
    lpips: Annotated[str | None, Parameter(group=METRICS)] = None,
    fcn: Annotated[str | None, Parameter(group=METRICS)] = None,
    bounds: Annotated[bool, Parameter(group=METRICS)] = True,
    seed: Annotated[int, Parameter(group=METRICS)] = 0,
    out: Annotated[Path | None, Parameter(group=RUN)] = None,
    device: Device = "auto",
    engine: Engine = "torch",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    extension: Extension = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure how good translations are; every result states its protocol.

    unpaired evaluate runs/h2z --data horse2zebra

    unpaired evaluate --real zebras --fake translations --input horses --out figures

    By default, all metrics are computed that need no download: the sliced
    Wasserstein distance, edges, reconstruction, those of pairs and labels where the
    data have them; FID and KID where the file of Inception's weights is there.

    Files of --fake, --input and --real belong together where their names agree
    without suffix and without the endings _real, _fake, _rec, _idt (with _A or _B):
    n1_fake_B.png, n1_real_A.png and n1.jpg.

    Parameters
    ----------
    model
        A run, a checkpoint, or a model folder.
    data
        Folder with images of both domains, as for unpaired train; its test images are taken. [default: that of the run]
    real
        In place of a model: a folder of real target images, or a pattern in quotes such as 'DIR/*_real_B.png'.
    fake
        With --real: a folder of translations, whoever made them, or a pattern such as 'DIR/*_fake_B.png'.
    input
        With --real and --fake: the inputs of the translations, found by name, to measure how much content is kept.
    paired
        With --real and --fake: every translation has a true image of the same name in --real, for L1, PSNR and SSIM.
    direction
        a2b, b2a, by the domains' names (horse2zebra), or both that the model has.
    size
        Size of all images: 256, or HEIGHTxWIDTH. [default: that of training; for other images their own]
    images
        At most so many images of every set, spread evenly. [default: all]
    on_bad_image
        What to do with files that cannot be used or have no partner. [default: fail, or as in the run]
    metrics
        Names with commas between them: swd, fid, kid, precision, recall, frechet, kernel, structure, structure_edges,
        input_l1, paired (which is l1, psnr, ssim and ms_ssim), lpips, reconstruction, labels, fcn, or your own as
        package.module:Name.
    features
        Network for frechet, kernel, precision, recall, structure: vgg:FILE, FILE.pt2 (torch.export), MODULE:CALLABLE.
    inception
        File of Inception's weights for fid, kid, precision and recall. [default: from the cache, or downloaded once]
    lpips
        alex or vgg: measure LPIPS with this network; alex:FILE and vgg:FILE name its weights.
    fcn
        A segmenter of unpaired segment train: measures the FCN-score of photos made of label maps.
    bounds
        Measure the untranslated input and two halves of the real images as well, for comparison.
    seed
        Seed of patches, projections and samples.
    out
        Folder for evaluation.json and pictures. [default: evaluations/CHECKPOINT in the run]
    """
    from unpaired.evaluation.options import Options

    allow(extension)
    options = Options(
        model=model,
        checkpoint=checkpoint,
        data=data,
        real=real,
        fake=fake,
        input=input,
        paired=paired,
        direction=direction,
        metrics=metrics,
        features=features,
        inception=inception,
        lpips=lpips,
        fcn=fcn,
        size=read_size("--size", size),
        images=images,
        seed=seed,
        device=device,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
        on_bad_image=on_bad_image,
        bounds=bounds,
        out=out,
        command=command_line(),
    )
    return _carry_out(options, json=json, quiet=quiet)


def _carry_out(options: Options, *, json: bool, quiet: bool) -> int:
    from rich.console import Console

    from unpaired.core.files import require_writable
    from unpaired.evaluation.start import evaluate as measure
    from unpaired.evaluation.start import settled
    from unpaired.report.terminal import render

    options, place, passed_over = settled(options)
    for notice in passed_over:
        _note(notice)
    require_writable(place)
    with _stages(quiet=quiet) as progress:
        evaluation = measure(options, progress=progress, notice=_note)
    path = evaluation.write(place, then="evaluate again")
    for notice in evaluation.notices:
        _note(notice)
    if json:
        sys.stdout.write(evaluation.to_json())
        return 0
    Console().print(render(evaluation), highlight=False)
    if not quiet:
        print(f"{path}")
    return 0


def _note(notice: str) -> None:
    print(f"note: {notice}", file=sys.stderr)


@contextmanager
def _stages(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Yield what shows one bar after the other, each for one stage of the work."""
    from unpaired.core.terminal import counting

    current: list[tuple[str, Counter]] = []
    with ExitStack() as stack:

        def show(stage: str, done: int, total: int) -> None:
            if not current or current[0][0] != stage:
                stack.close()
                label = stage[0].upper() + stage[1:]
                current[:] = [(stage, stack.enter_context(counting(label, quiet=quiet)))]
            current[0][1](done, total)

        yield show
