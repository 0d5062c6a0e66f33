"""The features of FID."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from unpaired.metrics.features.base import Features
from unpaired.metrics.features.weights import FoundFile
from unpaired.networks.inception import DIM, SIZE, Inception
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
