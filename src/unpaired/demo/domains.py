"""The demo's two domains, drawn from a seed: plain fish (A) and striped fish (B) over the same kind of ground."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
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


def draw_scenes(folder: str, seed: int) -> list[Scene]:
    """Draw the images of one of `FOLDERS`; every folder has random numbers of its own, so none repeats another."""
    rng = np.random.default_rng([seed, list(FOLDERS).index(folder)])
    return [draw_scene(rng, striped=STRIPED[folder]) for _ in range(FOLDERS[folder])]


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
    """Return the points of body, tail, eye and pupil."""
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
