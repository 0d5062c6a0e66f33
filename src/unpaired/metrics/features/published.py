"""The features of published networks: Inception-v3, those of FID, and VGG-16, which knows textures and contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from unpaired.metrics.features.base import Features
from unpaired.metrics.features.weights import VGG16_FILE, FoundFile, Notice, find_weights
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
