"""The demo's two domains, drawn from a seed: plain fish (A) and striped fish (B); and how striped a fish is."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.core.errors import UserError

Picture = NDArray[np.uint8]
"""[H, W, 3] uint8."""
Field = NDArray[np.float64]
"""Values of pixels, or of the points of which a pixel holds `_FINE` x `_FINE`."""
Points = NDArray[np.bool_]
"""[H x _FINE, W x _FINE]; the points that lie on something."""

SIZE = 64
"""Side of an image in pixels."""
STRIPE_PERIOD = 8.0
"""Pixels from one stripe to the next, along the fish."""
STRIPE_BRIGHTNESS = 0.25
"""Brightness of a dark stripe, as a share of that of the body."""
FOLDERS = {"trainA": 240, "trainB": 240, "testA": 24, "testB": 24}
"""Folders of the data set, and how many images are drawn into each."""
STRIPED = {"trainA": False, "trainB": True, "testA": False, "testB": True}

_FINE = 4
"""Outlines are drawn with so many by so many points to a pixel, which smooths the edges."""
_HUES = (0.0, 0.045, 0.09, 0.14)
"""Red, vermilion, orange and yellow: far from those of the ground."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One drawn image, and where in it stripes are, or would be if the fish were striped."""

    picture: Picture
    flank: NDArray[np.bool_]
    """[H, W]; the pixels that lie wholly on the flank, the part of the body that bears the stripes of domain B."""


def draw_scene(rng: np.random.Generator, *, striped: bool) -> Scene:
    """Draw a fish of random colour, size, place, direction and tilt over a ground of two random tones.

    Everything but the stripes is drawn alike in both domains. The first stripe lies right behind the head, so that it
    can be seen from the fish alone where its stripes belong.
    """
    along, across, half_length, half_height = _place_fish(rng)
    body, tail, eye, pupil = _outline(along, across, half_length, half_height)
    flank = (along > -0.72 * half_length) & (along < 0.36 * half_length) & body

    colour = np.array(colorsys.hsv_to_rgb(rng.choice(_HUES), rng.uniform(0.7, 0.9), rng.uniform(0.85, 1.0)))
    # Lit from above: the back is brighter than the belly.
    shade = np.clip(1.0 - 0.22 * _reduce(across) / half_height, 0.7, 1.12)[..., None]
    canvas = _over(_ground(rng), colour * shade, body | tail)
    if striped:
        behind_head = 0.36 * half_length - along - 0.12 * across**2 / half_height
        dark = flank & (np.mod(behind_head / STRIPE_PERIOD, 1.0) < 0.5)
        canvas = _over(canvas, canvas * STRIPE_BRIGHTNESS, dark)
    canvas = _over(_over(canvas, np.array(0.97), eye), np.array(0.06), pupil)

    levels = np.rint(np.clip(canvas, 0.0, 1.0) * 255.0)
    return Scene(levels.astype(np.uint8), _reduce(flank) > 0.999)


def draw_scenes(folder: str, seed: int, count: int | None = None) -> list[Scene]:
    """Draw the images of one of `FOLDERS`, or the first `count`; no folder repeats the random numbers of another."""
    rng = np.random.default_rng([seed, list(FOLDERS).index(folder)])
    return [draw_scene(rng, striped=STRIPED[folder]) for _ in range(count or FOLDERS[folder])]


def draw_domains(seed: int) -> dict[str, list[Scene]]:
    """Draw the images of all `FOLDERS`."""
    return {folder: draw_scenes(folder, seed) for folder in FOLDERS}


def write_domains(domains: Mapping[str, list[Scene]], root: Path) -> None:
    """Write `ROOT/trainA/000.png` and so on; `UserError` where a file cannot be written."""
    try:
        for folder, scenes in domains.items():
            (root / folder).mkdir(parents=True)
            for number, scene in enumerate(scenes):
                Image.fromarray(scene.picture).save(root / folder / f"{number:03d}.png")
    except OSError as error:
        raise UserError(f"cannot write the demo's images into {root} ({error}). Choose another --out.") from error


# ----------------------------------------------------------------------------------------------------------- drawing


def _place_fish(rng: np.random.Generator) -> tuple[Field, Field, float, float]:
    """Return each point's coordinates in the fish (towards the head, towards the belly) and its half length and height.

    Everything is in pixels.
    """
    half_length = SIZE * rng.uniform(0.29, 0.34)
    half_height = half_length * rng.uniform(0.58, 0.7)
    facing = rng.choice((-1.0, 1.0))
    tilt = np.deg2rad(rng.uniform(-7.0, 7.0))
    centred = (np.arange(SIZE * _FINE) + 0.5) / _FINE - SIZE / 2
    # The tail reaches further than the head: the middle of both is to lie near that of the image.
    x = centred[None, :] - SIZE * rng.uniform(-0.08, 0.08) - facing * 0.18 * half_length
    y = centred[:, None] - SIZE * rng.uniform(-0.18, 0.18)
    along = facing * (np.cos(tilt) * x + np.sin(tilt) * y)
    across = np.cos(tilt) * y - np.sin(tilt) * x
    return along, across, float(half_length), float(half_height)


def _outline(
    along: Field, across: Field, half_length: float, half_height: float
) -> tuple[Points, Points, Points, Points]:
    u, v = along / half_length, across / half_height
    body = u**2 + v**2 < 1.0
    tail = (u > -1.36) & (u < -0.8) & (np.abs(v) < -0.59 - 0.95 * u) & (u < 0.25 * np.abs(v) - 0.85)
    from_eye = np.hypot(along - 0.6 * half_length, across + 0.22 * half_height)
    return body, tail, from_eye < 0.15 * half_length, from_eye < 0.08 * half_length


def _ground(rng: np.random.Generator) -> Field:
    """Return [H, W, 3]: large patches of two tones between green and blue, and a finer grain of light and dark."""
    hue = rng.uniform(0.38, 0.52)
    tones = [
        np.array(colorsys.hsv_to_rgb(hue + rng.uniform(-0.03, 0.03), rng.uniform(0.45, 0.6), brightness))
        for brightness in (rng.uniform(0.38, 0.46), rng.uniform(0.62, 0.72))
    ]
    patches = np.clip(0.5 + 0.45 * _noise(rng, 4) + 0.25 * _noise(rng, 9), 0.0, 1.0)[..., None]
    grain = 1.0 + (0.07 * _noise(rng, 21))[..., None]
    ground: Field = (tones[0] + (tones[1] - tones[0]) * patches) * grain
    return ground


def _noise(rng: np.random.Generator, cells: int) -> Field:
    """Return smooth noise [H, W] of unit variance: a random grid under a cubic B-spline."""
    spline = _spline(cells)
    smooth = spline @ rng.standard_normal((cells + 3, cells + 3)) @ spline.T
    noise: Field = smooth / np.sqrt(np.mean(smooth**2))
    return noise


@cache
def _spline(cells: int) -> Field:
    """Return the weights [H, cells + 3] of the knots of a uniform cubic B-spline over `cells` cells."""
    position = (np.arange(SIZE) + 0.5) * cells / SIZE
    distance = np.abs(position[:, None] - (np.arange(cells + 3) - 1.0))
    near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    far = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
    return np.where(distance < 1.0, near, far)


def _over(canvas: Field, colour: Field, points: Points) -> Field:
    """Paint `colour` over the canvas, [H, W, 3], as far as each pixel is covered by points."""
    covered = _reduce(points)[..., None]
    return canvas + (colour - canvas) * covered


def _reduce(points: Field | Points) -> Field:
    """Return the mean over the points of each pixel: [H x _FINE, W x _FINE] to [H, W]."""
    means: Field = points.reshape(SIZE, _FINE, SIZE, _FINE).mean(axis=(1, 3), dtype=np.float32).astype(np.float64)
    return means


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
