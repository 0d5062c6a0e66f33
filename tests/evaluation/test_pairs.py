"""Metrics of single images: what they compare, which images they show, what is said of them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from evaluations import batch_of, images_of, made_for, pictures, task_of
from unpaired.evaluation.dataset import signed
from unpaired.evaluation.engine import plan
from unpaired.evaluation.metrics import METRICS, find_metrics
from unpaired.evaluation.metrics.base import EXAMPLES
from unpaired.evaluation.metrics.content import EdgeDistance
from unpaired.evaluation.metrics.pairs import L1, LPIPS, MOST_DECIBELS, PSNR, InputL1, ReconstructionL1
from unpaired.metrics.paired import l1
from unpaired.metrics.structure import edge_distance


class Brightness:
    """In place of LPIPS: the difference of the means."""

    name, fingerprint, input = "LPIPS (brightness)", "1", "as it is"

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return (x.mean((1, 2, 3)) - y.mean((1, 2, 3))).abs()


def test_pairs_of_small_images_leave_out_what_needs_large_ones() -> None:
    task = task_of(images_of(pictures(3, 8, seed=1)), images_of(pictures(3, 8)))
    paired = find_metrics(["paired"])["paired"]
    chosen = plan(task, paired)
    assert [metric.name for metric in chosen.metrics] == ["l1", "psnr"]
    [told] = chosen.notes
    assert "SSIM" in told
    assert "11 x 11" in told
    assert "8 x 8" in told
    assert any("MS-SSIM" in told for told in plan(task, paired, asked=["ms_ssim"]).notes), "asked for, it is said"


def test_true_images_of_other_sizes_are_resized_to_the_translations() -> None:
    task = task_of(images_of(pictures(2, 24)), images_of(pictures(2, 40)))
    metric = made_for(LPIPS, task, lpips=Brightness())
    metric.update(batch_of(task, pictures(2, 24)))
    found = metric.compute()
    assert (found.name, found.title) == ("lpips", "LPIPS (brightness) to the true image")
    assert found.protocol["features_fingerprint"] == "1"
    assert "2 true images have other sizes" in metric.warnings()[0]


def test_identical_images_count_as_many_decibels() -> None:
    images = pictures(2, 24)
    task = task_of(images_of(images), images_of(images))
    metric = made_for(PSNR, task)
    metric.update(batch_of(task, [images[0], 255 - images[1]]))
    other = 10 * np.log10(4 / np.square(2 * (images[1] / 127.5 - 1)).mean())
    found = metric.compute()
    assert found.value == pytest.approx((MOST_DECIBELS + other) / 2, rel=1e-4)
    assert "1 of 2 images are identical" in found.note


def test_the_worst_reconstructions_are_shown_worst_first() -> None:
    inputs = [np.full((64, 64, 3), 100, np.uint8)] * 9
    back = [np.full((64, 64, 3), 100 + step, np.uint8) for step in (3, 60, 1, 9, 40, 0, 20, 7, 5)]
    task = task_of(images_of(inputs), images_of(inputs))
    metric = made_for(ReconstructionL1, task)
    metric.update(batch_of(task, inputs, back))
    [picture] = metric.pictures()
    assert picture.file == "worst_reconstruction_a2b.png"
    assert f"{EXAMPLES} rows" in picture.alt
    shown = np.asarray(Image.open(io.BytesIO(picture.content)))
    rows = [int(np.nonzero((shown == step).all(2).any(1))[0].mean()) for step in (60, 40, 20, 9)]  # differences
    assert rows == sorted(rows)
    assert not any((shown == step).all(2).any() for step in (3, 5, 7))
    domain = task.target
    assert metric.compute().value == pytest.approx(float(l1(signed(back, domain), signed(inputs, domain)).mean()))


def test_a_reconstruction_that_is_not_finite_is_named() -> None:
    images = pictures(2, 24)
    task = task_of(images_of(images), images_of(images))
    metric = made_for(ReconstructionL1, task)
    metric.update(replace(batch_of(task, images), not_finite="1.png"))
    found = metric.compute()
    assert found.value is None
    assert "1.png" in found.note


def test_content_is_compared_at_the_size_of_the_translation_and_grey_as_colour() -> None:
    grey, fakes = [image[:, :, :1] for image in pictures(2, 40)], pictures(2, 24, seed=1)
    task = task_of(images_of(grey), images_of(pictures(2, 24)))
    metric = made_for(EdgeDistance, task)
    batch = batch_of(task, fakes)
    metric.update(batch)
    expected = edge_distance(batch.input_at_size.expand(-1, 3, -1, -1), batch.fake)
    assert metric.compute().value == pytest.approx(float(expected.mean()), rel=1e-6)
    assert [one.file for one in metric.pictures()] == ["best_structure_edges_a2b.png", "worst_structure_edges_a2b.png"]


def test_l1_is_to_the_true_image_and_input_l1_to_the_input() -> None:
    inputs, real, fakes = (pictures(3, 16, seed=seed) for seed in range(3))
    task = task_of(images_of(inputs), images_of(real))
    batch = batch_of(task, fakes)
    for metric, others in ((L1, real), (InputL1, inputs)):
        made = made_for(metric, task)
        made.update(batch)
        expected = [np.abs(x / 127.5 - y / 127.5).mean() for x, y in zip(fakes, others, strict=True)]
        assert made.compute().value == pytest.approx(np.mean(expected), rel=1e-5)
        assert made.compute().error == pytest.approx(np.std(expected, ddof=1) / np.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_describes_itself(name: str) -> None:
    from unpaired.report.results import GROUPS

    metric: Any = METRICS[name]
    assert metric.name == name
    assert metric.title
    assert metric.__doc__
    assert metric.group in GROUPS
    assert metric.needs
    assert torch.is_tensor(torch.zeros(metric.smallest))
