"""What the checks of an audit are given: an opened model, its held-out images, and what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from unpaired import __version__
from unpaired.audit.measure import OnProgress
from unpaired.audit.options import AuditOptions
from unpaired.core.errors import UserError
from unpaired.core.files import real_path, require_outside
from unpaired.core.settings import option
from unpaired.data.directions import Side, reverse, sides
from unpaired.data.folders import image_folders
from unpaired.data.training import Progress
from unpaired.evaluation.dataset import FILTER, SPLITS
from unpaired.evaluation.inputs import ModelInputs, open_model
from unpaired.models.folder import ModelCard, find_model, read_card
from unpaired.models.loading import run_of
from unpaired.models.translator import Translator
from unpaired.report.results import Audit, Protocol

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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a check measures: one direction of a model, at its held-out images."""

    inputs: ModelInputs
    direction: str
    options: AuditOptions
    progress: Progress | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        assert self.inputs.dataset.size is not None  # `open_audited` refuses others
        return self.inputs.dataset.size

    @property
    def forward(self) -> Translator:
        """The translator that is audited."""
        return self.inputs.translators[self.direction]

    @property
    def backward(self) -> Translator:
        """The way back, of a model that has one."""
        return self.inputs.translators[reverse(self.direction)]

    @property
    def names(self) -> tuple[str, str]:
        """The source and target domains, such as `A` and `B`."""
        source, target = sides(self.direction)
        domains = self.inputs.card.domains
        return domains[source].title(source), domains[target].title(target)

    @property
    def images(self) -> HeldOutImages:
        """The inputs."""
        return HeldOutImages(self.inputs, sides(self.direction)[0], self.options.images)

    @property
    def real(self) -> HeldOutImages:
        """Real images of the target."""
        return HeldOutImages(self.inputs, sides(self.direction)[1], self.options.images)

    def on_progress(self, doing: str) -> OnProgress | None:
        """Return what is told how many images are done, of a stage called `doing` and the direction."""
        return None if self.progress is None else partial(self.progress, f"{doing} {self.forward.heading}")

    def protocol(self) -> Protocol:
        """Return what the figures of every check depend on."""
        inputs, dataset = self.inputs, self.inputs.dataset
        return {
            "checkpoint": inputs.model.checkpoint,
            "split": SPLITS[dataset.test.taken_from],
            "images": len(self.images),
            "size": f"{self.size[0]} x {self.size[1]}",
            "prepared": f"{inputs.config.preprocess}: {dataset.part}",
            "resize_filter": FILTER,
            "seed": self.options.seed,
            "arithmetic": f"PyTorch float32, {self.forward.device.type}",
            "unpaired": __version__,
        }


def open_audited(
    options: AuditOptions, files: Sequence[str], progress: Progress | None = None
) -> tuple[ModelInputs, Path]:
    """Open the model and its images, and return them with the folder of the results.

    Raises `UserError` where the model translates by a search, where its images are bad, do not fit it or keep sizes of
    their own, and where there is no place for the results.
    """
    checkpoint, passed_over = find_model(options.model, options.checkpoint)
    _refuse_searches(checkpoint, read_card(checkpoint))
    folder = _folder_of(options, checkpoint, files)
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


def _refuse_searches(folder: Path, card: ModelCard) -> None:
    if any(described.is_search for described in card.translators.values()):
        trained = "" if card.method is None else f" ({card.method})"
        raise UserError(
            f"{folder} cannot be audited{trained}: it translates by a search, which takes a minute or more for each of "
            "many changes of every image. Give a model whose networks translate, as cyclegan trains them."
        )


def _folder_of(options: AuditOptions, checkpoint: Path, files: Sequence[str]) -> Path:
    """Return the folder of the results: as asked for, or in the run that the checkpoint belongs to."""
    run = run_of(checkpoint)
    if options.out is None and run is None:
        raise UserError(
            f"{checkpoint} belongs to no run, so there is no place for the audit. Give {option('out', 'FOLDER')}."
        )
    folder = Path() if run is None else run / AUDITS / real_path(checkpoint).name
    return Audit.check_out(folder if options.out is None else Path(options.out), files)
