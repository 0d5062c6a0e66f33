"""What an audit is asked for."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from unpaired.core.errors import UserError
from unpaired.core.settings import Count, Flag, Place, Settings, option
from unpaired.data.config import Size

CheckName = Literal["hidden"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
"""What an audit can ask, in the order of the results."""
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
    checks: Annotated[str | tuple[str, ...] | None, Flag("--checks")] = None
    """What is asked, with commas between: hidden (is the input hidden in the output?). [default: all that the model
    allows]"""
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

    def check(self) -> None:
        """Refuse checks that do not exist; raises `UserError`."""
        if not self.chosen or not set(self.chosen) <= set(CHECKS):
            raise UserError(f"{option('checks', self.checks)}: allowed are {', '.join(CHECKS)}, with commas between.")

    @property
    def chosen(self) -> tuple[CheckName, ...]:
        """The checks to make where they can be: those that were named, or all."""
        if self.checks is None:
            return CHECKS
        names = [name.strip() for name in (self.checks.split(",") if isinstance(self.checks, str) else self.checks)]
        unknown = [name for name in names if name not in CHECKS]
        return tuple(unknown or [name for name in CHECKS if name in names])  # type: ignore[arg-type]

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the images; None for that of training."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size
