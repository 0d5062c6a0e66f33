"""What an audit is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from unpaired.core.settings import Count, Flag, Place, Settings
from unpaired.data.config import Size

LARGEST_SEED = 2**32 - 1
"""The seed of an image's noise is made of this one and the image's number, and has to fit into 64 bits."""


class AuditOptions(Settings):
    """What is audited, and how."""

    model: Place
    """A run, a checkpoint or a model folder, of a method with both directions."""
    checkpoint: Annotated[str | int | None, Flag("--checkpoint")] = None
    """The checkpoint of a run: best, last or a number of images. [default: best where there is one, else last]"""
    data: Annotated[Place | None, Flag("--data")] = None
    """Folder with test images of both domains, as for `unpaired train`. [default: that of the run]"""
    direction: Annotated[str, Flag("--direction")] = "both"
    """Which way: a2b, b2a, by the domains' names such as horse2zebra, or both."""
    images: Annotated[Count, Flag("--images")] = 50
    """At most so many images of each domain, spread evenly; 2 or more for shares."""
    size: Annotated[Size | None, Flag("--size")] = None
    """Size of the images: 256, or HEIGHTxWIDTH. [default: that of training]"""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED), Flag("--seed")] = 0
    """Of the noise, and of the resampling for standard errors."""
    out: Annotated[Place | None, Flag("--out")] = None
    """Folder for audit.json, audit.svg (the chart) and pictures. [default: audits/CHECKPOINT in the run]"""
    device: Annotated[str, Flag("--device")] = "auto"
    """auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps."""
    command: str = ""
    """The command line, for the record."""

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the images; None for that of training."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size
