"""Photos with their label maps, at one size and in pairs, as the project's data room finds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig
from unpaired.data.held_out import evenly
from unpaired.data.labels import VOID, Indices, Labels
from unpaired.data.source import CentreCropped, ImageSource
from unpaired.data.training import Progress, open_training_data, with_found_labels
from unpaired.data.transforms import height_width, training_size
from unpaired.data.values import Domain, Image, to_signed

KEPT_BYTES = 2 << 30
"""Decoded photos and label maps are kept in memory up to this much; what does not fit is read each time."""
Photos = NDArray[np.float32]
"""[C, H, W] or [N, C, H, W] in [-1, 1]."""


@final
class LabelledPhotos:
    """Pairs of a photo and the classes of its pixels, by position."""

    def __init__(self, photos: ImageSource, maps: ImageSource, domain: Domain, keep_bytes: int = KEPT_BYTES) -> None:
        assert len(photos) == len(maps)
        self._photos, self._maps, self._domain = photos, maps, domain
        self._kept: dict[int, tuple[Image, Indices]] = {}
        self._room = keep_bytes

    def __len__(self) -> int:
        """Return how many pairs there are."""
        return len(self._photos)

    def name(self, index: int) -> str:
        """Return the photo's name."""
        return self._photos.name(index)

    def pair(self, index: int) -> tuple[Image, Indices]:
        """Return a photo [H, W, C] in its own dtype, and its classes, uint8 [H, W] (`VOID` where there is none)."""
        if index in self._kept:
            return self._kept[index]
        photo, truth = self._photos[index], self.truth(index)
        size = photo.nbytes + truth.nbytes
        if size <= self._room:
            self._room -= size
            self._kept[index] = photo, truth
        return photo, truth

    def truth(self, index: int) -> Indices:
        """Return the classes of one photo's pixels, uint8 [H, W]; `VOID` where there is none."""
        if index in self._kept:
            return self._kept[index][1]
        spread = self._maps[index]  # one channel per class, which is exact whatever the palette's colours are
        classes: Indices = np.argmax(spread, axis=2).astype(np.uint8)
        classes[~spread.any(axis=2)] = VOID
        return classes

    def signed(self, index: int) -> tuple[Photos, Indices]:
        """Return a photo as networks see it, float32 [C, H, W] in [-1, 1], and its classes."""
        photo, truth = self.pair(index)
        return to_signed(photo, self._domain.range).transpose(2, 0, 1), truth

    def batches(self, size: int, most: int | None = None) -> Iterator[tuple[Photos, Indices]]:
        """Yield photos [N, C, H, W] in [-1, 1] with their classes [N, H, W]; `most` of them, spread evenly."""
        positions = evenly(len(self), most)
        for start in range(0, len(positions), size):
            pairs = [self.signed(index) for index in positions[start : start + size]]
            yield np.stack([photo for photo, _ in pairs]), np.stack([truth for _, truth in pairs])


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a segmenter learns from, and what it is measured on."""

    train: LabelledPhotos
    held_out: LabelledPhotos
    held_out_from: Literal["test", "train"]
    """Whether the held-out photos are test photos or, where there are none, training photos."""
    labels: Labels
    photos: Domain
    size: tuple[int, int]
    """(height, width) of all photos."""
    config: DataConfig
    """The settings as they were given, with what was found in the files."""
    contents: str
    """A digest of what the files hold."""
    notices: tuple[str, ...]


def open_labelled(config: DataConfig, *, progress: Progress | None = None) -> Material:
    """Find, check and pair photos and label maps, whole and at `data.crop_size`.

    Exactly one domain holds label maps (`data.labels_a` or `data.labels_b`). Raises `UserError`.
    """
    size = training_size(config)
    if size is None:
        raise UserError(
            f'a segmenter learns from photos of one size, and data.preprocess "{config.preprocess}" leaves them sizes '
            'of their own. Use "resize_and_crop", "crop" or "scale_width_and_crop".'
        )
    side = label_side(config)
    _refuse_unused(config)
    whole = _one_hot(dataclasses.replace(config, cache="none"))
    if config.preprocess == "resize_and_crop":
        whole = dataclasses.replace(whole, load_size=height_width(config.crop_size))
    data = open_training_data(whole, paired=True, progress=progress)
    a, b = CentreCropped(data.a, size), CentreCropped(data.b, size)
    domains = {"a": data.domain_a, "b": data.domain_b}
    labels, domain = domains[side].labels, domains["b" if side == "a" else "a"]
    assert labels is not None
    sides = (
        ((b, a), (data.held_out_b, data.held_out_a)) if side == "a" else ((a, b), (data.held_out_a, data.held_out_b))
    )
    train, held_out = (LabelledPhotos(photos, maps, domain) for photos, maps in sides)
    return Material(
        train=train,
        held_out=held_out,
        held_out_from=data.held_out_from,
        labels=labels,
        photos=domain,
        size=size,
        config=with_found_labels(config, data),
        contents=data.contents,
        notices=tuple(notice for notice in data.notices if not notice.startswith("decoded images are not kept")),
    )


def label_side(config: DataConfig) -> Literal["a", "b"]:
    """Return which domain holds the label maps; UserError where none does, or both."""
    if config.labels_a is not None and config.labels_b is not None:
        raise UserError(
            "data.labels_a and data.labels_b are both given, and a segmenter needs photos in one of the two domains. "
            "Leave one of them out."
        )
    if config.labels_a is None and config.labels_b is None:
        raise UserError(
            "which images are label maps is not known. Say so with --set data.labels_a.kind=index (class indices) or "
            "--set data.labels_a.kind=colour (a colour per class); data.labels_b where domain B holds them. In folders "
            "train and trainannot the label maps are domain A."
        )
    return "a" if config.labels_a is not None else "b"


def class_pixels(photos: LabelledPhotos, classes: int) -> NDArray[np.int64]:
    """Return how many pixels each class has in all label maps, [classes]."""
    counts = np.zeros(256, np.int64)
    for index in range(len(photos)):
        counts += np.bincount(photos.truth(index).ravel(), minlength=256)
    return counts[:classes]


def _refuse_unused(config: DataConfig) -> None:
    """Refuse settings of translators' training data that mean nothing here."""
    others = (
        ("cache", config.cache != "auto", "photos are kept decoded in memory, up to 2 GiB"),
        ("flip", not config.flip, "whether photos are mirrored is segmenter.flip"),
        (
            "load_size",
            config.load_size is not None and config.preprocess == "resize_and_crop",
            "photos are seen whole; how far random windows of them are enlarged is segmenter.zoom",
        ),
    )
    for name, given, why in others:
        if given:
            raise UserError(f"data.{name} is not a setting of segmenters: {why}. Leave data.{name} out.")


def _one_hot(config: DataConfig) -> DataConfig:
    """Have label maps spread over one channel per class, which says more than colours where a class is black."""
    labels: dict[str, Any] = {
        name: None if setting is None else dataclasses.replace(setting, feed="one_hot")
        for name, setting in (("labels_a", config.labels_a), ("labels_b", config.labels_b))
    }
    return dataclasses.replace(config, **labels)
