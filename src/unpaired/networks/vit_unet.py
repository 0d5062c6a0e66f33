"""The generator of UVCGANv2 (Torbunov et al. 2023, arXiv:2303.16280): a U-Net around a pixel-wise vision transformer.

Every position of the innermost feature map is a token (UVCGAN, Torbunov et al., WACV 2023, arXiv:2203.02557). One more
token, learned and without a position, comes out of the transformer as the style of the image, by which the decoder's
convolutions are modulated and demodulated as in StyleGAN2 (Karras et al. 2020, arXiv:1912.04958).
"""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
import torch.nn.functional as nnf
from pydantic import Field, model_validator
from torch import Tensor, nn

from unpaired.core.settings import Settings
from unpaired.networks.base import Generator, Width, without_autocast

EPSILON = 1e-6
"""Added to the squares in a demodulation, as in the authors' code."""


class VitUnetConfig(Settings):
    """UVCGANv2's generator: a U-Net whose bottleneck is a vision transformer, with a style that modulates its decoder.

    Defaults are the authors'. Attention sees the whole image: its time grows with the square of the number of pixels,
    and large images cannot be translated by tiles.
    """

    family: Literal["vit_unet"] = "vit_unet"
    """Which generator this is."""
    width: Width = 48
    """Channels of the outermost level; they double from level to level."""
    depth: Annotated[int, Field(ge=1, le=8)] = 4
    """Halvings. Sizes must be multiples of 2 ** depth, and an image has one token for each square of that side."""
    tokens: Annotated[int, Field(ge=1, le=4096)] = 384
    """Numbers of a token, of its position and of the style."""
    heads: Annotated[int, Field(ge=1, le=64)] = 6
    """Heads of every attention; `tokens` must be a multiple of it."""
    blocks: Annotated[int, Field(ge=0, le=100)] = 12
    """Blocks of the transformer, each an attention and two layers with four times as many numbers between them."""

    @model_validator(mode="after")
    def _heads_share_the_tokens(self) -> VitUnetConfig:
        if self.tokens % self.heads:
            raise ValueError(
                f"{self.heads} heads cannot share tokens of {self.tokens} numbers evenly; take a multiple of "
                f"{self.heads}, such as {-(-self.tokens // self.heads) * self.heads}"
            )
        return self


@final
class VitUnetGenerator(Generator):
    """Translate [N, in_channels, H, W] to [N, out_channels, H, W] in [-1, 1]; H and W are multiples of 2 ** depth."""

    config_class = VitUnetConfig
    config: VitUnetConfig
    sees_whole_image = True

    def __init__(self, config: VitUnetConfig, in_channels: int, out_channels: int) -> None:
        size = 2**config.depth  # nothing is normalised over the image, so a bottleneck of one pixel works
        super().__init__(config, in_channels, out_channels, size_multiple=size, minimum_size=size)
        tokens = config.tokens
        widths = [config.width * 2**level for level in range(config.depth)]
        before = [config.width, *widths[:-1]]
        self.stem = _convolved(in_channels, config.width)
        self.encode = nn.ModuleList(
            nn.Sequential(*_convolved(outer, width), *_convolved(width, width))
            for outer, width in zip(before, widths, strict=True)
        )
        self.halve = nn.ModuleList(nn.Conv2d(width, width, 2, stride=2) for width in widths)
        self.embed = _Embedding(widths[-1], tokens)
        self.blocks = nn.ModuleList(_Block(tokens, config.heads) for _ in range(config.blocks))
        self.unembed = nn.Linear(tokens, widths[-1])
        self.decode = nn.ModuleList(_Decoder(width, outer, tokens) for outer, width in zip(before, widths, strict=True))
        self.head = nn.Conv2d(config.width, out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        self.check(image)
        features = self.run(self.stem, image)
        skips: list[Tensor] = []
        for encode, halve in zip(self.encode, self.halve, strict=True):
            skips.append(self.run(encode, features))
            features = halve(skips[-1])
        tokens = self.run(self.embed, features)
        for block in self.blocks:
            tokens = self.run(block, tokens)
        style, tokens = tokens[:, 0], tokens[:, 1:]
        features = self.unembed(tokens).to(features.dtype).transpose(1, 2).reshape(-1, *features.shape[1:])
        for decode, skip in zip(reversed(self.decode), reversed(skips), strict=True):
            features = self.run(decode, features, skip, style)
        # The authors' images are in [0, 1] behind a sigmoid: 2 sigmoid(v) - 1 = tanh(v / 2).
        return torch.tanh(self.head(features) / 2)


@final
class _Embedding(nn.Module):
    """From features to tokens: the style's first, then one for each position, with what its coordinates give."""

    def __init__(self, channels: int, tokens: int) -> None:
        super().__init__()
        self.position = nn.Linear(2, tokens)
        self.join = nn.Linear(tokens + channels, tokens)
        self.style = nn.Parameter(torch.randn(1, 1, tokens))

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, 1 + H W, tokens] for [N, channels, H, W], which may be of another type than the tokens."""
        positions = self.positions(features)[None].expand(features.shape[0], -1, -1)
        features = features.flatten(2).transpose(1, 2).to(positions.dtype)
        tokens = self.join(torch.cat([positions, features], 2))
        return torch.cat([self.style.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens], 1)

    def positions(self, features: Tensor) -> Tensor:
        """Return the sines of learned projections of the coordinates, [H W, tokens] (Anokhin et al. 2020).

        Coordinates run from -1 to 1 whatever the size, so a network can be used for other sizes than it was trained on.
        """
        axes = [coordinates(length, features.device) for length in features.shape[2:]]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), 2).flatten(0, 1)
        with without_autocast(features):  # neighbours are closer than half precision can tell
            weight, bias = self.position.weight, self.position.bias
            wide = torch.promote_types(weight.dtype, torch.float32)
            values: Tensor = nnf.linear(grid.to(wide), weight.to(wide), bias.to(wide)).sin()
            return values.to(weight.dtype)


def coordinates(length: int, device: torch.device) -> Tensor:
    """Return `length` float32 numbers from -1 to 1 at equal distances; 0 where there is only one."""
    steps = torch.arange(length, device=device, dtype=torch.float32)
    centred = steps - steps[-1] / 2
    return centred / centred[-1].clamp(min=0.5)


@final
class _Block(nn.Module):
    """Attention and two layers behind layer norms, both added with one learned gain that begins at 0 (rezero)."""

    def __init__(self, tokens: int, heads: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(tokens), nn.LayerNorm(tokens)
        self.attention = _Attention(tokens, heads)
        self.layers = nn.Sequential(nn.Linear(tokens, 4 * tokens), nn.GELU(), nn.Linear(4 * tokens, tokens))
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.gain * self.attention(self.first_norm(tokens))
        both: Tensor = tokens + self.gain * self.layers(self.second_norm(tokens))
        return both


@final
class _Attention(nn.Module):
    """Every token gathers of all tokens: softmax(Q K' / sqrt(d)) V in each head."""

    def __init__(self, tokens: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # No linear layer, as in `nn.MultiheadAttention`: the first weights keep this distribution in every scheme.
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * tokens, tokens)))
        self.bias = nn.Parameter(torch.zeros(3 * tokens))
        self.out = nn.Linear(tokens, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [N, L, tokens] for [N, L, tokens]."""
        projected = nnf.linear(tokens, self.weight, self.bias)
        projected = projected.reshape(*tokens.shape[:2], 3, self.heads, -1)
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)
        gathered = nnf.scaled_dot_product_attention(queries, keys, values)
        mixed: Tensor = self.out(gathered.transpose(1, 2).flatten(2))
        return mixed


@final
class _Decoder(nn.Module):
    """One level of the decoder: enlarge, join the skip, and two modulated convolutions."""

    def __init__(self, channels: int, outer: int, style: int) -> None:
        super().__init__()
        self.enlarge = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels, 3, padding=1))
        self.first = ModulatedConvolution(2 * channels, channels, style)
        self.second = ModulatedConvolution(channels, outer, style)

    def forward(self, features: Tensor, skip: Tensor, style: Tensor) -> Tensor:
        features = torch.cat([self.enlarge(features), skip], 1)
        features = nnf.leaky_relu(self.first(features, style))
        return nnf.leaky_relu(self.second(features, style))


@final
class ModulatedConvolution(nn.Module):
    """A 3 x 3 convolution whose input channels are scaled by a style, and whose result as if inputs had variance 1."""

    def __init__(self, in_channels: int, out_channels: int, style: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.style = nn.Linear(style, in_channels)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """Return [N, out_channels, H, W] for [N, in_channels, H, W] and [N, style].

        With s = 1 + gain (A style + b) the result is (w * (s x) + c) / sqrt(sum of (s w)^2 + 1e-6), the sum being over
        the input channels and the window.
        """
        scales = 1 + self.gain * self.style(style)
        made: Tensor = self.convolution(features * scales.to(features.dtype)[:, :, None, None])
        with without_autocast(features):
            squares = self.convolution.weight.square().sum((2, 3))
            shrink = (nnf.linear(scales.to(squares.dtype).square(), squares) + EPSILON).rsqrt()
        return made * shrink.to(made.dtype)[:, :, None, None]


def _convolved(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.LeakyReLU(inplace=True))
