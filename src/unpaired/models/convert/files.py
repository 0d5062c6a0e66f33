"""`unpaired convert`: weight files of other programs to model folders, and back."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import require_new, require_writable, write_atomic
from unpaired.core.settings import option
from unpaired.core.text import printable
from unpaired.data.directions import parse_direction, sides
from unpaired.data.values import Domain
from unpaired.models.convert.weights import official_generator, pytorch_gan_generator, to_official
from unpaired.models.folder import ModelCard, TranslatorCard, find_model, read_card, write_model
from unpaired.models.loading import load_generator
from unpaired.networks import GeneratorConfig, build_generator, describe_generator
from unpaired.networks.weight_files import read_weights


class Converted(NamedTuple):
    """A generator of another program."""

    config: GeneratorConfig
    """Settings of our network."""
    in_channels: int
    out_channels: int
    state: dict[str, Tensor]
    """State of our network, float32 on the CPU."""
    origin: str


CONVERSIONS = {"official generator": official_generator, "pytorch-gan generator": pytorch_gan_generator}


def recognise(weights: Mapping[str, Tensor]) -> str:
    """Tell what a set of weights is, from names and kernel sizes; whether all of it fits, its conversion tells.

    It is `official generator` or `official discriminator` (of the authors' PyTorch code), the same of `pytorch-gan`,
    `pix2pixHD generator`, or `unknown`.
    """
    if _kernel(weights, "model.model.0.weight") == 4:
        return "official generator"
    if _kernel(weights, "net.0.weight") == 1:
        return "official discriminator"
    if _kernel(weights, "model.0.weight") == 4:
        # Behind the last norm PyTorch-GAN pads in a layer of its own, which shifts the head by one.
        return "pytorch-gan discriminator" if _kernel(weights, "model.12.weight") == 4 else "official discriminator"
    if _is_pix2pix_hd(weights):
        return "pix2pixHD generator"
    if _kernel(weights, "model.1.weight") == 7:
        return "pytorch-gan generator" if _is_pytorch_gan(weights) else "official generator"
    return "unknown"


def convert_weights(weights: Mapping[str, Tensor]) -> Converted:
    """Turn the generator weights of another program into ours; UserError that says why where they are none or unfit."""
    origin = recognise(weights)
    if origin in CONVERSIONS:
        return Converted(*CONVERSIONS[origin](weights), origin)
    if origin == "unknown":
        some = ", ".join(printable(name[:80]) for name in sorted(weights)[:3])
        raise UserError(
            "The weights fit no known generator: neither a ResNet or U-Net of the authors' PyTorch code nor the ResNet "
            f"of PyTorch-GAN's CycleGAN. Their names begin with {some}. Give the file of a generator, such as "
            "latest_net_G_A.pth."
        )
    if origin == "pix2pixHD generator":
        raise UserError(
            "These are the weights of a generator of pix2pixHD, which is not supported: only networks that halve the "
            "image twice, as CycleGAN's, pix2pix's and CUT's ResNets do, and U-Nets can be converted."
        )
    raise UserError(
        f"These are the weights of a discriminator ({origin}), which judges images and cannot translate them. Give the "
        "file of a generator: latest_net_G_A.pth and not latest_net_D_A.pth, G_AB_*.pth and not D_A_*.pth."
    )


def _is_pytorch_gan(weights: Mapping[str, Tensor]) -> bool:
    if any(".conv_block." in name for name in weights):
        return False
    # Without residual blocks only the upsampling layer tells: the decoder's first convolution is 11, not 10.
    return any(".block." in name for name in weights) or "model.10.weight" not in weights


def _is_pix2pix_hd(weights: Mapping[str, Tensor]) -> bool:
    """Say whether more downsamplings than two stand before the residual blocks, or there are local enhancers."""
    blocks = [name.split(".")[1] for name in weights if name.startswith("model.") and ".conv_block." in name]
    first = min((int(number) for number in blocks if number.isdigit()), default=0)
    return first > 12 or any(name.startswith("model1_") for name in weights)


def _kernel(weights: Mapping[str, Tensor], name: str) -> int | None:
    tensor = weights.get(name)
    return None if tensor is None or tensor.dim() != 4 else tensor.shape[-1]


class Part(NamedTuple):
    """One direction of a model that is being made."""

    source: Domain
    target: Domain
    translator: TranslatorCard
    state: dict[str, Tensor]
    origin: str
    notice: str


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
    parts = {name: read_part(path, name) for name, path in zip(names, inputs, strict=True)}
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
    notices = "\n".join(part.notice for part in parts.values())
    return f"{notices}\nWritten to {out}, direction{'s' if len(names) > 1 else ''} {' and '.join(names)}."


def read_part(path: Path, direction: str) -> Part:
    """Read one direction of a model from a weight file of another program, or from a model folder; `UserError`."""
    weights = f"{direction}.safetensors"
    if path.is_dir():
        there = read_card(find_model(path)[0]).translators
        loaded = load_generator(path, direction if direction in there else None)
        source, target = loaded.card.domains_of(loaded.direction)
        translator = replace(loaded.card.translators[loaded.direction], weights=weights)
        origin = f"{loaded.direction} of {loaded.folder.name}, {loaded.card.origin}"
        notice = f"{loaded.direction} of {loaded.folder} becomes {direction}."
        return Part(source, target, translator, loaded.network.state_dict(), origin, notice)
    converted = convert_weights(read_weights(path))
    network = build_generator(converted.config, converted.in_channels, converted.out_channels)
    network.load_state_dict(converted.state)
    described = describe_generator(network)
    settings = ", ".join(f"{key} {value}" for key, value in described.items())
    return Part(
        Domain(channels=converted.in_channels),
        Domain(channels=converted.out_channels),
        TranslatorCard(network=described, weights=weights),
        network.state_dict(),
        f"converted from {path.name} ({converted.origin})",
        f"{path.name} is recognised as {converted.origin}: {settings}.",
    )


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
