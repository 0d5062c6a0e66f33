"""What an audit is asked for."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from unpaired.core.errors import UserError
from unpaired.core.settings import Count, Flag, Place, Settings, option
from unpaired.core.text import listing
from unpaired.data.config import Size

CheckName = Literal["hidden", "planted", "classes"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
"""What an audit can ask, in the order of the results."""
LARGEST_SEED = 2**32 - 1
"""The seed of an image's noise is made of this one and the image's number, and has to fit into 64 bits."""


class AuditOptions(Settings):
    """What is audited, and how."""

    model: Place
    """A run, a checkpoint or a model folder."""
    checkpoint: Annotated[str | int | None, Flag("--checkpoint")] = None
    """The checkpoint of a run: best, last or a number of images. [default: best where there is one, else last]"""
    data: Annotated[Place | None, Flag("--data")] = None
    """Folder with test images of both domains, as for `unpaired train`. [default: that of the run]"""
    checks: Annotated[str | tuple[str, ...] | None, Flag("--checks")] = None
    """What is asked, with commas between: hidden (is the input hidden in the output?), planted (do planted structures
    survive?), classes (was content added or removed?). [default: all that the model allows]"""
    segmenter_a: Annotated[Place | None, Flag("--segmenter-a")] = None
    """Segmenter (`unpaired segment train`) that labels images of A, for the check of classes; label maps need none."""
    segmenter_b: Annotated[Place | None, Flag("--segmenter-b")] = None
    """The same for images of B."""
    direction: Annotated[str, Flag("--direction")] = "both"
    """Which way: a2b, b2a, by the domains' names such as horse2zebra, or both."""
    images: Annotated[Count, Flag("--images")] = 50
    """At most so many images of each domain, spread evenly; 2 or more for shares."""
    size: Annotated[Size | None, Flag("--size")] = None
    """Size of the images: 256, or HEIGHTxWIDTH. [default: that of training]"""
    against: Annotated[Place | None, Flag("--against")] = None
    """Another model of the same domains, asked beside this one what survives and what is added or removed."""
    plant: Annotated[Place | None, Flag("--plant")] = None
    """A picture of your own that is planted in place of discs, lines and textures."""
    plant_mask: Annotated[Place | None, Flag("--plant-mask")] = None
    """Where the picture covers, from 0 to white; alone, a shape of your own that is planted. [default: its alpha]"""
    plant_sizes: Annotated[tuple[Annotated[int, Field(ge=3, le=4096)], ...] | None, Flag("--plant-sizes")] = None
    """Pixels that planted structures measure, such as [4,8]. [default: a 16th and an 8th of the shorter side]"""
    plant_contrasts: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1, max_length=16), Flag("--plant-contrasts")
    ] = (0.05, 0.1, 0.2, 0.4)
    """Contrasts, rising, as shares of the range of values; how opaque, for a picture of your own."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED), Flag("--seed")] = 0
    """Of the noise, of the places, and of the resampling for standard errors."""
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
        used: dict[str, tuple[str, ...]] = {"against": ("planted", "classes")}
        used |= dict.fromkeys(("plant", "plant_mask", "plant_sizes", "plant_contrasts"), ("planted",))
        used |= dict.fromkeys(("segmenter_a", "segmenter_b"), ("classes",))
        for name, by in used.items():
            if self.is_set(name) and not set(by) & set(self.chosen):
                raise UserError(f"{option(name)}: add {listing(by, 'or')} to {option('checks')}, which uses it.")
        if self.plant_sizes is not None and (self.plant is not None or self.plant_mask is not None):
            raise UserError(f"{option('plant_sizes')}: a picture or mask of your own has the size of its file.")

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
