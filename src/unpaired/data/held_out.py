"""The images that are measured on: whole or their middle, nothing random, in pairs where names agree."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.check import ImageInfo
from unpaired.data.config import DataConfig
from unpaired.data.directions import Side
from unpaired.data.labels import Labels, as_picture, truth_of
from unpaired.data.source import CentreCropped, ImageSource
from unpaired.data.training import Progress, TrainingData, contents_of, open_training_data
from unpaired.data.transforms import height_width, load_size, training_size
from unpaired.data.values import Domain, Image, from_signed, to_signed

__all__ = [
    "HeldOut",
    "Images",
    "Material",
    "Picture",
    "Side",
    "displayed",
    "evenly",
    "open_held_out",
    "open_material",
    "shown",
    "signed_batch",
    "truth_of",
]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images of both domains, prepared alike; `pairs` are positions in A and B of those that belong together."""

    a: ImageSource
    b: ImageSource
    pairs: tuple[tuple[int, int], ...]
    """Empty where the two do not belong together."""

    def positions(self, side: Side, most: int | None = None) -> list[tuple[int, int | None]]:
        """Return (position on a side, that of its partner or None), spread evenly over all, at most `most` of them."""
        if self.pairs:
            every: list[tuple[int, int | None]] = [(a, b) if side == "a" else (b, a) for a, b in self.pairs]
        else:
            every = [(index, None) for index in range(len(self.of(side)))]
        return [every[index] for index in evenly(len(every), most)]

    def of(self, side: Side) -> ImageSource:
        """Return the images of one domain."""
        return self.a if side == "a" else self.b


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The images that a trained method is measured on."""

    images: Images
    taken_from: Literal["test", "train"]
    """Whether they are test images or, where there are none, training images."""
    domains: dict[Side, Domain]
    size: tuple[int, int] | None
    """(height, width) of all images, or None where they keep sizes of their own."""
    part: str
    """What of every image is seen, in words."""
    files: dict[Side, Sequence[ImageInfo]]
    """The files, in the order of the images."""
    notices: tuple[str, ...]
    layout: str

    def contents(self, side: Side) -> str:
        """Return a digest of what the files of one domain hold, wherever they lie."""
        return contents_of({side: self.files[side]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The data of a comparison."""

    train: Images
    """Nothing about them is random either."""
    test: Images
    test_from: Literal["test", "train"]
    """Whether the images measured on are test images or, where there are none, training images."""
    domains: dict[Side, Domain]
    size: tuple[int, int]
    """(height, width) of all images."""
    part: str
    """What of every image is seen, in words: all of it, or the middle where `data.preprocess` only crops."""
    layout: str
    notices: tuple[str, ...]
    epoch_images: dict[bool, int]
    """Images of an epoch for unpaired (False) and, where there are such, for paired (True) methods."""
    fingerprint: dict[str, Any]
    """How many images there are and a digest of their names: what a comparison that goes on must find again."""
    contents: str
    """A digest of what the files hold, which must be the same too."""

    def labels(self, side: Side) -> Labels | None:
        """Return what the label maps of a domain mean; None where it holds none."""
        return self.domains[side].labels


def open_material(config: DataConfig, *, paired: bool, progress: Progress | None = None) -> Material:
    """Find and check the images of a comparison, and bring them to the size of training: whole, or cut to the middle.

    `paired` says that a method learns from pairs, so there must be some. Raises `UserError` where images are bad,
    where they keep sizes of their own, and where there are no pairs and they are needed.
    """
    size = training_size(config)
    if size is None:
        raise UserError(
            f'a comparison needs images of one size, and data.preprocess "{config.preprocess}" leaves them sizes of '
            'their own. Use "resize_and_crop", "crop" or "scale_width_and_crop".'
        )
    whole = _whole(config)
    data = open_training_data(whole, progress=progress)
    epoch_images = {False: max(len(data.a), len(data.b))}
    if paired:
        pairs = open_training_data(whole, paired=True, progress=progress)
        epoch_images[True] = len(pairs.a)
    held_out = _held_out(data, config, paired=paired)
    return Material(
        train=Images(
            a=CentreCropped(data.a, size),
            b=CentreCropped(data.b, size),
            pairs=_pairs(data.a, data.b) if _in_pairs(data, config, paired) else (),
        ),
        test=held_out.images,
        test_from=held_out.taken_from,
        domains=held_out.domains,
        size=size,
        part=held_out.part,
        layout=data.layout,
        notices=tuple(data.notices),
        epoch_images=epoch_images,
        fingerprint=_fingerprint(data),
        contents=data.contents,
    )


def open_held_out(
    config: DataConfig, *, paired: bool, size_multiple: int = 4, progress: Progress | None = None
) -> HeldOut:
    """Find and check all images of a data set and return those to measure on, prepared as `open_material` does.

    `paired` says that the method learned from pairs, so names decide what belongs together. Images keep sizes of their
    own where `data.preprocess` does not cut them; `size_multiple` is what those are rounded to. Raises `UserError`
    where images are bad.
    """
    data = open_training_data(_whole(config), size_multiple=size_multiple, progress=progress)
    return _held_out(data, config, paired=paired)


def _held_out(data: TrainingData, config: DataConfig, *, paired: bool) -> HeldOut:
    a, b = data.held_out_a, data.held_out_b
    return HeldOut(
        images=Images(a=a, b=b, pairs=_pairs(a, b) if _in_pairs(data, config, paired) else ()),
        taken_from=data.held_out_from,
        domains={"a": data.domain_a, "b": data.domain_b},
        size=training_size(config),
        part=_part(config),
        files={"a": data.held_out_files[0], "b": data.held_out_files[1]},
        notices=tuple(notice for notice in data.notices if not notice.startswith(_OF_CACHE)),
        layout=data.layout,
    )


_OF_CACHE = "decoded images are not kept"
"""Each image is read once or twice for measuring, so that they are not kept is no news."""


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


def _whole(config: DataConfig) -> DataConfig:
    """Return the settings under which images are seen whole where training sees random crops of them."""
    whole = dataclasses.replace(config, cache="none")
    if config.preprocess == "resize_and_crop":
        whole = dataclasses.replace(whole, load_size=height_width(config.crop_size))
    return whole


def _in_pairs(data: TrainingData, config: DataConfig, paired: bool) -> bool:
    """Say whether names tell pairs. Files of one name need not belong together (1.png) unless something says so."""
    return (
        paired
        or config.side_by_side is not None
        or data.domain_a.labels is not None
        or data.domain_b.labels is not None
    )


def evenly(count: int, most: int | None) -> list[int]:
    """Return at most `most` of `count` positions, spread evenly; all of them for None."""
    chosen = count if most is None else min(most, count)
    return [index * count // chosen for index in range(chosen)]


def displayed(image: Image, domain: Domain) -> Picture:
    """Return an image as a person looks at it, [H, W, 3] uint8: label maps in colours, deep values in 8 bits."""
    if domain.labels is not None:
        return as_picture(image, domain.labels)
    levels = image if image.dtype == np.uint8 else from_signed(to_signed(image, domain.range), _EIGHT_BIT)
    kept = levels[:, :, :3] if levels.shape[2] >= 3 else np.repeat(levels[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(kept, np.uint8)


_EIGHT_BIT = Domain(channels=3)
shown = displayed  # until every room uses the new name


def _pairs(a: ImageSource, b: ImageSource) -> tuple[tuple[int, int], ...]:
    """Return the positions of images of the same name, where every image of both sides has exactly one partner."""
    names_a, names_b = (_names(source) for source in (a, b))
    at = {name: index for index, name in enumerate(names_b)}
    if len(set(names_a)) < len(names_a) or len(at) < len(names_b) or set(names_a) != set(at):
        return ()
    return tuple((index, at[name]) for index, name in enumerate(names_a))


def _names(source: ImageSource) -> list[str]:
    """Return the images' names without suffix, as paths below the folder that all lie in."""
    paths = [Path(source.name(index)) for index in range(len(source))]
    parents = [path.parent.parts for path in paths]
    common = 0
    while all(len(parts) > common for parts in parents) and len({parts[common] for parts in parents}) == 1:
        common += 1
    return ["/".join(path.with_suffix("").parts[common:]) for path in paths]


def _fingerprint(data: TrainingData) -> dict[str, Any]:
    parts = {"train_a": data.a, "train_b": data.b, "test_a": data.held_out_a, "test_b": data.held_out_b}
    names = {part: _names(source) for part, source in parts.items()}
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
    return {**{part: len(listed) for part, listed in names.items()}, "names": digest[:16]}


def signed_batch(source: ImageSource, positions: Sequence[int], domain: Domain) -> NDArray[np.float32]:
    """Return images as networks see them, [N, C, H, W] in [-1, 1]."""
    return np.stack([to_signed(source[index], domain.range).transpose(2, 0, 1) for index in positions])
