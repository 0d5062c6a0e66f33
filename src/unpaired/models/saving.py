"""A model as a folder of its own: chosen directions, optionally in half the bytes, with a model card beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.core.files import read_regular, require_new, require_writable
from unpaired.data.directions import DIRECTIONS, parse_direction
from unpaired.models.folder import ModelCard, TranslatorCard, find_model, read_tensors, write_model
from unpaired.models.loading import card_with_scale, read_data_config, run_of
from unpaired.models.model_card import README, About, measures_of, readme
from unpaired.networks import Generator, describe_generator


def save_model(
    model: str | Path,
    out: Path,
    *,
    checkpoint: str | int | None = None,
    directions: Sequence[str] | None = None,
    half: bool = False,
    licence: str | None = None,
    about: About | None = None,
    card: ModelCard | None = None,
    states: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> ModelCard:
    """Write a run's best checkpoint, a checkpoint or a model into a new model folder with its README.md.

    `directions` are those that are kept, all of them by default. `half` stores the weights in float16: half the bytes;
    they are loaded as float32 again, and what they lose by rounding (relative 2^-11) is below a level of 8-bit images
    for usual networks. Without `about` the card says what the model, its run and its evaluation know. `card` and
    `states` (by direction) stand in for what is stored, as for a translator with fewer steps. Raises `UserError`.
    """
    require_new(out)
    require_writable(out)
    folder, _ = find_model(model, checkpoint)
    card = card or card_with_scale(folder)
    kept = [parse_direction(name, card.domains) for name in directions or ()] or [*DIRECTIONS]
    if directions and (missing := [name for name in kept if name not in card.translators]):
        raise UserError(f"{folder} has no direction {missing[0]}; it has {' and '.join(card.translators)}.")
    kept = [name for name in DIRECTIONS if name in kept and name in card.translators]
    states = states or {}
    tensors = {
        f"{name}.safetensors": states[name] if name in states else read_tensors(folder, card.translators[name].weights)
        for name in kept
    }
    if half:
        tensors = {name: halved(state, folder) for name, state in tensors.items()}
    card = replace(
        card,
        translators={name: replace(card.translators[name], weights=f"{name}.safetensors") for name in kept},
        licence=licence or card.licence,
    )
    text = _own_card(folder) if about is None and run_of(folder) is None and not licence else None
    write_model(out, card, tensors, readme=text or readme(card, about or describe(folder, out.name)))
    return card


def save_network(network: Generator, card: ModelCard, direction: str, out: Path, *, licence: str | None = None) -> None:
    """Write a network that belongs to no model folder into a new one with its README.md; raises `UserError`."""
    require_new(out)
    weights = f"{direction}.safetensors"
    described = TranslatorCard(network=describe_generator(network), weights=weights)
    card = replace(card, translators={direction: described}, licence=licence or card.licence)
    write_model(out, card, {weights: network.state_dict()}, readme=readme(card, About(name=out.name)))


def _own_card(folder: Path) -> str | None:
    """Return the README.md of a model folder, which a person may have edited; None where there is none in it."""
    with contextlib.suppress(OSError, UserError):
        return read_regular(folder / README, at_most=1 << 20, inside=folder).decode("utf-8", "replace")
    return None


def describe(folder: Path, name: str) -> About:
    """Return what a run says of its model: its data, and the figures of its evaluation."""
    run = run_of(folder)
    if run is None:
        return About(name=name)
    config = read_data_config(run)
    measures, measured_on = measures_of(run, folder)
    data = " and ".join(Path(each).name for each in (config.root, config.a, config.b) if each)
    return About(name=name, data=data, measures=measures, measured_on=measured_on)


def halved(state: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Return weights in float16; `UserError` where one is too large for it."""
    found = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    for name, value in found.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"{folder}: values of {name} are too large for float16. Keep this model in float32.")
    return found
