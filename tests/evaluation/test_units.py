"""Errors in the unit of the data, and pixels without a value in metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evaluations import batch_of, images_of, made_for, pictures, task_of
from unpaired.data.values import Domain
from unpaired.evaluation.engine import plan, protocol_facts
from unpaired.evaluation.metrics import METRICS
from unpaired.evaluation.metrics.pairs import L1, PSNR, SSIM
from unpaired.evaluation.metrics.units import UnitErrors

HU = Domain(channels=1, dtype="int16", range=(-1024, 3071), unit="HU")


def test_errors_are_in_the_unit_and_leave_gaps_out() -> None:
    truth = np.full((16, 16, 1), 100, np.int16)
    gaps = truth.astype(np.float32)
    gaps[:8] = np.nan
    fakes = [truth + 10, np.where(np.arange(16)[:, None, None] < 8, 3000, 80).astype(np.int16) + np.zeros_like(truth)]
    task = task_of(images_of(fakes, HU), images_of([truth, gaps], HU))
    metric = made_for(UnitErrors, task)
    metric.update(batch_of(task, fakes))
    found = {figure.name: figure for figure in metric.compute()}
    assert {name: figure.value for name, figure in found.items()} == {"mae": 15, "rmse": 15, "bias": -5}
    assert {figure.unit for figure in found.values()} == {"HU"}
    tenths = replace(task, real=images_of([truth, gaps], replace(HU, unit="0.1 K")))
    other = made_for(UnitErrors, tenths)
    other.update(batch_of(tenths, fakes))
    assert (other.compute()[0].value, other.compute()[0].unit) == (1.5, "K")
    assert (found["mae"].better, found["bias"].better) == ("lower", None)


@pytest.mark.parametrize("domain", [Domain(channels=3), Domain(channels=1, dtype="uint16")])
def test_pictures_have_no_unit(domain: Domain) -> None:
    images = images_of(pictures(2, 16, channels=domain.channels), domain)
    chosen = plan(task_of(images, images), [UnitErrors])
    assert (chosen.metrics, chosen.notes) == ((), ())


def test_l1_and_psnr_leave_gaps_out_and_windows_see_one_fill() -> None:
    kelvin = Domain(channels=1, dtype="float32", range=(0, 1))
    rng = np.random.default_rng(0)
    truth, fake = rng.random((2, 24, 24, 1), np.float32)
    gaps = truth.copy()
    gaps[:12] = np.nan
    whole = task_of(images_of([fake[12:]], kelvin), images_of([truth[12:]], kelvin))
    part = task_of(images_of([fake], kelvin), images_of([gaps], kelvin))

    def measured(kind: Any, task: Any, image: Any) -> Any:
        metric = made_for(kind, task)
        metric.update(batch_of(task, [image]))
        return metric.compute()

    for kind in (L1, PSNR):
        found = measured(kind, part, fake)
        assert found.value == pytest.approx(measured(kind, whole, fake[12:]).value, rel=1e-5)
        assert found.protocol["missing"] == "left out"
    found = measured(SSIM, part, fake)
    assert found.value > measured(SSIM, whole, fake[12:]).value
    assert "low end" in found.protocol["missing"]


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        (Domain(channels=3), "as PNG files hold them: 8-bit levels"),
        (Domain(channels=1, dtype="uint16"), "as PNG files hold them: 16-bit levels"),
        (HU, "as TIFF files hold them: signed 16-bit levels, -1024 to 3071 HU"),
        (Domain(channels=4), "as TIFF files hold them: 8-bit levels"),
    ],
)
def test_the_protocol_says_how_translations_are_held(domain: Domain, words: str) -> None:
    images = replace(images_of([np.zeros((16, 16, domain.channels), domain.dtype)] * 2, domain), files=())
    assert protocol_facts(plan(task_of(images, images), METRICS.values()))["translations_are"] == words
