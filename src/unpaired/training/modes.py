"""What `auto` means: how a training computes on a device, by what was measured there (docs/performance.md)."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch

from unpaired.core.device import fast_bf16, has_compiler
from unpaired.core.errors import UserError, option
from unpaired.methods.base import Method
from unpaired.networks import ResnetGenerator
from unpaired.training.config import TrainingConfig
from unpaired.training.distributed import ALONE, World

BF16_CHANNELS = 64
"""Where no layer is as wide as this, bf16 loses on CPUs: its conversions cost more than it gains."""
WINOGRAD_CHANNELS = 256
"""Where residual blocks are narrower than this, Winograd's transforms cost as much as its products gain."""


def settle(
    config: TrainingConfig, device: torch.device, widest: int, *, residual: int = 0, fixed_sizes: bool = True
) -> TrainingConfig:
    """Return the settings with a decision in place of every `auto`. Raises `UserError` for what the device cannot do.

    `widest` is the largest number of channels in the networks, see `widest_layer`, `residual` that in residual blocks,
    see `residual_channels`; `fixed_sizes` says that all batches have one shape.

    - precision: bf16 where the device has instructions for it (on CPUs: and the networks are wide), else fp32.
    - compile: off. On CPUs it gains a tenth for more than a minute of compiling; nothing was measured on GPUs.
    - graph: on for CUDA where all batches have one shape, where it costs nothing; elsewhere there are none.
    - memory format: contiguous; on CPUs channels_last loses a third.
    - convolution: winograd for wide residual blocks in float32 on CPUs.
    """
    if config.graph == "on" and device.type != "cuda":
        raise UserError(
            f"training.graph is on, and CUDA graphs need a CUDA device; this training computes on {device.type}. Leave "
            "training.graph out, or set it to off."
        )
    if config.graph == "on" and not fixed_sizes:
        raise UserError(
            f"training.graph is on, and a recorded step needs images of one size; {option('data.preprocess')} leaves "
            "them sizes of "
            "their own. Leave training.graph out, set it to off, or choose another mode."
        )
    if config.precision == "fp16" and device.type == "mps":
        raise UserError(f"{option('training.precision', 'fp16')} is not possible on mps. Allowed there: fp32.")
    if config.compile == "on" and device.type == "cpu" and not has_compiler():
        raise UserError(
            f"{option('training.compile')} is on, and compiling for the CPU needs a C++ compiler; none was found. "
            "Install g++ "
            f"or clang, name one in the environment variable CXX, or set {option('training.compile', 'off')}."
        )
    wide_enough = device.type != "cpu" or widest >= BF16_CHANNELS
    settled = replace(
        config,
        precision=_or(config.precision, "bf16" if fast_bf16(device) and wide_enough else "fp32"),
        compile=_or(config.compile, "off"),
        graph=_or(config.graph, "on" if device.type == "cuda" and fixed_sizes else "off"),
        memory_format=_or(config.memory_format, "contiguous"),
    )
    return replace(settled, convolution=_convolution(settled, device, residual))


def _convolution(config: TrainingConfig, device: torch.device, residual: int) -> Any:
    """Return `winograd` or `direct`, for settings in which all else is settled."""
    ways = config.precision, config.compile, config.memory_format
    able = device.type == "cpu" and ways[0] != "fp16" and ways[1:] == ("off", "contiguous") and residual > 0
    if config.convolution == "winograd" and not able:
        received = f"{device.type}, {', '.join(ways)}" if residual else "networks without residual blocks"
        raise UserError(
            f"{option('training.convolution', 'winograd')} computes the residual blocks of ResNets in fp32 or bf16 on "
            f"the CPU, neither compiled nor in channels_last; received {received}. Leave it out, or set "
            f"{option('training.device', 'cpu')}, {option('training.precision', 'fp32')}, "
            f"{option('training.compile', 'off')} and {option('training.memory_format', 'contiguous')}."
        )
    faster = able and residual >= WINOGRAD_CHANNELS and config.precision == "fp32"
    return _or(config.convolution, "winograd" if faster else "direct")


def _or(choice: Any, automatic: str) -> Any:
    return automatic if choice == "auto" else choice


def widest_layer(method: Method) -> int:
    """Return the largest number of channels that a convolution of the translators has."""
    return max(p.shape[0] for network in method.translators().values() for p in network.parameters() if p.dim() == 4)


def residual_channels(method: Method) -> int:
    """Return the largest number of channels that residual blocks of the translators have; 0 where there are none."""
    networks = method.translators().values()
    return max((network.residual_channels for network in networks if isinstance(network, ResnetGenerator)), default=0)


def explained(given: TrainingConfig, settled: TrainingConfig, device: torch.device, world: World = ALONE) -> str:
    """Return one sentence for a person: how it is computed, and what of that was chosen automatically."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    extras = []
    if settled.compile == "on":
        extras.append("compiled")
    if settled.graph == "on":
        extras.append("as one CUDA graph")
    if settled.memory_format == "channels_last":
        extras.append("channels last")
    if settled.convolution == "winograd":
        extras.append("convolving by Winograd's algorithm")
    if settled.recompute:
        extras.append("recomputing activations")
    how = ", ".join([settled.precision, *extras])
    reduced = given.precision == "auto" and settled.precision != "fp32"
    remedy = " (chosen for speed; the published arithmetic is --precision fp32)" if reduced else ""
    many = f", in {world.size} processes with batches of {settled.batch_size}" if world.size > 1 else ""
    return f"computing on {where} in {how}{remedy}{many}"


def peak_memory(device: torch.device) -> int | None:
    """Return the bytes taken at most: on CUDA by PyTorch on the GPU, else by the process; None where nobody knows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
