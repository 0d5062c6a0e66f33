"""The networks of a Schroedinger bridge, which know the time (UNSB: Kim et al., ICLR 2024, arXiv:2305.15086).

A bridge leads in N steps from x_0, an image of the source, to x_1, one of the target. At each time the generator
predicts x_1 from x_t and noise; then x_t moves towards x_1, with the noise of a Brownian bridge between the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from unpaired.core.errors import UserError, option
from unpaired.networks.base import Discriminator, Input, Norm
from unpaired.networks.blocks import ReflectedPair, Stage
from unpaired.networks.patchgan import SLOPE, PatchganConfig, PatchganDiscriminator
from unpaired.networks.resnet import ResnetConfig, ResnetGenerator

PERIOD = 256
"""Rows and columns after which the noise of translations repeats."""
SHIFT = 89, 151
"""Rows and columns by which the noise of one step is shifted against that of the step before."""


class BridgeResnetConfig(ResnetConfig):
    """The ResNet generator in several steps: each predicts the translation from an image between input and result."""

    family: Literal["bridge_resnet"] = "bridge_resnet"  # type: ignore[assignment]
    """Which generator this is."""
    steps: Annotated[int, Field(ge=1, le=100)] = 5
    """N: steps from the source to the target in training."""
    tau: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Variance of the noise of the whole way, of values in [-1, 1]; 0 adds none."""
    stop_after: Annotated[int, Field(ge=1, le=100)] | None = None
    """Steps that a translation takes, what the last of them predicts being the result; by default all."""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """Of the noise of translations: the same noise for every image, so that its translation can be repeated."""

    def check(self) -> None:
        """Refuse more steps than there are."""
        if self.stop_after is not None and self.stop_after > self.steps:
            raise UserError(
                f"{option('method.generator.stop_after', self.stop_after)}: a translation takes from 1 to "
                f"{self.steps} of the {self.steps} steps of training. Choose a number among these."
            )


def bridge_times(steps: int) -> list[float]:
    """Return the N + 1 times of a bridge: 0, then those from 1/2 to 1 whose distances fall as 1, 1/2, 1/3, ...

    As in the authors' code: 0, 0.5, 0.74, 0.86, 0.94 and 1 for 5 steps. They have no single step; here it is the way
    from 0 to 1.
    """
    sums = [0.0, *accumulate(1 / number for number in range(1, steps))]
    return [0.0, *(0.5 + each / sums[-1] / 2 for each in sums)] if steps > 1 else [0.0, 1.0]


@final
class TimeEmbedding(nn.Module):
    """Sines and cosines of a step's number, through two layers: int64 [N] to [N, width]."""

    def __init__(self, frequencies: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(frequencies, width), nn.Linear(width, width)
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, time: Tensor) -> Tensor:
        count = self.first.in_features
        half, kind = (count + 1) // 2, self.first.weight.dtype
        rates = torch.exp(torch.arange(half, device=time.device, dtype=kind) * (-math.log(1e4) / max(half - 1, 1)))
        angles = time.to(kind)[:, None] * rates
        waves = torch.cat([angles.sin(), angles.cos()], 1)[:, :count]
        embedded: Tensor = self.activation(self.second(self.activation(self.first(waves))))
        return embedded


@final
class BridgeBlock(ReflectedPair):
    """A residual block whose features, behind the first norm, get a gain and a shift from noise and a shift from time.

    The authors' code adds that of the time before the norm, which takes it out again; and the first half of its block
    applies each layer to the input of the block, so that neither the time nor the first convolution has any effect.
    """

    def __init__(self, channels: int, norm: Norm, *, dropout: bool) -> None:
        super().__init__(channels, norm)
        self.activation = nn.Sequential(nn.ReLU(inplace=True), *([nn.Dropout(0.5)] if dropout else []))
        self.time, self.noise = nn.Linear(channels, channels), nn.Linear(channels, 2 * channels)

    def forward(self, features: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Change [N, C, h, w]; time and noise are embedded, [1 or N, C]."""
        features = self.begun(features)
        made = self.first(features)
        gain, shift = self.noise(noise)[..., None, None].to(made.dtype).chunk(2, 1)
        shift = shift + self.time(time)[..., None, None].to(made.dtype)
        # 1 + gain: the authors mean to begin with 1 too, and their initialisation sets the bias to 0 afterwards.
        return self.added(features, self.second(self.activation((1 + gain) * made + shift)))


@final
class BridgeResnetGenerator(ResnetGenerator):
    """Translate [N, C, H, W] to the same in [-1, 1] by the steps of a bridge; H and W multiples of 4, at least 8.

    `predict` is one step, which is trained. `forward` makes them all, with the noise that `draw` has drawn: a field
    that repeats every `PERIOD` pixels from the top left, and a vector for each step, alike for all images.
    """

    config_class: ClassVar[type[BridgeResnetConfig]] = BridgeResnetConfig
    config: BridgeResnetConfig
    takes: ClassVar[tuple[Input, ...]] = ("image", "time", "noise")
    field: Tensor
    """[C, PERIOD, PERIOD]: the noise of the image."""
    vectors: Tensor
    """[steps, 4 width]: the noise of the predictions."""

    def __init__(self, config: BridgeResnetConfig, in_channels: int, out_channels: int) -> None:
        if in_channels != out_channels:
            raise UserError(
                "A bridge leads through images between source and target, so both need as many channels; the source "
                f"has {in_channels} and the target has {out_channels}. Set data.channels_a and data.channels_b to one "
                "number (label maps: data.labels_a.feed = colour), or train cyclegan."
            )
        super().__init__(config, in_channels, out_channels)
        width = 4 * config.width
        blocks = (BridgeBlock(width, config.norm, dropout=config.dropout) for _ in self.residual)
        self.residual = nn.ModuleList(blocks)
        self.time = TimeEmbedding(config.width, width)
        self.mapping = nn.Sequential(*(m for _ in range(4) for m in (nn.Linear(width, width), nn.LeakyReLU(SLOPE))))
        self.times = bridge_times(config.steps)
        self.register_buffer("field", torch.empty(in_channels, PERIOD, PERIOD))
        self.register_buffer("vectors", torch.empty(config.steps, width))
        self.draw()

    def draw(self) -> None:
        random = torch.Generator().manual_seed(self.config.seed)
        for noise in (self.field, self.vectors):
            noise.copy_(torch.randn(noise.shape, generator=random, device="cpu"))

    @property
    def last(self) -> int:
        """The number of the step whose prediction is the translation."""
        return (self.config.stop_after or self.config.steps) - 1

    def forward(self, image: Tensor, fields: Tensor | None = None) -> Tensor:
        if fields is None:
            rows, columns = (torch.arange(length, device=image.device) for length in image.shape[2:])
            fields = self.fields(rows, columns)[None]
        state = image
        for step in range(self.last):
            made = self.predict(state, self.step(step), self.vectors[step : step + 1])
            noise = fields.narrow(1, step * self.in_channels, self.in_channels)
            state = self.move(state, made, step, noise.to(image.dtype))
        return self.predict(state, self.step(self.last), self.vectors[self.last : self.last + 1])

    def fields(self, rows: Tensor, columns: Tensor) -> Tensor:
        places = [((rows + k * SHIFT[0]) % PERIOD, (columns + k * SHIFT[1]) % PERIOD) for k in range(self.last)]
        noise = [self.field.index_select(1, down).index_select(2, right) for down, right in places]
        return torch.cat(noise) if noise else self.field.new_empty(0, len(rows), len(columns))

    def step(self, number: int) -> Tensor:
        """Return the number of a step as `predict` takes it."""
        return torch.full((1,), number, device=self.vectors.device)

    def predict(self, image: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Return a sample of q(x_1 | x_t), [N, C, H, W] in [-1, 1], of x_t [N, C, H, W].

        `time` is the number of the step from 0, int64 [1 or N]; `noise` is [1 or N, 4 width] from N(0, 1).
        """
        self.check(image)
        features, conditions = self._run([self.stem, *self.down], image), self._embed(time, noise)
        for block in self.residual:
            features = self.run(block, features, *conditions)
        return self.decode(features)

    def move(self, image: Tensor, predicted: Tensor, step: int, noise: Tensor) -> Tensor:
        """Return x at the time after `step`, of x at that time, the x_1 predicted from it, and noise from N(0, 1).

        It is drawn from N(s x_1 + (1 - s) x_t, s (1 - s) tau (1 - t) I) with s = (t' - t) / (1 - t), t' the next time.
        """
        t, following = self.times[step : step + 2]
        s = (following - t) / (1 - t)
        return (1 - s) * image + s * predicted + math.sqrt(s * (1 - s) * self.config.tau * (1 - t)) * noise

    def features(self, image: Tensor, taps: Sequence[int], noise: Tensor | None = None) -> list[Tensor]:
        """Return the features of an image as in the ResNet, at time 0, as in the authors' code."""
        time, noise = self._embed(self.step(0), self.vectors[:1] if noise is None else noise)
        layers = [
            partial(layer, time=time, noise=noise) if isinstance(layer, BridgeBlock) else layer
            for layer in self.layers()[: max(taps) + 1]
        ]
        return self._through(layers, image, taps)[1]

    def _embed(self, time: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        length = noise.square().mean(1, keepdim=True) + 1e-8
        return self.time(time), self.mapping(noise * length.rsqrt())


@final
class TimedPatches(nn.Module):
    """The layers of a PatchGAN with a shift of each by the time: [N, in_channels, H, W] to [N, 1, h, w].

    Behind the norms, unlike in the authors' code, where instance norm takes all shifts out but the first.
    """

    def __init__(self, config: PatchganConfig, in_channels: int) -> None:
        super().__init__()
        plain, width = PatchganDiscriminator(config, in_channels), 4 * config.width
        self.stages, self.head = plain.stages, plain.head
        self.time = TimeEmbedding(width, width)
        convolutions = (layer for layer in self.stages.modules() if isinstance(layer, nn.Conv2d))
        self.shifts = nn.ModuleList(nn.Linear(width, each.out_channels) for each in convolutions)

    def forward(self, image: Tensor, time: Tensor) -> Tensor:
        """Return the logits of images at a step, int64 [1 or N]."""
        features, embedded = image, self.time(time)
        for stage, shift in zip(self.stages, self.shifts, strict=True):
            assert isinstance(stage, Stage)
            for layer in stage.layers():
                if layer is stage.activation:
                    features = features + shift(embedded)[..., None, None]
                features = layer(features)
        logits: Tensor = self.head(features)
        return logits


@final
class TimedPatchgan(Discriminator):
    """A PatchGAN discriminator that knows the time."""

    config_class = PatchganConfig

    def __init__(self, config: PatchganConfig, in_channels: int) -> None:
        super().__init__(config, in_channels, minimum_size=3 * 2**config.layers)
        self.patches = TimedPatches(config, in_channels)

    def forward(self, image: Tensor, time: Tensor | None = None) -> Tensor:
        """Judge [N, in_channels, H, W] as predicted at a step, int64 [1 or N], by default the first."""
        seen = self.see(image)
        logits: Tensor = self.patches(seen, torch.zeros(1, device=seen.device) if time is None else time)
        return logits
