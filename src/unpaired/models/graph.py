"""A generator as one graph that takes images of any size: padding and cropping happen inside it."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from unpaired.networks import Generator
from unpaired.networks.blocks import EPSILON, InstanceNorm

if TYPE_CHECKING:
    from onnx_ir import Model

INPUT, OUTPUT = "image", "translation"
"""Names of the graph's input and output."""
OPSET = 18
"""Of ONNX: every operation used here is in it, and ONNX Runtime reads it since 1.14."""
_EXAMPLE_SIZE = (2, 37, 43)
"""(batch, height, width) of the example that is traced; it leaves no trace itself."""


@final
class AnySize(nn.Module):
    """A generator that takes [N, C, H, W] of any size from 1 x 1 up, padded as in `inference.padding` and cropped."""

    def __init__(self, network: Generator) -> None:
        """Copy the network; the copy trusts its input, whose size is right by construction."""
        super().__init__()
        self.network = trusting_copy(network)
        self.multiple = network.size_multiple
        self.minimum = network.minimum_size

    def forward(self, image: Tensor) -> Tensor:
        """Translate [N, C, H, W] to [N, C', H, W]."""
        height, width = image.shape[2], image.shape[3]
        rows, columns = self._padding(height, image.device), self._padding(width, image.device)
        translated = self.network(image.index_select(2, rows).index_select(3, columns))
        # Not a slice: that would make the exporter assume that something is cut off.
        rows, columns = torch.arange(height, device=image.device), torch.arange(width, device=image.device)
        cropped: Tensor = translated.index_select(2, rows).index_select(3, columns)
        return cropped

    def _padding(self, length: int, device: torch.device) -> Tensor:
        """Return the indices 0, 1, ..., length - 1, length - 2, ..., 1, 0, 1, ...: a triangular wave."""
        rounded = (_larger(length, self.minimum) + self.multiple - 1) // self.multiple
        # By way of a tensor, so that the exporter knows nothing of the number but its bound. Else it would specialise
        # the graph: for sizes that need padding, and for U-Nets whose innermost map is larger than one pixel.
        units: Any = torch.full((1,), rounded, dtype=torch.int64, device="cpu").item()
        torch._check(units >= 1)  # type: ignore[no-untyped-call]
        period = torch.full((1,), _larger(2 * (length - 1), 1), dtype=torch.int64, device=device)
        position = torch.arange(units * self.multiple, device=device).remainder(period)
        return torch.where(position < length, position, period - position)


def _larger(one: int, other: int) -> int:
    """Return the larger of two numbers of which an exporter may know no value yet."""
    larger: int = torch.sym_max(one, other)  # type: ignore[no-untyped-call]
    return larger


@final
class _PlainInstanceNorm(nn.Module):
    """The norm as the one operation that ONNX has for it, without a check of sizes that are not known yet."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.instance_norm(features, None, None, None, None, True, 0.1, EPSILON, False)


def trusting_copy(network: Generator) -> Generator:
    """Return a copy on the CPU, in evaluation mode, that does not check the size of its input."""
    trusting = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    trusting.check = lambda image: None  # type: ignore[method-assign]
    return trusting


def trace(network: Generator) -> torch.export.ExportedProgram:
    """Return the generator as a program of any batch, height and width, with PyTorch's own operations."""
    program = _trace(AnySize(network), network.in_channels)
    for node in program.graph.nodes:  # where each operation stands in our source: paths of this machine
        node.meta.pop("stack_trace", None)
    return program


def _trace(module: AnySize, channels: int) -> torch.export.ExportedProgram:
    batch, height, width = _EXAMPLE_SIZE
    dynamic = torch.export.Dim.DYNAMIC
    with quiet_exporter(), torch.no_grad():
        return torch.export.export(
            module.eval(),
            (torch.zeros(batch, channels, height, width),),
            dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},),
        )


def trace_onnx(network: Generator) -> Model:
    """Return the generator as an ONNX graph from `image` [N, C, H, W] to `translation` [N, C', H, W]; needs onnxscript.

    InstanceNorm, here computed as a group norm because that is fastest in PyTorch, becomes InstanceNormalization.
    """
    module = AnySize(network)
    _replace_norms(module)
    program = _trace(module, network.in_channels)
    with quiet_exporter():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
            optimize=True,
        )
    assert exported is not None
    model = exported.model
    _name_dimensions(model.graph.inputs[0], model.graph.outputs[0])
    for node in model.graph:  # where each operation stands in our source: paths of this machine
        node.metadata_props.clear()
    return model


def _replace_norms(module: nn.Module) -> None:
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, InstanceNorm):
                parent.register_module(name, _PlainInstanceNorm())


def _name_dimensions(*values: Any) -> None:
    import onnx_ir

    for value in values:
        value.shape = onnx_ir.Shape(["batch", value.shape[1], "height", "width"])


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporters' advice to their developers from the user: warnings, and notes about torchvision."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
