"""The photos of each step: every one once per epoch, and windows that fit their label maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelled import Source
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.evaluation.segmentation.dataset import LabelledPhotos, batch_at, position_of

LABELS = Labels(kind="index", palette=((1, 1, 1), (2, 2, 2), (3, 3, 3)), feed="one_hot")


def labelled(count: int = 5, size: int = 16, cache_bytes: int = 1 << 20) -> LabelledPhotos:
    """Return photos whose red value is the class of the pixel, times 50; class 3 is void."""
    rng = np.random.default_rng(0)
    photos, maps = [], []
    for _ in range(count):
        classes = np.kron(rng.integers(0, 4, (4, 4)), np.ones((size // 4, size // 4), int))
        photos.append(np.stack([classes * 50, classes * 0, classes * 0], axis=2).astype(np.uint8))
        maps.append((np.arange(3) == classes[:, :, None]).astype(np.uint8) * 255)
    return LabelledPhotos(Source(photos), Source(maps), Domain(channels=3), LABELS, cache_bytes=cache_bytes)


def test_every_photo_comes_once_in_each_epoch() -> None:
    for epoch in range(3):
        places = [position_of(epoch * 7 + k, 7, seed=1) for k in range(7)]
        assert sorted(places) == list(range(7))
    assert [position_of(k, 7, 1) for k in range(7)] != [position_of(k + 7, 7, 1) for k in range(7)]
    assert [position_of(k, 7, 1) for k in range(7)] != [position_of(k, 7, 2) for k in range(7)]


def test_without_changes_a_batch_is_the_photos_themselves() -> None:
    photos = labelled()
    x, y = batch_at(photos, 3, 2, 0, zoom=1.0, flip=False)
    for row, number in enumerate((3, 4)):
        signed, truth = photos.signed(position_of(number, 5, 0))
        np.testing.assert_array_equal(x[row].numpy(), signed)
        np.testing.assert_array_equal(y[row].numpy(), truth)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64


@pytest.mark.parametrize("zoom", [1.0, 2.0])
def test_photo_and_label_map_change_together(zoom: float) -> None:
    """Red says the class: inside of the enlarged squares both must agree whatever was cut and mirrored."""
    photos = labelled(size=64)
    x, y = batch_at(photos, 0, 40, 0, zoom=zoom, flip=True)
    classes = torch.where(y == 255, 3, y).float()
    red = (x[:, 0] + 1) * 255 / 2 / 50
    agree = (red - classes).abs() < 0.1
    assert agree.float().mean() > (0.999 if zoom == 1 else 0.85)
    signed = torch.stack([torch.from_numpy(photos.signed(position_of(k, 5, 0))[0]) for k in range(40)])
    same = (x == signed).flatten(1).all(1)
    if zoom == 1:
        mirrored = (x.flip(3) == signed).flatten(1).all(1)
        assert bool((same | mirrored).all())
        assert 8 < int(mirrored.sum()) < 32
    else:
        assert int(same.sum()) < 6, "windows of nearly everything are rounded up to the whole"


def test_a_photo_is_a_function_of_its_number_alone() -> None:
    photos = labelled()
    whole, truth = batch_at(photos, 0, 8, 3, zoom=1.5, flip=True)
    parts = [batch_at(photos, first, 2, 3, zoom=1.5, flip=True) for first in (0, 2, 4, 6)]
    assert torch.equal(whole, torch.cat([x for x, _ in parts]))
    assert torch.equal(truth, torch.cat([y for _, y in parts]))


def test_what_fits_into_memory_is_read_once() -> None:
    for room, reads in ((1 << 20, 5), (16 * 16 * 4 * 2, 3 * 2 + 2), (0, 10)):
        photos = labelled(cache_bytes=room)
        for index in (*range(5), *range(5)):
            photos.pair(index)
        assert photos._photos.reads == reads  # type: ignore[attr-defined]


def test_the_pixels_of_each_class_are_counted() -> None:
    photos = labelled()
    every = np.stack([photos.truth(index) for index in range(5)])
    assert photos.class_pixels(3).tolist() == [(every == k).sum() for k in range(3)]


def test_photos_and_maps_meet_by_position() -> None:
    photos = labelled()
    turned = LabelledPhotos(photos._photos, photos._maps, Domain(channels=3), LABELS, [(0, 4), (3, 1)])
    assert len(turned) == 2
    np.testing.assert_array_equal(turned.pair(1)[0], photos.pair(3)[0])
    np.testing.assert_array_equal(turned.truth(1), photos.truth(1))
