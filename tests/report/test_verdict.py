"""What figures say: against bounds, within their errors, against other results."""

from __future__ import annotations

from typing import Any

import pytest

from unpaired.report.results import Direction, Figure
from unpaired.report.verdict import among, best_of, compare_figures, verdict


def figure(value: float | None, error: float | None = None, name: str = "swd", **more: Any) -> Figure:
    settings = {"title": "Sliced Wasserstein distance", "better": "lower", "group": "distribution", **more}
    return Figure(name=name, value=value, error=error, note=None if value is not None else "none", **settings)


def direction(own: Figure, **bounds: Figure) -> Direction:
    facts = {"translations": 100, "reference_images": 100}
    own = own.model_copy(update={"protocol": {**facts, **own.protocol}})
    return Direction(figures=(own,), bounds={name: (one,) for name, one in bounds.items()})


@pytest.mark.parametrize(
    ("one", "other", "relation"),
    [
        (figure(10, 1), figure(20, 1), "better"),
        (figure(20, 1), figure(10, 1), "worse"),
        (figure(10, 3), figure(18, 3), "the same"),  # the difference of 8 is less than 2 sqrt(18)
        (figure(10), figure(20), "better"),
        (figure(10, 6), figure(20), "the same"),
        (figure(10), figure(10), "the same"),
        (figure(10, better=None), figure(20), "unknown"),
        (figure(None), figure(20), "unknown"),
        (figure(0.9, 0.01, better="higher"), figure(0.5, 0.01, better="higher"), "better"),
    ],
)
def test_a_difference_counts_where_it_is_larger_than_its_error(one: Figure, other: Figure, relation: str) -> None:
    assert compare_figures(one, other).relation == relation


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (figure(30, 2), "Better than no translation at all by more than its error"),
        (figure(70, 2), "Worse than no translation at all by more than its error"),
        (figure(49, 2), "No different from no translation at all within the error"),
    ],
)
def test_a_direction_is_better_or_worse_than_no_translation(own: Figure, words: str) -> None:
    text = verdict(direction(own, untranslated=figure(50, 2), real_halves=figure(10, 2)))
    assert text.startswith(words)
    assert f"{own.value} ± 2.0" in text
    assert "50.0 ± 2.0" in text


def test_a_bound_on_the_wrong_side_is_told() -> None:
    text = verdict(direction(figure(45, 9), untranslated=figure(50, 9), real_halves=figure(55, 9)))
    assert "cannot tell" in text
    assert "55.0 ± 9.0" in text
    worse = verdict(direction(figure(95, 2), untranslated=figure(50, 2), real_halves=figure(55, 9)))
    assert worse.startswith("Worse than no translation at all"), "that much can be told"


def test_too_few_images_are_told() -> None:
    few = figure(30, 2, protocol={"translations": 3})
    assert "too few images to tell (3 translations" in verdict(direction(few, untranslated=figure(50, 2))).lower()


def test_a_distance_that_is_biased_for_want_of_images_decides_nothing() -> None:
    fid = figure(300, 5, "fid", title="FID", protocol={"features_dim": 2048})
    swd = figure(30, 2, protocol={"translations": 100})
    found = Direction(
        figures=(direction(fid).figures[0], swd),
        bounds={"untranslated": (figure(200, 5, "fid", title="FID"), figure(50, 2))},
    )
    assert verdict(found).startswith("Better")
    assert "FID" not in verdict(found)
    assert "FID 300.0" in verdict(
        direction(
            fid.model_copy(update={"protocol": {"features_dim": 64}}), untranslated=figure(200, 5, "fid", title="FID")
        )
    )


def test_labels_are_compared_with_chance() -> None:
    settings: dict[str, Any] = {"title": "Class IoU of the labels", "better": "higher", "group": "labels"}
    own, chance = figure(0.4, name="class_iou", **settings), figure(0.1, name="class_iou", **settings)
    assert verdict(direction(own, shuffled_labels=chance)).startswith("Better than chance (")
    assert verdict(direction(chance, shuffled_labels=own)).startswith("Worse than chance (")


def test_nothing_is_said_without_bounds() -> None:
    assert verdict(direction(figure(30, 2))) == ""
    assert verdict(direction(figure(None), untranslated=figure(50))) == ""


def test_one_result_among_several() -> None:
    runs = {"a": figure(10, 1), "b": figure(20, 1), "c": figure(10.5, 1), "d": figure(5, 1), "e": None}
    text = among(runs, "a")
    assert "better than 1 of 3 others" in text
    assert "worse than 1 of 3 others" in text
    assert "within the error of 1 of 3 others" in text
    assert "sliced Wasserstein distance" in text
    assert among({"a": figure(10, 1), "b": figure(20, 1)}, "a").startswith("better than the other one")
    assert among({"a": figure(10, 1)}, "a") == among(runs, "e") == ""
    assert best_of(runs) == ("d", [])
    assert best_of({"a": figure(10, 1), "c": figure(10.5, 1)}) == ("a", ["c"])
    assert best_of({"a": None}) is None
