"""The methods, one file each. Adding one is writing a file and adding a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from unpaired.methods import bigan, cogan, cut, cyclegan, feature_gan, pix2pix, simgan
from unpaired.methods.base import Batch, Direction, ImageShapes, Method, Update

__all__ = ["METHODS", "Batch", "Direction", "Entry", "ImageShapes", "Method", "Update"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A method: its settings and how it is made of them."""

    config: type[Any]
    make: Callable[[Any, ImageShapes], Method]
    adapt: Callable[[Any, ImageShapes, frozenset[str]], tuple[Any, list[str]]]
    """Fits defaults to the images: (settings, shapes, names that the user set) -> (settings, notices)."""
    paired: bool = False
    """Whether it learns from pairs: row i of A belongs to row i of B."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Publication's values of other settings that differ from this project's defaults, by dotted name."""


METHODS: dict[str, Entry] = {
    "cyclegan": Entry(cyclegan.Config, cyclegan.CycleGAN, cyclegan.adapt),
    "pix2pix": Entry(pix2pix.Config, pix2pix.Pix2pix, pix2pix.adapt, paired=True),
    "cut": Entry(cut.Config, cut.CUT, cut.adapt, defaults={"training.epochs": 200, "training.decay_epochs": 200}),
    "fastcut": Entry(
        cut.FastConfig, cut.CUT, cut.adapt, defaults={"training.epochs": 150, "training.decay_epochs": 50}
    ),
    "simgan": Entry(simgan.Config, simgan.SimGAN, simgan.adapt),
    "feature_gan": Entry(feature_gan.Config, feature_gan.FeatureGAN, feature_gan.adapt),
    "bigan": Entry(bigan.Config, bigan.BiGAN, bigan.adapt),
    "cogan": Entry(cogan.Config, cogan.CoGAN, cogan.adapt, defaults=cogan.DEFAULTS),
}
