"""Streams: the images of a domain in shards, as a user names them in place of a folder.

`shards/horses-{000..010}.tar`, `s3://bucket/horses/*.tar`, `photos.parquet#photo`, `hf:user/name:train#image`, a folder
that `datasets` saved. The images have positions, so that order, resuming and ranks are as for folders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import final

from unpaired.core.cache import Cache
from unpaired.core.errors import UserError
from unpaired.core.files import read_json
from unpaired.core.text import printable
from unpaired.data.formats import readable_suffixes
from unpaired.data.streams.remote import CACHE_GIB, StoredFile, find_files, is_remote, matching_files, shard_cache
from unpaired.data.streams.shards import Objects, Shard, StoredImage, open_shards

SUFFIXES = (".tar", ".parquet", ".arrow", ".pq")
"""Of shards."""
_RECOGNISED = (*SUFFIXES, ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
_STATE, _DICTIONARY = "state.json", "dataset_dict.json"
_HUB = re.compile(
    r"hf:(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[^/:#]+))?(/(?P<config>[\w.-]+))?(:(?P<split>[\w.-]+))?", re.ASCII
)


def is_stream(place: str) -> bool:
    """Whether what stands in place of a folder names shards."""
    path, _ = _divided(place)
    if path.startswith("hf:") or is_remote(path):
        return True
    if os.path.isdir(path):
        return any(os.path.isfile(os.path.join(path, name)) for name in (_STATE, _DICTIONARY))
    return path.lower().endswith(_RECOGNISED)


def absolute(place: str) -> str:
    """Return a place of images as it is meant from any folder: a path becomes absolute, the rest stays as it is."""
    if place.startswith("hf:") or is_remote(place):
        return place
    return os.path.abspath(os.path.expanduser(place))


@final
class Stream:
    """The images of one domain in shards; nothing is looked for before it is asked for."""

    def __init__(self, place: str, *, cache_gib: float = CACHE_GIB) -> None:
        """`place` is what a user gives, see above; remote shards share a cache of `cache_gib` GiB.

        `choice` is the column or the ending of members that stood behind `#`.
        """
        self.place = absolute(place)
        self._path, self.choice = _divided(self.place)
        self._cache = shard_cache(cache_gib)
        self._progress: Callable[[int, int], None] | None = None

    def list_shards(self, progress: Callable[[int, int], None] | None = None) -> Sequence[Shard]:
        """Return the shards; `progress` is called with how many are indexed, and of how many."""
        self._progress = progress
        return self.shards

    @cached_property
    def files(self) -> Sequence[StoredFile]:
        """The files of the shards, none of them opened; of a remote folder of images these."""
        return self._hub(self._path) if self._path.startswith("hf:") else self._files(self._path)

    @cached_property
    def shards(self) -> Sequence[Shard]:
        """The shards in their order; raises `UserError` where there are none or one is damaged."""
        if is_remote(self._path) and not any(file.url.lower().endswith(_RECOGNISED) for file in self.files):
            return [Objects(self._path, self.files)]
        shards = open_shards(self.files, self.choice, progress=self._progress)
        if not shards:
            raise UserError(f'"{printable(self.place)}" holds no images.')
        return shards

    @cached_property
    def images(self) -> Sequence[StoredImage]:
        """The images of all shards, one after the other."""
        return [StoredImage(shard, index) for shard in self.shards for index in range(len(shard))]

    @property
    def remote_bytes(self) -> int:
        """Bytes of the files that have to be fetched to be read."""
        files = {shard.file.url: shard.file for shard in self.shards if shard.file.is_remote}
        return sum(file.size or 0 for file in files.values())

    def __fspath__(self) -> str:
        return self.place

    def _files(self, path: str) -> Sequence[StoredFile]:
        if is_remote(path):
            found = find_files(path, (*_RECOGNISED, *readable_suffixes()), self._cache)
            shards = [file for file in found if file.url.lower().endswith(_RECOGNISED)]
            return shards or found
        if os.path.isdir(path):
            return [file for name in _saved(Path(path)) for file in find_files(name, SUFFIXES, self._cache)]
        return find_files(path, SUFFIXES, self._cache)

    def _hub(self, path: str) -> Sequence[StoredFile]:
        found = _HUB.fullmatch(path)
        if found is None:
            raise UserError(
                f'"{printable(path)}" is no data set of the Hugging Face hub: expected hf:USER/NAME, with @REVISION, '
                "/CONFIG, :SPLIT and #COLUMN where needed, in this order."
            )
        revisions = [found["revision"]] if found["revision"] else ["main", "refs%2Fconvert%2Fparquet"]
        for revision in revisions:
            root = f"hf://datasets/{found['name']}@{revision}"
            files = _of_revision(root, self._cache)
            if files:
                break
        else:
            raise UserError(f'"{printable(path)}" has no Parquet files and no tar files, also not in {revisions[-1]}.')
        split = found["split"] or "train"
        kept = [file for file in files if _belongs(file.url.partition("@")[2], found["config"], split)]
        if not kept:
            names = ", ".join(printable(file.url.partition("@")[2].partition("/")[2]) for file in files[:8])
            raise UserError(
                f'"{printable(path)}" has no files of the split {printable(split)}'
                + (f" of {printable(found['config'])}" if found["config"] else "")
                + f". It has: {names}{' and more' if len(files) > 8 else ''}. Give /CONFIG and :SPLIT."
            )
        return kept


def _of_revision(root: str, cache: Cache) -> list[StoredFile]:
    """Return the Parquet and tar files of a revision; none where the hub has not converted the data set."""
    try:
        return matching_files(root, (".parquet", ".tar"), cache)
    except UserError:
        if "convert" in root:
            return []
        raise


def _belongs(path: str, config: str | None, split: str) -> bool:
    """Whether a file of the hub is of a split: `data/train-00000-of-00002.parquet`, `default/train/0000.parquet`."""
    *folders, name = path.split("/")[1:]
    of_split = split in folders or re.match(rf"{re.escape(split)}(?![a-zA-Z])", name) is not None
    return of_split and (config is None or config in folders or name.startswith(f"{config}-"))


def _divided(place: str) -> tuple[str, str | None]:
    """Return a place and what was chosen in it with `#`, where that is not part of the name."""
    path, mark, choice = place.rpartition("#")
    if not mark or os.path.exists(place) or "/" in choice:
        return place, None
    return path, choice or None


def _saved(folder: Path) -> list[str]:
    """Return the Arrow files of a folder that `datasets` saved."""
    if not (folder / _STATE).is_file():
        splits = sorted(path.name for path in folder.iterdir() if (path / _STATE).is_file())
        raise UserError(
            f'"{printable(folder)}" holds a data set of several splits: {", ".join(map(printable, splits))}. Give one '
            f'of them, such as "{printable(folder / (splits or ["train"])[0])}".'
        )
    state = read_json(folder / _STATE, inside=folder)
    listed = state.get("_data_files")
    names = [str(each.get("filename")) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    if not names or not all(name == os.path.basename(name) for name in names):
        raise UserError(f'"{printable(folder / _STATE)}" names no Arrow files of this folder. Save the data set again.')
    return [str(folder / name) for name in names]
