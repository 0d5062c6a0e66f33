"""The content of an image file that lies in memory and in no folder: a member of an archive, a cell of a table."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final


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
            path = Path(folder, f"image{self.suffix}")
            path.write_bytes(self.content)
            yield path
