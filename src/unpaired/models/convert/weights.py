"""Weights of the authors' PyTorch code (CycleGAN, pix2pix, CUT with and without anti-aliasing) and of PyTorch-GAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    PatchganConfig,
    PixelConfig,
    ResnetConfig,
    UnetConfig,
    build_discriminator,
    build_generator,
)
from unpaired.networks.base import Norm

Names = dict[str, str]
"""The other program's name for each of our layers, those without weights included."""

Settings = TypeVar("Settings")

OLD_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers that InstanceNorm kept in PyTorch 0.x and that nothing reads."""
RESNET = "a ResNet generator of the authors' code"
UNET = "a U-Net generator of the authors' code"
PATCHGAN = "a PatchGAN discriminator of the authors' code"
PYTORCH_GAN = "a generator of PyTorch-GAN's CycleGAN"
PIXEL = "a pixel discriminator of the authors' code"

SHALLOWEST_UNET = 5
"""Their U-Net has no fewer levels."""


def official_generator(weights: Mapping[str, Tensor]) -> tuple[GeneratorConfig, int, int, dict[str, Tensor]]:
    """Find architecture and channels of a generator: (settings, in_channels, out_channels, state of our network).

    Every ResNet and U-Net of the authors' code is found, with its width, number of blocks or depth, norm and dropout;
    dropout of a U-Net leaves no trace in the weights and is taken to be off. Raises UserError that names every tensor
    that is missing, unexpected or of a wrong shape.
    """
    weights, filters = _without_filters(weights)
    source = UNET if "model.model.0.weight" in weights else RESNET
    config: GeneratorConfig
    config, in_channels, out_channels = _unet(weights, filters) if source == UNET else _resnet(weights, filters)
    with torch.device("meta"):
        network = build_generator(config, in_channels, out_channels)
    return config, in_channels, out_channels, to_ours(weights, network, official_names(config), source)


def official_discriminator(weights: Mapping[str, Tensor]) -> tuple[DiscriminatorConfig, int, dict[str, Tensor]]:
    """Find the architecture of a discriminator: (settings, in_channels, state of our network); UserError as above."""
    weights, filters = _without_filters(weights)
    config: DiscriminatorConfig
    if "net.0.weight" in weights:
        source = PIXEL
        _refuse(filters, PIXEL)
        width, in_channels = shape(weights, "net.0.weight", 4, PIXEL)[:2]
        config = settings(PixelConfig, {"width": width, "norm": _norm(weights, "net.2", "net.3")}, PIXEL)
    else:
        source = PATCHGAN
        width, in_channels = shape(weights, "model.0.weight", 4, PATCHGAN)[:2]
        layers = sum(tensor.dim() == 4 for tensor in weights.values()) - 2
        second = 3 if filters else 2  # the second convolution stands behind a downsampling
        norm = _norm(weights, f"model.{second}", f"model.{second + 1}")
        found = {"layers": layers, "width": width, "norm": norm, "downsampling": "blur" if filters else "strided"}
        config = settings(PatchganConfig, found, PATCHGAN)
    with torch.device("meta"):
        network = build_discriminator(config, in_channels)
    return config, in_channels, to_ours(weights, network, official_names(config), source)


def to_official(config: GeneratorConfig | DiscriminatorConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of our network under the authors' names, which their code loads; UserError where it cannot."""
    if type(config) not in (ResnetConfig, UnetConfig, PatchganConfig, PixelConfig):
        raise UserError(
            f"The authors' code has no network of the family {getattr(config, 'family', '')!r}; only ResNet "
            "and U-Net generators can be written in their format."
        )
    allowed = ("transposed", "blur") if isinstance(config, ResnetConfig) else ("transposed",)
    if isinstance(config, ResnetConfig | UnetConfig) and config.upsampling not in allowed:
        raise UserError(
            f'The authors\' code has no generator with upsampling = "{config.upsampling}", only "transposed"; this '
            "model cannot be written in their format."
        )
    if isinstance(config, UnetConfig) and config.depth < SHALLOWEST_UNET:
        raise UserError(
            f"The authors' U-Net has a depth of at least {SHALLOWEST_UNET}; this one has {config.depth} and cannot be "
            "written in their format."
        )
    return to_theirs(state, official_names(config)) | _filters(config)


def _filters(config: GeneratorConfig | DiscriminatorConfig) -> dict[str, Tensor]:
    """Return the fixed filters of anti-aliased sampling under the authors' names, one for each channel."""
    found: dict[str, Tensor] = {}

    def put(number: int, channels: int, row: list[float], gain: float) -> None:
        values = torch.tensor(row)
        plane = values[:, None] * values[None, :] / values.sum() ** 2 * gain
        found[f"model.{number}.filt"] = plane.expand(channels, 1, len(row), len(row)).clone()

    if isinstance(config, PatchganConfig) and config.downsampling == "blur":
        for layer in range(config.layers):
            put(2 + 4 * layer, config.width * min(2**layer, 8), [1.0, 2.0, 1.0], 1.0)
    if isinstance(config, ResnetConfig):
        blurred = config.downsampling == "blur"
        if blurred:
            for index in range(2):
                put(7 + 4 * index, config.width * 2 ** (index + 1), [1.0, 2.0, 1.0], 1.0)
        if config.upsampling == "blur":
            for index in range(2):
                number = (12 if blurred else 10) + config.blocks + 4 * index
                put(number, config.width * 2 ** (2 - index), [1.0, 3.0, 3.0, 1.0], 4.0)
    return found


def official_names(config: GeneratorConfig | DiscriminatorConfig) -> Names:
    """Return the authors' name for each of our layers."""
    if isinstance(config, ResnetConfig):
        up, down = int(config.upsampling == "blur"), int(config.downsampling == "blur")
        return resnet_names(config.blocks, "conv_block", dropout=config.dropout, upsampled=up, downsampled=down)
    if isinstance(config, UnetConfig):
        return _unet_names(config.depth)
    if isinstance(config, PatchganConfig):
        return _patchgan_names(config.layers, downsampled=int(config.downsampling == "blur"))
    return {"first.convolution": "net.0", "second.convolution": "net.2", "second.norm": "net.3", "head": "net.5"}


def resnet_names(blocks: int, block: str, *, dropout: bool, upsampled: int, downsampled: int = 0) -> Names:
    """Return the names of a sequence of layers that was numbered as it was built.

    `block` is the name inside a residual block; `upsampled` is 1 where a layer of its own upsamples before each
    convolution of the decoder, `downsampled` where one downsamples behind each of the encoder's.
    """
    names = {"stem.convolution": "model.1", "stem.norm": "model.2"}
    number = 4
    for index in range(2):
        names[f"down.{index}.convolution"], names[f"down.{index}.norm"] = f"model.{number}", f"model.{number + 1}"
        number += 3 + downsampled
    second = 6 if dropout else 5
    for index in range(blocks):
        theirs, ours = f"model.{number + index}.{block}", f"residual.{index}"
        names[f"{ours}.first.convolution"], names[f"{ours}.first.norm"] = f"{theirs}.1", f"{theirs}.2"
        names[f"{ours}.second.convolution"] = f"{theirs}.{second}"
        names[f"{ours}.second.norm"] = f"{theirs}.{second + 1}"
    number += blocks
    for index in range(2):
        number += upsampled
        names[f"up.{index}.convolution"], names[f"up.{index}.norm"] = f"model.{number}", f"model.{number + 1}"
        number += 3
    names["head.convolution"] = f"model.{number + 1}"
    return names


def _unet_names(depth: int) -> Names:
    names = {"down.0.convolution": "model.model.0", "up.0.convolution": "model.model.3"}
    level = "model.model.1.model"
    for index in range(1, depth):
        names[f"down.{index}.convolution"] = f"{level}.1"
        if index == depth - 1:
            names[f"up.{index}.convolution"], names[f"up.{index}.norm"] = f"{level}.3", f"{level}.4"
        else:
            names[f"down.{index}.norm"] = f"{level}.2"
            names[f"up.{index}.convolution"], names[f"up.{index}.norm"] = f"{level}.5", f"{level}.6"
        level += ".3.model"
    return names


def _patchgan_names(layers: int, downsampled: int) -> Names:
    """`downsampled` is 1 where a layer of its own downsamples behind each of the first convolutions."""
    names = {"stages.0.convolution": "model.0"}
    number = 2 + downsampled
    for index in range(1, layers + 1):
        names[f"stages.{index}.convolution"], names[f"stages.{index}.norm"] = f"model.{number}", f"model.{number + 1}"
        number += 3 + (downsampled if index < layers else 0)
    return names | {"head": f"model.{number}"}


def _resnet(weights: Mapping[str, Tensor], filters: Sequence[str]) -> tuple[ResnetConfig, int, int]:
    width, in_channels = shape(weights, "model.1.weight", 4, RESNET)[:2]
    blocks = len({name.split(".")[1] for name in weights if ".conv_block." in name})
    down = "model.7.filt" in filters
    first = 12 if down else 10
    up = f"model.{first + blocks}.filt" in filters
    moved = weights.get(f"model.{first}.conv_block.6.weight")  # the second convolution stands here behind a dropout
    found = {
        "width": width,
        "blocks": blocks,
        "norm": _norm(weights, "model.1", "model.2"),
        "dropout": moved is not None and moved.dim() == 4,
        "downsampling": "blur" if down else "strided",
        "upsampling": "blur" if up else "transposed",
    }
    out_channels = shape(weights, f"model.{first + blocks + (9 if up else 7)}.weight", 4, RESNET)[0]
    return settings(ResnetConfig, found, RESNET), in_channels, out_channels


def _unet(weights: Mapping[str, Tensor], filters: Sequence[str]) -> tuple[UnetConfig, int, int]:
    _refuse(filters, UNET)
    width, in_channels = shape(weights, "model.model.0.weight", 4, UNET)[:2]
    out_channels = shape(weights, "model.model.3.weight", 4, UNET)[1]
    depth, level = 2, "model.model.1.model"
    while f"{level}.3.model.1.weight" in weights:
        depth, level = depth + 1, f"{level}.3.model"
    # The innermost level has a norm behind its upsampling whatever the depth.
    found = {"width": width, "depth": depth, "norm": _norm(weights, f"{level}.3", f"{level}.4")}
    return settings(UnetConfig, found, UNET), in_channels, out_channels


def _norm(weights: Mapping[str, Tensor], convolution: str, norm: str) -> Norm:
    """Tell the norm: BatchNorm alone has weights, and convolutions have a bias before InstanceNorm alone."""
    bias = f"{convolution}.bias" in weights
    if f"{norm}.weight" not in weights:
        return "instance" if bias else "none"
    if bias or not any(name.endswith(".running_mean") for name in weights):
        raise UserError(
            f"The weights have an InstanceNorm with a learned scale and shift ({norm}.weight: affine = True). Only "
            "InstanceNorm without them, as in the authors' code, and BatchNorm are supported."
        )
    return "batch"


def _without_filters(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights without the fixed filters of anti-aliased sampling, and the names of these.

    Ours are computed; UserError where a file's are others than the published ones.
    """
    filters = [name for name in weights if name.endswith(".filt")]
    for name in filters:
        size = weights[name].shape[-1]
        row = torch.tensor({3: [1.0, 2.0, 1.0], 4: [1.0, 3.0, 3.0, 1.0]}.get(size, [0.0] * size))
        wanted = row[:, None] * row[None, :] / 16  # both sum to the share of the image that they stand for
        if weights[name].dim() != 4 or not torch.allclose(weights[name].float(), wanted.expand_as(weights[name])):
            raise UserError(
                f"{name} is not a filter of the authors' CUT code ([1, 2, 1] or [1, 3, 3, 1] in both directions). The "
                "file was written by a changed network."
            )
    return {name: value for name, value in weights.items() if name not in filters}, filters


def _refuse(filters: Sequence[str], source: str) -> None:
    if filters:
        raise UserError(
            f"The weights look like {source}, which has no anti-aliased sampling in their code, but {filters[0]} is a "
            "filter of such. The file was written by a changed network."
        )


def pytorch_gan_generator(weights: Mapping[str, Tensor]) -> tuple[GeneratorConfig, int, int, dict[str, Tensor]]:
    """Find the architecture of a generator: (settings, in_channels, out_channels, state of our network).

    It is the ResNet generator with InstanceNorm and nearest upsampling. Raises UserError that names every tensor that
    is missing, unexpected or of a wrong shape, and for channels other than 3: PyTorch-GAN pads the image by as many
    pixels as it has channels, so that other numbers change its size.
    """
    width, in_channels = shape(weights, "model.1.weight", 4, PYTORCH_GAN)[:2]
    blocks = len({name.split(".")[1] for name in weights if ".block." in name})
    if in_channels != 3:
        raise UserError(
            f"The weights look like {PYTORCH_GAN}, for images of {in_channels} channels. PyTorch-GAN pads by as many "
            "pixels as there are channels, so only networks for 3 channels keep the size of an image; others cannot be "
            "converted."
        )
    found = {"width": width, "blocks": blocks, "norm": "instance", "upsampling": "nearest"}
    config = settings(ResnetConfig, found, PYTORCH_GAN)
    names = resnet_names(config.blocks, "block", dropout=False, upsampled=1)
    with torch.device("meta"):
        network = build_generator(config, in_channels, in_channels)
    return config, in_channels, in_channels, to_ours(weights, network, names, PYTORCH_GAN)


# ----------------------------------------------------------------------------------------------------- names and shapes


def settings(kind: type[Settings], values: Mapping[str, Any], source: str) -> Settings:
    """Return the settings that were found in tensors; UserError where no network of ours has them."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UserError(
            f"The weights look like {source}, but with a {where} that is not supported: {problem['msg']} "
            f"(found {problem['input']!r})."
        ) from error


def shape(weights: Mapping[str, Tensor], name: str, dimensions: int, source: str) -> torch.Size:
    """Return the shape of a tensor that decides about the architecture; UserError where it is missing or odd."""
    if name not in weights:
        raise UserError(f"The weights look like {source}, but {name} is missing. The file may be incomplete.")
    if weights[name].dim() != dimensions:
        raise UserError(
            f"The weights look like {source}, but {name} has shape {list(weights[name].shape)}, not {dimensions} "
            "dimensions. The file was written by some other network."
        )
    return weights[name].shape


def to_ours(weights: Mapping[str, Tensor], network: nn.Module, names: Names, source: str) -> dict[str, Tensor]:
    """Rename tensors to the state of `network` (on any device, "meta" too), as contiguous float32.

    Raises one UserError with every missing, unexpected and mis-shaped tensor. Statistics of InstanceNorm, as files of
    PyTorch 0.x have them, are left out; a BatchNorm counter, as they lack, becomes 0.
    """
    expected = {_rename(key, names): (key, value) for key, value in network.state_dict().items()}
    layers = dict(network.named_modules())
    bare = [name for name in names if name.rpartition(".")[2] == "norm" and not layers[name].state_dict()]
    ignored = {f"{names[name]}.{leaf}" for name in bare for leaf in OLD_STATISTICS}
    counters = {name for name in expected if name.endswith(".num_batches_tracked")}
    problems = [f"missing: {name}" for name in expected if name not in weights and name not in counters]
    problems += [f"unexpected: {name}" for name in weights if name not in expected and name not in ignored]
    for name, (_, wanted) in expected.items():
        found = weights.get(name, wanted)
        if found.shape != wanted.shape:
            problems.append(f"wrong shape: {name} has {list(found.shape)}, expected {list(wanted.shape)}")
        elif found.is_complex() or found.is_floating_point() != wanted.is_floating_point():
            problems.append(f"wrong type: {name} holds {found.dtype}")
    if problems:
        raise UserError(
            f"The weights look like {source}, but they do not fit:\n  " + "\n  ".join(problems) + "\n"
            "The file is incomplete, or it was written by a changed network."
        )
    return {
        ours: weights[name].to(wanted.dtype).contiguous() if name in weights else torch.zeros((), dtype=torch.int64)
        for name, (ours, wanted) in expected.items()
    }


def to_theirs(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Rename the tensors of one of our states; the inverse of `to_ours`."""
    return {_rename(key, names): value for key, value in state.items()}


def _rename(key: str, names: Names) -> str:
    layer, _, leaf = key.rpartition(".")
    return f"{names[layer]}.{leaf}"
