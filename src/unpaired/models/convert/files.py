"""`unpaired convert`: weight files of other programs to model folders, and back."""

from __future__ import annotations

from pathlib import Path

import torch

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import atomic_file
from unpaired.data.values import Domain
from unpaired.models.convert import convert_weights, read_weights, to_official
from unpaired.models.folder import ModelCard, TranslatorCard, find_model, read_card, read_tensors, write_model
from unpaired.networks import build_generator, describe_generator, generator_from_description

DIRECTIONS = ("a2b", "b2a")


def from_file(weights: Path, out: Path, direction: str | None = None) -> str:
    """Write the generator in a weights file as a model folder, and return a sentence about it.

    The file does not say which way it translates: `direction` does, a2b by default. Raises `UserError`.
    """
    direction = direction or "a2b"
    if direction not in DIRECTIONS:
        raise UserError(f"--direction {direction}: allowed are {' and '.join(DIRECTIONS)}.")
    _refuse_existing(out)
    converted = convert_weights(read_weights(weights))
    source, target = direction.split("2")
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
    folder, notices = find_model(model, checkpoint)
    card = read_card(folder)
    direction = direction or ("a2b" if "a2b" in card.translators else next(iter(card.translators)))
    if direction not in card.translators:
        raise UserError(f"--direction {direction}: {model} translates {', '.join(card.translators)}.")
    translator = card.translators[direction]
    network = generator_from_description(translator.network)
    network.load_state_dict(read_tensors(folder, translator.weights))
    _save_pickle(to_official(network.config, network.state_dict()), out)
    return " ".join([*notices, f"{direction} of {folder} is written to {out} in the authors' format."])


def _refuse_existing(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out {out}: exists already. Choose another place, or remove it first.")


def _save_pickle(state: dict[str, torch.Tensor], out: Path) -> None:
    """Write a .pth file whole or not at all; it holds tensors only, which the authors' code loads."""
    with atomic_file(out) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # how PyTorch tells that the disk is full
            raise UserError(f"cannot write {out}: {error}.") from error
