"""What is special where images come from shards: what cannot be asked of them, what to know, windows of shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import memory, plural, printable
from unpaired.data.check import ImageInfo
from unpaired.data.config import DataConfig
from unpaired.data.directions import Side
from unpaired.data.folders import Folders
from unpaired.data.order import Windows
from unpaired.data.streams.shards import Shard, StoredImage
from unpaired.data.streams.stream import Stream


def list_streams(
    folders: Folders, config: DataConfig, progress: Callable[[str, int, int], None] | None = None
) -> list[str]:
    """List and index the shards of all domains; return what a person should know.

    Raises `UserError` where one cannot be read, and for settings that only folders have.
    """
    places = (folders.train_a, "a", ""), (folders.train_b, "b", ""), (folders.test_a, "a", " (test)")
    streams: dict[str, tuple[Side, Stream]] = {}
    for place, side, test in (*places, (folders.test_b, "b", " (test)")):
        if isinstance(place, Stream):
            streams[f"{config.title(_side(side))}{test}"] = _side(side), place
    if config.window is not None and not streams:
        raise UserError(f"{option('data.window', config.window)} counts shards, and there are none here. Leave it out.")
    return [_listed(title, side, stream, config, progress) for title, (side, stream) in streams.items()]


def _side(name: str) -> Side:
    return "a" if name == "a" else "b"


def _listed(
    title: str, side: Side, stream: Stream, config: DataConfig, progress: Callable[[str, int, int], None] | None
) -> str:
    if config.labels(side) is not None:
        raise UserError(
            f"{option(f'data.labels_{side}')} is set, and label maps are read from folders, not from shards "
            f'("{printable(stream)}"). Unpack the shards into a folder.'
        )
    report = None if progress is None else lambda done, total: progress(f"listing {title}", done, total)
    shards = stream.list_shards(report)
    notice = f"{title}: {plural(len(stream.images), 'image')} in {plural(len(shards), 'shard')}"
    fetched = stream.remote_bytes
    if not fetched:
        return notice
    notice += f", {memory(fetched)} in remote storage, fetched into the cache as they are needed"
    if fetched > config.shard_cache * 2**30 and config.window is None:
        notice += (
            f"; the cache holds {config.shard_cache:g} GiB, and without {option('data.window')} every image may need "
            "another shard"
        )
    return notice


def windows_of(config: DataConfig, a: Sequence[ImageInfo], b: Sequence[ImageInfo]) -> Windows | None:
    """Return the shards of the training images where `data.window` is set; a folder counts as one shard."""
    return None if config.window is None else Windows(_numbers(a), _numbers(b), config.window)


def _numbers(images: Sequence[ImageInfo]) -> NDArray[np.int64]:
    numbers: dict[Shard | None, int] = {}
    shards = [info.path.shard if isinstance(info.path, StoredImage) else None for info in images]
    return np.array([numbers.setdefault(shard, len(numbers)) for shard in shards], np.int64)
