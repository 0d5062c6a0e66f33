"""The audit of a model: its held-out images, measured in both directions and written as a results document."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import PIL
import torch

from unpaired import __version__
from unpaired.audit.charts import error_chart, spectrum_chart
from unpaired.audit.figure import draw as svg_file
from unpaired.audit.findings import Findings, few_images, figures_of, table_of
from unpaired.audit.measure import measure
from unpaired.audit.model import AuditedModel, AuditOptions, open_model
from unpaired.audit.pictures import draw
from unpaired.audit.sensitivity import response
from unpaired.audit.shares import RESAMPLES, shares_of
from unpaired.audit.spectrum import spectrum_of
from unpaired.audit.summary import summary, verdict
from unpaired.core.files import write_atomic
from unpaired.data.directions import reverse, sides
from unpaired.data.held_out import evenly
from unpaired.data.training import SIDES, Progress
from unpaired.evaluation.dataset import FILTER, SPLITS
from unpaired.methods import Direction
from unpaired.models.folder import checkpoint_title
from unpaired.report.image_grid import png
from unpaired.report.results import Audit, Model, Picture, Protocol
from unpaired.report.results import Direction as DirectionResult

DRAWING = "audit.svg"
_THEN = "run the audit again"
PROBED = 8
"""Images at which the networks' sensitivity is measured, which takes gradients."""


@dataclass(frozen=True, slots=True)
class Written:
    """A finished audit and where it was written."""

    document: Audit
    folder: Path
    title: str
    """Of the checkpoint that was audited."""


def audit(options: AuditOptions, *, progress: Progress | None = None) -> Written:
    """Measure a model and write `audit.json` and its pictures.

    Raises `UserError` before anything is computed where the model has one direction only or translates by a search,
    where its images keep sizes of their own, or where there is no place for the results.
    """
    model = open_model(options, progress)
    directions: dict[str, DirectionResult] = {
        name: _audited(model, name, options, progress) for name in options.directions
    }
    drawing = svg_file([found.charts[0] for found in directions.values()])
    write_atomic(model.folder / DRAWING, drawing, then=_THEN)
    document = _document(model, options, directions)
    document.write(model.folder, then=_THEN)
    return Written(document, model.folder, checkpoint_title(model.checkpoint, model.card))


def _audited(
    model: AuditedModel, direction: Direction, options: AuditOptions, progress: Progress | None
) -> DirectionResult:
    """Measure one direction."""
    source, target = sides(direction)
    forward, backward = model.translators[direction], model.translators[reverse(direction)]
    inputs, real = model.images(source, options.images), model.images(target, options.images)
    names = (model.card.domains[source].title(source), model.card.domains[target].title(target))
    heading = " to ".join(names)
    on_progress = None if progress is None else partial(progress, f"auditing {heading}")
    measured = measure(forward, backward, inputs, seed=options.seed, progress=on_progress)
    probes = [inputs.batch([place]) for place in evenly(len(inputs), PROBED)]
    translated = [forward.translate_tensor(probe) for probe in probes]
    found = Findings(
        names=names,
        reconstructions=measured,
        shares=shares_of(measured, seed=options.seed),
        translated=spectrum_of(inputs, forward),
        real=spectrum_of(real),
        sensitivity=(
            response(forward, probes, seed=options.seed),
            response(backward, translated, seed=options.seed),
        ),
        protocol=_protocol(model, options, len(inputs), len(real)),
    )
    examples, columns = draw(forward, backward, inputs, seed=options.seed, title=f"{heading}: hidden detail")
    return DirectionResult(
        heading=heading,
        verdict=verdict(found),
        summary=summary(found),
        figures=figures_of(found),
        tables=(table_of(found),),
        charts=(
            error_chart(measured, f"{heading}: error of the reconstruction after a disturbance"),
            spectrum_chart(found.translated, found.real, target=names[1]),
        ),
        pictures=(
            Picture(
                file=f"hidden_{direction}.png",
                title=f"{heading}: translations, their detail, and what comes back",
                alt=f"Examples in rows. Columns: {'; '.join(columns)}.",
                content=png(examples),
            ),
        ),
        warnings=_warnings(model, found),
    )


def _warnings(model: AuditedModel, found: Findings) -> tuple[str, ...]:
    trained = model.dataset.test.taken_from == "train" and "there are no test images, so training images were measured"
    return tuple(each for each in (*found.reconstructions.notices, few_images(found), trained) if each)


def _protocol(model: AuditedModel, options: AuditOptions, inputs: int, real: int) -> Protocol:
    """Return what every figure of a direction depends on."""
    height, width = model.size
    return {
        "checkpoint": model.checkpoint.resolve().name,
        "split": SPLITS[model.dataset.test.taken_from],
        "images": inputs,
        "real_images_of_the_target": real,
        "size": f"{height} x {width}",
        "prepared": f"{model.config.preprocess}: {model.dataset.part}",
        "resize_filter": FILTER,
        "disturbed": "translations in float, clamped to the range of values; JPEG by Pillow, 4:4:4",
        "errors": f"standard errors over images; of shares by {RESAMPLES} resamples of the images",
        "seed": options.seed,
        "arithmetic": f"PyTorch float32, {next(iter(model.translators.values())).device.type}",
        "unpaired": __version__,
        "pillow": PIL.__version__,
    }


def _document(model: AuditedModel, options: AuditOptions, directions: dict[str, DirectionResult]) -> Audit:
    config, test = model.config, model.dataset.test
    return Audit(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=options.command,
        versions={"unpaired": __version__, "torch": torch.__version__, "python": platform.python_version()},
        model=Model(
            path=str(options.model),
            checkpoint=model.checkpoint.resolve().name,
            images_seen=model.card.images_seen,
            method=model.card.method,
            origin=model.card.origin,
            fingerprints=dict(model.fingerprints),
        ),
        data={
            "root": str(options.data or config.root or f"{config.a} and {config.b}"),
            "split": test.taken_from,
            "images": {side: len(model.images(side, options.images)) for side in SIDES},
            "contents": {side: test.contents(side) for side in SIDES},
        },
        notices=model.notices,
        directions=directions,
    )
