"""FCN-8s (Long, Shelhamer, Darrell 2015): VGG-16 made convolutional, with scores of three strides added up.

The paper pads the photo by 100 pixels so that every layer keeps at least one position, and crops the result. Here every
convolution keeps its size (fc6 is padded by 3), the pools round up, and upsampling repeats the border: the same
positions meet the same pixels without computing on a wide frame of zeros, and photos of any size have labels for every
pixel. What differs is what the layers see beyond the border.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, final

import torch
import torch.nn.functional as nnf
from pydantic import Field
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.core.settings import Settings
from unpaired.networks.base import Width
from unpaired.networks.stacks import DEVIATION, MEAN

GROUPS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
"""Channels of VGG-16's convolutions, as multiples of its width of 64; the size is halved behind each group."""
FEATURE_KEYS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Their numbers in torchvision's `features`."""
CLASSIFIER_KEYS = (0, 3)
"""Numbers of the first two fully connected layers in torchvision's `classifier`: fc6 and fc7."""
FC6_SIZE = 7
"""Height and width of fc6 as a convolution: VGG-16's last pool leaves 7 x 7 positions of its photos of 224 x 224."""
PUBLISHED_WIDTH, PUBLISHED_FC_WIDTH = 64, 4096
POOL4_SCALE, POOL3_SCALE = 0.01, 0.0001
"""Factors of the authors' `voc-fcn8s-atonce`, which trains all three strides at the same time."""


class FcnConfig(Settings):
    """FCN-8s on VGG-16; the defaults are the published network."""

    family: Literal["fcn8s"] = "fcn8s"
    """Which network this is."""
    width: Width = PUBLISHED_WIDTH
    """Channels of the first two convolutions; those behind have 2, 4, 8 and 8 times as many. 64 is VGG-16."""
    fc_width: Annotated[int, Field(gt=0, le=8192)] = PUBLISHED_FC_WIDTH
    """Channels of fc6 and fc7. 4096 is VGG-16 and needs 120 million weights; 512 is enough for a few hundred photos."""
    norm: Literal["none", "batch"] = "none"
    """Batch norm behind every convolution but those of the scores, for training without weights of ImageNet."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the values behind fc6 and fc7 that training drops."""
    scale_skips: bool = False
    """Scale pool4 by 0.01 and pool3 by 0.0001 before they are scored, as the authors' at-once training does."""


@final
class Fcn8s(nn.Module):
    """Photos [N, C, H, W] in [-1, 1] of any size to logits [N, classes, H, W].

    Photos of 1 or 3 channels are normalised as torchvision's VGG-16 expects it, grey ones seen as colour; photos of
    other numbers of channels stay as they are.
    """

    def __init__(self, config: FcnConfig, channels: int, classes: int) -> None:
        super().__init__()
        self.config, self.channels, self.classes = config, channels, classes
        widths = [factor * config.width for group in GROUPS for factor in group]
        inputs = [3 if channels == 1 else channels, *widths]
        self.features = nn.ModuleList(
            _Convolution(before, after, 3, config.norm) for before, after in zip(inputs, widths, strict=False)
        )
        self.fc6 = _Convolution(widths[-1], config.fc_width, FC6_SIZE, config.norm)
        self.fc7 = _Convolution(config.fc_width, config.fc_width, 1, config.norm)
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Conv2d(config.fc_width, classes, 1)
        self.score_pool4 = nn.Conv2d(GROUPS[3][-1] * config.width, classes, 1)
        self.score_pool3 = nn.Conv2d(GROUPS[2][-1] * config.width, classes, 1)
        self.double_score = Upsampling(classes, 2, learned=True)
        self.double_pool4 = Upsampling(classes, 2, learned=True)
        self.up8 = Upsampling(classes, 8, learned=False)
        for scores in (self.score, self.score_pool4, self.score_pool3):
            # As in the paper (section 4.3): random ones gained nothing.
            nn.init.zeros_(scores.weight)
            _zero_bias(scores)
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        if photos.dim() != 4 or photos.shape[1] != self.channels:
            raise UserError(
                f"the segmenter takes photos [N, {self.channels}, height, width]; received {list(photos.shape)}. "
                "Give photos of the kind that it was trained on."
            )
        pools = self._pools(self._normalised(photos))
        features = self.dropout(self.fc6(pools[4]))
        features = self.dropout(self.fc7(features))
        scale4, scale3 = (POOL4_SCALE, POOL3_SCALE) if self.config.scale_skips else (1.0, 1.0)
        skip4, skip3 = self.score_pool4(pools[3] * scale4), self.score_pool3(pools[2] * scale3)
        fused = _cut(self.double_score(self.score(features)), skip4) + skip4
        fused = _cut(self.double_pool4(fused), skip3) + skip3
        return _cut(self.up8(fused), photos)

    def _normalised(self, photos: Tensor) -> Tensor:
        if self.channels not in (1, 3):
            return photos
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        return ((photos + 1) / 2 - mean) / deviation

    def _pools(self, features: Tensor) -> list[Tensor]:
        """Return what the five pools hold, of sizes H / 2 to H / 32, rounded up."""
        pools, layers = [], iter(self.features)
        for group in GROUPS:
            for _ in group:
                features = next(layers)(features)
            features = nnf.max_pool2d(features, 2, ceil_mode=True)
            pools.append(features)
        return pools


@final
class Upsampling(nn.Module):
    """A transposed convolution that begins as bilinear interpolation: [N, C, h, w] to [N, C, factor h, factor w].

    The border is repeated, so at the beginning it is `interpolate(..., mode="bilinear", align_corners=False)` exactly.
    `learned` lets training change it, as the paper does with the two doublings and not with the last upsampling.
    """

    def __init__(self, channels: int, factor: int, *, learned: bool) -> None:
        super().__init__()
        self.factor, self.learned = factor, learned
        kernel = bilinear_kernel(factor)
        if learned:
            weight = torch.zeros(channels, channels, *kernel.shape)
            weight[torch.arange(channels), torch.arange(channels)] = kernel
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("kernel", kernel.expand(channels, 1, *kernel.shape).clone(), persistent=False)

    def forward(self, scores: Tensor) -> Tensor:
        framed = nnf.pad(scores, (1, 1, 1, 1), mode="replicate")
        weight = self.weight if self.learned else self.get_buffer("kernel")
        groups = 1 if self.learned else scores.shape[1]
        # Half a factor of the frame is the transposed convolution's own overhang, the rest the repeated border.
        padding = self.factor + self.factor // 2
        return nnf.conv_transpose2d(framed, weight, stride=self.factor, padding=padding, groups=groups)


def bilinear_kernel(factor: int) -> Tensor:
    """Return the kernel [2 factor, 2 factor] of a transposed convolution that interpolates; `factor` is even."""
    positions = torch.arange(2 * factor, dtype=torch.float32)
    line = 1 - (positions - (factor - 0.5)).abs() / factor
    return line[:, None] * line[None, :]


def load_vgg(network: Fcn8s, weights: Mapping[str, Tensor], origin: str) -> str:
    """Take what fits of VGG-16's weights, named as torchvision names them; return what was taken and what was not.

    Fully connected layers become fc6 and fc7 where the network has their 4096 channels. Convolutions may end early,
    but must begin with the first one. Raises UserError, with `origin`, where they do not, or have other shapes.
    """
    taken = 0
    for key, layer in zip(FEATURE_KEYS, network.features, strict=True):
        if f"features.{key}.weight" not in weights:
            break
        assert isinstance(layer, _Convolution)
        _take(layer, weights, f"features.{key}", origin)
        taken += 1
    if not taken:
        raise UserError(
            f"{origin} does not hold the weights of VGG-16: there is no features.0.weight. Give torchvision's file "
            "vgg16-397923af.pth, or one with the same names."
        )
    fully = all(f"classifier.{key}.weight" in weights for key in CLASSIFIER_KEYS)
    fits = (network.config.width, network.config.fc_width) == (PUBLISHED_WIDTH, PUBLISHED_FC_WIDTH)
    if fully and fits:
        for key, layer in zip(CLASSIFIER_KEYS, (network.fc6, network.fc7), strict=True):
            _take(layer, weights, f"classifier.{key}", origin)
    text = f"{taken} of {len(FEATURE_KEYS)} convolutions of {origin}"
    if fully and fits:
        return f"{text}, fc6 and fc7 too"
    why = f", as they are {network.config.fc_width} wide here and not {PUBLISHED_FC_WIDTH}" if fully else ""
    rest = "fc6 and fc7" if taken == len(FEATURE_KEYS) else "the other convolutions, fc6 and fc7"
    return f"{text}; {rest} begin at random{why}"


@final
class _Convolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, norm: str) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2)
        self.norm = nn.BatchNorm2d(outputs) if norm == "batch" else nn.Identity()
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        _zero_bias(self.convolution)

    def forward(self, features: Tensor) -> Tensor:
        return nnf.relu(self.norm(self.convolution(features)))


def _take(layer: _Convolution, weights: Mapping[str, Tensor], name: str, origin: str) -> None:
    """Copy a layer's weights; those of a fully connected layer are cut into positions."""
    own = layer.convolution
    for kind, target in (("weight", own.weight), ("bias", own.bias)):
        found = weights.get(f"{name}.{kind}")
        if found is None or target is None or found.numel() != target.numel() or found.shape[0] != target.shape[0]:
            shape = "nothing" if found is None else list(found.shape)
            raise UserError(
                f"{origin} does not fit: {name}.{kind} is {shape}, and the network has {list(own.weight.shape)}. Give "
                "weights of VGG-16 as torchvision names them, and leave segmenter.width at 64; or train without: "
                "--weights none."
            )
        with torch.no_grad():
            target.copy_(found.reshape(target.shape))


def _cut(scores: Tensor, like: Tensor) -> Tensor:
    return scores[:, :, : like.shape[2], : like.shape[3]]


def _zero_bias(layer: nn.Conv2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
