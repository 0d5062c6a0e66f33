"""The layers that the published networks are made of, and how their weights start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, cast, final

import torch
import torch.nn.functional as nnf
from pydantic import Field
from torch import Tensor, nn

from unpaired.core.settings import Settings
from unpaired.networks.base import Norm, Upsampling
from unpaired.networks.winograd import Kernels, convolve_reflected

EPSILON = 1e-5
"""Added to the variance in every norm."""


def _normalized(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalised features, and the mean and 1 / standard deviation [N, C] of each channel of each image."""
    batch, channels, height, width = features.shape
    return torch.native_group_norm(features, None, None, batch, channels, height * width, channels, EPSILON)


@final
class _ChannelsLastNorm(torch.autograd.Function):
    """Instance norm of channels_last features on the CPU, where PyTorch's own backward takes ten times as long."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        normalized, mean, inverse = _normalized(features)
        ctx.save_for_backward(features, mean, inverse)
        return normalized

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        features, mean, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():  # as in a gradient penalty, the gradient of this gradient will be taken
            found = torch.autograd.grad(_normalized(features)[0], features, gradient, create_graph=True)
            return cast(Tensor, found[0])
        # In each channel, with x the features, m their mean, s the inverse deviation and g the gradient:
        # s (g - mean(g)) - s^3 (x - m) mean(g (x - m)), as a sum of multiples of g, x and 1.
        exact = torch.promote_types(features.dtype, torch.float32)
        inverse, mean = inverse[..., None, None].to(exact), mean[..., None, None].to(exact)
        of_gradient = gradient.mean((2, 3), keepdim=True, dtype=exact)
        of_both = (gradient * features).mean((2, 3), keepdim=True, dtype=exact) - mean * of_gradient
        slope = of_both * inverse**3
        result = torch.addcmul(slope * mean - inverse * of_gradient, gradient, inverse).addcmul_(features, -slope)
        return result.to(gradient.dtype)


@final
class InstanceNorm(nn.Module):
    """Give every channel of every image mean 0 and variance 1: `nn.InstanceNorm2d` without parameters or buffers.

    Computed as a group norm with one channel per group, which is the same formula. On the CPU it is two to four times
    as fast, forward and backward, mostly because its result is not a view: an activation that works in place on a view
    makes autograd copy the whole gradient. The native call is used since autocast would make `group_norm` return
    float32 on an accelerator; either way the statistics are accumulated in float32.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise [N, C, H, W] over H and W, which must hold more than one value."""
        if not features.is_cpu:
            features = features.contiguous()  # only the kernel of the CPU reads channels_last
        elif features.requires_grad and torch.is_grad_enabled() and not features.is_contiguous():
            return cast(Tensor, _ChannelsLastNorm.apply(features))  # type: ignore[no-untyped-call]
        return _normalized(features)[0]

    def extra_repr(self) -> str:
        return f"eps={EPSILON}"


def normalization(norm: Norm, channels: int) -> nn.Module:
    """Return the norm layer: InstanceNorm without parameters, BatchNorm with parameters and statistics, or nothing."""
    if norm == "instance":
        return InstanceNorm()
    if norm == "batch":
        return nn.BatchNorm2d(channels, eps=EPSILON)
    return nn.Identity()


def has_bias(norm: Norm) -> bool:
    """Whether convolutions before a norm have a bias: with InstanceNorm only, in the authors' code.

    BatchNorm has a bias of its own. Without a norm the authors leave the bias out as well, and so do we: their weights
    load into the same layers.
    """
    return bool(norm == "instance")


@final
class BlurredDownsample(nn.Module):
    """Blur with [1, 2, 1] / 4 in both directions, reflected at the border, and keep every second row and column.

    "Making Convolutional Networks Shift-Invariant Again", Zhang 2019, as in the authors' CUT. The filter is made anew
    in each call, on the device: it is nothing to keep in a state dict, and a CUDA graph can hold it.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Halve the size, rounded up: [N, C, H, W] to [N, C, ceil(H / 2), ceil(W / 2)]; H and W at least 2."""
        channels = features.shape[1]
        row = 2 - torch.arange(-1, 2, device=features.device, dtype=features.dtype).abs()  # 1, 2, 1
        kernel = (row[:, None] * row[None, :] / 16).expand(channels, 1, 3, 3)
        padded = nnf.pad(features, (1, 1, 1, 1), mode="reflect")
        # One convolution of all channels; means of neighbours by avg_pool2d take up to seven times as long
        # on CPUs, and PyTorch 2.13 cannot compile two of them there, one behind the other.
        return nnf.conv2d(padded, kernel, stride=2, groups=channels)


@final
class Stage(nn.Module):
    """One convolution with what stands before it (padding, upsampling) and behind it.

    Behind it: norm, activation, dropout, and what makes the result smaller.
    """

    def __init__(
        self,
        convolution: nn.Module,
        *,
        before: nn.Module | None = None,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        dropout: nn.Module | None = None,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.before = before
        self.convolution = convolution
        self.norm = norm
        self.activation = activation
        self.dropout = dropout
        self.after = after
        self.kernels: Kernels | None = None
        """Where padding and convolution are computed together by Winograd's algorithm: its transformed weights."""

    def layers(self) -> list[nn.Module]:
        """Return the layers in the order in which they work."""
        slots = (self.before, self.convolution, self.norm, self.activation, self.dropout, self.after)
        return [layer for layer in slots if layer is not None]

    def forward(self, features: Tensor) -> Tensor:
        layers = self.layers()
        if self.kernels is not None:
            convolution = cast(nn.Conv2d, self.convolution)
            features, layers = convolve_reflected(features, convolution, self.kernels), layers[2:]
        for layer in layers:
            features = layer(features)
        return features


class ReflectedPair(nn.Module):
    """Two 3 x 3 convolutions with reflection padding and norms: the trunk of a residual block."""

    def __init__(self, channels: int, norm: Norm, **of_first: nn.Module | None) -> None:
        super().__init__()
        self.first, self.second = (
            Stage(
                nn.Conv2d(channels, channels, 3, bias=has_bias(norm)),
                before=nn.ReflectionPad2d(1),
                norm=normalization(norm, channels),
                **more,
            )
            for more in (of_first, {})
        )
        self._contiguous = False

    def use_winograd(self, *, last: bool) -> None:
        """Convolve by `networks.winograd` from now on, in channels_last, which the `last` of several blocks ends."""
        self.first.kernels, self.second.kernels = Kernels(), Kernels()
        self._contiguous = last

    def begun(self, features: Tensor) -> Tensor:
        """Return the features in the memory format in which the block computes."""
        return features if self.first.kernels is None else features.contiguous(memory_format=torch.channels_last)

    def added(self, features: Tensor, residual: Tensor) -> Tensor:
        """Return the block's result: the sum, in the memory format of what follows."""
        result = features + residual
        return result.contiguous() if self._contiguous else result


@final
class ResidualBlock(ReflectedPair):
    """Two 3 x 3 convolutions with reflection padding beside an identity (Johnson et al. 2016)."""

    def __init__(self, channels: int, norm: Norm, *, dropout: bool) -> None:
        super().__init__(channels, norm, activation=nn.ReLU(inplace=True), dropout=nn.Dropout(0.5) if dropout else None)

    def forward(self, features: Tensor) -> Tensor:
        features = self.begun(features)
        return self.added(features, self.second(self.first(features)))


def upsampling_layers(
    upsampling: Upsampling, in_channels: int, out_channels: int, *, kernel: int, bias: bool
) -> tuple[nn.Module | None, nn.Module]:
    """Return (what stands before the convolution, the convolution) of a layer that doubles height and width.

    Transposed convolutions leave checkerboards where kernel size and stride do not divide (Odena et al. 2016);
    "nearest" cannot, since every output pixel sees the same number of inputs. Its convolution pads with zeros, as in
    PyTorch-GAN, whose weights therefore fit; the authors' own up- and downsampling convolutions pad with zeros too.
    "blur" interpolates with [1, 3, 3, 1] / 4, the filter of the authors' CUT, which is bilinear interpolation.
    """
    if upsampling == "transposed":
        odd = kernel % 2  # an odd kernel falls one short of twice the size
        channels = (in_channels, out_channels)
        return None, nn.ConvTranspose2d(*channels, kernel, stride=2, padding=1, output_padding=odd, bias=bias)
    bilinear = {"mode": "bilinear", "align_corners": False} if upsampling == "blur" else {"mode": "nearest"}
    return nn.Upsample(scale_factor=2, **bilinear), nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)


_SCHEMES: dict[str, tuple[Callable[..., Tensor], str]] = {
    "normal": (nn.init.normal_, "std"),
    "xavier": (nn.init.xavier_normal_, "gain"),
    "kaiming": (nn.init.kaiming_normal_, ""),
    "orthogonal": (nn.init.orthogonal_, "gain"),
}


class InitConfig(Settings):
    """The distribution of the first weights."""

    scheme: Literal["normal", "xavier", "kaiming", "orthogonal"] = "normal"
    """Normal with standard deviation `gain` as published, or one of the schemes of the authors' code."""
    gain: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of "normal", factor of "xavier" and "orthogonal"; "kaiming" has none."""


def initialize(module: nn.Module, config: InitConfig) -> None:
    """Draw the weights of `module` in place from torch's default generator, by the rules of the authors' code.

    Weights of convolutions and linear layers follow the scheme, their biases become 0. Weights of BatchNorm are drawn
    from N(1, gain) in every scheme, its biases become 0.
    """
    if any(weight.is_meta for weight in module.parameters()):
        return  # there is nothing to draw, and PyTorch would import its compiler for it
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            draw, scale = _SCHEMES[config.scheme]
            draw(layer.weight, **{scale: config.gain} if scale else {})
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, config.gain)
            nn.init.zeros_(layer.bias)
