from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from study.studies import make_study
from unpaired.study.description import choose_method, draw_trials


def test_no_picture_comes_twice_and_counts_are_kept(tmp_path: Path) -> None:
    _, study = make_study(tmp_path, practice=3, trials=10, catch=2)
    ours = {picture.file for picture in study.methods["ours"]}
    catch = {picture.file for picture in study.catch}
    for seed in range(50):
        trials = draw_trials(study, "ours", np.random.default_rng(seed))
        assert Counter(trial.kind for trial in trials) == {"practice": 3, "trial": 10, "catch": 2}
        assert [trial.kind for trial in trials[:3]] == ["practice"] * 3
        seen = [file for trial in trials for file in (trial.real, trial.fake)]
        assert len(set(seen)) == len(seen) == 30
        assert all(trial.fake in (catch if trial.kind == "catch" else ours) for trial in trials)
        assert {trial.real for trial in trials} <= {picture.file for picture in study.real}


def test_matched_pairs_have_one_name(tmp_path: Path) -> None:
    _, study = make_study(tmp_path, pairs="matched", catch=2)
    names = {file: picture.name for file, picture in study.pictures().items()}
    trials = draw_trials(study, "theirs", np.random.default_rng(1))
    assert all(names[trial.real] == names[trial.fake] for trial in trials if trial.kind != "catch")
    assert len({trial.real for trial in trials}) == len(trials)


def test_sides_orders_and_pictures_are_fair(tmp_path: Path) -> None:
    _, study = make_study(tmp_path, practice=1, trials=6, catch=1)
    drawn = [draw_trials(study, "ours", np.random.default_rng(seed)) for seed in range(1500)]
    sides = np.array([[trial.real_side for trial in trials] for trials in drawn])
    assert np.abs(sides.mean(axis=0) - 0.5).max() < 0.06  # 4.6 standard deviations of a fair coin
    assert abs(np.corrcoef(sides[:, 2], sides[:, 3])[0, 1]) < 0.12
    places = Counter(next(n for n, trial in enumerate(trials) if trial.kind == "catch") for trials in drawn)
    assert set(places) == set(range(1, 8))
    assert max(places.values()) < 2 * min(places.values())
    shown = Counter(trial.fake for trials in drawn for trial in trials if trial.kind == "trial")
    assert len(shown) == len(study.methods["ours"])
    assert max(shown.values()) < 1.25 * min(shown.values())


def test_the_method_with_the_fewest_is_next_and_ties_are_drawn() -> None:
    random = np.random.default_rng(0)
    assert choose_method({"a": 2, "b": 1, "c": 3}, random) == "b"
    tied = Counter(choose_method({"a": 1, "b": 1, "c": 3}, random) for _ in range(400))
    assert set(tied) == {"a", "b"}
    assert min(tied.values()) > 140
