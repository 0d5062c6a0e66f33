"""Translators of known behaviour, and images for them, for the tests of the audit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unpaired.audit.disturb import LEVEL
from unpaired.data.values import Domain
from unpaired.models.folder import ModelCard
from unpaired.models.translator import Translator
from unpaired.networks import Generator

COLOUR = Domain(channels=3)


class Stored:
    """Images at hand, [N, C, H, W] in [-1, 1]."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        return self.images[list(numbers)].clone()


def random_images(count: int = 6, channels: int = 3, size: int = 24, *, coarse: int = 24, seed: int = 0) -> Stored:
    """Return images of uniform noise; `coarse` below `size` makes blocks of one value."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, channels, coarse, coarse, generator=generator) * 1.6 - 0.8
    return Stored(nn.functional.interpolate(small, size=(size, size), mode="nearest"))


class Affine(Generator):
    """Multiplies by a matrix over channels, adds a constant and cuts to [-1, 1]."""

    def __init__(self, matrix: Tensor, constant: float = 0.0) -> None:
        super().__init__(None, matrix.shape[1], matrix.shape[0], size_multiple=1, minimum_size=1)
        self.register_buffer("matrix", matrix)
        self.constant = constant

    def forward(self, image: Tensor) -> Tensor:
        self.check(image)
        return (torch.einsum("oc,nchw->nohw", self.matrix, image) + self.constant).clamp(-1, 1)


class Reader(Affine):
    """Takes a constant away and multiplies then: the inverse of `Affine`."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.einsum("oc,nchw->nohw", self.matrix, image - self.constant).clamp(-1, 1)


class Forgetful(Generator):
    """Returns grey, whatever it gets."""

    def __init__(self, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__(None, in_channels, out_channels, size_multiple=1, minimum_size=1)

    def forward(self, image: Tensor) -> Tensor:
        return (image[:, :1] * 0).expand(-1, self.out_channels, -1, -1)


def translator(network: Generator, a: Domain = COLOUR, b: Domain = COLOUR, direction: str = "a2b") -> Translator:
    card = ModelCard(origin="made by a test", domains={"a": a, "b": b}, translators={})
    return Translator(network, card, direction, device="cpu", engine="torch", precision="fp32")


def both(there: Generator, back: Generator, a: Domain = COLOUR, b: Domain = COLOUR) -> tuple[Translator, Translator]:
    return translator(there, a, b), translator(back, a, b, "b2a")


def hiding(levels: float = 1.0) -> tuple[Translator, Translator]:
    """A grey picture with the input at an amplitude of so many levels, and the network that reads it."""
    scale = levels * LEVEL
    return both(Affine(torch.eye(3) * scale, 0.25), Reader(torch.eye(3) / scale, 0.25))


def recolouring() -> tuple[Translator, Translator]:
    """An honest change of colours: red becomes green, green blue, blue red, all a little paler, and back."""
    matrix = torch.tensor([[0.0, 0.0, 0.9], [0.9, 0.0, 0.0], [0.0, 0.9, 0.0]])
    return both(Affine(matrix), Affine(torch.linalg.inv(matrix)))


def copying(channels: int = 3) -> tuple[Translator, Translator]:
    domain = Domain(channels=channels)
    return both(Affine(torch.eye(channels)), Affine(torch.eye(channels)), domain, domain)
