"""`unpaired convert`: weight files of other programs to model folders, and back."""

from __future__ import annotations

from pathlib import Path

import torch

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import atomic_file
from unpaired.core.settings import option
from unpaired.data.directions import parse_direction, sides
from unpaired.data.values import Domain
from unpaired.models.convert import convert_weights, read_weights, to_official
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.models.loading import load_generator
from unpaired.networks import build_generator, describe_generator


def from_file(weights: Path, out: Path, direction: str | None = None) -> str:
    """Write the generator in a weights file as a model folder, and return a sentence about it.

    The file does not say which way it translates: `direction` does, a2b by default. Raises `UserError`.
    """
    direction = parse_direction(direction or "a2b")
    _refuse_existing(out)
    converted = convert_weights(read_weights(weights))
    source, target = sides(direction)
    network = build_generator(converted.config, converted.in_channels, converted.out_channels)
    network.load_state_dict(converted.state)
    name = f"{direction}.safetensors"
    card = ModelCard(
        origin=f"converted from {weights.name} ({converted.origin})",
        domains={source: Domain(channels=converted.in_channels), target: Domain(channels=converted.out_channels)},
        translators={direction: TranslatorCard(network=describe_generator(network), weights=name)},
        versions={"unpaired": __version__, "torch": torch.__version__},
    )
    write_model(out, card, {name: network.state_dict()})
    settings = ", ".join(f"{key} {value}" for key, value in describe_generator(network).items())
    return f"{weights.name} is an {converted.origin}: {settings}.\nWritten to {out}, direction {direction}."


def to_file(model: Path, out: Path, direction: str | None = None, checkpoint: str | None = None) -> str:
    """Write one direction of a model in the authors' format (a .pth file), and return a sentence about it."""
    _refuse_existing(out)
    loaded = load_generator(model, direction, checkpoint=checkpoint)
    state = to_official(loaded.network.config, loaded.network.state_dict())
    with atomic_file(out) as temporary:
        try:
            torch.save(state, temporary)  # tensors only, which the authors' code loads
        except RuntimeError as error:  # how PyTorch tells that the disk is full
            raise UserError(f"cannot write {out}: {error}.") from error
    written = f"{loaded.direction} of {loaded.folder} is written to {out} in the authors' format."
    return " ".join([*loaded.notices, written])


def _refuse_existing(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{option('out', out)}: exists already. Choose another place, or remove it first.")
