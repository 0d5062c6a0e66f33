"""The methods, one file each. Adding one is writing a file and adding a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unpaired.methods import cyclegan
from unpaired.methods.base import Batch, ImageShapes, Method, Update

__all__ = ["METHODS", "Batch", "Entry", "ImageShapes", "Method", "Update"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A method: its settings and how it is made of them."""

    config: type[Any]
    make: Callable[[Any, ImageShapes], Method]
    adapt: Callable[[Any, ImageShapes, frozenset[str]], tuple[Any, list[str]]]
    """Fits defaults to the images: (settings, shapes, names that the user set) -> (settings, notices)."""


METHODS: dict[str, Entry] = {
    "cyclegan": Entry(cyclegan.Config, cyclegan.CycleGAN, cyclegan.adapt),
}
