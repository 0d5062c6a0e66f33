"""The networks of CoGAN: two generators and two discriminators that share most of their layers.

Liu & Tuzel, NeurIPS 2016, arXiv:1606.07536. One latent vector is rendered as an image of A and as an image of B. Both
renderings come from the same features up to the last layers, and that alone is what makes them belong together.
"""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.core.settings import Settings, option
from unpaired.networks.base import Discriminator, Upsampling, Width
from unpaired.networks.blocks import Stage, normalization, upsampling_layers
from unpaired.networks.patchgan import SLOPE

SMALLEST_BASE, LARGEST_BASE = 2, 8
"""Sides of the innermost map; every layer between it and the image doubles them."""
USUAL_BASE = 4
"""The side that is taken where there is a choice, as in DCGAN."""
FEWEST_DOUBLINGS = 2
WIDEST = 8
"""Channels double from map to smaller map, up to so many times the first layer's."""
HEAD_KERNEL = 5
"""Side of the last kernel: how many neighbours a domain may look at to draw a pixel of shared features its way."""

Domain = Literal["a", "b"]
"""Which of the two domains."""


class CoupledGeneratorConfig(Settings):
    """The coupled generators: a linear layer, doublings of the size, and a convolution, all shared but the last."""

    family: Literal["coupled"] = "coupled"
    """Which generator this is."""
    width: Width = 64
    """Channels at the size of the image; they double with every halving of the size, up to eight times as many."""
    latent: Annotated[int, Field(ge=1, le=4096)] = 100
    """Numbers in the latent vector."""
    own_layers: Annotated[int, Field(ge=1, le=32)] = 1
    """Last layers that each domain has for itself; 1 is what the paper takes for digits."""
    upsampling: Upsampling = "transposed"
    """Transposed convolutions as published, or "nearest" and a convolution, which leaves no checkerboards."""


class CoupledDiscriminatorConfig(Settings):
    """The coupled discriminators: convolutions of stride 2 and two linear layers, all shared but the first."""

    family: Literal["coupled"] = "coupled"
    """Which discriminator this is."""
    width: Width = 64
    """Channels of the first layer; they double from layer to layer, up to eight times as many."""
    own_layers: Annotated[int, Field(ge=1, le=32)] = 1
    """First layers that each domain has for itself."""


@final
class CoupledGenerator(nn.Module):
    """Render latent vectors [N, latent] in both domains: ([N, C_A, H, W], [N, C_B, H, W]), both in [-1, 1]."""

    def __init__(self, config: CoupledGeneratorConfig, channels_a: int, channels_b: int, size: tuple[int, int]) -> None:
        """Build it for images of one (height, width); UserError where `halvings` finds none, or nothing is shared."""
        super().__init__()
        self.config, self.size = config, size
        self.channels: dict[Domain, int] = {"a": channels_a, "b": channels_b}
        doublings, base = halvings(size)
        widths = [config.width * min(2**level, WIDEST) for level in range(doublings, -1, -1)]
        _require_shared("generator", config.own_layers, doublings + 2, size)

        def layer(number: int, channels: int) -> nn.Module:
            if number == 0:
                return _Start(config.latent, widths[0], base)
            if number > doublings:
                head = nn.Conv2d(widths[-1], channels, HEAD_KERNEL, padding=HEAD_KERNEL // 2)
                return Stage(head, activation=nn.Tanh())
            before, after = widths[number - 1], widths[number]
            enlarge, convolution = upsampling_layers(config.upsampling, before, after, kernel=4, bias=False)
            activation = nn.ReLU(inplace=True)
            return Stage(convolution, before=enlarge, norm=normalization("batch", after), activation=activation)

        own_from = doublings + 2 - config.own_layers
        self.shared = nn.Sequential(*(layer(number, 0) for number in range(own_from)))
        self.own_a, self.own_b = (
            nn.Sequential(*(layer(number, channels) for number in range(own_from, doublings + 2)))
            for channels in (channels_a, channels_b)
        )

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        features = self.shared(latent)
        return self.own_a(features), self.own_b(features)

    def render(self, latent: Tensor, domain: Domain) -> Tensor:
        """Render latent vectors [N, latent] as images of one domain, [N, C, H, W] in [-1, 1]."""
        own = self.own_a if domain == "a" else self.own_b
        image: Tensor = own(self.shared(latent))
        return image


@final
class CoupledDiscriminator(nn.Module):
    """Two discriminators, `a` and `b`, whose last layers are the same modules."""

    def __init__(
        self, config: CoupledDiscriminatorConfig, channels_a: int, channels_b: int, size: tuple[int, int]
    ) -> None:
        super().__init__()
        doublings, (height, width) = halvings(size)
        _require_shared("discriminator", config.own_layers, doublings + 1, size)
        widths = [config.width * min(2**level, WIDEST) for level in range(doublings)]
        hidden = 4 * config.width

        def convolution(number: int, channels: int) -> nn.Module:
            before = widths[number - 1] if number else channels
            return Stage(
                nn.Conv2d(before, widths[number], 4, stride=2, padding=1), activation=nn.LeakyReLU(SLOPE, inplace=True)
            )

        own = range(config.own_layers)
        shared = nn.Sequential(
            *(convolution(number, 0) for number in range(config.own_layers, doublings)),
            nn.Flatten(),
            nn.Linear(widths[-1] * height * width, hidden),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Linear(hidden, 1),
        )
        self.a, self.b = (
            DomainDiscriminator(
                config, channels, size, own=nn.Sequential(*(convolution(n, channels) for n in own)), shared=shared
            )
            for channels in (channels_a, channels_b)
        )

    def forward(self, image_a: Tensor, image_b: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(image_a), self.b(image_b)


@final
class DomainDiscriminator(Discriminator):
    """Judge [N, C, H, W] of one domain and one size: a logit [N, 1] for each image."""

    config_class = CoupledDiscriminatorConfig
    config: CoupledDiscriminatorConfig

    def __init__(
        self,
        config: CoupledDiscriminatorConfig,
        in_channels: int,
        size: tuple[int, int],
        *,
        own: nn.Module,
        shared: nn.Module,
    ) -> None:
        super().__init__(config, in_channels, minimum_size=min(size))
        self.size, self.own, self.shared = size, own, shared

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.shared(self.own(self.see(image)))
        return logits

    def check(self, image: Tensor) -> None:
        """Raise UserError unless the images have the channels and the size that it was built for."""
        super().check(image)
        if (image.shape[2], image.shape[3]) != self.size:
            raise UserError(
                f"The discriminator of CoGAN was built for images of {_named(self.size)} (height x width), but received"
                f" {_named((image.shape[2], image.shape[3]))}. Train on images of one size."
            )


@final
class _Start(nn.Module):
    def __init__(self, latent: int, channels: int, base: tuple[int, int]) -> None:
        super().__init__()
        # The same as a transposed convolution over a map of one pixel; the bias is that of the norm.
        self.linear = nn.Linear(latent, channels * base[0] * base[1], bias=False)
        self.norm = normalization("batch", channels)
        self.activation = nn.ReLU(inplace=True)
        self.shape = (channels, *base)

    def forward(self, latent: Tensor) -> Tensor:
        features: Tensor = self.activation(self.norm(self.linear(latent).unflatten(1, self.shape)))
        return features


# ------------------------------------------------------------------------------------------------------------- sizes


def halvings(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Return how often images of (height, width) are halved, and the size of the innermost map.

    Its sides lie between 2 and 8, and there are at least two halvings; of several such maps the smallest is taken that
    has no side below 4, else the largest. UserError with the nearest sizes where there is none.
    """
    found = _ways(size)
    if not found:
        near = " or ".join(_named(other) for other in _nearest(size))
        raise UserError(
            f"CoGAN cannot make images of {_named(size)} (height x width): each side must be {SMALLEST_BASE} to "
            f"{LARGEST_BASE} times the same power of two, which is at least {2**FEWEST_DOUBLINGS}. Near are {near}: "
            f"set {option('data.crop_size')} to such a size."
        )
    usual = [way for way in found if min(way[1]) >= USUAL_BASE]
    return usual[-1] if usual else found[0]


def _ways(size: tuple[int, int]) -> list[tuple[int, tuple[int, int]]]:
    every = range(FEWEST_DOUBLINGS, max(size).bit_length())
    whole = [number for number in every if size[0] % 2**number == 0 and size[1] % 2**number == 0]
    ways = [(number, (size[0] >> number, size[1] >> number)) for number in whole]
    return [way for way in ways if all(SMALLEST_BASE <= side <= LARGEST_BASE for side in way[1])]


def _nearest(size: tuple[int, int]) -> list[tuple[int, int]]:
    sides = range(SMALLEST_BASE, LARGEST_BASE + 1)
    accepted = {
        (height * 2**doublings, width * 2**doublings)
        for doublings in range(FEWEST_DOUBLINGS, max(*size, 8).bit_length() + 1)
        for height in sides
        for width in sides
    }
    square = size[0] == size[1]
    wanted = [(h, w) for h, w in accepted if not square or h == w]
    return sorted(wanted, key=lambda way: (abs(way[0] - size[0]) + abs(way[1] - size[1]), way))[:2]


def _require_shared(what: str, own: int, layers: int, size: tuple[int, int]) -> None:
    """Without a shared layer nothing would couple the two domains."""
    if own >= layers:
        raise UserError(
            f"method.{what}.own_layers = {own} leaves nothing to share: at {_named(size)} (height x width) the {what} "
            f"has {layers} layers. Set it to {layers - 1} or less."
        )


def _named(size: tuple[int, int] | torch.Size) -> str:
    return f"{size[0]} x {size[1]}"
