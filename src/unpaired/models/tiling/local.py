"""A network as local operations: which part of its input each part of its output needs, and how it is computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import torch
import torch.nn.functional as nnf
from torch import Tensor

Span = tuple[int, int]
"""From one position to another, which is not included, along one axis."""
Spans = tuple[Span, Span]
"""Rows and columns."""
Size = tuple[int, int]
"""Height and width."""
Border = Literal["constant", "reflect", "replicate"]


class Statistics(NamedTuple):
    """What a norm subtracts and multiplies with, [1, C, 1, 1] each."""

    mean: Tensor
    scale: Tensor


class Operation(ABC):
    """One operation: it makes a part of its result from the parts of its inputs that `reach` names."""

    border: Border = "constant"
    """What stands beyond the true border of its input, where it reaches there."""
    fill: float = 0.0
    macs: float = 0.0
    """Multiplications for each pixel of the result."""
    channels: int = 0
    """Of the result."""

    def __init__(self, inputs: Sequence[int]) -> None:
        self.inputs = tuple(inputs)
        """The numbers of the operations whose results it takes."""

    def length(self, length: int, axis: int) -> int:
        """Return the height (axis 0) or width (axis 1) of the result."""
        return length

    def reach(self, span: Span, axis: int) -> Span:
        """Return the positions of the inputs that a part of the result needs; they may lie beyond the border."""
        return span

    @abstractmethod
    def apply(self, parts: list[Tensor], spans: Spans) -> Tensor:
        """Return the part `spans` of the result; `parts` are what `reach` says of every input, [1, C, h, w]."""


@final
class Pointwise(Operation):
    """A function of each pixel."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[int]) -> None:
        """Take a function with its arguments, in which `Place`s stand for the inputs."""
        super().__init__(inputs)
        self._function, self._args, self._kwargs = function, args, kwargs

    def apply(self, parts: list[Tensor], spans: Spans) -> Tensor:
        args = (_filled(value, parts) for value in self._args)
        result: Tensor = self._function(*args, **self._kwargs)
        return result


@dataclass(frozen=True, slots=True)
class Place:
    """Stands for an input among the arguments of a function."""

    number: int


def _filled(value: Any, parts: list[Tensor]) -> Any:
    # Not within `apply`: a function that calls itself is a cycle, which would hold the parts until they are collected.
    if isinstance(value, list | tuple):
        return [_filled(each, parts) for each in value]
    return parts[value.number] if isinstance(value, Place) else value


@final
class Norm(Operation):
    """A norm over the whole image, of groups of channels; 0 groups are one for each channel."""

    def __init__(self, source: int, groups: int, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> None:
        super().__init__([source])
        self.groups, self.epsilon = groups, epsilon
        self.weight = None if weight is None else weight.float().view(1, -1, 1, 1)
        self.bias = None if bias is None else bias.float().view(1, -1, 1, 1)

    def statistics(self, mean: Tensor, variance: Tensor, device: torch.device) -> Statistics:
        """Return what is subtracted and multiplied with, from mean and variance of each channel, float64 [C]."""
        groups = self.groups or len(mean)
        grouped = mean.view(groups, -1)
        spread = variance.view(groups, -1).mean(1) + grouped.var(1, correction=0)
        each = grouped.shape[1]
        centre = grouped.mean(1).repeat_interleave(each).to(device, torch.float32).view(1, -1, 1, 1)
        scale = (spread + self.epsilon).rsqrt().repeat_interleave(each).to(device, torch.float32).view(1, -1, 1, 1)
        return Statistics(centre, scale if self.weight is None else scale * self.weight)

    def normalize(self, part: Tensor, statistics: Statistics, *, in_place: bool) -> Tensor:
        """Return the result for a part [1, C, h, w], which may be overwritten if so said."""
        wide = part.float()
        # Subtracted first: scaled first, a mean far from 0 would leave the rounding errors of its own size.
        result = wide.sub_(statistics.mean) if in_place or wide is not part else wide.sub(statistics.mean)
        result.mul_(statistics.scale)
        if self.bias is not None:
            result.add_(self.bias)
        return result.to(part.dtype)

    def apply(self, parts: list[Tensor], spans: Spans) -> Tensor:
        raise AssertionError("a norm needs its statistics")


@final
class Window(Operation):
    """A convolution or a pooling: each pixel sees a window of the input."""

    def __init__(self, source: int, function: Any, kernel: Size, stride: Size, padding: Size, dilation: Size) -> None:
        """Take `function(part, stride, dilation)`, which computes without padding."""
        super().__init__([source])
        self._function = function
        self._kernel, self._stride, self._padding, self._dilation = kernel, stride, padding, dilation

    def length(self, length: int, axis: int) -> int:
        window = self._dilation[axis] * (self._kernel[axis] - 1) + 1
        return (length + 2 * self._padding[axis] - window) // self._stride[axis] + 1

    def reach(self, span: Span, axis: int) -> Span:
        stride, window = self._stride[axis], self._dilation[axis] * (self._kernel[axis] - 1) + 1
        return span[0] * stride - self._padding[axis], (span[1] - 1) * stride - self._padding[axis] + window

    def apply(self, parts: list[Tensor], spans: Spans) -> Tensor:
        result: Tensor = self._function(parts[0], self._stride, self._dilation)
        return result


@final
class Transposed(Operation):
    """A transposed convolution."""

    def __init__(self, source: int, named: dict[str, Any]) -> None:
        super().__init__([source])
        self._weight: Tensor = named["weight"]
        self._bias, self._groups = named["bias"], named["groups"]
        self._stride, self._padding = pair(named["stride"]), pair(named["padding"])
        self._extra, self._dilation = pair(named["output_padding"]), pair(named["dilation"])
        self._window: list[int] = [d * (k - 1) + 1 for d, k in zip(self._dilation, self._weight.shape[2:], strict=True)]

    def length(self, length: int, axis: int) -> int:
        return (length - 1) * self._stride[axis] - 2 * self._padding[axis] + self._window[axis] + self._extra[axis]

    def reach(self, span: Span, axis: int) -> Span:
        stride, padding = self._stride[axis], self._padding[axis]
        return -((self._window[axis] - 1 - padding - span[0]) // stride), (span[1] - 1 + padding) // stride + 1

    def apply(self, parts: list[Tensor], spans: Spans) -> Tensor:
        extra, first = [], []
        for axis, span in enumerate(spans):
            reach = self.reach(span, axis)
            first.append(span[0] - (reach[0] * self._stride[axis] - self._padding[axis]))
            made = (reach[1] - reach[0] - 1) * self._stride[axis] + self._window[axis]
            extra.append(max(0, first[axis] + span[1] - span[0] - made))
        made_of = nnf.conv_transpose2d(
            parts[0], self._weight, self._bias, self._stride, 0, extra, self._groups, self._dilation
        )
        return _cropped(made_of, (first[0], first[1]), spans)


@final
class Pad(Operation):
    """A padding, or with negative numbers a cut."""

    def __init__(self, source: int, before: Size, after: Size, border: Border, fill: float) -> None:
        super().__init__([source])
        self._before, self._after, self.border, self.fill = before, after, border, fill

    def length(self, length: int, axis: int) -> int:
        return length + self._before[axis] + self._after[axis]

    def reach(self, span: Span, axis: int) -> Span:
        return span[0] - self._before[axis], span[1] - self._before[axis]

    def apply(self, parts: list[Tensor], spans: Spans) -> Tensor:
        return parts[0]


@final
class Enlarge(Operation):
    """Nearest neighbour, bilinear interpolation or pixel shuffle by a whole factor."""

    border: Border = "replicate"

    def __init__(self, source: int, function: Any, factor: Size, *, bilinear: bool) -> None:
        super().__init__([source])
        self._function, self._factor, self._bilinear = function, factor, bilinear

    def length(self, length: int, axis: int) -> int:
        return length * self._factor[axis]

    def reach(self, span: Span, axis: int) -> Span:
        factor = self._factor[axis]
        if not self._bilinear:
            return span[0] // factor, (span[1] - 1) // factor + 1
        # Of (position + 1/2) / factor - 1/2, in whole numbers: the neighbours on both sides.
        low, high = (2 * position + 1 - factor for position in (span[0], span[1] - 1))
        return low // (2 * factor), high // (2 * factor) + 2

    def apply(self, parts: list[Tensor], spans: Spans) -> Tensor:
        first = [span[0] - self.reach(span, axis)[0] * self._factor[axis] for axis, span in enumerate(spans)]
        return _cropped(self._function(parts[0]), (first[0], first[1]), spans)


def _cropped(tensor: Tensor, first: Size, spans: Spans) -> Tensor:
    for axis in (0, 1):
        tensor = tensor.narrow(axis + 2, first[axis], spans[axis][1] - spans[axis][0])
    return tensor


def pair(value: Any) -> Size:
    """Return (for rows, for columns) of a number, or of a list of one or two."""
    values = [value] * 2 if isinstance(value, int) else list(value)
    return (values * 2)[0], (values * 2)[1]


# ------------------------------------------------------------------------------------------------- parts of a tensor


def inside(span: Span, length: int, border: Border) -> Span:
    """Return the positions within 0 and `length` that stand for a span which may lie beyond the border."""
    low, high = span
    if border != "reflect":
        first = min(max(low, 0), length - 1)
        return first, max(min(high, length), first + 1)
    points = [_reflected(low, length), _reflected(high - 1, length)]
    points += [edge for edge in (0, length - 1) if low <= edge < high]
    return min(points), max(points) + 1


def take(tensor: Tensor, axis: int, has: Span, span: Span, length: int, border: Border, fill: float) -> Tensor:
    """Return the positions `span` along an axis of a tensor that holds those of `has`, of `length` in all."""
    dim, (low, high) = axis + 2, span
    if has[0] <= low and high <= has[1]:
        return tensor if (low, high) == has else tensor.narrow(dim, low - has[0], high - low)
    if border == "constant":
        first, last = max(low, 0), min(high, length)
        if first >= last:
            shape = list(tensor.shape)
            shape[dim] = high - low
            return tensor.new_full(shape, fill)
        part = tensor.narrow(dim, first - has[0], last - first)
        beyond = (first - low, high - last)
        return nnf.pad(part, (0, 0, *beyond) if axis == 0 else beyond, value=fill)
    positions = torch.arange(low, high, device=tensor.device)
    if border == "reflect":
        positions = length - 1 - (length - 1 - positions.abs()).abs()
    return tensor.index_select(dim, positions.clamp(0, length - 1) - has[0])


def _reflected(position: int, length: int) -> int:
    return length - 1 - abs(length - 1 - abs(position))


# ------------------------------------------------------------------------------------------------------- the network


class NotLocalError(ValueError):
    """A network does something that cannot be computed by parts; the message says what."""


@final
class Network:
    """A network from image to image as operations in order; number 0 is the image, which no operation makes."""

    def __init__(self, operations: list[Operation | None], output: int, channels: int, network: Any) -> None:
        self.operations, self.output, self.in_channels = operations, output, channels
        self.multiple: int = network.size_multiple
        self.minimum: int = network.minimum_size
        self.consumers: list[list[int]] = [[] for _ in operations]
        for number, made in enumerate(operations):
            for source in made.inputs if made is not None else ():
                self.consumers[source].append(number)

    @property
    def norms(self) -> list[int]:
        """The numbers of the norms over the whole image."""
        return [number for number, made in enumerate(self.operations) if isinstance(made, Norm)]

    def operation(self, number: int) -> Operation:
        """Return an operation."""
        made = self.operations[number]
        assert made is not None, "the image is no operation"
        return made

    def channels(self, number: int) -> int:
        """Return the channels of a result."""
        return self.operation(number).channels if number else self.in_channels

    def sizes(self, size: Size) -> list[Size]:
        """Return (height, width) of every result for an image of this size."""
        sizes = [size]
        for made in self.operations[1:]:
            assert made is not None
            height, width = sizes[made.inputs[0]]
            sizes.append((made.length(height, 0), made.length(width, 1)))
        return sizes

    def boxes(self, steps: Sequence[int], targets: dict[int, Spans], sizes: list[Size]) -> dict[int, Spans]:
        """Return the part of every result that is needed for parts of some; `steps` are computed, others are there."""
        boxes = dict(targets)
        for number in reversed(steps):
            if number not in boxes:
                continue
            made = self.operation(number)
            for source in set(made.inputs):
                rows, columns = (
                    inside(made.reach(boxes[number][axis], axis), sizes[source][axis], made.border) for axis in (0, 1)
                )
                has = boxes.get(source, (rows, columns))
                boxes[source] = _hull(has[0], rows), _hull(has[1], columns)
        return boxes


def _hull(one: Span, other: Span) -> Span:
    return min(one[0], other[0]), max(one[1], other[1])


def read_network(network: Any, device: torch.device, dtype: torch.dtype) -> Network:
    """Return a generator in evaluation mode, which holds weights of `dtype` on `device`, as local operations.

    It is run once on a small image while PyTorch writes down what it does. Raises `NotLocalError` where it does
    something else than local operations and norms over the image.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    from unpaired.models.tiling.reading import Reading

    if network.sees_whole_image:
        raise NotLocalError("each part of its result depends on the whole image, through attention")
    channels, nowhere = network.in_channels, torch.arange(0, device=device)
    fields = len(network.fields(nowhere, nowhere))  # behind the channels of the image

    def forward(image: Tensor) -> Any:
        given = [image.narrow(1, 0, channels), image.narrow(1, channels, fields)] if fields else [image]
        return network.forward(*given)

    size = [max(network.minimum_size, 2 * network.size_multiple) + n * network.size_multiple for n in (1, 2)]
    example = torch.rand(1, channels + fields, *size, device=device, dtype=dtype)
    with torch.no_grad():
        traced = make_fx(forward, tracing_mode="real", pre_dispatch=True)(example)
    reading = Reading(traced, (size[0], size[1]))
    return Network(reading.operations, reading.output, channels + fields, network)
