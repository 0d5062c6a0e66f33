"""EfficientNet-Lite0, which recognises ImageNet's classes: features of its layers tell images apart.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019), table 1, in the
variant "Lite" of the authors' repository (tensorflow/tpu, models/official/efficientnet/lite): no squeeze-excitation,
ReLU6 in place of swish, stem and head as wide as those of B0. Padding is TensorFlow's "SAME": where one side needs
more, right and bottom have it. Parameters bear the names of the published weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch.nn.functional as nnf
from torch import Tensor, nn

from unpaired.core.errors import UserError

SIZE = 224
"""Height and width of the images that it was trained on."""
DIM = 1280
"""Channels of its last convolution."""
CLASSES = 1000
MAPS = 112
"""Channels of the positions that `positions` returns, of stride 16."""
_STEM = 32
_EPSILON = 1e-3


class _Stage(NamedTuple):
    """Blocks of the same kind, of which the first has the stride."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


_STAGES = (
    _Stage(1, 3, 1, 16, 1),
    _Stage(6, 3, 2, 24, 2),
    _Stage(6, 5, 2, 40, 2),
    _Stage(6, 3, 2, 80, 3),
    _Stage(6, 5, 1, MAPS, 3),
    _Stage(6, 5, 2, 192, 4),
    _Stage(6, 3, 1, 320, 1),
)
_AT_MAPS = sum(stage.blocks for stage in _STAGES[:5])


class _Convolution(nn.Conv2d):
    """A convolution without bias whose padding is TensorFlow's SAME for every size of image."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        needs = [max((-(-length // stride) - 1) * stride + kernel - length, 0) for length in images.shape[:1:-1]]
        sides = [part for need in needs for part in (need // 2, need - need // 2)]
        filtered: Tensor = super().forward(nnf.pad(images, sides) if any(sides) else images)
        return filtered


class _Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = _Convolution(inputs, width, 1), _norm(width)
        self._depthwise_conv, self._bn1 = _Convolution(width, width, kernel, stride, width), _norm(width)
        self._project_conv, self._bn2 = _Convolution(width, outputs, 1), _norm(outputs)
        self._expands, self._adds = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        x = nnf.relu6(self._bn0(self._expand_conv(images))) if self._expands else images
        x = nnf.relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        added: Tensor = x + images if self._adds else x
        return added


@final
class EfficientNetLite0(nn.Module):
    """Takes RGB images [N, 3, H, W] of (level - 127) / 128, levels 0 to 255; trained at 224 x 224."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Convolution(3, _STEM, 3, 2), _norm(_STEM)
        blocks, width = list[nn.Module](), _STEM
        for stage in _STAGES:
            for number in range(stage.blocks):
                stride = stage.stride if number == 0 else 1
                blocks.append(_Block(width, stage.channels, stage.expansion, stage.kernel, stride))
                width = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _Convolution(width, DIM, 1), _norm(DIM)
        self._fc = nn.Linear(DIM, CLASSES)
        self.eval().requires_grad_(False)

    def load(self, weights: Mapping[str, Tensor], where: str) -> EfficientNetLite0:
        """Take the published weights; `UserError` where these are of another network."""
        try:
            self.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise UserError(f"{where} does not hold the weights of EfficientNet-Lite0.") from error
        return self

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Stay in evaluation mode: its statistics are fixed."""
        return super().train(False)

    def positions(self, images: Tensor) -> Tensor:
        """Return the features of every position [N, 112, H / 16, W / 16], behind the fifth stage."""
        return self._until(images, _AT_MAPS)

    def vectors(self, images: Tensor) -> Tensor:
        """Return a feature vector for each image, [N, 1280]: the last convolution, averaged over all positions."""
        x = self._until(images, len(self._blocks))
        return nnf.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return a score for each class of ImageNet, [N, 1000]; the largest is the class that it sees."""
        scores: Tensor = self._fc(self.vectors(images))
        return scores

    def _until(self, images: Tensor, blocks: int) -> Tensor:
        x: Tensor = nnf.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks[:blocks]:
            x = block(x)
        return x


SPREAD = 6.1
"""Standard deviation of `positions` over photos (40 of horses, at 224 x 224), for distances of the order of 1."""


@final
class Lite0Maps(nn.Module):
    """What a method compares images by while it trains: [N, 1 or 3, H, W] in [-1, 1] to [N, 112, H / 16, W / 16].

    Nothing trains its weights, and they stand in no state dict. Without weights it gives shapes alone.
    """

    def __init__(self, weights: Mapping[str, Tensor] | None = None, where: str = "") -> None:
        super().__init__()
        self.network = EfficientNetLite0() if weights is None else EfficientNetLite0().load(weights, where)
        self._is_loaded = weights is not None
        for module in self.network.modules():  # so that no optimiser and no checkpoint meets them
            fixed = {**module._parameters, **module._buffers}
            module._parameters.clear()
            for name, value in fixed.items():
                module.register_buffer(name, value, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        assert self._is_loaded or image.is_meta, "EfficientNet-Lite0 has no weights"
        levels = ((image + 1) * 127.5).expand(-1, 3, -1, -1)
        return self.network.positions((levels - 127) / 128) / SPREAD


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)
