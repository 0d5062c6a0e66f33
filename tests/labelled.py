"""Images in memory in place of files, for tests of what only asks for images by position."""

from __future__ import annotations

from unpaired.data.values import Image


class Source:
    def __init__(self, images: list[Image]) -> None:
        self.images, self.reads = images, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image:
        self.reads += 1
        return self.images[index]

    def name(self, index: int) -> str:
        return str(index)
