"""LPIPS: how different two images look to a network whose features people's judgements have weighted.

Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018),
equation 1, with the authors' linear heads of version 0.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, final, get_args

import torch
from torch import Tensor

from unpaired.core.device import find_device
from unpaired.core.errors import UserError, did_you_mean
from unpaired.metrics.features.base import PIXELS_AT_ONCE, as_colour, check_images
from unpaired.metrics.features.weights import (
    ALEXNET_FILE,
    LPIPS_ALEX,
    LPIPS_VGG,
    VGG16_FILE,
    FoundFile,
    KnownFile,
    Notice,
    find_weights,
)
from unpaired.networks.stacks import ALEXNET, VGG16, Layer, Stack, minimum_size
from unpaired.networks.weight_files import read_weights

LpipsNet = Literal["alex", "vgg"]
"""Which features: AlexNet's (the authors' choice for figures) or those of VGG-16."""
EPSILON = 1e-10
"""Added to the length of a feature vector before the division by it, as the authors do."""


@final
class Lpips:
    """The distance of pairs of images; `open_lpips` makes it. 0 for identical ones; less is more alike."""

    def __init__(self, net: LpipsNet, backbone: FoundFile, heads: FoundFile, device: torch.device) -> None:
        layers, names, title = _network(net)
        own = ", ".join(file.path.name for file in (backbone, heads) if not file.official)
        self.name = f"LPIPS ({title}, {own or 'v0.1'})"
        self.plain = not own
        self.fingerprint = f"{backbone.sha256}+{heads.sha256}"
        self.input = "size as it is, normalised by ImageNet's mean and deviation"
        self.minimum_size = minimum_size(layers)
        self.device = device
        self._names = names
        self._network = Stack(layers).load(read_weights(backbone.path), str(backbone.path), title).to(device)
        self._heads = _heads(read_weights(heads.path), [self._network.width(name) for name in names], heads.path)
        self._heads = [head.to(device) for head in self._heads]

    name: str
    """As printed with figures; "LPIPS (AlexNet, v0.1)" with the published weights alone."""
    plain: bool
    """Whether both files are the published ones."""
    fingerprint: str
    """SHA-256 of the network's file and of the heads' file, joined by +."""
    input: str
    """How images are normalised, in words."""
    minimum_size: int
    """The smallest height and width, in pixels."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distances [N], float32 on the CPU, of images [N, 1 or 3, H, W] in [-1, 1]; grey ones are repeated.

        Raises UserError for images of other shapes or values, for pairs of different sizes and for results that are not
        finite.
        """
        for images in (x, y):
            check_images(images, self.name, self.minimum_size)
        if len(x) != len(y) or x.shape[2:] != y.shape[2:]:
            raise UserError(
                f"{self.name} compares pairs of one size; received {list(x.shape)} and {list(y.shape)}. Resize one of "
                "them, or check which images belong together."
            )
        several = max(1, PIXELS_AT_ONCE // (2 * x.shape[2] * x.shape[3]))
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            parts = [slice(start, start + several) for start in range(0, len(x), several)]
            found = torch.cat([self._distances(x[part], y[part]) for part in parts])
        if not found.isfinite().all():
            raise UserError(f"{self.name} gave distances that are not finite. Check its files of weights.")
        return found

    def _distances(self, x: Tensor, y: Tensor) -> Tensor:
        both = torch.cat([as_colour(images.to(self.device, torch.float32)) for images in (x, y)])
        found: dict[str, Tensor] = self._network(both, self._names)
        total = torch.zeros(len(x), device=self.device)
        for name, head in zip(self._names, self._heads, strict=True):
            features = found[name]
            features = features / (features.square().sum(1, keepdim=True).sqrt() + EPSILON)
            first, second = features[: len(x)], features[len(x) :]
            total += ((first - second).square() * head).sum(1).mean((1, 2))
        return total.cpu()


def open_lpips(
    net: str = "alex",
    *,
    device: str | torch.device = "cpu",
    backbone: str | Path | None = None,
    heads: str | Path | None = None,
    notice: Notice | None = None,
) -> Lpips:
    """Return LPIPS with the features of `alex` or `vgg`; `alex:FILE` or `backbone` names the file of the network.

    Without names the published files are taken, as `find_weights` does it; the heads also from an installed
    torchmetrics or lpips, neither of which is imported. Raises UserError for other words, other
    files and where they cannot be had.
    """
    kind, colon, file = net.partition(":")
    if kind not in get_args(LpipsNet) or (colon and not file):
        raise UserError(f'"{net}" is no network of LPIPS. Allowed: alex, alex:FILE, vgg, vgg:FILE.{_hint(kind)}')
    if file and backbone is not None:
        raise UserError(f"The network of LPIPS is named twice: {net} and backbone={backbone}. Name one file.")
    published = _published(kind)
    network = find_weights(published[0], file or backbone, notice=notice)
    return Lpips(
        "alex" if kind == "alex" else "vgg",
        network,
        find_weights(published[1], heads, notice=notice),
        find_device(device),
    )


def _published(net: str) -> tuple[KnownFile, KnownFile]:
    return (ALEXNET_FILE, LPIPS_ALEX) if net == "alex" else (VGG16_FILE, LPIPS_VGG)


def _network(net: LpipsNet) -> tuple[tuple[Layer, ...], tuple[str, ...], str]:
    if net == "alex":
        return ALEXNET, ("relu1", "relu2", "relu3", "relu4", "relu5"), "AlexNet"
    return VGG16, ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"), "VGG-16"


def _heads(weights: dict[str, Tensor], widths: list[int], path: Path) -> list[Tensor]:
    """Return one weight per channel [width, 1, 1] for each activation; UserError where the file has other ones."""
    found = []
    for number, width in enumerate(widths):
        name = f"lin{number}.model.1.weight"
        if name not in weights or weights[name].numel() != width:
            received = list(weights[name].shape) if name in weights else "nothing"
            raise UserError(
                f"{path} does not hold the linear heads of LPIPS: {name} should be [1, {width}, 1, 1], found "
                f"{received}. Give the authors' file of version 0.1 for this network."
            )
        found.append(weights[name].float().reshape(width, 1, 1))
    return found


def _hint(received: str) -> str:
    return did_you_mean(received, get_args(LpipsNet))
