from __future__ import annotations

import math
from typing import Any

import pytest

from unpaired.report.run_charts import LOSS_KINDS, MOST_POINTS, curves_of


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
