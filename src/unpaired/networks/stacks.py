"""AlexNet and VGG-16 up to their last convolution, as torchvision stores them: fixed features of images.

Both are convolutions with ReLU and maximum poolings in a row, so one class runs both from a list of layers. AlexNet is
torchvision's (Krizhevsky 2014, "One weird trick"), VGG-16 that of Simonyan & Zisserman (2015).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self, final

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from unpaired.core.errors import UserError

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], by which torchvision's weights expect images to be normalised."""


class Convolution(NamedTuple):
    """A convolution with ReLU; kernel, stride and padding (of zeros) in pixels."""

    name: str
    """Of the activation, such as relu4_2."""
    key: int
    """Its number in torchvision's `features`."""
    width: int
    """Channels that it returns."""
    kernel: int = 3
    stride: int = 1
    padding: int = 1


class Pooling(NamedTuple):
    """A maximum pooling without padding."""

    kernel: int
    stride: int = 2


Layer = Convolution | Pooling

ALEXNET: tuple[Layer, ...] = (
    Convolution("relu1", 0, 64, kernel=11, stride=4, padding=2),
    Pooling(3),
    Convolution("relu2", 3, 192, kernel=5, padding=2),
    Pooling(3),
    Convolution("relu3", 6, 384),
    Convolution("relu4", 8, 256),
    Convolution("relu5", 10, 256),
)
"""torchvision's AlexNet."""
VGG16: tuple[Layer, ...] = (
    Convolution("relu1_1", 0, 64),
    Convolution("relu1_2", 2, 64),
    Pooling(2),
    Convolution("relu2_1", 5, 128),
    Convolution("relu2_2", 7, 128),
    Pooling(2),
    Convolution("relu3_1", 10, 256),
    Convolution("relu3_2", 12, 256),
    Convolution("relu3_3", 14, 256),
    Pooling(2),
    Convolution("relu4_1", 17, 512),
    Convolution("relu4_2", 19, 512),
    Convolution("relu4_3", 21, 512),
    Pooling(2),
    Convolution("relu5_1", 24, 512),
    Convolution("relu5_2", 26, 512),
    Convolution("relu5_3", 28, 512),
)
"""torchvision's VGG-16."""


@final
class Stack(nn.Module):
    """A fixed network of `layers`: colour images [N, 3, H, W] in [-1, 1] to the activations that are asked for.

    Its weights are no parameters, so that nothing trains them, and stand in no state dict: `load` takes them from their
    file each time, named as torchvision names them.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        # For images in [-1, 1]: twice as wide, around 0.
        self.register_buffer("mean", 2 * torch.tensor(MEAN).view(1, 3, 1, 1) - 1, persistent=False)
        self.register_buffer("deviation", 2 * torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.deviation: Tensor
        channels = 3
        for layer in self.layers:
            if isinstance(layer, Convolution):
                weight = torch.zeros(layer.width, channels, layer.kernel, layer.kernel)
                self.register_buffer(f"{layer.name}_weight", weight, persistent=False)
                self.register_buffer(f"{layer.name}_bias", torch.zeros(layer.width), persistent=False)
                channels = layer.width

    def load(self, weights: Mapping[str, Tensor], origin: str, network: str) -> Self:
        """Take the weights and return the network; UserError, with `origin`, where they are not those of `network`."""
        for layer in self.layers:
            if not isinstance(layer, Convolution):
                continue
            for kind in ("weight", "bias"):
                name, value = f"features.{layer.key}.{kind}", self.get_buffer(f"{layer.name}_{kind}")
                if name not in weights or weights[name].shape != value.shape:
                    found = list(weights[name].shape) if name in weights else "nothing"
                    raise UserError(
                        f"{origin} does not hold the weights of {network}: {name} should be {list(value.shape)}, found "
                        f"{found}. Give torchvision's file, or one with the same names."
                    )
                value.copy_(weights[name])
        return self

    def width(self, name: str) -> int:
        """Return the channels of the activation of that name."""
        return next(layer.width for layer in self.layers if isinstance(layer, Convolution) and layer.name == name)

    def forward(self, images: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations named in `wanted`; nothing behind the last of them is computed."""
        found: dict[str, Tensor] = {}
        features = (images - self.mean) / self.deviation
        for layer in self.layers:
            if len(found) == len(wanted):
                break
            if isinstance(layer, Pooling):
                features = nnf.max_pool2d(features, layer.kernel, layer.stride)
                continue
            weight, bias = (self.get_buffer(f"{layer.name}_{kind}") for kind in ("weight", "bias"))
            features = nnf.relu_(nnf.conv2d(features, weight, bias, layer.stride, layer.padding))
            if layer.name in wanted:
                found[layer.name] = features
        return found


def until(layers: Sequence[Layer], name: str) -> tuple[Layer, ...]:
    """Return the layers up to the convolution of that name, which is among them."""
    names = [layer.name if isinstance(layer, Convolution) else "" for layer in layers]
    return tuple(layers[: names.index(name) + 1])


def minimum_size(layers: Sequence[Layer]) -> int:
    """Return the smallest height and width, in pixels, of which the last layer leaves at least one position."""
    size = 1
    for layer in reversed(layers):
        padding = layer.padding if isinstance(layer, Convolution) else 0
        size = max(1, (size - 1) * layer.stride + layer.kernel - 2 * padding)
    return size


LAYER = "relu4_2"
"""What a method compares images by while it trains."""
LAYERS = until(VGG16, LAYER)
MINIMUM_SIZE = minimum_size(LAYERS)
"""Pixels: 8; three halvings leave one."""


@final
class VggFeatures(nn.Module):
    """The fixed features of relu4_2: images [N, 1 or 3, H, W] in [-1, 1] to [N, 512, H / 8, W / 8].

    Nothing trains its weights, and they stand in no state dict. Without any (`load` was not called) it refuses to work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False
        self.stack = Stack(LAYERS)

    def load(self, weights: Mapping[str, Tensor], origin: str) -> None:
        """Take weights named as torchvision names them; UserError, with `origin`, where they are not VGG-16's."""
        self.stack.load(weights, origin, "VGG-16")
        self.loaded = True

    def forward(self, image: Tensor) -> Tensor:
        assert self.loaded or image.is_meta, "VGG-16 has no weights"
        if image.shape[1] not in (1, 3) or min(image.shape[2:]) < MINIMUM_SIZE:
            raise UserError(
                f"VGG-16 takes images of 1 or 3 channels and at least {MINIMUM_SIZE} x {MINIMUM_SIZE} pixels; received "
                f"{list(image.shape)}. Choose other channels or a larger crop_size."
            )
        found: dict[str, Tensor] = self.stack(image, [LAYER])
        return found[LAYER]
