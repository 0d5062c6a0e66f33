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
from unpaired.audit.findings import Findings, few_images, figures_of, table_of
from unpaired.audit.measure import measure
from unpaired.audit.model import DRAWING, HeldOutImages, open_audited
from unpaired.audit.options import AuditOptions
from unpaired.audit.pictures import draw
from unpaired.audit.sensitivity import response
from unpaired.audit.shares import RESAMPLES, shares_of
from unpaired.audit.spectrum import spectrum_of
from unpaired.audit.summary import summary, verdict
from unpaired.data.directions import reverse, sides
from unpaired.data.held_out import evenly
from unpaired.data.training import SIDES, Progress
from unpaired.evaluation.dataset import FILTER, SPLITS
from unpaired.evaluation.inputs import ModelInputs
from unpaired.report.chart import svg_file
from unpaired.report.image_grid import png
from unpaired.report.results import Audit, Direction, Picture, Protocol

PROBED = 8
"""Images at which the networks' sensitivity is measured, which takes gradients."""


@dataclass(frozen=True, slots=True)
class Written:
    """A finished audit and where it was written."""

    document: Audit
    folder: Path


def audit(options: AuditOptions, *, progress: Progress | None = None) -> Written:
    """Measure a model and write `audit.json` and its pictures.

    Raises `UserError` before anything is computed where the model has one direction only or translates by a search,
    where its images keep sizes of their own, or where there is no place for the results.
    """
    inputs, folder = open_audited(options, progress)
    directions = {name: _audited(inputs, name, options, progress) for name in inputs.directions}
    counts = {side: len(HeldOutImages(inputs, side, options.images)) for side in SIDES}
    document = Audit(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=options.command,
        versions={"unpaired": __version__, "torch": torch.__version__, "python": platform.python_version()},
        model=inputs.model,
        data={**inputs.data, "images": counts},
        notices=inputs.notices,
        directions=directions,
    )
    drawing = svg_file([found.charts[0] for found in directions.values()])
    document.write(folder, files={DRAWING: drawing}, then="run the audit again")
    return Written(document, folder)


def _audited(inputs: ModelInputs, direction: str, options: AuditOptions, progress: Progress | None) -> Direction:
    """Measure one direction."""
    source, target = sides(direction)
    forward, backward = inputs.translators[direction], inputs.translators[reverse(direction)]
    images, real = (HeldOutImages(inputs, side, options.images) for side in (source, target))
    heading, seed = forward.heading, options.seed
    on_progress = None if progress is None else partial(progress, f"auditing {heading}")
    measured = measure(forward, backward, images, seed=seed, progress=on_progress)
    probes = [images.batch([place]) for place in evenly(len(images), PROBED)]
    translated = [forward.translate_tensor(probe) for probe in probes]
    found = Findings(
        names=(inputs.card.domains[source].title(source), inputs.card.domains[target].title(target)),
        reconstructions=measured,
        shares=shares_of(measured, seed=seed),
        translated=spectrum_of(images, forward),
        real=spectrum_of(real),
        sensitivity=(response(forward, probes, seed=seed), response(backward, translated, seed=seed)),
        protocol=_protocol(inputs, forward.device.type, seed, len(images), len(real)),
    )
    examples, columns = draw(forward, backward, images, seed=seed, title=f"{heading}: hidden detail")
    picture = Picture(
        file=f"hidden_{direction}.png",
        title=f"{heading}: translations, their detail, and what comes back",
        alt=f"Examples in rows. Columns: {'; '.join(columns)}.",
        content=png(examples),
    )
    trained = "there are no test images, so training images were measured"
    warnings = (*measured.notices, few_images(found), trained if inputs.dataset.test.taken_from == "train" else None)
    return Direction(
        heading=heading,
        verdict=verdict(found),
        summary=summary(found),
        figures=figures_of(found),
        tables=(table_of(found),),
        charts=(
            error_chart(measured, f"{heading}: error of the reconstruction after a disturbance"),
            spectrum_chart(found.translated, found.real, target=found.names[1]),
        ),
        pictures=(picture,),
        warnings=tuple(warning for warning in warnings if warning),
    )


def _protocol(inputs: ModelInputs, device: str, seed: int, images: int, real: int) -> Protocol:
    """Return what every figure of a direction depends on."""
    dataset = inputs.dataset
    height, width = dataset.size or (0, 0)
    return {
        "checkpoint": inputs.model.checkpoint,
        "split": SPLITS[dataset.test.taken_from],
        "images": images,
        "real_images_of_the_target": real,
        "size": f"{height} x {width}",
        "prepared": f"{inputs.config.preprocess}: {dataset.part}",
        "resize_filter": FILTER,
        "disturbed": "translations in float, clamped to the range of values; JPEG by Pillow, 4:4:4",
        "errors": f"standard errors over images; of shares by {RESAMPLES} resamples of the images",
        "seed": seed,
        "arithmetic": f"PyTorch float32, {device}",
        "unpaired": __version__,
        "pillow": PIL.__version__,
    }
