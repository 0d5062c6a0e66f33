"""A collection in parts: what is translated by one worker at a time, and is done whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

from unpaired.core.errors import UserError
from unpaired.core.text import printable
from unpaired.data.streams.remote import StoredFile, is_remote, open_fs
from unpaired.data.streams.shards import open_shards
from unpaired.data.streams.stream import SUFFIXES, Stream, is_stream
from unpaired.models.outputs import find_images, plan_outputs

FILES_PER_PART = 256
"""Most image files of one part; fewer where there are few, so that every worker has some."""
FILES_PER_SHARD = 1024
"""Image files whose translations share a shard."""
_PARTS_PER_WORKER = 16
_FEWEST = 16
_TRIED = 3


Kind = Literal["files", "shard"]
"""What a source holds: image files, or files of many images."""


Sink = Literal["files", "tar", "parquet"]
"""What translations are written as: files, or shards of them."""


class Input(NamedTuple):
    """An image file, or a file of many images, and what tells it from another one of the same name."""

    id: str
    """Its path below the source that the user named, or its URL: what messages and the manifest call it."""
    place: str
    """A path or a URL."""
    output: str
    """The relative path of its translation; of a shard without a suffix."""
    size: int | None
    stamp: str
    """Changes with the content: time of modification or an entity tag."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some image files, or one shard."""

    number: int
    kind: Kind
    inputs: tuple[Input, ...]
    choice: str | None = None
    """The column or the ending of the images in a shard, where somebody chose."""

    @property
    def shard(self) -> str:
        """The relative path of the shard that is written for it, without a suffix."""
        return self.inputs[0].output if self.kind == "shard" else f"{self.number:06}"

    @property
    def digest(self) -> str:
        """What differs where any of its inputs does."""
        known = [(each.id, each.output, each.size, each.stamp) for each in self.inputs]
        return hashlib.sha256(json.dumps([known, self.choice]).encode()).hexdigest()

    def dump(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Part:
        """Return what `dump` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "inputs": tuple(Input(*each) for each in fields["inputs"])})


class Source(NamedTuple):
    """What a user's words name: image files, or shards."""

    kind: Kind
    inputs: list[Input]
    choice: str | None = None

    @property
    def natural_sink(self) -> Sink:
        """What is written where nobody chose: files for files, shards like the first for shards."""
        if self.kind == "files":
            return "files"
        return "tar" if self.inputs[0].place.lower().endswith(".tar") else "parquet"


def find_source(places: Sequence[str], *, suffix: str, name: str, direction: str) -> Source:
    """Return the inputs that a user's words name: folders, files, patterns and URLs; all files, or all shards.

    Outputs of files are named as by `translate`. Raises `UserError` where there is nothing, and for mixtures.
    """
    found: list[Input] = []
    kinds: dict[tuple[Kind, str | None], str] = {}
    for place in places:
        kind, choice, listed = _listed(place)
        kinds.setdefault((kind, choice), place)
        found += listed
    if len(kinds) > 1:
        given = " and ".join(printable(place) for place in list(kinds.values())[:2])
        raise UserError(f"{given} are of different kinds. Translate image files and shards in separate commands.")
    if not found:
        raise UserError("there is nothing to translate: give at least one image file, folder or shard.")
    kind, choice = next(iter(kinds))
    if kind == "shard":
        _try_shards(found, choice)
    by_place = {each.place: each for each in found}
    relative = ((each.place, PurePath(each.output)) for each in found)
    of_shards = kind == "shard"
    outputs = plan_outputs(relative, "" if of_shards else suffix, "{stem}" if of_shards else name, direction, _same)
    return Source(kind, [by_place[place]._replace(output=path.as_posix()) for path, place in outputs.items()], choice)


def _try_shards(found: Sequence[Input], choice: str | None) -> None:
    """Raise `UserError` where none of the first shards can be read: a wrong column is better reported at once."""
    errors = []
    for each in found[:_TRIED]:
        try:
            open_shards([StoredFile(each.place, each.size, each.stamp)], choice)
        except UserError as error:
            errors.append(error)
    if len(errors) == min(len(found), _TRIED):
        raise errors[0]


def cut(source: Source, per_part: int) -> Iterator[Part]:
    """Yield the parts of a source: one for each shard, or for so many files."""
    size = 1 if source.kind == "shard" else per_part
    for number, start in enumerate(range(0, len(source.inputs), size)):
        yield Part(number, source.kind, tuple(source.inputs[start : start + size]), source.choice)


def files_per_part(files: int, workers: int, batch_size: int, *, shards: bool) -> int:
    """Return how many files a part has: whole batches, and several parts for each worker."""
    wanted = FILES_PER_SHARD if shards else min(max(files // (workers * _PARTS_PER_WORKER), _FEWEST), FILES_PER_PART)
    return -(-wanted // batch_size) * batch_size


def _listed(place: str) -> tuple[Kind, str | None, list[Input]]:
    path = Path(place)
    if is_stream(place):
        return _streamed(Stream(place))
    if path.is_file():
        return "files", None, list(_local(find_images(path)))
    if path.is_dir():
        try:
            return "files", None, list(_local(find_images(path)))
        except UserError:
            shards = sorted(str(each) for each in path.rglob("*") if each.suffix.lower() in SUFFIXES)
            if not shards:
                raise
            opened = [_streamed(Stream(each), os.path.abspath(path)) for each in shards]
            return "shard", None, [each for _, _, found in opened for each in found]
    if glob.has_magic(place):
        base = Path(_fixed(place))
        matches = sorted(Path(match) for match in glob.glob(place, recursive=True) if os.path.isfile(match))
        if not matches:
            raise UserError(f"no file fits {printable(place)}. Write patterns in quotes, such as 'photos/*.jpg'.")
        return "files", None, list(_local((match, match.relative_to(base)) for match in matches))
    raise UserError(f"there is no file or folder at {printable(place)}. Give image files or folders of images.")


def _local(found: Iterable[tuple[Path, PurePath]]) -> Iterator[Input]:
    for path, relative in found:
        try:
            status = os.stat(path)
            size, stamp = status.st_size, str(status.st_mtime_ns)
        except OSError:  # a broken link: whoever reads it says so
            size, stamp = None, "missing"
        yield Input(relative.as_posix(), os.path.abspath(path), relative.as_posix(), size, stamp)


def _streamed(stream: Stream, base: str | None = None) -> tuple[Kind, str | None, list[Input]]:
    """Return what lies in remote storage or in shards, with paths relative to what the user named, or to `base`."""
    files = stream.files
    path = stream.place if stream.choice is None else stream.place.removesuffix(f"#{stream.choice}")
    of_shards = any(file.url.lower().endswith(SUFFIXES) for file in files)
    if base is None and path.startswith("hf:"):
        base = os.path.commonpath([file.url.partition("@")[2] for file in files]).partition("/")[0]
        base = f"{files[0].url.partition('@')[0]}@{base}"
    elif base is None:
        fixed = _fixed(path)
        base = path.rpartition("/")[0] if fixed == path and any(file.url == path for file in files) else fixed
    root = open_fs(base)[1] if is_remote(base) else base  # not every kind of storage gives URLs back as they were typed
    found = []
    for file in files:
        path = open_fs(file.url)[1] if file.is_remote else file.url
        within = path.startswith(f"{root.rstrip('/')}/")
        relative = path.removeprefix(root).lstrip("/") if within else file.name
        found.append(Input(file.url if file.is_remote else relative, file.url, relative, file.size, file.stamp))
    return "shard" if of_shards else "files", stream.choice, found


def _fixed(pattern: str) -> str:
    """Return the folder before the first wildcard of a pattern; all of what is none."""
    found = re.search(r"[*?\[{]", pattern)
    return pattern if found is None else pattern[: found.start()].rpartition("/")[0]


def _same(one: str, two: str) -> bool:
    return one == two or os.path.realpath(one) == os.path.realpath(two)
