"""What an audit is asked for, and what it opens: a model with both directions and its held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.files import require_writable
from unpaired.core.settings import option
from unpaired.data.config import DataConfig
from unpaired.data.directions import DIRECTIONS, Direction, Side
from unpaired.data.held_out import Dataset, ImageSet
from unpaired.data.training import Progress
from unpaired.evaluation.inputs import open_model_data, run_of
from unpaired.models.folder import ModelCard, find_model, read_card
from unpaired.models.loading import load_generator
from unpaired.models.translator import Translator

AUDITS = "audits"
"""Folder of a run that holds its audits, each named as the checkpoint."""
SMALLEST = 8
"""Pixels of a side below which an image has no detail to measure."""
LARGEST_SEED = 2**32 - 1
"""The seed of an image's noise is made of this one and the image's number, and has to fit into 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """What is audited, and how. Raises `UserError` for impossible values."""

    model: str | Path
    """A run, a checkpoint or a model folder, of a method with both directions."""
    checkpoint: str | None = None
    """Which checkpoint of a run: best, last or a number of images. By default the best, or else the newest."""
    data: str | Path | None = None
    """Folder with test images of both domains; by default that of the run."""
    direction: Literal["a2b", "b2a", "both"] = "both"
    """Which directions are audited."""
    images: int = 50
    """At most so many images of each domain, spread evenly."""
    size: tuple[int, int] | None = None
    """(height, width) of the images; by default that of training."""
    seed: int = 0
    """Of the noise, and of the resampling for standard errors."""
    out: str | Path | None = None
    """Folder of the results; by default audits/CHECKPOINT in the run."""
    device: str = "auto"
    """Where to compute: auto (CUDA, else MPS, else CPU) or a device of PyTorch's."""
    command: str = ""
    """The command line, for the record."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions to audit."""
        return DIRECTIONS if self.direction == "both" else (self.direction,)

    def __post_init__(self) -> None:
        allowed = get_args(Literal["a2b", "b2a", "both"])
        if self.direction not in allowed:
            near = did_you_mean(self.direction, allowed)
            raise UserError(f"{option('direction', self.direction)}: allowed are {', '.join(allowed)}.{near}")
        if self.images < 1:
            raise UserError(f"{option('images', self.images)}: at least 1 is needed, and 2 for shares.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UserError(f"{option('seed', self.seed)}: a seed is a number from 0 to {LARGEST_SEED}.")


class HeldOutImages:
    """Chosen images of one domain, as networks see them."""

    def __init__(self, images: ImageSet, positions: Sequence[int]) -> None:
        self._images, self._positions = images, positions

    def __len__(self) -> int:
        """Return how many images were chosen."""
        return len(self._positions)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Return images [N, C, H, W] in [-1, 1]."""
        return torch.from_numpy(self._images.signed([self._positions[number] for number in numbers]))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedModel:
    """A model, the images that it is audited on, and where the results go."""

    checkpoint: Path
    card: ModelCard
    translators: Mapping[Direction, Translator]
    fingerprints: Mapping[Direction, str]
    dataset: Dataset
    size: tuple[int, int]
    config: DataConfig
    folder: Path
    notices: tuple[str, ...]

    def images(self, side: Side, most: int) -> HeldOutImages:
        """Return at most so many images of one domain, spread evenly."""
        test = self.dataset.test
        return HeldOutImages(test.of(side), [position for position, _ in test.positions(side, most)])


def open_model(options: AuditOptions, progress: Progress | None = None) -> AuditedModel:
    """Find the model, its images and a place for the results.

    Raises `UserError` where the model has one direction only or translates by a search, where its images are bad, do
    not fit it or keep sizes of their own, and where there is no place for the results.
    """
    checkpoint, passed_over = find_model(options.model, options.checkpoint)
    card = read_card(checkpoint)
    _require_auditable(checkpoint, card)
    folder = _folder_of(options, checkpoint)
    loaded = {name: load_generator(checkpoint, name) for name in DIRECTIONS}
    translators = {
        name: Translator(one.network, card, name, device=options.device, engine="torch", precision="fp32")
        for name, one in loaded.items()
    }
    dataset, config = open_model_data(checkpoint, card, data=options.data, size=options.size, progress=progress)
    if dataset.size is None:
        raise UserError(
            "the audit compares images of one size, and these keep sizes of their own: data.preprocess is "
            f'"{config.preprocess}". Give a size: {option("size", "256")} or {option("size", "HEIGHTxWIDTH")}.'
        )
    if min(dataset.size) < SMALLEST:
        raise UserError(
            f"images of {dataset.size[0]} x {dataset.size[1]} (height x width) have no detail to measure. Give a "
            f"{option('size')} of at least {SMALLEST}."
        )
    return AuditedModel(
        checkpoint=checkpoint,
        card=card,
        folder=folder,
        translators=translators,
        fingerprints={name: one.fingerprint for name, one in loaded.items()},
        dataset=dataset,
        size=dataset.size,
        config=config,
        notices=(*passed_over, *dataset.notices),
    )


def _require_auditable(folder: Path, card: ModelCard) -> None:
    """Raise `UserError` for a model whose translations cannot be brought back."""
    missing = [direction for direction in DIRECTIONS if direction not in card.translators]
    trained = "" if card.method is None else f" ({card.method})"
    if missing:
        raise UserError(
            f"{folder} cannot be audited: it has no {missing[0]}{trained}. The audit measures what a translation "
            "hides for the way back, so it needs both directions, as cyclegan trains them. Give such a model."
        )
    if any(described.network.get("family") == "latent_search" for described in card.translators.values()):
        raise UserError(
            f"{folder} cannot be audited: it translates by a search{trained}, which takes a minute or more for each of "
            "some twenty disturbances of every image, and has no gradient. Give a model of two networks, as cyclegan "
            "trains them."
        )


def _folder_of(options: AuditOptions, checkpoint: Path) -> Path:
    """Return the folder of the results: as asked for, or in the run that the checkpoint belongs to."""
    if options.out is not None:
        folder = Path(options.out).expanduser()
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{option('out', folder)}: this is a file. Give a folder.")
    else:
        run = run_of(checkpoint)
        if run is None:
            raise UserError(
                f"{checkpoint} belongs to no run, so there is no place for the audit. Give {option('out', 'FOLDER')}."
            )
        folder = run / AUDITS / checkpoint.resolve().name
    require_writable(folder)
    return folder
