"""What every engine says about itself, and what it does where a result is not finite."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.networks import Search

EngineName = Literal["torch", "torch-winograd", "torch-compile", "onnxruntime", "openvino"]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)
Arithmetic = Literal["fp32", "bf16", "fp16"]


class NotFiniteError(UserError):
    """A translation holds values that are not finite numbers."""


def not_finite(how: str) -> NotFiniteError:
    """Return the error for a network whose result is not finite, computed in some way."""
    return NotFiniteError(
        f"the network's result is not a finite number (NaN or infinity) in {how}. Its weights may have grown without "
        "bound, as in a training that diverged: choose an earlier checkpoint."
    )


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
        self.notices: list[str] = []
        """What a person should know of what happened since, such as another precision."""

    @abstractmethod
    def compute(self, images: Tensor) -> Tensor:
        """Do what `translate` does, and return also what is not finite."""

    def fall_back(self) -> bool:
        """Change to a precision with a wider range, for good; return whether there is one."""
        return False

    def translate(self, images: Tensor) -> Tensor:
        """Translate [N, C, H, W] in [-1, 1], N >= 1, of any size, dtype and device, to float32 [N, C', H, W].

        Where a result is not finite it is computed again in a precision with a wider range (`notices` says so);
        `NotFiniteError` where there is none.
        """
        translated = self.compute(images)
        while not bool(translated.isfinite().all()):
            if not self.fall_back():
                raise not_finite(str(self))
            translated = self.compute(images)
        return translated

    def __str__(self) -> str:
        return f"{self.label}, {self.precision}"
