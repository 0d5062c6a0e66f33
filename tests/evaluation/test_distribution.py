"""Distances of sets: what they are called, which network they see through, and what is said of few images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluations import images_of, pictures, task_of
from unpaired.evaluation import statistics
from unpaired.evaluation.engine import plan
from unpaired.evaluation.metrics import METRICS
from unpaired.evaluation.metrics.base import Context, Need, feature_network
from unpaired.evaluation.networks import Networks
from unpaired.evaluation.options import Options
from unpaired.evaluation.protocol import FULL
from unpaired.evaluation.statistics import Gathering, Request, Statistics
from unpaired.metrics.features import Features
from unpaired.metrics.frechet import Moments, frechet_distance
from unpaired.report.results import Figure


class Means(Features):
    """The mean of every channel."""

    dim, input, fingerprint = 3, "as they are", "means"

    def __init__(self, name: str = "Means", plain_fid: bool = False) -> None:
        super().__init__(torch.device("cpu"))
        self.name, self.plain_fid = name, plain_fid

    def _vectors(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Given:
    """Sets whose statistics are given."""

    def __init__(self, real: Statistics, fake: Statistics) -> None:
        self.real, self.fake = real, fake


def compared(names: list[str], key: str, network: Features, real: Any, fake: Any) -> tuple[list[Figure], list[str]]:
    def gathered(rows: Any) -> Statistics:
        gathering = Gathering(Request(patches=False, networks={key: network}, protocol=FULL))
        gathering.add(torch.zeros(len(rows), 3, 16, 16), {key: torch.from_numpy(np.asarray(rows, np.float32))})
        return gathering.statistics()

    sets: Any = Given(gathered(real), gathered(fake))
    images = images_of(pictures(2))
    context = Context(
        task=task_of(images, images), networks=Networks(features={key: network}), protocol=FULL, sets=sets
    )
    metrics: list[Any] = [METRICS[name](context) for name in names]
    return [figure for metric in metrics for figure in metric.compute()], [w for m in metrics for w in m.warnings()]


def rows(count: int, shift: float = 0.0, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(shift, 1, (count, 3))


@pytest.mark.parametrize(
    ("key", "network", "names"),
    [
        ("inception", Means("Inception-v3 (FID)", plain_fid=True), ["fid", "kid", "precision", "recall"]),
        (
            "inception",
            Means("Inception-v3 (own.pth)"),
            ["frechet_inception", "kernel_inception", "precision", "recall"],
        ),
        ("features", Means(), ["frechet", "kernel", "precision", "recall"]),
    ],
)
def test_only_the_published_features_make_it_fid_and_kid(key: str, network: Features, names: list[str]) -> None:
    asked = ["fid", "kid"] if key == "inception" else ["frechet", "kernel"]
    found, warnings = compared([*asked, "precision", "recall"], key, network, rows(20), rows(30, 1, 1))
    assert [one.name for one in found] == names
    assert not warnings
    titles = [one.title for one in found[:2]]
    assert titles == ["FID", "KID"] if network.plain_fid else all(network.name in title for title in titles)
    assert all(one.error is not None for one in found[:2])
    assert all(one.protocol["features"] == network.name for one in found)


OF_FEATURES = ("frechet", "kernel", "precision", "recall", "density", "coverage")


@pytest.mark.parametrize(
    ("options", "keys", "chosen"),
    [
        ({}, ["inception"], {"fid": 0, "kid": 0, "precision": 0, "recall": 0, "density": 0, "coverage": 0}),
        (
            {"features": "x.pt2"},
            ["inception", "features"],
            {"fid": 0, "kid": 0, **dict.fromkeys(OF_FEATURES, 1)},
        ),
        ({"metrics": ("kid", "recall")}, ["inception"], {"kid": 0, "recall": 0}),
        ({"metrics": "frechet,recall", "features": "x.pt2"}, ["features"], {"frechet": 0, "recall": 0}),
    ],
)
def test_which_distances_are_computed_of_which_network(
    options: dict[str, Any], keys: list[str], chosen: dict[str, int]
) -> None:
    networks = Networks(features={key: Means() for key in keys})
    images = images_of(pictures(2))
    asked = Options(model="m", **options)
    found = {
        metric.name: list(networks.features.values()).index(network)
        for metric in plan(task_of(images, images), asked.chosen, networks=networks).metrics
        if metric.group == "distribution"
        and (network := feature_network(metric, networks))
        and Need.FEATURES in metric.needs
    }
    assert found == chosen
    assert asked.needs_inception == ("kid" in chosen and "metrics" in options)


def test_the_distance_is_that_of_all_images_where_rows_are_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "ROWS", 10)
    a, b = rows(50), rows(60, 1, 1)
    [found], _ = compared(["frechet"], "features", Means(), a, b)
    every = [Moments(3), Moments(3)]
    for moments, values in zip(every, (a, b), strict=True):
        moments.add(values.astype(np.float32))
    assert found.value == pytest.approx(frechet_distance(*every), rel=1e-9)
    assert found.error is not None


def test_few_images_are_told_with_the_numbers() -> None:
    names = ["frechet", "kernel", "precision", "recall"]
    found, warnings = compared(names, "features", Means(), rows(3), rows(40))
    assert [one.name for one in found] == ["frechet", "kernel"]
    assert any("3 real images and 40 translations: with 3 features" in warning for warning in warnings)
    assert any("it needs 4 images" in warning for warning in warnings)
    found, warnings = compared(names, "features", Means(), rows(1), rows(1))
    assert not found
    assert len(warnings) == 4
