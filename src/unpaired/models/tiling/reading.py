"""From what PyTorch wrote down of a network to local operations."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, final

import torch
import torch.nn.functional as nnf
from torch import Tensor, fx

from unpaired.models.tiling.local import (
    Enlarge,
    Norm,
    NotLocalError,
    Operation,
    Pad,
    Place,
    Pointwise,
    Size,
    Transposed,
    Window,
    pair,
)

_POINTWISE = {
    *("relu", "leaky_relu", "tanh", "sigmoid", "elu", "gelu", "silu", "hardtanh", "hardswish", "hardsigmoid"),
    *("softplus", "mish", "selu", "celu", "relu6", "clamp", "clamp_min", "clamp_max", "add", "sub", "mul", "div"),
    *("rsub", "neg", "abs", "exp", "square", "sqrt", "pow", "maximum", "minimum", "dropout", "feature_dropout"),
    *("contiguous", "clone", "detach", "alias", "to", "_to_copy", "lift_fresh_copy"),
}
"""Functions of each pixel, also with an underscore at the end, where they work in place."""


@final
class Reading:
    """Reads a traced network; `operations` and `output` are what was read, number 0 is the image."""

    def __init__(self, traced: fx.GraphModule, size: Size) -> None:
        self.operations: list[Operation | None] = [None]
        self.output = 0
        self._traced = traced
        self._sizes: list[Size] = [size]
        self._values: dict[fx.Node, Any] = {}
        for node in traced.graph.nodes:
            self._read(node)

    def _read(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._values[node] = _Result(0)
        elif node.op == "get_attr":
            self._values[node] = _for_windows(operator.attrgetter(str(node.target))(self._traced).detach())
        elif node.op == "output":
            result = self._values.get(node.args[0]) if isinstance(node.args[0], fx.Node) else None
            if not isinstance(result, _Result) or result.number == 0:
                raise NotLocalError("its result is no single image that depends on its input")
            self.output = result.number
        elif not any(isinstance(self._values[each], _Result) for each in node.all_input_nodes):
            function: Any = node.target
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda each: self._values[each])
            self._values[node] = function(*args, **kwargs)
        elif node.target is operator.getitem:
            if node.args[1] == 0:
                self._values[node] = self._values[node.args[0]]  # type: ignore[index]
            elif node.users:
                raise NotLocalError("it uses the statistics of a norm")
        else:
            self._values[node] = _Result(self._add(node))

    def _add(self, node: fx.Node) -> int:
        name = _name(node)
        made = self._pointwise(node) if name in _POINTWISE else self._other(name, node)
        example = node.meta["val"]
        shape = (example[0] if isinstance(example, tuple) else example).shape
        height, width = self._sizes[made.inputs[0]]
        if len(shape) != 4 or (made.length(height, 0), made.length(width, 1)) != tuple(shape[2:]):
            raise NotLocalError(f"{name} changes the shape to {list(shape)}")
        made.channels = shape[1]
        self.operations.append(made)
        self._sizes.append((shape[2], shape[3]))
        return len(self.operations) - 1

    def _pointwise(self, node: fx.Node) -> Pointwise:
        inputs: list[int] = []

        def placed(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [placed(each) for each in value]
            found = self._values[value] if isinstance(value, fx.Node) else value
            if isinstance(found, _Result):
                inputs.append(found.number)
                return Place(len(inputs) - 1)
            if isinstance(found, Tensor) and any(length != 1 for length in found.shape[-2:]):
                raise NotLocalError(f"{_name(node)} with numbers for each position, {list(found.shape)}")
            return found

        args = tuple(placed(value) for value in node.args)
        if len({self._sizes[number] for number in inputs}) > 1:
            raise NotLocalError(f"{_name(node)} of results of several sizes")
        return Pointwise(node.target, args, dict(node.kwargs), inputs)

    def _other(self, name: str, node: fx.Node) -> Operation:
        named = self._named(node)
        if name == "cat":
            return self._joined(node, named)
        if name in ("narrow", "slice") and named["dim"] == 1:
            return self._pointwise(node)
        first = named.get("input", named.get("self"))
        if name not in _RULES or not isinstance(first, _Result):
            raise NotLocalError(f"it uses {node.target}")
        rest = [value for key, value in named.items() if key not in ("input", "self")]
        if any(isinstance(value, _Result) for value in rest):
            raise NotLocalError(f"the numbers of {name} depend on the image")
        return _RULES[name](first.number, named)

    def _joined(self, node: fx.Node, named: dict[str, Any]) -> Operation:
        if named["dim"] not in (1, -3) or not all(isinstance(value, _Result) for value in named["tensors"]):
            raise NotLocalError("it joins something else than the channels of results")
        return self._pointwise(node)

    def _named(self, node: fx.Node) -> dict[str, Any]:
        """Return all arguments of a call by name, with what was read in the place of nodes."""
        target: Any = node.target
        if not isinstance(target, torch._ops.OpOverload):
            raise NotLocalError(f"it uses {target}")
        schema = target._schema.arguments
        given = dict(zip((argument.name for argument in schema), node.args, strict=False)) | node.kwargs
        values = {arg.name: given.get(arg.name, arg.default_value) for arg in schema}
        return {name: fx.map_arg(value, lambda each: self._values[each]) for name, value in values.items()}


class _Result:
    """The result of an operation, by its number."""

    def __init__(self, number: int) -> None:
        self.number = number


def _name(node: fx.Node) -> str:
    target: Any = node.target
    name = target._schema.name.removeprefix("aten::") if isinstance(target, torch._ops.OpOverload) else str(target)
    return name.removesuffix("_") if name.removesuffix("_") in _POINTWISE else name


def _for_windows(weight: Tensor) -> Tensor:
    """Return a weight in the layout in which tiles are computed: channels_last, which is the fastest.

    Of one channel every layout is also channels_last, but PyTorch goes by the strides, which `contiguous` leaves.
    """
    if weight.dim() != 4:
        return weight
    return torch.empty_like(weight, memory_format=torch.channels_last).copy_(weight)


# -------------------------------------------------------------------------------------------------------------- rules


def _convolution(source: int, named: dict[str, Any]) -> Operation:
    weight, bias, groups = named["weight"], named["bias"], named["groups"]
    if isinstance(named["padding"], str):
        raise NotLocalError(f"a convolution with the padding {named['padding']!r}")

    def convolve(part: Tensor, stride: Size, dilation: Size) -> Tensor:
        return nnf.conv2d(part, weight, bias, stride, 0, dilation, groups)

    kernel = weight.shape[2], weight.shape[3]
    made = Window(source, convolve, kernel, pair(named["stride"]), pair(named["padding"]), pair(named["dilation"]))
    made.macs = weight.numel()
    return made


def _transposed(source: int, named: dict[str, Any]) -> Operation:
    made = Transposed(source, named)
    stride = pair(named["stride"])
    made.macs = named["weight"].numel() / (stride[0] * stride[1])
    return made


def _pool(pooling: Callable[..., Tensor], fill: float, source: int, named: dict[str, Any]) -> Operation:
    kernel = pair(named["kernel_size"])
    padding = pair(named["padding"])
    counts = named.get("count_include_pad", True) and named.get("divisor_override") is None
    if named["ceil_mode"] or (any(padding) and not counts):
        raise NotLocalError("a pooling that rounds up or leaves out its padding")

    def pool(part: Tensor, stride: Size, dilation: Size) -> Tensor:
        return pooling(part, kernel, stride)

    dilation = pair(named.get("dilation", 1))
    if dilation != (1, 1):
        raise NotLocalError("a pooling with dilation")
    made = Window(source, pool, kernel, pair(named["stride"] or kernel), padding, dilation)
    made.fill = fill
    return made


def _pad(source: int, named: dict[str, Any]) -> Operation:
    left, right, top, bottom = [*named["pad" if "pad" in named else "padding"], 0, 0][:4]
    mode = named.get("mode", "constant")
    if mode not in ("constant", "reflect", "replicate") or len(named.get("pad", ())) > 4:
        raise NotLocalError(f"padding of the kind {mode}")
    return Pad(source, (top, left), (bottom, right), mode, float(named.get("value") or 0.0))


def _enlarge(mode: str, source: int, named: dict[str, Any]) -> Operation:
    factors: list[float] = list(named.get("scale_factors") or [])
    if len(factors) != 2 or any(factor != int(factor) or factor < 1 for factor in factors):
        raise NotLocalError("an upsampling to a fixed size, or not by a whole factor")
    if named.get("align_corners"):
        raise NotLocalError("an upsampling with align_corners")
    factor: Size = (int(factors[0]), int(factors[1]))
    enlarge = partial(nnf.interpolate, scale_factor=tuple(map(float, factor)), mode=mode)
    return Enlarge(source, enlarge, factor, bilinear=mode == "bilinear")


def _shuffle(source: int, named: dict[str, Any]) -> Operation:
    factor = int(named["upscale_factor"])
    return Enlarge(source, partial(nnf.pixel_shuffle, upscale_factor=factor), (factor, factor), bilinear=False)


def _group_norm(source: int, named: dict[str, Any]) -> Operation:
    groups = named.get("num_groups", named.get("group"))
    return Norm(source, int(groups or 1), named["weight"], named["bias"], named["eps"])


def _instance_norm(source: int, named: dict[str, Any]) -> Operation:
    if not named["use_input_stats"]:
        return _batch_norm(source, {**named, "training": False})
    return Norm(source, 0, named["weight"], named["bias"], named["eps"])


def _batch_norm(source: int, named: dict[str, Any]) -> Operation:
    if named["training"] or named["running_mean"] is None:
        return Norm(source, 0, named["weight"], named["bias"], named["eps"])  # of a batch of one image

    def normalize(part: Tensor) -> Tensor:
        return nnf.batch_norm(
            part, named["running_mean"], named["running_var"], named["weight"], named["bias"], eps=named["eps"]
        )

    return Pointwise(normalize, (Place(0),), {}, [source])


_RULES: dict[str, Callable[[int, dict[str, Any]], Operation]] = {
    "conv2d": _convolution,
    "conv_transpose2d": _transposed,
    "max_pool2d": partial(_pool, nnf.max_pool2d, -torch.inf),
    "avg_pool2d": partial(_pool, nnf.avg_pool2d, 0.0),
    "pad": _pad,
    "reflection_pad2d": lambda source, named: _pad(source, {**named, "mode": "reflect"}),
    "replication_pad2d": lambda source, named: _pad(source, {**named, "mode": "replicate"}),
    "constant_pad_nd": _pad,
    "upsample_nearest2d": partial(_enlarge, "nearest"),
    "upsample_bilinear2d": partial(_enlarge, "bilinear"),
    "pixel_shuffle": _shuffle,
    "group_norm": _group_norm,
    "native_group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
}
"""How an operation of PyTorch that sees more than one pixel is computed by parts, by its name."""
