"""Files that are written image by image or part by part, like the file that they are made from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from unpaired.data.formats.meaning import Box
from unpaired.data.values import Image


class Output(ABC):
    """A file that is being written, with the geometry and the metadata of another one and other values.

    Its path is a temporary one; whoever opened it moves it to its place when it is closed. What the source marks as
    pixels without a value is marked in the output as well. The fields are set before the first `put`.
    """

    can_deidentify: ClassVar[bool] = False
    """Whether it can leave out what names a person."""
    made_by: str = ""
    """What made the values, and what tells that from everything else that might have made them."""
    deidentify: bool = False
    """Leave out what names a person, see `can_deidentify`."""
    quality: int | None = None
    """Of formats that lose something: 0 loses nothing, more is smaller; None is the format's own choice, which hardly
    shows. Set before the first image."""
    notes: tuple[str, ...] = ()
    """What a person should know of the file once it is closed: what it could not keep."""

    @abstractmethod
    def put(self, image: Image, index: int = 0, box: Box | None = None) -> None:
        """Store an image [H, W, C], or a part of it at `box`; images come in the order of their index."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left; the file is then whole."""
