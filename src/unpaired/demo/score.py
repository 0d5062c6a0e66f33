"""How striped the fish are: one number that noise, checkerboards and blur do not raise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from unpaired.demo.domains import STRIPE_BRIGHTNESS, STRIPE_PERIOD, Picture, Scene

Field = NDArray[np.float64]

WINDOW = 0.5 * STRIPE_PERIOD
"""Standard deviation in pixels of the window in which contrast is measured: it sees about two stripes."""
FULL = 0.75 * (4.0 / np.pi) * (1.0 - STRIPE_BRIGHTNESS) / (1.0 + STRIPE_BRIGHTNESS)
"""Contrast that counts as fully striped: three quarters of the fundamental wave of ideal, sharp stripes."""


def stripes(picture: Picture, flank: NDArray[np.bool_]) -> float:
    """Return how striped a fish is, from 0 to 100: 0 where it is plain, nearly 100 where it is striped like domain B.

    `picture` is [H, W, 3], `flank` [H, W] says where on it stripes belong. Around every pixel of the flank, in a
    Gaussian window and from the flank's pixels alone, the brightness is compared with waves of the stripes' period:

    1. the contrast of the wave that runs from left to right, as real stripes do within some ten degrees: its
       amplitude over the mean brightness;
    2. less the contrast of the wave that runs from top to bottom. Noise, spots and checkerboards of this scale have as
       much of the one as of the other, and patterns of other scales have little of both;
    3. in units of `FULL`, and at most 1, so that glaring stripes in one place do not make up for missing ones in
       another.

    The score is the mean over the flank, times 100: the share of the flank that is striped, faint stripes counting
    proportionally. Stripes that are not on the flank do not count.
    """
    height, width = flank.shape
    # Rec. 601 weights of red, green and blue.
    brightness = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    weight = flank.astype(np.float64)
    near = _window(height) @ weight @ _window(width).T
    mean = _window(height) @ (weight * brightness) @ _window(width).T / np.maximum(near, 1e-9)
    relative = weight * (brightness / np.maximum(mean, 1.0) - 1.0)
    wave_x, wave_y = _wave(width), _wave(height)
    sideways = np.abs(_window(height) @ (relative * wave_x[None, :]) @ _window(width).T)
    upright = np.abs(_window(height) @ (relative * wave_y[:, None]) @ _window(width).T)
    contrast = 2.0 * (sideways - upright) / np.maximum(near, 1e-9)
    return 100.0 * max(0.0, float(np.minimum(contrast[flank] / FULL, 1.0).mean()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Mean of `stripes` over the held-out images of one direction."""

    input: float
    """The images before they are translated."""
    translation: float
    """The same images translated; the flanks are still sought where the inputs have them."""
    real: float
    """Real images of the target domain."""

    @property
    def covered(self) -> float:
        """How much of the way from the inputs to the real images the translation covers, in per cent.

        Never above 100, also for a translation that goes too far; negative for a step in the wrong direction.
        """
        return min(100.0, 100.0 * (self.translation - self.input) / (self.real - self.input))


def score(inputs: Sequence[Scene], translations: Sequence[Picture], targets: Sequence[Scene]) -> Scores:
    """Return the scores of one direction: its held-out inputs, their translations, and real images of its target."""
    translated = [stripes(picture, scene.flank) for scene, picture in zip(inputs, translations, strict=True)]
    return Scores(
        input=float(np.mean([stripes(scene.picture, scene.flank) for scene in inputs])),
        translation=float(np.mean(translated)),
        real=float(np.mean([stripes(scene.picture, scene.flank) for scene in targets])),
    )


@cache
def _window(size: int) -> Field:
    """Return the matrix [size, size] that sums the pixels of a line under a Gaussian of standard deviation `WINDOW`."""
    places = np.arange(size)
    window: Field = np.exp(-0.5 * ((places[:, None] - places[None, :]) / WINDOW) ** 2)
    return window


@cache
def _wave(size: int) -> NDArray[np.complex128]:
    wave: NDArray[np.complex128] = np.exp(2j * np.pi * np.arange(size) / STRIPE_PERIOD)
    return wave
