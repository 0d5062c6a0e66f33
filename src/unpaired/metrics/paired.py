"""Images compared with images, pair by pair: L1, PSNR, SSIM, MS-SSIM.

Everything takes floating-point images [N, C, H, W] in [-1, 1], two batches of the same shape, on any device, and
returns one figure per pair, [N]. `ValueError` for different shapes, other types, and values that are not finite.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from unpaired.metrics.inputs import checked_pair

RANGE = 2.0
"""The span of the values of an image."""
BLACK = -1.0
"""The least value, from which SSIM counts luminance: it compares ratios, which mean nothing around a grey of 0."""
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""How much each scale of MS-SSIM weighs, the finest first: the values of the publication."""
MS_SSIM_SMALLEST = WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)
"""Pixels that the shorter side of an image must have for MS-SSIM: 176, so that the coarsest scale holds a window."""


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean absolute difference of each pair, in [0, 2]."""
    x, y = checked_pair(x, y)
    return (x - y).abs().mean((1, 2, 3))


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Return each pair's peak signal-to-noise ratio in dB, 10 log10(2^2 / MSE); infinite where they are identical."""
    x, y = checked_pair(x, y)
    return 10 * torch.log10(RANGE**2 / (x - y).square().mean((1, 2, 3)))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the structural similarity of each pair, in [-1, 1] (Wang, Bovik, Sheikh, Simoncelli 2004, eq. 13).

    The window is a Gaussian of 11x11 with a deviation of 1.5, K1 = 0.01, K2 = 0.03, the range 2. Luminances are counted
    from black, so the value is that of the images in 0..255 (range 255) or 0..1 (range 1). Only windows that lie within
    the image count, as in the authors' code, and the result is the mean over windows and channels: the value of
    scikit-image (`gaussian_weights=True, use_sample_covariance=False, data_range=255`). torchmetrics also counts
    windows over reflected borders and differs in the third decimal. `ValueError` below 11 pixels.
    """
    x, y = checked_pair(x, y)
    _ensure_size(x, WINDOW, "SSIM")
    return _similarity(x, y)[0].mean(1)


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the multi-scale structural similarity of each pair, in [0, 1] (Wang, Simoncelli, Bovik 2003, eq. 7).

    There are five scales with the published weights, each half the one before by means of 2x2 pixels. At every scale
    the mean is taken over the windows within the image and over channels, and a negative one counts as 0, for a power
    of it would be no number. (torchmetrics does the same but for the coarsest scale, where reflected borders count.)
    `ValueError` where the shorter side has fewer than `MS_SSIM_SMALLEST` = 176 pixels.
    """
    x, y = checked_pair(x, y)
    _ensure_size(x, MS_SSIM_SMALLEST, "MS-SSIM")
    result = torch.ones(len(x), dtype=x.dtype, device=x.device)
    coarsest = len(SCALE_WEIGHTS) - 1
    for scale, weight in enumerate(SCALE_WEIGHTS):
        whole, contrast = _similarity(x, y)
        factor = whole if scale == coarsest else contrast
        result = result * factor.mean(1).clamp(min=0) ** weight
        if scale < coarsest:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    return result


def _ensure_size(x: Tensor, smallest: int, measure: str) -> None:
    height, width = x.shape[-2:]
    if min(height, width) < smallest:
        raise ValueError(f"{measure} needs images of at least {smallest}x{smallest} pixels; received {width}x{height}")


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return SSIM and its contrast-structure part, each [N, C]: means over the windows within the image."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    # Variances do not depend on where zero lies; near the images' mean, little is lost by subtracting squares.
    centre = (x.mean((2, 3), keepdim=True) + y.mean((2, 3), keepdim=True)) / 2
    x, y, near_x, near_y = x - centre, y - centre, mean_x - centre, mean_y - centre
    variance_x = _blurred(x * x) - near_x * near_x
    variance_y = _blurred(y * y) - near_y * near_y
    covariance = _blurred(x * y) - near_x * near_y
    contrast = (2 * covariance + C2) / (variance_x + variance_y + C2)
    light_x, light_y = mean_x - BLACK, mean_y - BLACK
    luminance = (2 * light_x * light_y + C1) / (light_x * light_x + light_y * light_y + C1)
    return (luminance * contrast).mean((2, 3)), contrast.mean((2, 3))


def _blurred(x: Tensor) -> Tensor:
    """Return Gaussian means over the windows that lie within the image: [N, C, H - 10, W - 10]."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    gauss = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    weights = (gauss / gauss.sum()).tolist()
    height, width = x.shape[-2] - WINDOW + 1, x.shape[-1] - WINDOW + 1
    # Sums of shifted images: quicker than a convolution of one channel, and the same on every device.
    tall: Tensor = x[..., :height, :] * weights[0]
    for shift, weight in enumerate(weights[1:], 1):
        tall.add_(x[..., shift : shift + height, :], alpha=weight)
    result: Tensor = tall[..., :width] * weights[0]
    for shift, weight in enumerate(weights[1:], 1):
        result.add_(tall[..., shift : shift + width], alpha=weight)
    return result
