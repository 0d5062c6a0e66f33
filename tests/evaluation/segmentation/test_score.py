"""The scores of labelled photos against counts by hand, and the two bounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelled import Source
from unpaired.core.errors import UserError
from unpaired.data.labels import VOID, Labels
from unpaired.data.values import Domain
from unpaired.evaluation.segmentation.dataset import LabelledPhotos
from unpaired.evaluation.segmentation.score import LabelBounds, derangement, score_photos, scores_to_json
from unpaired.evaluation.segmentation.segmenter import Description, Segmenter
from unpaired.metrics.confusion import Confusion, Scores
from unpaired.networks.fcn import Fcn8s, FcnConfig

LABELS = Labels(kind="index", palette=((1, 1, 1), (2, 2, 2), (3, 3, 3)), names=("sky", "road", "tree"), void=(9,))
ONE_HOT = dataclasses.replace(LABELS, feed="one_hot")


class Redness(nn.Module):
    """Labels by the red value in [-1, 1]: below -0.5 class 0, to 0.5 class 1, above class 2."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = 3
        self.sizes: list[tuple[int, int]] = []

    def forward(self, photos: Tensor) -> Tensor:
        self.sizes.append((photos.shape[2], photos.shape[3]))
        red = photos[:, :1]
        return torch.cat([-(red - value).abs() for value in (-0.9, 0.0, 0.9)], 1)


def by_redness(size: tuple[int, int] = (8, 8), labels: Labels = LABELS) -> Segmenter:
    description = Description(
        network=FcnConfig(),
        labels=labels,
        photos=Domain(channels=3),
        size=size,
        origin="red",
        training={"pairs": 1, "images_seen": 1},
        held_out={},
    )
    network: Fcn8s = Redness()  # type: ignore[assignment]
    return Segmenter(network, description, torch.device("cpu"), fingerprint="red")


def photo_of(classes: np.ndarray) -> np.ndarray:
    photos = np.zeros((3, *classes.shape), np.float32)
    photos[0] = np.array([-0.9, 0.0, 0.9], np.float32)[classes]
    return photos


def test_scores_by_hand() -> None:
    """Two photos of 4 columns: 0 0 1 2 and 0 0 0 0 are seen; 0 1 1 void and 1 0 void 2 are true."""
    seen = [np.array([[0, 0, 1, 2]]), np.array([[0, 0, 0, 0]])]
    true = [np.array([[0, 1, 1, VOID]], np.uint8), np.array([[1, 0, VOID, 2]], np.uint8)]
    bounds = LabelBounds(3, lambda index: true[index], 2)
    for index, found in enumerate(seen):
        bounds.add(index, found.astype(np.uint8))
    own, shuffled = (bounds.scores()[name] for name in ("real_photos", "shuffled_labels"))
    # True class (row) by found class: 0: 2 0 0, 1: 2 1 0, 2: 1 0 0.
    assert own.pixel_accuracy == pytest.approx(3 / 6, abs=1e-12)
    assert own.class_accuracy == pytest.approx((1 + 1 / 3 + 0) / 3, abs=1e-12)
    assert own.class_iou == pytest.approx((2 / 5 + 1 / 3 + 0) / 3, abs=1e-12)
    # With each other's label map: 1 0 2 beside 0 0 2, and 0 1 1 beside 0 0 0.
    assert shuffled.pixel_accuracy == pytest.approx((2 + 1) / 6, abs=1e-12)
    document = scores_to_json(own, LABELS)
    assert [each["name"] for each in document["classes"]] == ["sky", "road", "tree"]
    assert document["classes"][2]["iou"] == 0


def test_photos_are_labelled_at_the_size_of_the_training_and_compared_at_that_of_their_labels() -> None:
    segmenter = by_redness((6, 8))
    classes = np.kron(np.array([[0, 1], [2, 0]]), np.ones((6, 8), int))
    found = segmenter(photo_of(classes)[None])
    np.testing.assert_array_equal(found[0], classes)
    assert found.dtype == np.uint8
    assert segmenter.network.sizes == [(6, 8)]  # type: ignore[union-attr, comparison-overlap]
    small = segmenter(photo_of(np.kron(np.array([[0, 1], [2, 0]]), np.ones((3, 4), int)))[None], (12, 16))
    np.testing.assert_array_equal(small[0], classes)
    assert segmenter.notice_for((6, 8)) is None
    notice = segmenter.notice_for((12, 16))
    assert notice is not None
    assert "12 x 16" in notice
    assert "6 x 8" in notice


def test_labels_are_the_same_in_batches_of_any_size() -> None:
    photos = np.random.default_rng(0).uniform(-1, 1, (11, 3, 8, 8)).astype(np.float32)
    segmenter = by_redness()
    parts = [segmenter(photos[start : start + 2]) for start in range(0, 11, 2)]
    np.testing.assert_array_equal(segmenter(photos), np.concatenate(parts))
    np.testing.assert_array_equal(segmenter(torch.from_numpy(photos)), np.concatenate(parts))


def test_void_classes_are_never_named() -> None:
    labels = Labels(kind="colour", palette=((9, 9, 9), (2, 2, 2), (3, 3, 3)), void=(0,))
    found = by_redness(labels=labels)(photo_of(np.zeros((4, 4), int))[None])
    assert set(np.unique(found)) == {1}
    document = scores_to_json(_scores(np.array([1, 2]), np.array([1, 2])), labels)
    assert [each["name"] for each in document["classes"]] == ["class 1", "class 2"]


@pytest.mark.parametrize("count", [2, 3, 10, 233])
def test_in_a_derangement_nothing_stays(count: int) -> None:
    orders = [derangement(count, seed) for seed in range(5)]
    for order in orders:
        assert sorted(order) == list(range(count))
        assert all(place != other for place, other in enumerate(order))
    assert count < 10 or orders[0] != orders[1]
    assert derangement(1, 0) == [0]
    assert derangement(count, 3) == derangement(count, 3)


def test_the_bounds_against_all_photos_at_once() -> None:
    rng = np.random.default_rng(1)
    truths = [np.kron(rng.integers(0, 4, (2, 2)), np.ones((4, 4), int)) for _ in range(9)]
    seen = [np.where(truth == 3, 0, truth) for truth in truths]
    photos = [np.rint((photo_of(each).transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8) for each in seen]
    maps = [(np.arange(3) == truth[:, :, None]).astype(np.uint8) * 255 for truth in truths]
    labelled = LabelledPhotos(Source(photos), Source(maps), Domain(channels=3), ONE_HOT)
    progress: list[tuple[int, int]] = []
    bounds = score_photos(
        by_redness(), labelled, seed=4, progress=lambda _, done, total: progress.append((done, total))
    )
    assert bounds["real_photos"].pixel_accuracy == bounds["real_photos"].class_iou == 1.0
    others = derangement(9, 4)
    wrong = np.stack([truths[other] for other in others])
    assert bounds["shuffled_labels"] == _scores(np.where(wrong == 3, VOID, wrong), np.stack(seen))
    assert bounds["shuffled_labels"].class_iou < 0.6
    assert progress == [(8, 9), (9, 9)]
    assert score_photos(by_redness(), labelled, most=1).keys() == {"real_photos"}, "there is no other one"


def test_a_label_map_of_void_alone_counts_nowhere_and_nothing_else_is_an_error() -> None:
    truth = np.zeros((8, 8), int)
    photo = np.rint((photo_of(truth).transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
    maps = [(np.arange(3) == truth[:, :, None]).astype(np.uint8) * 255, np.zeros((8, 8, 3), np.uint8)]
    labelled = LabelledPhotos(Source([photo, photo]), Source(maps), Domain(channels=3), ONE_HOT)
    maps[0][4:] = 0
    found = score_photos(by_redness(), labelled)
    assert found["real_photos"].pixel_accuracy == 1.0
    assert "shuffled_labels" in found
    empty = LabelledPhotos(Source([photo, photo]), Source([maps[1], maps[1]]), Domain(channels=3), ONE_HOT)
    with pytest.raises(UserError, match="hold void alone"):
        score_photos(by_redness(), empty)


def _scores(truth: np.ndarray, predicted: np.ndarray) -> Scores:
    confusion = Confusion(3)
    confusion.add(truth, predicted)
    return confusion.scores()
