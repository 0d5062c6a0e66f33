"""The transforms of torchvision that the authors' loader uses, for machines where torchvision cannot be imported.

Each does the same calls to Pillow and PyTorch as torchvision does, on Pillow images, so that it costs the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        """Transform an image."""
        for transform in self.transforms:
            image = transform(image)
        return image


class Lambda:
    """A function as a transform."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, image: Any) -> Any:
        """Transform an image."""
        return self.function(image)


class Resize:
    """Resize a Pillow image to (height, width)."""

    def __init__(self, size: Sequence[int], interpolation: Any = Image.Resampling.BILINEAR) -> None:
        self.height, self.width = size
        self.interpolation = Image.Resampling(interpolation)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Resize an image; one of this size already is returned as it is."""
        size = (self.width, self.height)
        return image if image.size == size else image.resize(size, self.interpolation)


class RandomCrop:
    """Cut a random square out of a Pillow image."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        """Crop an image."""
        width, height = image.size
        if (width, height) == (self.size, self.size):
            return image
        top = int(torch.randint(0, height - self.size + 1, size=(1,)).item())
        left = int(torch.randint(0, width - self.size + 1, size=(1,)).item())
        return image.crop((left, top, left + self.size, top + self.size))


class RandomHorizontalFlip:
    """Mirror every second Pillow image."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Mirror an image, or not."""
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(1) < 0.5 else image


class ToTensor:
    """Turn an 8-bit Pillow image into float32 [C, H, W] in [0, 1]."""

    def __call__(self, image: Image.Image) -> Tensor:
        """Convert an image."""
        values = torch.from_numpy(np.array(image, copy=True))
        values = values.view(image.height, image.width, len(image.getbands()))
        return values.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class Normalize:
    """Subtract a mean from each channel and divide by a deviation."""

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        self.mean, self.deviation = mean, deviation

    def __call__(self, values: Tensor) -> Tensor:
        """Normalise [C, H, W]."""
        mean = torch.as_tensor(self.mean, dtype=values.dtype).view(-1, 1, 1)
        deviation = torch.as_tensor(self.deviation, dtype=values.dtype).view(-1, 1, 1)
        if bool((deviation == 0).any()):
            raise ValueError("a deviation of 0")
        return values.clone().sub_(mean).div_(deviation)


def install() -> None:
    """Make `import torchvision` find these transforms."""
    package, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
    for transform in (Compose, Lambda, Resize, RandomCrop, RandomHorizontalFlip, ToTensor, Normalize):
        transforms.__dict__[transform.__name__] = transform
    package.__dict__["transforms"] = transforms
    sys.modules.update({"torchvision": package, "torchvision.transforms": transforms})
