"""The audit of a model: its held-out images, measured in both directions and written as a results document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

import PIL
import torch
from torch import Tensor

from unpaired import __version__
from unpaired.audit.charts import draw, error_chart, spectrum_chart
from unpaired.audit.findings import RESAMPLES, Findings, few_images, figures_of, shares_of, table_of
from unpaired.audit.measure import measure, response, spectrum_of
from unpaired.audit.options import AuditOptions
from unpaired.audit.summary import summary, verdict
from unpaired.core.errors import UserError
from unpaired.core.files import real_path, require_outside
from unpaired.core.settings import option
from unpaired.data.directions import DIRECTIONS, Side, reverse, sides
from unpaired.data.folders import image_folders
from unpaired.data.held_out import evenly
from unpaired.data.training import SIDES, Progress
from unpaired.evaluation.dataset import FILTER, SPLITS
from unpaired.evaluation.inputs import ModelInputs, open_model
from unpaired.models.folder import ModelCard, find_model, read_card
from unpaired.models.loading import run_of
from unpaired.report.chart import svg_file
from unpaired.report.image_grid import png
from unpaired.report.results import Audit, Direction, Picture, Protocol, made_now

DRAWING = "audit.svg"
FILES = (DRAWING, *(f"hidden_{direction}.png" for direction in DIRECTIONS))
"""Beside the document."""
AUDITS = "audits"
"""Folder of a run that holds its audits, each named as the checkpoint."""
SMALLEST = 8
"""Pixels of a side below which an image has no detail to measure."""


@final
class HeldOutImages:
    """At most so many held-out images of one domain, spread evenly, as networks see them."""

    def __init__(self, inputs: ModelInputs, side: Side, most: int) -> None:
        test = inputs.dataset.test
        self._images, self._positions = test.of(side), [position for position, _ in test.positions(side, most)]

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Return images [N, C, H, W] in [-1, 1]."""
        return torch.from_numpy(self._images.signed([self._positions[number] for number in numbers]))


def open_audited(options: AuditOptions, progress: Progress | None = None) -> tuple[ModelInputs, Path]:
    """Open the model and its images, and return them with the folder of the results.

    Raises `UserError` where the model has one direction only or translates by a search, where its images are bad, do
    not fit it or keep sizes of their own, and where there is no place for the results.
    """
    checkpoint, passed_over = find_model(options.model, options.checkpoint)
    _require_auditable(checkpoint, read_card(checkpoint))
    folder = _folder_of(options, checkpoint)
    inputs = open_model(
        checkpoint,
        data=options.data,
        direction=options.direction,
        size=options.image_size,
        device=options.device,
        progress=progress,
    )
    if options.out is not None:
        require_outside(folder, image_folders(inputs.config))
    size = inputs.dataset.size
    if size is None:
        raise UserError(
            f"the audit compares images of one size, and these keep sizes of their own: {option('data.preprocess')} is "
            f'"{inputs.config.preprocess}". Give a size: {option("size", "256")} or {option("size", "HEIGHTxWIDTH")}.'
        )
    if min(size) < SMALLEST:
        raise UserError(
            f"images of {size[0]} x {size[1]} (height x width) have no detail to measure. Give a "
            f"{option('size')} of at least {SMALLEST}."
        )
    model = inputs.model.model_copy(update={"path": str(options.model)})
    return replace(inputs, model=model, notices=(*passed_over, *inputs.notices)), folder


def _require_auditable(folder: Path, card: ModelCard) -> None:
    """Raise `UserError` for a model whose translations cannot be brought back."""
    missing = [direction for direction in DIRECTIONS if direction not in card.translators]
    searches = any(described.is_search for described in card.translators.values())
    why = (
        f"has no {missing[0]}, and the audit measures what a translation hides for the way back"
        if missing
        else "translates by a search, which takes a minute or more for each of some twenty disturbances of every image"
    )
    if missing or searches:
        trained = "" if card.method is None else f" ({card.method})"
        raise UserError(
            f"{folder} cannot be audited{trained}: it {why}. Give a model of two networks, as cyclegan trains them."
        )


def _folder_of(options: AuditOptions, checkpoint: Path) -> Path:
    """Return the folder of the results: as asked for, or in the run that the checkpoint belongs to."""
    run = run_of(checkpoint)
    if options.out is None and run is None:
        raise UserError(
            f"{checkpoint} belongs to no run, so there is no place for the audit. Give {option('out', 'FOLDER')}."
        )
    folder = Path() if run is None else run / AUDITS / real_path(checkpoint).name
    return Audit.check_out(folder if options.out is None else Path(options.out), FILES)


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
        command=options.command,
        **made_now(),
        model=inputs.model,
        data={**inputs.data, "images": counts},
        notices=inputs.notices,
        directions=directions,
    )
    drawing = svg_file([found.charts[0] for found in directions.values()])
    document.write(folder, files={DRAWING: drawing}, then="run the audit again")
    return Written(document, folder)


def _audited(inputs: ModelInputs, direction: str, options: AuditOptions, progress: Progress | None) -> Direction:
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
