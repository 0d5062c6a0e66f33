"""What an audit is asked for, and what it opens: a model with both directions and its held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from unpaired.audit.options import AuditOptions
from unpaired.core.errors import UserError
from unpaired.core.files import require_outside
from unpaired.core.settings import option
from unpaired.data.directions import DIRECTIONS, Side
from unpaired.data.folders import image_folders
from unpaired.data.training import Progress
from unpaired.evaluation.inputs import ModelInputs, open_model, run_of
from unpaired.models.folder import ModelCard, find_model, read_card
from unpaired.report.results import Audit

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
        """Return how many images were chosen."""
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
    folder = Path() if run is None else run / AUDITS / checkpoint.resolve().name
    return Audit.check_out(folder if options.out is None else Path(options.out), FILES)
