"""Which evaluation is best, when the next one is due, and when to stop: by numbers alone."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.evaluation.metrics import METRICS
from unpaired.report.run_charts import LOGGED, logged_metric
from unpaired.training.config import TrainingConfig
from unpaired.training.evaluation import MEASURED
from unpaired.training.selection import MOST_SHARE, Selection, short
from unpaired.training.settings import resolve


def _selection(
    *, directions: tuple[str, ...] = ("a2b", "b2a"), paired: bool = False, searches: bool = False, **settings: Any
) -> Selection:
    return Selection(
        TrainingConfig(**{"best": "swd", **settings}),
        directions=directions,
        paired=paired,
        searches=searches,
        epoch_images=100,
        total_images=1000,
    )


def _swd(a2b: float, b2a: float) -> dict[str, float]:
    return {"swd_a2b": a2b, "swd_b2a": b2a}


def test_the_mean_of_both_directions_is_compared() -> None:
    selection = _selection()
    assert selection.observe(_swd(10, 20), 100)
    assert not selection.observe(_swd(5, 26), 200), "15.5 is more than 15"
    assert not selection.observe(_swd(20, 10), 300), "equal is not better"
    assert selection.observe(_swd(29, 0.5), 400)
    assert selection.best is not None
    assert (selection.best.value, selection.best.images_seen, selection.best.number) == (14.75, 400, 4)
    assert selection.why() == "lowest SWD (mean of a2b and b2a) of the first 4 evaluations"


def test_one_direction_can_decide() -> None:
    selection = _selection(best_direction="b2a")
    selection.observe(_swd(1, 20), 100)
    assert selection.observe(_swd(100, 19), 200)
    assert selection.title == "SWD (b2a)"


def test_higher_is_better_for_similarity() -> None:
    selection = _selection(directions=("a2b",), paired=True, best="ssim")
    assert selection.observe({"ssim_a2b": 0.5, "l1_a2b": 1.0}, 100)
    assert not selection.observe({"ssim_a2b": 0.4, "l1_a2b": 0.1}, 200)
    assert selection.observe({"ssim_a2b": 0.6, "l1_a2b": 2.0}, 300)
    assert selection.why().startswith("highest SSIM (a2b)")


def test_auto_is_l1_for_pairs_and_swd_with_colours_else() -> None:
    assert _selection(best="auto").measure == "swd+colour"
    assert _selection(best="auto", paired=True).measure == "l1"
    assert _selection(best="auto", searches=True, paired=True).measure == "swd+colour"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"best": "l1"}, r"training\.best = l1 compares translations .* only pairs have.*swd"),
        ({"best": "reconstruction_l1", "directions": ("b2a",)}, "needs both directions.* b2a alone"),
        ({"best": "reconstruction_l1", "searches": True}, "take minutes"),
        ({"best_direction": "a2b", "directions": ("b2a",)}, r"training\.best_direction = a2b: .* b2a alone"),
    ],
)
def test_what_cannot_be_measured_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        _selection(**settings)


@pytest.mark.parametrize(
    "settings", [{"patience": 3}, {"best": "swd"}, {"best_direction": "a2b"}, {"evaluate_every_images": 10}]
)
def test_settings_of_an_evaluation_that_is_off_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"training\.{next(iter(settings))} .*evaluate_images = 0"):
        resolve([Given({f"training.{name}": value for name, value in {**settings, "evaluate_images": 0}.items()}, "")])
    resolve([Given({f"training.{name}": value for name, value in settings.items()}, "")])


def test_distances_of_features_need_features() -> None:
    with pytest.raises(UserError, match=r"training\.best = kernel .*evaluate_features does not say which"):
        resolve([Given({"training.best": "kernel"}, "")])
    selection = _selection(best="kernel", evaluate_features="vgg")
    assert selection.observe({"kernel_a2b": 2.0, "kernel_b2a": -1.0}, 100)
    assert selection.best is not None
    assert selection.best.value == 0.5
    assert _selection(best="frechet", evaluate_features="vgg", searches=True).measure == "frechet"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_never_the_best(value: float) -> None:
    selection = _selection(patience=2)
    assert not selection.observe(_swd(value, 1), 100)
    assert selection.best is None
    assert selection.advice(10) is None
    assert selection.observe(_swd(9, 9), 200)
    assert not selection.observe(_swd(value, 1), 300)
    assert "found no finite value" in str(selection.advice(10))
    assert not selection.observe({"swd_a2b": 1.0}, 400), "a direction was not measured"
    assert selection.is_exhausted


def test_patience_counts_evaluations_without_a_better_one() -> None:
    selection = _selection(patience=2)
    exhausted = []
    for number, value in enumerate([10, 11, 9, 9, 12], 1):
        selection.observe(_swd(value, value), number * 100)
        exhausted.append(selection.is_exhausted)
    assert exhausted == [False, False, False, False, True]
    assert "2 evaluations without a better SWD" in selection.reason_to_end()


def test_evaluations_are_due_at_intervals_and_in_the_end() -> None:
    selection = _selection(evaluate_every_images=30)
    due = [now for now in range(7, 1001, 7) if selection.is_due(now - 7, now)]
    assert due[:4] == [35, 63, 91, 126]
    assert selection.is_due(998, 1005)
    assert [now for now in range(1, 1001) if _selection().is_due(now - 1, now)] == list(range(100, 1001, 100))


def test_an_interval_that_was_given_is_obeyed_whatever_it_costs() -> None:
    selection = _selection(evaluate_every_images=30)
    assert selection.spend(100.0, 110.0, 30) is None
    assert selection.interval == 30
    assert selection.share(110.0) == pytest.approx(100 / 110)


@pytest.mark.parametrize("cost", [0.2, 1.0, 3.0])
def test_the_share_of_the_whole_stays_in_its_bounds(cost: float) -> None:
    """A simulated training: 0.1 s per image, an evaluation of `cost` seconds, epochs of 100 images."""
    selection = Selection(
        TrainingConfig(), directions=("a2b",), paired=False, epoch_images=100, total_images=5000, searches=False
    )
    seconds, notices, evaluations = 0.0, [], 0
    for now in range(1, 5001):
        seconds += 0.1
        if selection.is_due(now - 1, now):
            seconds += cost
            evaluations += 1
            notices.append(selection.spend(cost, seconds, now))
    assert selection.share(seconds) <= MOST_SHARE
    assert selection.seconds == pytest.approx(cost * evaluations)
    assert selection.interval % 100 == 0
    assert (selection.interval == 100) == (cost == 0.2), "0.2 s every 10 s needs no thinning"
    assert any(notices) == (cost > 0.2)
    if cost == 1.0:
        assert evaluations >= 8, "thinned no more than needed"


def test_the_state_goes_through_json_exactly() -> None:
    selection = _selection(patience=5)
    selection.observe(_swd(0.1, 0.2), 100)
    selection.observe(_swd(0.3, 0.2), 200)
    selection.spend(7.7, 20.0, 200)
    other = _selection(patience=5)
    other.load_state_dict(json.loads(json.dumps(selection.state_dict())))
    assert other.state_dict() == selection.state_dict()
    assert other.interval == selection.interval > 100
    given = _selection(evaluate_every_images=30)
    given.load_state_dict(selection.state_dict())
    assert given.interval == 30


def test_advice_says_what_to_use_and_why() -> None:
    selection = _selection(directions=("a2b",))
    selection.seconds = 1.2
    selection.observe({"swd_a2b": 12.3}, 100)
    assert str(selection.advice(100)).startswith("after 100 images: the only evaluation, SWD (a2b) 12.3. Evaluation")
    selection.observe({"swd_a2b": 15.1}, 200)
    assert selection.advice(100) == (
        "after 100 images: lowest SWD (a2b), 12.3, of 2 evaluations; the last one, after 200 images, has 15.1. "
        "Evaluation took 1.2% of the training time."
    )
    selection.observe({"swd_a2b": 11}, 300)
    assert "it is also the last one" in str(selection.advice(100))


def test_metrics_of_the_log_are_those_of_the_registry() -> None:
    assert set(MEASURED) == set(LOGGED)
    for name, logged in LOGGED.items():
        assert (logged.title, logged.better) == (METRICS[name].title, METRICS[name].better)
    assert {"SWD", "L1", "reconstruction L1", "Fréchet distance", "kernel distance"} <= {short(n) for n in MEASURED}
    assert logged_metric("reconstruction_l1_b2a") is LOGGED["reconstruction_l1"]
    assert logged_metric("swd") is None
    assert logged_metric("unheard_of_a2b") is None


def test_colours_count_beside_patches() -> None:
    """Translations that became dark keep their SWD, and are not the best for that."""
    selection = _selection(best="auto", directions=("a2b",))
    assert selection.observe({"swd_a2b": 33.9, "colour_a2b": 6.0}, 100)
    assert not selection.observe({"swd_a2b": 33.8, "colour_a2b": 90.0}, 200), "a quarter as bright"
    assert not selection.observe({"swd_a2b": 20.0}, 300), "colours were not measured"
    assert selection.observe({"swd_a2b": 30.0, "colour_a2b": 6.5}, 400)
    assert selection.title == "SWD + colour (a2b)"
    assert selection.best is not None
    assert selection.best.value == 36.5
