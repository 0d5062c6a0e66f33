"""Which images a run was trained on, small enough for a checkpoint, and what has changed in them since."""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unpaired.core.errors import UserError
from unpaired.core.text import plural, printable
from unpaired.data.folders import Place
from unpaired.data.reading import ImageFile
from unpaired.data.streams.shards import StoredImage
from unpaired.data.training import Part, TrainingData

_STAMP = 8
_MAX_BYTES = 2**30
_NAMED = 3


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The images of all parts in their order: name below the part's folder, and the first bytes of its digest."""

    parts: Mapping[Part, Mapping[str, bytes]]

    def to_json(self) -> dict[str, str]:
        """Return it as compressed text, about 12 bytes an image; the keys are `train_a`, `train_b`, `test_a`, ..."""
        return {_key(part): _packed(images) for part, images in self.parts.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, str]) -> ImageRecord:
        """Return what `to_json` was called on; raises `UserError` where it was damaged."""
        try:
            parts = {part: _unpacked(value[_key(part)]) for part in _PARTS if _key(part) in value}
        except (ValueError, TypeError, zlib.error) as error:
            raise UserError("the record of the training images is damaged.") from error
        return cls(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartChange:
    """What has changed in the training or the test images of one domain."""

    part: Part
    before: int
    """Images that there were."""
    after: int
    """Images that there are."""
    added: tuple[str, ...]
    """Names below the part's folder."""
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Names of files whose contents differ."""
    reordered: bool
    """Whether those that are in both come in another order."""

    def in_words(self, title: str) -> str:
        """Return it with a few names: `A: 2 images added (x.jpg, y.jpg), 1 changed (z.jpg)`."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        found = [f"{len(names):,} {kind} ({_some(names)})" for kind, names in kinds.items() if names]
        if found:
            count, rest = found[0].split(" ", 1)
            found[0] = f"{plural(int(count.replace(',', '')), 'image')} {rest}"
        return f"{title}: {', '.join([*found, *(['another order'] if self.reordered else [])])}"


_PARTS = tuple(Part(test, side) for test in (False, True) for side in ("a", "b"))


def record_images(data: TrainingData) -> ImageRecord:
    """Return what is remembered of the images of a data set; the files are not read again."""
    folders = data.folders
    places = dict(zip(_PARTS, (folders.train_a, folders.train_b, folders.test_a, folders.test_b), strict=True))
    parts = {}
    for part, infos in data.files.items():
        names = _names(places[part], [info.path for info in infos])
        parts[part] = {name: info.digest[:_STAMP] for name, info in zip(names, infos, strict=True)}
    return ImageRecord(parts)


def compare_records(before: ImageRecord, after: ImageRecord) -> tuple[PartChange, ...]:
    """Return what differs, part by part; empty where the images are the same, wherever they lie."""
    changes = []
    for part in _PARTS:
        old, new = before.parts.get(part, {}), after.parts.get(part, {})
        change = PartChange(
            part=part,
            before=len(old),
            after=len(new),
            added=tuple(name for name in new if name not in old),
            removed=tuple(name for name in old if name not in new),
            changed=tuple(name for name in old if name in new and old[name] != new[name]),
            reordered=[name for name in old if name in new] != [name for name in new if name in old],
        )
        if change.added or change.removed or change.changed or change.reordered:
            changes.append(change)
    return tuple(changes)


def _key(part: Part) -> str:
    return f"{'test' if part.test else 'train'}_{part.side}"


def _names(place: Place | None, files: Sequence[ImageFile]) -> list[str]:
    """Return a name for each image, no two alike: below its folder, in its shard, or what its own source calls it."""
    names = [_below(place, file) for file in files]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({number})" for number, name in enumerate(names)]


def _below(place: Place | None, file: ImageFile) -> str:
    if isinstance(file, StoredImage):
        return file.short
    return os.path.relpath(file, place) if isinstance(place, Path) else os.fspath(file)


def _packed(images: Mapping[str, bytes]) -> str:
    names = "\0".join(images).encode("utf-8", "surrogatepass")
    content = b"%d\0%d\0" % (len(images), len(names)) + names + b"".join(images.values())
    return base64.b85encode(zlib.compress(content, 6)).decode("ascii")


def _unpacked(text: str) -> dict[str, bytes]:
    content = zlib.decompressobj().decompress(base64.b85decode(text), _MAX_BYTES)
    count, length, rest = content.split(b"\0", 2)
    stamps = rest[int(length) :]
    names = rest[: int(length)].decode("utf-8", "surrogatepass").split("\0")
    if len(names) != int(count) or len(stamps) != _STAMP * len(names):
        raise ValueError("lengths differ")
    return {name: stamps[_STAMP * n : _STAMP * (n + 1)] for n, name in enumerate(names)}


def _some(names: Sequence[str]) -> str:
    return ", ".join([*map(printable, names[:_NAMED]), *(["..."] if len(names) > _NAMED else [])])
