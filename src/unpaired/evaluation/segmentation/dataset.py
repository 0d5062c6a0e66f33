"""Photos with their label maps at one size, in pairs: found, checked, and drawn for every step of a training.

The k-th photo of a training is a function of (seed, k) alone, as in `data.loader`, so a training that resumes needs no
state but the number of images seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, final

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.data.directions import other
from unpaired.data.held_out import Dataset, open_dataset
from unpaired.data.labels import Indices, Labels, decoded
from unpaired.data.source import ImageSource
from unpaired.data.training import Progress
from unpaired.data.transforms import crop_offsets, resize_nearest
from unpaired.data.values import Domain, Image, filled, to_signed

CACHE_BYTES = 2 << 30
"""Decoded photos and label maps are kept in memory up to this much; what does not fit is read each time."""
Photos = NDArray[np.float32]
"""[C, H, W] or [N, C, H, W] in [-1, 1]."""
_ORDER, _CHANGES = 0, 1


@final
class LabelledPhotos:
    """Pairs of a photo and the classes of its pixels, by position."""

    def __init__(
        self,
        photos: ImageSource,
        maps: ImageSource,
        domain: Domain,
        labels: Labels,
        pairs: Sequence[tuple[int, int]] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """`domain` is that of the photos; `pairs` are positions in photos and maps, equal ones by default."""
        self._photos, self._maps, self._domain, self._labels = photos, maps, domain, labels
        self._pairs = [(index, index) for index in range(len(photos))] if pairs is None else pairs
        self._cache: dict[int, tuple[Image, Indices]] = {}
        self._room = cache_bytes

    def __len__(self) -> int:
        return len(self._pairs)

    def pair(self, index: int) -> tuple[Image, Indices]:
        """Return a photo [H, W, C] in its own dtype, and its classes, uint8 [H, W] (`VOID` where there is none)."""
        if index in self._cache:
            return self._cache[index]
        photo, truth = self._photos[self._pairs[index][0]], self.truth(index)
        size = photo.nbytes + truth.nbytes
        if size <= self._room:
            self._room -= size
            self._cache[index] = photo, truth
        return photo, truth

    def truth(self, index: int) -> Indices:
        """Return the classes of one photo's pixels, uint8 [H, W]; `VOID` where there is none."""
        if index in self._cache:
            return self._cache[index][1]
        return decoded(self._maps[self._pairs[index][1]], self._labels)

    def signed(self, index: int) -> tuple[Photos, Indices]:
        """Return a photo as networks see it, float32 [C, H, W] in [-1, 1], and its classes."""
        photo, truth = self.pair(index)
        return filled(to_signed(photo, self._domain.range))[0].transpose(2, 0, 1), truth

    def class_pixels(self, classes: int) -> NDArray[np.int64]:
        """Return how many pixels each class has in all label maps, [classes]."""
        counts = np.zeros(256, np.int64)
        for index in range(len(self)):
            counts += np.bincount(self.truth(index).ravel(), minlength=256)
        return counts[:classes]


def batch_at(
    photos: LabelledPhotos, first: int, size: int, seed: int, *, zoom: float, flip: bool
) -> tuple[Tensor, Tensor]:
    """Return `size` photos from the `first`-th on, float32 [N, C, H, W] in [-1, 1], and their classes, int64 [N, H, W].

    Each is a random window of 1 / `zoom` to all of the height and width, enlarged to the whole (photos bilinear,
    classes by the nearest pixel), and every second one is flipped where `flip` is set.
    """
    pairs = [_augmented(photos, number, seed, zoom, flip) for number in range(first, first + size)]
    return torch.stack([photo for photo, _ in pairs]), torch.stack([truth for _, truth in pairs])


def position_of(number: int, count: int, seed: int) -> int:
    """Return which of `count` photos is the `number`-th of a training: every epoch has an order of its own."""
    epoch, place = divmod(number, count)
    return int(_order(count, seed, epoch)[place])


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(count)


def _augmented(photos: LabelledPhotos, number: int, seed: int, zoom: float, flip: bool) -> tuple[Tensor, Tensor]:
    signed, classes = photos.signed(position_of(number, len(photos), seed))
    u = np.random.default_rng([_CHANGES, seed, number]).random(4)
    whole = (classes.shape[0], classes.shape[1])
    share = 1 - float(u[3]) * (1 - 1 / zoom)
    window = (max(1, round(whole[0] * share)), max(1, round(whole[1] * share)))
    top, left = crop_offsets(whole, window, u.tolist())
    rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
    photo = torch.from_numpy(np.ascontiguousarray(signed[:, rows, columns]))
    if window != whole:
        photo = nnf.interpolate(photo[None], whole, mode="bilinear", align_corners=False)[0]
    truth = torch.from_numpy(resize_nearest(classes[rows, columns], whole).astype(np.int64))
    return (photo.flip(2), truth.flip(1)) if flip and u[2] < 0.5 else (photo, truth)


# --------------------------------------------------------------------------------------------------- a labelled dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledData:
    """What a segmenter learns from, and what it is evaluated on."""

    train: LabelledPhotos
    held_out: LabelledPhotos
    labels: Labels
    photos: Domain
    size: tuple[int, int]
    """(height, width) of all photos."""
    config: DataConfig
    """The settings as they were given, with what was found in the files."""
    found: Dataset
    """The images of both domains, and what is known of them."""


def open_labelled(config: DataConfig, *, progress: Progress | None = None) -> LabelledData:
    """Find, check and pair photos and label maps, whole and at `data.crop_size`.

    Exactly one domain holds label maps (`data.labels_a` or `data.labels_b`). Raises `UserError`.
    """
    side = label_side(config)
    # One channel per class says more than colours where a class is black.
    one_hot: dict[str, Any] = {
        name: None if setting is None else replace(setting, feed="one_hot")
        for name, setting in (("labels_a", config.labels_a), ("labels_b", config.labels_b))
    }
    data = open_dataset(
        replace(config, **one_hot), aligned=True, one_size="a segmenter", size_multiple=4, progress=progress
    )
    photos, labels = data.domains[other(side)], data.labels(side)
    assert data.size is not None
    assert labels is not None
    train, held_out = (
        LabelledPhotos(split.of(other(side)), split.of(side), photos, labels) for split in (data.train, data.test)
    )
    return LabelledData(
        train=train,
        held_out=held_out,
        labels=labels,
        photos=photos,
        size=data.size,
        config=replace(config, labels_a=_found(config.labels_a, labels), labels_b=_found(config.labels_b, labels)),
        found=data,
    )


def _found(setting: LabelsConfig | None, labels: Labels) -> LabelsConfig | None:
    """Return the setting with the palette that was found in the files."""
    return None if setting is None else replace(setting, palette=labels.palette)


def label_side(config: DataConfig) -> Literal["a", "b"]:
    """Return which domain holds the label maps; UserError where none does, or both."""
    given = [name for name, labels in (("a", config.labels_a), ("b", config.labels_b)) if labels is not None]
    if len(given) == 2:
        raise UserError(
            "data.labels_a and data.labels_b are both given, and a segmenter needs photos in one of the two domains. "
            "Leave one of them out."
        )
    if not given:
        raise UserError(
            "which images are label maps is not known. Say so with --set data.labels_a.kind=index (class indices) or "
            "colour (a colour per class); data.labels_b where domain B holds them. In folders train and trainannot the "
            "label maps are domain A."
        )
    return "a" if config.labels_a is not None else "b"


def refuse_unused(config: DataConfig) -> None:
    """Raise `UserError` where a setting was given that means nothing to a segmenter."""
    others = {
        "cache": "photos are kept decoded in memory, up to 2 GiB",
        "flip": "whether photos are flipped is segmenter.flip",
        "load_size": "photos are seen whole; how far random windows of them are enlarged is segmenter.zoom",
    }
    for name, why in others.items():
        if config.is_set(name) and not (name == "load_size" and config.preprocess != "resize_and_crop"):
            raise UserError(f"data.{name} is not a setting of segmenters: {why}. Leave data.{name} out.")
