"""The images that are measured on: whole or their middle, nothing random, in pairs where names agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.check import ImageInfo
from unpaired.data.config import DataConfig
from unpaired.data.directions import Side
from unpaired.data.formats import Frame
from unpaired.data.groups import names_below
from unpaired.data.labels import Labels, as_picture
from unpaired.data.scale import whole_settings
from unpaired.data.source import FolderSource, ImageSource
from unpaired.data.streams.shards import StoredImage
from unpaired.data.training import SIDES, Part, Progress, open_training_data, with_what_was_found
from unpaired.data.transforms import centre_crop, load_size, training_size
from unpaired.data.values import Domain, Image, filled, from_signed, to_signed

Picture = NDArray[np.uint8]
_EIGHT_BIT = Domain(channels=3)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """Images of one domain by position, prepared alike, nothing about them random; itself an `ImageSource`."""

    source: FolderSource
    crop: tuple[int, int] | None
    """(height, width) that prepared images are cut to, their middle; None for whole images."""
    domain: Domain
    files: Sequence[ImageInfo]
    """The files, in the order of the images."""
    sizes: Sequence[tuple[int, int]]
    """(height, width) of every image as it is given."""

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Image:
        return self._cut(self.source[index])

    def whole(self, index: int) -> Image:
        """Return an image at the size of its file, as a translator is given it."""
        return self.source.whole(index)

    def fitted(self, image: Image, domain: Domain) -> Image:
        """Prepare an image of the size of a file as those of this set are: its translation, or the image itself."""
        return self._cut(self.source.fitted(image, nearest=domain.labels is not None))

    def _cut(self, image: Image) -> Image:
        return image if self.crop is None else centre_crop(image, self.crop)

    def name(self, index: int) -> str:
        """Return the path of one image."""
        return self.source.name(index)

    def only(self, positions: Sequence[int]) -> ImageSet:
        """Return some of the images, in this order."""
        source = self.source.only(positions)
        return replace(self, source=source, files=source.images, sizes=[self.sizes[place] for place in positions])

    def signed(self, positions: Sequence[int]) -> NDArray[np.float32]:
        """Return images of one size as networks see them, [N, C, H, W] in [-1, 1]."""
        return signed_batch(self, positions, self.domain)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The training images or the held-out images of both domains."""

    a: ImageSet
    b: ImageSet
    pairs: tuple[tuple[int, int], ...]
    """Positions in A and B of those that belong together; empty where the two do not belong together."""
    taken_from: Literal["test", "train"]
    """Whether these are test images or training images, which stand in for held-out images where there are none."""

    def of(self, side: Side) -> ImageSet:
        """Return the images of one domain."""
        return self.a if side == "a" else self.b

    def without(self, digests: Mapping[Side, frozenset[bytes]]) -> Split | None:
        """Return the images that hold something else, pairs as a whole; None where a domain would have none."""
        kept = {
            side: [place for place, info in enumerate(self.of(side).files) if info.digest not in digests[side]]
            for side in SIDES
        }
        if self.pairs:
            in_a, in_b = {*kept["a"]}, {*kept["b"]}
            whole = [(a, b) for a, b in self.pairs if a in in_a and b in in_b]
            kept = {"a": [a for a, _ in whole], "b": [b for _, b in whole]}
        if not all(kept.values()):
            return None
        pairs = tuple((place, place) for place in range(len(kept["a"]))) if self.pairs else ()
        return replace(self, a=self.a.only(kept["a"]), b=self.b.only(kept["b"]), pairs=pairs)

    def contents(self, side: Side) -> str:
        """Return a digest of what the files of one domain hold, in order, wherever they lie."""
        files = self.of(side).files
        digest = hashlib.blake2b(f"{side}:{len(files)}:".encode(), digest_size=8)
        for info in files:
            digest.update(info.digest)
        return digest.hexdigest()

    def positions(self, side: Side, most: int | None = None) -> list[tuple[int, int | None]]:
        """Return (position on a side, that of its partner or None), spread evenly over all, at most `most` of them."""
        if self.pairs:
            every: list[tuple[int, int | None]] = [(a, b) if side == "a" else (b, a) for a, b in self.pairs]
        else:
            every = [(index, None) for index in range(len(self.of(side)))]
        return [every[index] for index in evenly(len(every), most)]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """All images of a data set, prepared for measuring: training images too, and nothing random about them either."""

    train: Split
    test: Split
    """The held-out images: test images or, where there are none, training images (see `taken_from`)."""
    size: tuple[int, int] | None
    """(height, width) of all images, or None where they keep sizes of their own."""
    part: str
    """What of every image is seen, in words: all of it, or the middle where `data.preprocess` only crops."""
    layout: str
    notices: tuple[str, ...]
    contents: str
    """A digest of what the files hold, wherever they lie."""
    config: DataConfig
    """The settings as they were given, with what was found in the files."""

    @property
    def domains(self) -> dict[Side, Domain]:
        """Return what the images of both domains are."""
        return {"a": self.test.a.domain, "b": self.test.b.domain}

    def labels(self, side: Side) -> Labels | None:
        """Return what the label maps of a domain mean; None where it holds none."""
        return self.domains[side].labels

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Return how many images there are and a digest of their names: what continued work must find again."""
        splits = {"train": self.train, "test": self.test}
        names = {f"{name}_{side}": _names(split.of(side)) for name, split in splits.items() for side in ("a", "b")}
        digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
        return {**{part: len(listed) for part, listed in names.items()}, "names": digest[:16]}


def open_dataset(
    config: DataConfig,
    *,
    paired: bool = False,
    aligned: bool = False,
    one_size: str = "",
    size_multiple: int = 4,
    progress: Progress | None = None,
) -> Dataset:
    """Find and check all images of a data set, and bring them to the size of training: whole, or cut to the middle.

    - `paired`: a method learned from pairs, so names decide what belongs together. Files of one name need not belong
      together (1.png) unless something says so: this, side-by-side files, or label maps.
    - `aligned`: row i of A belongs to row i of B; whatever has no partner is an error or left out.
    - `one_size`: what needs images of one size, for the error where they keep sizes of their own.
    - `size_multiple`: what sizes are rounded to where `data.preprocess` does not cut them.

    Raises `UserError` where images are bad, `BadFiles` where pairs are needed and missing.
    """
    size = training_size(config)
    if one_size and size is None:
        raise UserError(
            f"{one_size} needs images of one size, and {option('data.preprocess', config.preprocess)} leaves them "
            "sizes of their own. Use resize_and_crop, crop or scale_width_and_crop."
        )
    whole = whole_settings(replace(config, cache="none"))
    data = open_training_data(whole, paired=aligned, size_multiple=size_multiple, progress=progress)
    by_name = paired or config.side_by_side is not None or bool(data.domain_a.labels or data.domain_b.labels)

    def split(parts: Mapping[Side, Part]) -> Split:
        sets = []
        for side, domain in zip(SIDES, (data.domain_a, data.domain_b), strict=True):
            source = data.sources[parts[side]]
            sizes = [size or source.size(index) for index in range(len(source))]
            sets.append(ImageSet(source=source, crop=size, domain=domain, files=source.images, sizes=sizes))
        pairs = _by_position(*sets) if aligned else _pairs(*sets) if by_name else ()
        tests = all(part.test for part in parts.values())
        return Split(a=sets[0], b=sets[1], pairs=pairs, taken_from="test" if tests else "train")

    return Dataset(
        train=split({side: Part(False, side) for side in SIDES}),
        test=split(data.held_out_parts),
        size=size,
        part=_part(config),
        layout=data.layout,
        # Each image is read once or twice for measuring, so that they are not kept is no news.
        notices=tuple(notice for notice in data.notices if not notice.startswith("decoded images are not kept")),
        contents=data.contents,
        config=with_what_was_found(config, data),
    )


def evenly(count: int, most: int | None) -> list[int]:
    """Return at most `most` of `count` positions, spread evenly; all of them for None."""
    chosen = count if most is None else min(most, count)
    return [index * count // chosen for index in range(chosen)]


def signed_batch(source: ImageSource, positions: Sequence[int], domain: Domain) -> NDArray[np.float32]:
    """Return images of one size as networks see them, [N, C, H, W] in [-1, 1]."""
    seen = (filled(to_signed(source[index], domain.range))[0] for index in positions)
    return np.stack([image.transpose(2, 0, 1) for image in seen])


def displayed(image: Image, domain: Domain) -> Picture:
    """Return an image as a person looks at it, [H, W, 3] uint8: label maps in colours, deep values in 8 bits."""
    if domain.labels is not None:
        return as_picture(image, domain.labels)
    if domain.neighbours:
        channels = image.shape[2] // (2 * domain.neighbours + 1)
        image = image[..., domain.neighbours * channels : (domain.neighbours + 1) * channels]
    levels = image if image.dtype == np.uint8 else from_signed(to_signed(image, domain.range), _EIGHT_BIT)
    kept = levels[:, :, :3] if levels.shape[2] >= 3 else np.repeat(levels[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(kept, np.uint8)


def _part(config: DataConfig) -> str:
    """Return what of every image is seen, in words that hold every number it depends on but the size."""
    width = load_size(config)[1]
    return {
        "resize_and_crop": "whole, at that size",
        "crop": "their middle, cut to that size",
        "scale_width_and_crop": f"scaled to a width of {width}, and their middle cut to that size",
        "scale_width": f"whole, scaled to a width of {width}",
        "none": "whole, as they are",
    }[config.preprocess]


def _pairs(a: ImageSet, b: ImageSet) -> tuple[tuple[int, int], ...]:
    """Return the positions of images of the same name, where every image of both sides has exactly one partner.

    Own sources match by position.
    """
    if not (_is_file(a) or _is_file(b)):
        return _by_position(a, b)
    names_a, names_b = _keys(a), _keys(b)
    at = {name: index for index, name in enumerate(names_b)}
    if len(set(names_a)) < len(names_a) or len(at) < len(names_b) or set(names_a) != set(at):
        return ()
    return tuple((index, at[name]) for index, name in enumerate(names_a))


def _by_position(a: ImageSet, b: ImageSet) -> tuple[tuple[int, int], ...]:
    return tuple((index, index) for index in range(len(a))) if len(a) == len(b) else ()


def _is_file(images: ImageSet) -> bool:
    return isinstance(images.files[0].path, Path | StoredImage | Frame)


def _keys(images: ImageSet) -> list[str]:
    """Return what the two images of a pair have in common."""
    keys = [info.path.key for info in images.files if isinstance(info.path, StoredImage)]
    if len(keys) == len(images):
        return keys
    numbers = [f"#{info.path.index}{info.path.view}" if isinstance(info.path, Frame) else "" for info in images.files]
    return [name + number for name, number in zip(_names(images), numbers, strict=True)]


def _names(source: ImageSource) -> list[str]:
    """Return the images' names without suffix, as paths below the folder that all lie in."""
    return names_below([Path(source.name(index)) for index in range(len(source))])
