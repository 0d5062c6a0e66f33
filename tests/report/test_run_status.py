from __future__ import annotations

from typing import Any

import pytest

from unpaired.report.run_log import EventKind, event
from unpaired.report.runs import run_status_of


def record(images: int, *, speed: float = 10.0) -> dict[str, Any]:
    return {
        "images": images,
        "epoch": images / 1000,
        "seconds": images / speed,
        "images_per_second": speed,
        "waiting_share": 0.1,
    }


def config(**training: Any) -> dict[str, Any]:
    return {"training": {"epochs": 100, "decay_epochs": 100, "schedule": "linear", "max_images": None, **training}}


def test_the_length_comes_from_epochs_and_records() -> None:
    status = run_status_of([record(n * 100) for n in range(1, 501)], config())
    assert status.state == "running"
    assert status.total_images == 200_000
    assert status.share == 0.25
    assert (status.epoch, status.epochs) == (50, 200)
    assert status.seconds_left == pytest.approx(15_000)


@pytest.mark.parametrize(
    ("training", "total"),
    [
        ({"schedule": "cosine"}, 100_000),
        ({"schedule": "step", "decay_epochs": 50}, 150_000),
        ({"max_images": 5000}, 5000),
        ({"max_images": 500_000}, 200_000),
    ],
)
def test_other_lengths(training: dict[str, Any], total: int) -> None:
    assert run_status_of([record(1000)], config(**training)).total_images == total


def test_nothing_is_known_of_an_empty_run() -> None:
    status = run_status_of([], {})
    assert status.state == "starting"
    assert status.images == 0
    assert status.share is None
    assert status.seconds_left is None
    assert run_status_of([], config(max_images=500)).total_images == 500


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        ([], "running"),
        (["checkpoint", "warning"], "running"),
        (["interrupted"], "interrupted"),
        (["interrupted", "resumed", "checkpoint"], "running"),
        (["resumed", "warning", "finished", "warning"], "finished"),
        (["failed"], "failed"),
    ],
)
def test_states(kinds: list[EventKind], state: str) -> None:
    records = [record(100), *(event(kind, 100, kind) for kind in kinds)]
    status = run_status_of(records, config())
    assert status.state == state
    assert (status.seconds_left is not None) == (state == "running")


def test_the_speed_counts_everything_between_the_records() -> None:
    # Ten images a second in the steps, but samples and checkpoints double the time.
    records = [{**record(n * 100), "seconds": n * 20} for n in range(1, 50)]
    assert run_status_of(records, config()).images_per_second == pytest.approx(5.0)
    assert run_status_of(records[:1], config()).images_per_second == 10.0


@pytest.mark.parametrize("damaged", [{"training": 3}, {"training": {"epochs": "many", "max_images": None}}, {"x": []}])
def test_a_config_that_is_none_leaves_the_length_open(damaged: dict[str, Any]) -> None:
    assert run_status_of([record(100)], damaged).total_images is None


def test_evaluations_say_nothing_of_speed_and_progress() -> None:
    means = [record(n * 100) for n in range(1, 11)]
    evaluation = {"images": 1000, "evaluation": {"swd_a2b": 1.0}, "seconds": 500.0, "best": True}
    assert run_status_of([*means, evaluation], config()) == run_status_of(means, config())
