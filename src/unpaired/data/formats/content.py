"""What stands where the path of an image file stands: its content in memory, or one of many images in one file."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from unpaired.data.formats.meaning import Box


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Return the suffix by which readers know a file, in lower case with the dot: `.png`, and `.nii.gz` whole."""
    name = os.fspath(path).lower()
    return ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]


@final
@dataclass(frozen=True, slots=True, eq=False)
class ImageBytes:
    """What a file holds, and its name; it stands where a path stands, with what readers use of paths."""

    content: bytes
    called: str
    """Its name in messages; readers look at the suffix where the content says nothing."""

    @property
    def suffix(self) -> str:
        """The suffix of its name, with the dot."""
        return Path(self.called).suffix

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Open it for reading."""
        assert mode == "rb", mode
        return io.BytesIO(self.content)

    def read_bytes(self) -> bytes:
        """Return all of it."""
        return self.content

    def __fspath__(self) -> str:
        return self.called

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield a file of the same content and suffix, for readers that need one."""
        with tempfile.TemporaryDirectory(prefix="unpaired-") as folder:
            path = Path(folder, f"image{suffix_of(self.called)}")
            path.write_bytes(self.content)
            yield path


@final
@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a file that holds many: a slice of a volume, a page of a stack, a frame of a clip."""

    path: Path
    index: int
    """Its position along the axis."""
    axis: int = 0
    """The axis of a volume that is cut, 0 to 2 in the order in which the file's reader gives it."""
    neighbours: int = 0
    """Images on either side that become channels before and behind its own; at the ends the last one is repeated."""
    level: int = 0
    """Which of the resolutions that the file holds, the full one first."""
    box: Box | None = None
    """The part of it that is meant, in pixels of that resolution; None for all of it."""

    @property
    def suffix(self) -> str:
        """The suffix of the file's name."""
        return self.path.suffix

    @property
    def key(self) -> str:
        """What tells it from every other view of the same file."""
        return f"{self.index} {self.axis} {self.neighbours}{self.view}"

    @property
    def view(self) -> str:
        """What is seen of the image, as part of a name: its resolution and box; empty for all of it."""
        level = f"@{self.level}" if self.level else ""
        return level if self.box is None else f"{level}[{','.join(map(str, self.box))}]"

    def __fspath__(self) -> str:
        return f"{os.fspath(self.path)}#{self.index}{self.view}"


def cut(file: Path | Frame, box: Box) -> Frame:
    """Return a part of an image, as what stands for it."""
    return replace(file, box=box) if isinstance(file, Frame) else Frame(file, 0, box=box)
