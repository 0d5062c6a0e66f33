from __future__ import annotations

import math
from typing import Any

import pytest

from unpaired.report.run_curves import LOSS_KINDS, MOST_POINTS, curves_of


def record(images: int, **losses: float | None) -> dict[str, Any]:
    return {
        "images": images,
        "images_per_second": 10.0,
        "waiting_share": 0.25,
        "learning_rates": {"generators": 2e-4},
        "losses": losses,
    }


def test_losses_are_grouped_and_everything_else_has_a_chart() -> None:
    curves = curves_of([record(100, gan_a2b=1.0, cycle_a=2.0, gan_b2a=3.0, nce=4.0), {"event": "warning", "images": 1}])
    assert curves.images == [100]
    assert [(chart.title, chart.lines) for chart in curves.charts] == [
        (LOSS_KINDS["adversarial"], {"gan_a2b": [1.0], "gan_b2a": [3.0]}),
        (LOSS_KINDS["cycle"], {"cycle_a": [2.0]}),
        (LOSS_KINDS["contrastive"], {"nce": [4.0]}),
        ("Learning rate", {"generators": [2e-4]}),
        ("Speed", {"images_per_second": [10.0]}),
        ("Waiting for data", {"waiting": [25.0]}),
    ]


@pytest.mark.parametrize("records", [[], [{"event": "resumed", "images": 3}], [{"losses": {"gan_a2b": 1.0}}]])
def test_nothing_measured_makes_no_curves(records: list[dict[str, Any]]) -> None:
    assert curves_of(records).charts == []


def test_gaps_are_none() -> None:
    values = [1.0, None, math.nan, math.inf, 2.0]
    records = [record(100 * n, gan_a2b=value) for n, value in enumerate(values, 1)]
    records[1]["losses"] = {}
    assert curves_of(records).charts[0].lines == {"gan_a2b": [1.0, None, None, None, 2.0]}


@pytest.mark.parametrize("count", [MOST_POINTS - 1, MOST_POINTS, MOST_POINTS + 1, 3 * MOST_POINTS + 7])
def test_points_are_bounded_and_averaged_in_order(count: int) -> None:
    curves = curves_of([record(n, gan_a2b=float(n)) for n in range(1, count + 1)])
    line = [value for value in curves.charts[0].lines["gan_a2b"] if value is not None]
    assert len(line) == len(curves.images) == min(count, MOST_POINTS)
    assert line == sorted(line)
    assert curves.images[-1] == count
    assert curves.images == sorted(set(curves.images))
    starts = [0, *curves.images[:-1]]
    means = [(start + 1 + end) / 2 for start, end in zip(starts, curves.images, strict=True)]
    assert line == pytest.approx(means, rel=1e-4)


def test_a_bucket_leaves_out_what_is_not_finite() -> None:
    records = [record(n, gan_a2b=5.0 if n % 2 else None) for n in range(1, 2 * MOST_POINTS + 1)]
    assert set(curves_of(records).charts[0].lines["gan_a2b"]) == {5.0}


def test_a_hundred_thousand_records() -> None:
    records = [record(n, gan_a2b=1.0, cycle_a=2.0) for n in range(1, 100_001)]
    curves = curves_of(records)
    assert curves.images[-1] == 100_000
    assert len(curves.images) == MOST_POINTS


def evaluated(images: int, best: bool = False, **figures: float | None) -> dict[str, Any]:
    return {"images": images, "evaluation": figures, "seconds": 1.0, "evaluation_share": 0.01, "best": best}


def test_evaluations_have_charts_of_their_own_positions_and_the_best_is_marked() -> None:
    records = [
        record(100, gan_a2b=1.0),
        evaluated(150, True, swd_a2b=9.0, swd_b2a=8.0, l1_a2b=0.5, newer_a2b=3.0),
        record(200, gan_a2b=2.0),
        evaluated(250, True, swd_a2b=7.0, swd_b2a=None, l1_a2b=0.4),
        evaluated(350, False, swd_a2b=8.0, swd_b2a=9.0, l1_a2b=0.3),
    ]
    curves = curves_of(records)
    assert curves.images == [100, 200], "evaluations are no means of losses"
    charts = {chart.title: chart for chart in curves.charts}
    swd = charts["Sliced Wasserstein distance (lower is better)"]
    assert swd.lines == {"swd_a2b": [9.0, 7.0, 8.0], "swd_b2a": [8.0, None, 9.0]}
    assert (swd.images, swd.best, swd.unit, swd.smooth) == ([150, 250, 350], 250, "distance x 1000", False)
    assert charts["newer_a2b"].lines == {"newer_a2b": [3.0, None, None]}, "a measure of another version"
    assert all(len(line) == 2 for chart in curves.charts if chart.images is None for line in chart.lines.values())


def test_without_a_best_nothing_is_marked() -> None:
    curves = curves_of([record(100, gan_a2b=1.0), evaluated(150, swd_a2b=None)])
    assert [chart.best for chart in curves.charts if chart.images] == [None]


def test_many_evaluations_are_thinned_too() -> None:
    records = [record(1, gan_a2b=1.0), *(evaluated(n, swd_a2b=float(n)) for n in range(1, 3 * MOST_POINTS))]
    chart = next(chart for chart in curves_of(records).charts if chart.images)
    assert len(chart.images or []) == len(chart.lines["swd_a2b"]) == MOST_POINTS
