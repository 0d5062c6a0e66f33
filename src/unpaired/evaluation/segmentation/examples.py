"""What a training sees at each step: the order of the photos, and random crops and flips of them.

The k-th photo of a training is a function of (seed, k) alone, as in `data.sampler`, so a training that goes on needs no
state but the number of images seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from unpaired.data.transforms import crop_offsets, resize_nearest
from unpaired.evaluation.segmentation.dataset import LabelledPhotos

_ORDER, _CHANGES = 0, 1


def batch_at(
    photos: LabelledPhotos, first: int, size: int, seed: int, *, zoom: float, flip: bool
) -> tuple[Tensor, Tensor]:
    """Return `size` photos from the `first`-th on, float32 [N, C, H, W] in [-1, 1], and their classes, int64 [N, H, W].

    Each is a random window of 1 / `zoom` to all of the height and width, enlarged to the whole (photos bilinear,
    classes by the nearest pixel), and every second one is mirrored where `flip` is set.
    """
    pairs = [_changed(photos, number, seed, zoom, flip) for number in range(first, first + size)]
    return torch.stack([photo for photo, _ in pairs]), torch.stack([truth for _, truth in pairs])


def position_of(number: int, count: int, seed: int) -> int:
    """Return which of `count` photos is the `number`-th of a training: every epoch has an order of its own."""
    epoch, place = divmod(number, count)
    return int(_order(count, seed, epoch)[place])


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(count)


def _changed(photos: LabelledPhotos, number: int, seed: int, zoom: float, flip: bool) -> tuple[Tensor, Tensor]:
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
