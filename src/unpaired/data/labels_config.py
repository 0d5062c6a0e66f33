"""Settings of a domain of label maps: how classes are stored in the files, and what the networks see of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unpaired.core.errors import UserError
from unpaired.core.settings import Settings

LabelKind = Literal["index", "colour"]
Feed = Literal["colour", "one_hot"]
Channel = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]
"""Red, green, blue, each 0 to 255."""
MAX_CLASSES = 254
"""Class indices fit into 8 bits, beside the marks for void and for what is no class at all."""


class LabelsConfig(Settings):
    """Label maps in place of pictures: what the files hold, and how it is fed to the networks."""

    kind: LabelKind
    """`index`: pixels are class indices (grey, or the stored index of palette files); `colour`: a colour per class."""
    palette: tuple[Colour, ...] | None = None
    """Colour of each class, [[r, g, b], ...]; by default that of the files, or distinct colours made for indices."""
    names: tuple[str, ...] | None = None
    """Name of each class, in the order of the palette."""
    void: tuple[int, ...] = ()
    """Values that are no class (unlabelled); for kind `colour`, positions in the palette. Shown black."""
    feed: Feed = "colour"
    """What the networks see: the palette's colours, or one channel per class (`one_hot`)."""

    def check(self) -> None:
        """Refuse palettes, names and void values that contradict one another."""
        check_classes(self.kind, self.palette, self.names, self.void)
        if self.kind == "colour" and self.palette is None and (self.names is not None or self.void):
            raise UserError(
                "names and void of label maps in colours follow the order of the palette, and none is given. "
                "Give the palette too, or leave them out."
            )


def check_classes(
    kind: LabelKind,
    palette: tuple[Colour, ...] | None,
    names: tuple[str, ...] | None,
    void: tuple[int, ...],
) -> None:
    """Raise `UserError` where palette, names and void values of label maps are impossible or contradict one another."""
    if palette is not None:
        if not 1 <= len(palette) <= MAX_CLASSES:
            raise UserError(f"a palette of label maps has 1 to {MAX_CLASSES} colours; received {len(palette)}.")
        twice = sorted({colour for colour in palette if palette.count(colour) > 1})
        if twice:
            raise UserError(f"the colours of a palette differ from one another; received {twice[0]} more than once.")
        if names is not None and len(names) != len(palette):
            raise UserError(
                f"label maps need one name for each colour of the palette; received {len(names)} names and "
                f"{len(palette)} colours."
            )
        if kind == "colour" and any(not 0 <= value < len(palette) for value in void):
            raise UserError(
                f"void values of label maps in colours are positions in the palette, 0 to {len(palette) - 1}; "
                f"received {list(void)}."
            )
    if names is not None and not 1 <= len(names) <= MAX_CLASSES:
        raise UserError(f"label maps have 1 to {MAX_CLASSES} classes; received {len(names)} names.")
    known = palette or names
    if known is not None and set(range(len(known))) <= set(void):
        raise UserError(f"label maps need at least one class, and void holds all of them: {list(void)}.")
