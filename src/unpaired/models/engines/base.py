"""What every engine says about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor

from unpaired.networks import Search

EngineName = Literal["torch", "torch-compile", "onnxruntime", "openvino"]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)
Arithmetic = Literal["fp32", "bf16", "fp16"]


class Engine(ABC):
    """Translates tensors [N, C, H, W] in [-1, 1] of any size."""

    label: str
    """What it is called in messages."""
    versions: dict[str, str]
    """Of the software whose change might change results."""
    is_reference: bool = False
    """Whether it is itself what the others are compared with."""
    search: Search | None = None
    """The search that translates, where that is what the model does."""

    def __init__(self, precision: Arithmetic, device: torch.device) -> None:
        self.precision: Arithmetic = precision
        """The arithmetic of the convolutions."""
        self.device = device
        """Where it computes."""

    @abstractmethod
    def translate(self, images: Tensor) -> Tensor:
        """Translate [N, C, H, W] in [-1, 1], N >= 1, of any size, dtype and device, to float32 [N, C', H, W]."""

    def __str__(self) -> str:
        return f"{self.label}, {self.precision}"
