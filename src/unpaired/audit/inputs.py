"""What an audit is asked for, and what it needs for that: both networks, held-out images, a place for the results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from unpaired.core.errors import UserError, did_you_mean
from unpaired.data.config import DataConfig
from unpaired.data.held_out import HeldOut, Side, signed_batch
from unpaired.data.source import ImageSource
from unpaired.data.training import Progress
from unpaired.data.values import Domain
from unpaired.evaluation.dataset import open_model_data, run_of
from unpaired.evaluation.options import Options
from unpaired.models.folder import ModelCard, find_model, read_card
from unpaired.models.loading import load_generator
from unpaired.models.translator import Translator

AUDITS = "audits"
"""Folder of a run that holds its audits, each named as the checkpoint."""
IMAGES = 50
"""Images of a direction, where nobody chooses."""
SMALLEST = 8
"""Pixels of a side below which there is no detail to speak of."""
LARGEST_SEED = 2**32 - 1
"""The noise of every image has a seed of its own, made of this one and its number, which has to fit into 64 bits."""

Direction = Literal["a2b", "b2a"]
Wanted = Literal["a2b", "b2a", "both"]
DIRECTIONS: tuple[Direction, Direction] = ("a2b", "b2a")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be audited, and how; refuses what cannot be (`UserError`)."""

    model: str | Path
    """A run (its newest checkpoint), a checkpoint or a model folder; with both directions."""
    data: str | Path | None = None
    """Folder with images of both domains; by default that of the run."""
    direction: Wanted = "both"
    images: int = IMAGES
    """At most so many images of each domain, spread evenly."""
    size: tuple[int, int] | None = None
    """(height, width) of the images; by default that of training."""
    seed: int = 0
    out: str | Path | None = None
    """Folder of the results; by default in the run."""
    device: str = "auto"
    command: str = ""
    """The command line, for the record."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions that are asked for."""
        return DIRECTIONS if self.direction == "both" else (self.direction,)

    def __post_init__(self) -> None:
        """Refuse numbers and names without a meaning."""
        if self.direction not in get_args(Wanted):
            near = did_you_mean(self.direction, get_args(Wanted))
            raise UserError(f"--direction {self.direction}: allowed are {', '.join(get_args(Wanted))}.{near}")
        if self.images < 1:
            raise UserError(f"--images {self.images}: at least 1 is needed, and 2 for shares.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UserError(f"--seed {self.seed}: a seed is a number from 0 to {LARGEST_SEED}.")


class HeldOutImages:
    """Chosen images of one domain, as networks see them."""

    def __init__(self, source: ImageSource, positions: Sequence[int], domain: Domain) -> None:
        self._source, self._positions, self._domain = source, positions, domain

    def __len__(self) -> int:
        """Return how many images were chosen."""
        return len(self._positions)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Return images [N, C, H, W] in [-1, 1]."""
        positions = [self._positions[number] for number in numbers]
        return torch.from_numpy(signed_batch(self._source, positions, self._domain))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model and the images that it is audited on."""

    checkpoint: Path
    card: ModelCard
    translators: Mapping[Direction, Translator]
    fingerprints: Mapping[Direction, str]
    held_out: HeldOut
    config: DataConfig
    folder: Path
    """Where the results go."""
    notices: tuple[str, ...]


def open_subject(request: Request, progress: Progress | None = None) -> Subject:
    """Find the model, its images and a place for the results.

    Raises `UserError` where the model has one direction only or translates by a search, where its images are bad, do
    not fit it or keep sizes of their own, and where there is no place for the results.
    """
    checkpoint, passed_over = find_model(request.model)
    card = read_card(checkpoint)
    _require_auditable(checkpoint, card)
    folder = _folder_of(request, checkpoint)
    loaded = {name: load_generator(checkpoint, name) for name in DIRECTIONS}
    translators = {
        name: Translator(one.network, card, name, device=request.device, engine="torch", precision="fp32")
        for name, one in loaded.items()
    }
    options = Options(model=checkpoint, data=request.data, size=request.size, images=request.images)
    held_out, config = open_model_data(checkpoint, card, options, progress)
    if held_out.size is None:
        raise UserError(
            "the audit compares images of one size, and these keep sizes of their own: "
            f'data.preprocess is "{config.preprocess}". Give a size: --size 256 or --size HEIGHTxWIDTH.'
        )
    if min(held_out.size) < SMALLEST:
        raise UserError(
            f"images of {held_out.size[0]} x {held_out.size[1]} (height x width) hold no detail to look for. Give a "
            f"--size of at least {SMALLEST}."
        )
    return Subject(
        checkpoint=checkpoint,
        card=card,
        folder=folder,
        translators=translators,
        fingerprints={name: one.fingerprint for name, one in loaded.items()},
        held_out=held_out,
        config=config,
        notices=(*passed_over, *held_out.notices),
    )


def chosen(subject: Subject, side: Side, most: int) -> HeldOutImages:
    """Return at most so many images of one domain, spread evenly."""
    positions = [position for position, _ in subject.held_out.images.positions(side, most)]
    return HeldOutImages(subject.held_out.images.of(side), positions, subject.card.domains[side])


def sides(direction: Direction) -> tuple[Side, Side]:
    """Return the domains that a direction comes from and leads to."""
    return ("a", "b") if direction == "a2b" else ("b", "a")


def spread(count: int, most: int) -> list[int]:
    """Return at most so many numbers, spread evenly over `count`."""
    taken = min(count, most)
    return [index * count // taken for index in range(taken)]


def _require_auditable(folder: Path, card: ModelCard) -> None:
    """Raise `UserError` for a model whose translations cannot be brought back."""
    missing = [direction for direction in DIRECTIONS if direction not in card.translators]
    trained = "" if card.method is None else f" ({card.method})"
    if missing:
        raise UserError(
            f"{folder} cannot be audited: it has no {missing[0]}{trained}. The audit looks for what a translation "
            "hides for the way back, so it needs both directions, as cyclegan trains them. Give such a model."
        )
    if any(described.network.get("family") == "latent_search" for described in card.translators.values()):
        raise UserError(
            f"{folder} cannot be audited: it translates by a search{trained}, which takes a minute or more for every "
            "one of some twenty disturbances of every image, and has no gradient. Give a model of two networks, as "
            "cyclegan trains them."
        )


def _folder_of(request: Request, checkpoint: Path) -> Path:
    """Return the folder of the results: as asked for, or in the run that the checkpoint belongs to."""
    if request.out is not None:
        folder = Path(request.out).expanduser()
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--out {folder}: this is a file. Give a folder.")
        return _writable(folder)
    run = run_of(checkpoint)
    if run is None:
        raise UserError(
            f"{checkpoint} belongs to no run, so there is no place for the audit. Give one with --out FOLDER."
        )
    return _writable(run / AUDITS / checkpoint.resolve().name)


def _writable(folder: Path) -> Path:
    """Refuse, before minutes of computing, a folder that cannot be made or written into."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "cannot be written into" if there.is_dir() else "is a file"
        raise UserError(
            f"the audit cannot be written to {folder}: {there} {why}. Give another place with --out FOLDER."
        )
    return folder
