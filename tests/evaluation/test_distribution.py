"""Which distances are taken, what they are called, and what is said of few images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unpaired.evaluation import distribution
from unpaired.evaluation.distribution import Wanted, distances, wanted_distances
from unpaired.evaluation.options import Options
from unpaired.evaluation.statistics import Gathering, Lens, Statistics
from unpaired.metrics.features import Features
from unpaired.metrics.frechet import Moments, frechet_distance


class Means(Features):
    """The mean of every channel."""

    dim, input, fingerprint = 3, "as they are", "means"

    def __init__(self, name: str = "Means", plain_fid: bool = False) -> None:
        super().__init__(torch.device("cpu"))
        self.name, self.plain_fid = name, plain_fid

    def _vectors(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def seen(lens: Lens, rows: Any) -> Statistics:
    gathering = Gathering(sliced=False, lenses=[lens], seed=0)
    tensor = torch.from_numpy(np.asarray(rows, np.float32))
    gathering.add(torch.zeros(len(rows), 3, 16, 16), {lens.key: tensor})
    return gathering.statistics()


def rows(count: int, shift: float = 0.0, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(shift, 1, (count, 3))


FOUR = frozenset({"frechet", "kernel", "precision", "recall"})


def test_only_the_published_features_make_it_fid_and_kid() -> None:
    for lens, names in (
        (Lens("inception", Means("Inception-v3 (FID)", plain_fid=True)), ["fid", "kid", "precision", "recall"]),
        (
            Lens("inception", Means("Inception-v3 (own.pth)")),
            ["frechet_inception", "kernel_inception", "precision", "recall"],
        ),
        (Lens("features", Means()), ["frechet", "kernel", "precision", "recall"]),
    ):
        wanted = Wanted(sliced=False, lenses=((lens, FOUR),))
        found, warnings = distances(seen(lens, rows(20)), seen(lens, rows(30, 1, 1)), wanted, seed=0, protocol={})
        assert [one.name for one in found] == names
        assert not warnings
        titles = [one.title for one in found[:2]]
        assert titles == ["FID", "KID"] if lens.features.plain_fid else all(lens.features.name in t for t in titles)
        assert all(one.error is not None for one in found[:2])
        assert all(one.protocol["features"] == lens.features.name for one in found)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, {"inception": FOUR}),
        ({"features": "x.pt2"}, {"inception": {"frechet", "kernel"}, "features": FOUR}),
        ({"measures": ("kid", "recall")}, {"inception": {"kernel", "recall"}}),
        (
            {"measures": ("frechet", "recall"), "features": "x.pt2"},
            {"inception": set(), "features": {"frechet", "recall"}},
        ),
    ],
)
def test_which_distances_are_taken_through_which_lens(options: dict[str, Any], chosen: dict[str, set[str]]) -> None:
    lenses = [Lens(key, Means()) for key in chosen]
    wanted = wanted_distances(Options(model="m", **options), lenses)
    assert {lens.key: kinds for lens, kinds in wanted.lenses} == chosen
    assert wanted.sliced == ("measures" not in options)
    assert {lens.key for lens in wanted.used} == {key for key, kinds in chosen.items() if kinds}


def test_the_distance_is_that_of_all_images_where_rows_are_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unpaired.evaluation.statistics.ROWS", 10)
    monkeypatch.setattr(distribution, "ROWS", 10)
    lens = Lens("features", Means())
    wanted = Wanted(sliced=False, lenses=((lens, frozenset({"frechet"})),))
    a, b = rows(50), rows(60, 1, 1)
    [found], _ = distances(seen(lens, a), seen(lens, b), wanted, seed=0, protocol={})
    every = [Moments(3), Moments(3)]
    for moments, values in zip(every, (a, b), strict=True):
        moments.add(values.astype(np.float32))
    assert found.value == pytest.approx(frechet_distance(*every), rel=1e-9)
    assert found.error is not None


def test_few_images_are_told_with_the_numbers() -> None:
    lens = Lens("features", Means())
    wanted = Wanted(sliced=False, lenses=((lens, FOUR),))
    found, warnings = distances(seen(lens, rows(3)), seen(lens, rows(40)), wanted, seed=0, protocol={})
    assert [one.name for one in found] == ["frechet", "kernel"]
    assert any("3 real images and 40 translations: with 3 features" in warning for warning in warnings)
    assert any("they need 4 images" in warning for warning in warnings)
    found, warnings = distances(seen(lens, rows(1)), seen(lens, rows(1)), wanted, seed=0, protocol={})
    assert not found
    assert len(warnings) == 3
