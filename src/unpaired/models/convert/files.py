"""`unpaired convert`: weight files of other programs to model folders, and back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import require_new, require_writable, write_atomic
from unpaired.core.settings import option
from unpaired.data.directions import parse_direction, sides
from unpaired.data.values import Domain
from unpaired.models.convert.recognise import convert_weights
from unpaired.models.convert.weights import to_official
from unpaired.models.folder import ModelCard, TranslatorCard, find_model, read_card, write_model
from unpaired.models.loading import load_generator
from unpaired.networks import build_generator, describe_generator
from unpaired.networks.weight_files import read_weights


class _Part(NamedTuple):
    """One direction of a new model."""

    source: Domain
    target: Domain
    translator: TranslatorCard
    state: dict[str, Tensor]
    origin: str
    told: str


def from_files(inputs: Sequence[Path], out: Path, direction: str | None = None) -> str:
    """Write a model folder from one weight file, or from two for both directions; return a sentence about it.

    A file does not say which way it translates: `direction` does for one, a2b by default; of two the first is a2b and
    the second b2a. In place of a file may stand a model folder, of which that direction, or the only one, is taken.
    Raises `UserError`.
    """
    if len(inputs) not in (1, 2):
        raise UserError(f"convert takes one file, or two for both directions; received {len(inputs)}.")
    if len(inputs) == 2 and direction is not None:
        raise UserError(
            f"{option('direction', direction)} has no meaning with two files: the first becomes a2b, the second b2a. "
            "Leave it out."
        )
    _refuse_existing(out)
    names = ["a2b", "b2a"] if len(inputs) == 2 else [parse_direction(direction or "a2b")]
    parts = {name: _part(path, name) for name, path in zip(names, inputs, strict=True)}
    domains: dict[str, Domain] = {}
    for name, part in parts.items():
        for side, domain in zip(sides(name), (part.source, part.target), strict=True):
            if domains.setdefault(side, domain) != domain:
                raise UserError(
                    f"{inputs[0]} and {inputs[1]} do not belong together: in the first domain {side.upper()} has "
                    f"{_shown(domains[side])}, in the second {_shown(domain)}. Give the two generators of one training."
                )
    card = ModelCard(
        origin="; ".join(part.origin for part in parts.values()),
        domains=domains,
        translators={name: part.translator for name, part in parts.items()},
        versions={"unpaired": __version__, "torch": torch.__version__},
    )
    write_model(out, card, {part.translator.weights: part.state for part in parts.values()})
    told = "\n".join(part.told for part in parts.values())
    return f"{told}\nWritten to {out}, direction{'s' if len(names) > 1 else ''} {' and '.join(names)}."


def _part(path: Path, direction: str) -> _Part:
    weights = f"{direction}.safetensors"
    if path.is_dir():
        loaded = load_generator(path, direction if _has(path, direction) else None)
        source, target = loaded.card.domains_of(loaded.direction)
        translator = replace(loaded.card.translators[loaded.direction], weights=weights)
        origin = f"{loaded.direction} of {loaded.folder.name}, {loaded.card.origin}"
        told = f"{loaded.direction} of {loaded.folder} becomes {direction}."
        return _Part(source, target, translator, loaded.network.state_dict(), origin, told)
    converted = convert_weights(read_weights(path))
    network = build_generator(converted.config, converted.in_channels, converted.out_channels)
    network.load_state_dict(converted.state)
    described = describe_generator(network)
    settings = ", ".join(f"{key} {value}" for key, value in described.items())
    return _Part(
        Domain(channels=converted.in_channels),
        Domain(channels=converted.out_channels),
        TranslatorCard(network=described, weights=weights),
        network.state_dict(),
        f"converted from {path.name} ({converted.origin})",
        f"{path.name} is an {converted.origin}: {settings}.",
    )


def _has(folder: Path, direction: str) -> bool:
    return direction in read_card(find_model(folder)[0]).translators


def _shown(domain: Domain) -> str:
    of = domain.labels.in_words() if domain.labels else f"{domain.dtype}, range {domain.range or 'by type'}"
    return f"{domain.channels} channels ({of}{f', {domain.name}' if domain.name else ''})"


def to_file(model: Path, out: Path, direction: str | None = None, checkpoint: str | None = None) -> str:
    """Write one direction of a model in the authors' format (a .pth file), and return a sentence about it."""
    _refuse_existing(out)
    loaded = load_generator(model, direction, checkpoint=checkpoint)
    content = io.BytesIO()  # PyTorch's own writer ends the process on a full disk
    torch.save(to_official(loaded.network.config, loaded.network.state_dict()), content)
    write_atomic(out, content.getbuffer())
    written = f"{loaded.direction} of {loaded.folder} is written to {out} in the authors' format."
    return " ".join([*loaded.notices, written])


def _refuse_existing(out: Path) -> None:
    require_new(out, f"Choose another {option('out')}, or remove it first.")
    require_writable(out)
