"""A generator as one graph that takes images of any size, padding and cropping inside it; made once and kept."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from unpaired import __version__
from unpaired.core.cache import Cache, CacheError, cache_key
from unpaired.core.errors import UserError
from unpaired.models.exactness import Exactness
from unpaired.networks import Generator
from unpaired.networks.blocks import EPSILON, InstanceNorm

if TYPE_CHECKING:
    from onnx_ir import Model

INPUT, OUTPUT = "image", "translation"
"""Names of the graph's input and output."""
OPSET = 18
"""Of ONNX: every operation used here is in it, and ONNX Runtime reads it since 1.14."""
GRAPHS = Cache(folder="graphs", suffix=".onnx", limit_bytes=2 << 30, checked=True)
EXACTNESS = Cache(folder="exactness", suffix=".json", limit_bytes=1 << 24)
_FORMAT = 1
"""Changes with the way in which graphs are made or exactness is measured: older ones are made again."""
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
    import onnx_ir

    module = AnySize(network)
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, InstanceNorm):
                parent.register_module(name, _PlainInstanceNorm())
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
    value: Any
    for value in (model.graph.inputs[0], model.graph.outputs[0]):
        value.shape = onnx_ir.Shape(["batch", value.shape[1], "height", "width"])
    for node in model.graph:  # where each operation stands in our source: paths of this machine
        node.metadata_props.clear()
    return model


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


# ------------------------------------------------------------------------------------------------- the user's cache


def has_graph(fingerprint: str | None) -> bool:
    """Say whether the graph of a network is there already; False also where the cache cannot be used."""
    return fingerprint is not None and GRAPHS.find(_graph_key(fingerprint)) is not None


@contextmanager
def graph_file(network: Generator, fingerprint: str | None) -> Iterator[Path]:
    """Yield the ONNX file of a network, made first where it is not there; the file may vanish afterwards.

    Without a fingerprint the network is one that no model folder holds, and its graph is not kept. Raises `UserError`
    where the cache folder cannot be written or its disk is full.
    """
    if fingerprint is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "graph.onnx"
            _make(network, path)
            yield path
        return
    try:
        path = GRAPHS.get(_graph_key(fingerprint), lambda path: _make(network, path))
    except CacheError as error:
        raise UserError(f"{error} Or choose --engine torch, which needs no graph.") from error
    yield path


def recall_exactness(
    setting: Mapping[str, str], fingerprint: str | None, measure: Callable[[], Exactness]
) -> Exactness:
    """Return what was measured of a network in a setting (engine, precision, ...), or measure it now."""
    if fingerprint is None:
        return measure()
    key = cache_key([_FORMAT, fingerprint, dict(setting)])
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if path := EXACTNESS.find(key):
            return Exactness.from_json(json.loads(path.read_text(encoding="utf-8")))
    exactness = measure()
    EXACTNESS.put(key, json.dumps(exactness.to_json()).encode())
    return exactness


def _graph_key(fingerprint: str) -> str:
    return cache_key([_FORMAT, fingerprint, __version__, torch.__version__])


def _make(network: Generator, path: Path) -> None:
    import onnx_ir

    try:
        content = onnx_ir.to_proto(trace_onnx(network)).SerializeToString()
    except RuntimeError as error:  # what the exporters of PyTorch raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"the model's graph cannot be made with this version of PyTorch ({torch.__version__}): {reason} Choose "
            "--engine torch, which needs no graph."
        ) from error
    path.write_bytes(content)
