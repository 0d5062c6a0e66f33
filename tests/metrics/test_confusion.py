"""The confusion matrix and its scores against hand-computed cases and a pixel-by-pixel count."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unpaired.metrics.confusion import Confusion


def test_a_case_by_hand() -> None:
    confusion = Confusion(3)
    confusion.add(np.array([[0, 0, 1], [1, 1, 2]]), np.array([[0, 1, 1], [1, 0, 2]]))
    assert confusion.counts.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 1]]
    scores = confusion.scores()
    assert scores.pixel_accuracy == pytest.approx(4 / 6, abs=1e-12)
    assert scores.class_accuracy == pytest.approx((1 / 2 + 2 / 3 + 1) / 3, abs=1e-12)
    assert scores.class_iou == pytest.approx((1 / 3 + 2 / 4 + 1) / 3, abs=1e-12)
    assert [c.pixels for c in scores.classes] == [2, 3, 1]
    assert [c.predicted for c in scores.classes] == [2, 3, 1]


def test_void_is_passed_over_whatever_was_predicted_there() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([0, 255, 1, -1]), np.array([0, 1, 1, 250]))
    assert confusion.scores().pixel_accuracy == 1.0
    assert confusion.counts.sum() == 2


def test_classes_that_are_nowhere_count_in_no_mean_and_invented_ones_count_in_the_iou() -> None:
    confusion = Confusion(4)  # 0 right, 1 taken for 2; 2 is predicted only, 3 is nowhere
    confusion.add(np.array([0, 0, 1, 1]), np.array([0, 0, 2, 1]))
    scores = confusion.scores()
    assert scores.class_accuracy == pytest.approx((1 + 1 / 2) / 2, abs=1e-12)
    assert scores.class_iou == pytest.approx((1 + 1 / 2 + 0) / 3, abs=1e-12)
    assert math.isnan(scores.classes[2].accuracy)
    assert scores.classes[2].iou == 0
    assert math.isnan(scores.classes[3].iou)


def test_it_is_one_matrix_and_not_a_mean_of_images() -> None:
    both = Confusion(2)
    both.add(np.array([0]), np.array([0]))
    both.add(np.array([0, 0, 0]), np.array([1, 1, 1]))
    assert both.scores().pixel_accuracy == 1 / 4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_random_maps_against_a_count_pixel_by_pixel(classes: int, pixels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes + 1, pixels).astype(np.uint8)  # `classes` itself is void
    predicted = rng.integers(0, classes, pixels).astype(np.uint8)
    truth[0] = 0
    confusion = Confusion(classes)
    for part in np.array_split(np.arange(pixels), 3):
        confusion.add(truth[part], predicted[part])
    counted = [(int(t), int(p)) for t, p in zip(truth, predicted, strict=True) if t < classes]
    accuracies, ious = [], []
    for label in range(classes):
        right = sum(t == p == label for t, p in counted)
        true = sum(t == label for t, _ in counted)
        either = sum(label in pair for pair in counted)
        if true:
            accuracies.append(right / true)
        if either:
            ious.append(right / either)
    scores = confusion.scores()
    assert abs(scores.pixel_accuracy - sum(t == p for t, p in counted) / len(counted)) < 1e-12
    assert abs(scores.class_accuracy - math.fsum(accuracies) / len(accuracies)) < 1e-12
    assert abs(scores.class_iou - math.fsum(ious) / len(ious)) < 1e-12


def test_it_agrees_with_the_published_script_where_every_class_appears() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 19, (2, 64, 64))
    confusion = Confusion(19)
    confusion.add(truth, predicted)
    hist = np.bincount(19 * truth.ravel() + predicted.ravel(), minlength=361).reshape(19, 19)
    expected = (
        np.diag(hist).sum() / (hist.sum() + 1e-12),
        np.nanmean(np.diag(hist) / (hist.sum(1) + 1e-12)),
        np.nanmean(np.diag(hist) / (hist.sum(1) + hist.sum(0) - np.diag(hist) + 1e-12)),
    )
    scores = confusion.scores()
    found = (scores.pixel_accuracy, scores.class_accuracy, scores.class_iou)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("truth", "predicted", "words"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "different shapes"),
        (np.zeros(2), np.zeros(2, int), "true labels must be whole numbers"),
        (np.zeros(2, int), np.array([0, 2]), "0 .. 1"),
        (np.zeros(2, int), np.array([0, -1]), "0 .. 1"),
    ],
)
def test_what_is_no_label_map_is_refused(truth: np.ndarray, predicted: np.ndarray, words: str) -> None:
    confusion = Confusion(2)
    with pytest.raises(ValueError, match=words):
        confusion.add(truth, predicted)
    assert not confusion.counts.any()


def test_no_pixels_have_no_score() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        Confusion(3).scores()
    only_void = Confusion(2)
    only_void.add(np.array([255, 255]), np.array([0, 1]))
    with pytest.raises(ValueError, match="everything was void"):
        only_void.scores()
    with pytest.raises(ValueError, match="at least one class"):
        Confusion(0)


@pytest.mark.parametrize("seed", range(5))
def test_random_maps_against_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted, confusion = _random_maps(seed)
    known = truth != 255
    present = np.union1d(truth[known], predicted[known])
    scores = confusion.scores()
    labels = np.arange(len(confusion.counts))
    expected = metrics.confusion_matrix(truth[known], predicted[known], labels=labels)
    np.testing.assert_array_equal(confusion.counts, expected)
    assert scores.pixel_accuracy == pytest.approx(metrics.accuracy_score(truth[known], predicted[known]), abs=1e-12)
    recall = metrics.recall_score(truth[known], predicted[known], labels=np.unique(truth[known]), average="macro")
    assert scores.class_accuracy == pytest.approx(recall, abs=1e-12)
    iou = metrics.jaccard_score(truth[known], predicted[known], labels=present, average="macro")
    assert scores.class_iou == pytest.approx(iou, abs=1e-12)
    each = metrics.jaccard_score(truth[known], predicted[known], labels=present, average=None)
    np.testing.assert_allclose([scores.classes[index].iou for index in present], each, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_random_maps_against_torchmetrics(seed: int) -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    torch = pytest.importorskip("torch")
    truth, predicted, confusion = _random_maps(seed)
    classes = len(confusion.counts)
    maps = torch.from_numpy(predicted.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))
    matrix = classification.MulticlassConfusionMatrix(classes, ignore_index=255)(*maps)
    np.testing.assert_array_equal(confusion.counts, matrix.numpy())
    # Its other figures are float32 and leave out absent classes in ways of their own.
    accuracy = classification.MulticlassAccuracy(classes, average="micro", ignore_index=255)(*maps)
    assert confusion.scores().pixel_accuracy == pytest.approx(float(accuracy), abs=1e-6)


def _random_maps(seed: int) -> tuple[np.ndarray, np.ndarray, Confusion]:
    """Return maps of 3 images with void, a class that is nowhere, and one that the truth lacks; and their matrix."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 2, 3, 255], (3, 20, 30), p=[0.5, 0.2, 0.15, 0.05, 0.1]).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.6, truth % 4, rng.choice([0, 1, 2, 3, 5], truth.shape))
    confusion = Confusion(6)
    for one, other in zip(truth, predicted, strict=True):
        confusion.add(one, other)
    return truth, predicted.astype(np.uint8), confusion
