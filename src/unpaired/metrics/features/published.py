"""The features of published networks: Inception-v3 (those of FID), VGG-16, and EfficientNet-Lite0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import final

import torch
import torch.nn.functional as nnf
from torch import Tensor

from unpaired.core.errors import UserError, did_you_mean
from unpaired.metrics.features.base import Features
from unpaired.metrics.features.weights import VGG16_FILE, FoundFile, Notice, find_weights
from unpaired.networks import efficientnet
from unpaired.networks.inception import DIM, SIZE, Inception
from unpaired.networks.stacks import VGG16, Convolution, Stack, minimum_size, until
from unpaired.networks.weight_files import read_weights


@final
class InceptionFeatures(Features):
    """The 2048 features of FID (Heusel et al. 2017), computed from 8-bit levels as torch-fidelity does it.

    They are called FID's only with the published weights; with a user's own they bear the name of the file.
    """

    dim = DIM
    input = "8-bit levels, TensorFlow 1's bilinear resize to 299 x 299 (no smoothing), (level - 128) / 128"

    def __init__(self, file: FoundFile, device: torch.device) -> None:
        super().__init__(device)
        self.name = "Inception-v3 (FID)" if file.official else f"Inception-v3 ({file.path.name})"
        self.plain_fid = file.official
        self.fingerprint = file.sha256
        network = Inception()
        network.load(read_weights(file.path), str(file.path))
        self._network = network.to(device)

    def _vectors(self, images: Tensor) -> Tensor:
        levels = ((images + 1) * 127.5).round().clamp(0, 255)
        features: Tensor = self._network(levels)
        return features

    def _pixels(self, height: int, width: int) -> int:
        return max(height * width, SIZE * SIZE)


MAPS = "relu4_2"
"""The layer whose positions `maps` returns, of stride 8; a file needs the layers up to here."""


@final
class VggFeatures(Features):
    """The deepest layer that the file holds, averaged over all positions: 512 features of relu5_3 or of relu4_2.

    torchvision's file holds all layers; a file of fewer (at least up to relu4_2) gives fewer.
    """

    dim = 512
    input = "size as it is, normalised by ImageNet's mean and deviation"
    gives_maps = True

    def __init__(self, file: FoundFile, device: torch.device) -> None:
        super().__init__(device)
        weights = read_weights(file.path)
        self._deepest = _deepest(weights)
        layers = until(VGG16, self._deepest)
        self.name = f"VGG-16 {self._deepest} ({'torchvision' if file.official else file.path.name})"
        self.fingerprint = file.sha256
        self.minimum_size = minimum_size(layers)
        self._network = Stack(layers).load(weights, str(file.path), "VGG-16").to(device)

    def _vectors(self, images: Tensor) -> Tensor:
        found: dict[str, Tensor] = self._network(images, [self._deepest])
        return found[self._deepest].mean((2, 3))

    def _positions(self, images: Tensor) -> Tensor:
        found: dict[str, Tensor] = self._network(images, [MAPS])
        return found[MAPS]


@final
class Lite0Features(Features):
    """EfficientNet-Lite0, trained on ImageNet: 1280 features, those of positions, and which class it sees.

    A Fréchet distance of them is never called FID.
    """

    dim = efficientnet.DIM
    input = "shorter side 224 (bicubic, antialiased), (level - 127) / 128; classes: of the middle square"
    gives_maps = True

    def __init__(self, file: FoundFile, device: torch.device) -> None:
        super().__init__(device)
        self.name = "EfficientNet-Lite0" + ("" if file.official else f" ({file.path.name})")
        self.fingerprint = file.sha256
        network = efficientnet.EfficientNetLite0().load(read_weights(file.path), str(file.path))
        self._network = network.to(device)

    def classes(self, images: Tensor) -> Tensor:
        """Return the class that is seen in the middle square of each image [N, 1 or 3, H, W]: [N], 0 to 999."""
        return self.scores(images).argmax(1)

    def scores(self, images: Tensor) -> Tensor:
        """Return the score of every class for the middle square of each image, [N, 1000], before softmax."""
        side = min(images.shape[2:])
        top, left = ((length - side) // 2 for length in images.shape[2:])
        middle = images[:, :, top : top + side, left : left + side]
        return self._in_parts(middle, lambda part: self._network(_seen(part)), "scores")

    def _vectors(self, images: Tensor) -> Tensor:
        return self._network.vectors(_seen(images))

    def _positions(self, images: Tensor) -> Tensor:
        return self._network.positions(_seen(images))

    def _pixels(self, height: int, width: int) -> int:
        rows, columns = _size_seen(height, width)
        return rows * columns


LONGEST = 4 * efficientnet.SIZE
"""The longer side of what EfficientNet-Lite0 sees; longer images are squeezed."""


def _size_seen(height: int, width: int) -> tuple[int, int]:
    scale = efficientnet.SIZE / min(height, width)
    return min(round(height * scale), LONGEST), min(round(width * scale), LONGEST)


def _seen(images: Tensor) -> Tensor:
    levels = ((images + 1) * 127.5).clamp(0, 255)
    size = _size_seen(*images.shape[2:])
    if levels.shape[2:] != size:
        levels = nnf.interpolate(levels, size, mode="bicubic", antialias=True).clamp(0, 255)
    return (levels - 127) / 128


@cache
def class_names() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes (ILSVRC 2012), in their order; a name may stand for two classes."""
    text = (files("unpaired.metrics.features") / "imagenet.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def class_numbers(name: str) -> tuple[int, ...]:
    """Return the numbers of the classes that bear a name, upper and lower case alike; `UserError` where none does."""
    names = [known.lower() for known in class_names()]
    found = tuple(number for number, known in enumerate(names) if known == name.strip().lower())
    if not found:
        raise UserError(
            f'ImageNet has no class "{name}".{did_you_mean(name.lower(), names)} Its 1000 classes are such as zebra, '
            "sorrel (a horse), orange, Granny Smith (an apple); `unpaired.metrics.features.class_names()` lists them."
        )
    return found


def find_vgg(path: str | Path | None, setting: str, *, notice: Notice | None = None) -> FoundFile:
    """Return the file of VGG-16's weights that the user named with `setting`, or torchvision's, as `find_weights`."""
    return find_weights(replace(VGG16_FILE, instead=setting), path, notice=notice)


def read_vgg(path: str | Path | None, setting: str, *, notice: Notice | None = None) -> tuple[dict[str, Tensor], str]:
    """Return VGG-16's weights, named as torchvision names them, and where they come from; `find_vgg` finds them.

    Raises UserError where they cannot be had or read.
    """
    file = find_vgg(path, setting, notice=notice)
    return read_weights(file.path), "torchvision's VGG-16" if path is None else str(file.path)


def _deepest(weights: Mapping[str, Tensor]) -> str:
    convolutions = [layer for layer in VGG16 if isinstance(layer, Convolution)]
    least = next(number for number, layer in enumerate(convolutions) if layer.name == MAPS)
    held = [number for number, layer in enumerate(convolutions) if f"features.{layer.key}.weight" in weights]
    return convolutions[max([least, *held])].name
