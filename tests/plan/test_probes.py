"""What probes spend, who goes on, and that it goes on after a kill; trainings are made up here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runs import TINY, write_images
from unpaired.compare.train import Outcome
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.core.given import Given
from unpaired.plan import probes
from unpaired.plan.probes import Prober, Probes, Tried, unrelated_distance
from unpaired.training.settings import RunConfig, resolve

COSTS = {"A": 0.5, "B": 1.0, "C": 2.0}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a few steps enough."""
    monkeypatch.setattr(probes, "ENOUGH", 5)


class Trainings:
    """Stands for trainings: every one has its distance and its content, whatever it has seen."""

    def __init__(self, distances: Mapping[str, float], edges: Mapping[str, float] | None = None) -> None:
        self.distances, self.edges = distances, edges or {}
        self.images: dict[str, int] = {}
        self.calls: list[tuple[str, int]] = []

    def carry_out(self, folder: Path, trainings: list[Any], **_: Any) -> Outcome:
        (training,) = trainings
        images = training.config.training.max_images
        if self.images.get(training.name) != images:
            self.calls.append((training.name, images))
        self.images[training.name] = images
        return Outcome(failed={training.name: "not finite"} if math.isinf(self.distances[training.name]) else {})

    def read_metrics(self, run: Path) -> list[dict[str, Any]]:
        found = {"kernel_a2b": self.distances[run.name], "structure_edges_a2b": self.edges.get(run.name, 0.5)}
        half = {"images": self.images[run.name] // 2, "evaluation": found}
        return [half, {**half, "images": self.images[run.name], "errors": {"kernel_a2b": 0.02}}]

    def use(self, monkeypatch: pytest.MonkeyPatch) -> Trainings:
        monkeypatch.setattr(probes, "carry_out", self.carry_out)
        monkeypatch.setattr(probes, "read_metrics", self.read_metrics)
        monkeypatch.setattr(probes, "images_done", lambda _, training: self.images[training.name])
        monkeypatch.setattr(probes, "unrelated_distance", lambda *_: 1.0)
        return self


def _config(**more: Any) -> RunConfig:
    return resolve([Given({**TINY, "data.root": "data", **more}, "{name}")])


def _prober(folder: Path, costs: Mapping[str, float] = COSTS) -> Prober:
    configs = dict.fromkeys(costs, _config())
    return Prober(folder=folder, candidates=configs, costs=costs, direction="a2b", say=lambda _: None)


def test_rounds_spend_the_same_and_trainings_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings({"A": 0.3, "B": 0.12, "C": 0.1}).use(monkeypatch)
    found = _prober(tmp_path).probe(allowed=60.0)
    assert trainings.calls == [("A", 20), ("B", 10), ("C", 5), ("B", 25), ("C", 12)], "30 for three, then 30 for two"
    assert found.left == ["B", "C"], "0.02 is within the error, so that the first of them is taken"
    assert found.winner is found.tried["B"]
    assert found.tried["A"].ended == 1
    assert 55 < found.spent <= 60
    assert "cannot tell B and C apart" in found.reason()
    assert "kernel distance of a2b 0.12 after 25 images, content kept 50" in found.reason()
    assert "; A 0.3 after 20 images" in found.reason()
    table = found.table()
    assert [row[0] for row in table.rows] == ["B", "C", "A"]
    assert [row[-1] for row in table.rows] == ["goes on", "cannot be told apart from it", "ended in round 1: worse"]


def test_one_who_beats_all_others_ends_the_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings({"A": 0.3, "B": 0.2, "C": 0.1}).use(monkeypatch)
    found = _prober(tmp_path).probe(allowed=60.0)
    assert trainings.calls == [("A", 20), ("B", 10), ("C", 5)]
    assert found.left == ["C"]


def test_a_short_budget_has_one_round_or_no_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings({"A": 0.3, "B": 0.11, "C": 0.1}).use(monkeypatch)
    prober = _prober(tmp_path / "one")
    assert prober.least == 5 * 0.5 + 5 * 1.0 + 5 * 2.0
    assert prober.probe(allowed=30.0).left == ["B", "C"]
    assert trainings.calls == [("A", 20), ("B", 10), ("C", 5)], "half of it would not be enough for a round"
    found = _prober(tmp_path / "none").probe(allowed=17.0)
    assert (found.left[0], found.spent, len(trainings.calls)) == ("A", 0.0, 3)
    assert "too short" in found.reason()


@pytest.mark.parametrize(
    ("one", "other", "beats"),
    [
        ({"distance": 0.1}, {"distance": 0.2}, True),
        ({"distance": 0.2}, {"distance": 0.1}, False),
        ({"distance": 0.1}, {"distance": 0.12}, False),  # within the error
        ({"distance": 0.1}, {"distance": None}, True),
        ({"distance": None}, {"distance": None}, False),
        # who is worse and comes nearer is not beaten; who falls behind is
        ({"distance": 0.4, "half": (0.45, None)}, {"distance": 0.6, "half": (0.75, None)}, False),
        ({"distance": 0.4, "half": (0.45, None)}, {"distance": 0.6, "half": (0.60, None)}, True),
        # content: below the floor, unless it has begun to rise
        ({"distance": 0.4, "kept": 0.5}, {"distance": 0.1, "kept": 0.01}, True),
        ({"distance": 0.4, "kept": 0.5}, {"distance": 0.1, "kept": 0.01, "half": (None, -0.1)}, False),
        ({"distance": 0.1, "kept": 0.5}, {"distance": 0.4, "kept": 0.01, "half": (None, -0.1)}, True),
        ({"distance": 0.1, "kept": 0.01}, {"distance": 0.4, "kept": 0.5}, False),
        ({"distance": 0.1, "kept": 0.01}, {"distance": 0.4, "kept": 0.02}, True),
    ],
)
def test_who_is_beaten(one: dict[str, Any], other: dict[str, Any], beats: bool) -> None:
    assert Tried(cost=1.0, error=0.02, **one).beats(Tried(cost=1.0, error=0.02, **other)) is beats


def test_who_keeps_too_little_content_loses_to_whoever_keeps_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainings({"A": 0.1, "B": 0.2, "C": 0.3}, {"A": 0.99, "B": 0.7, "C": 0.9}).use(monkeypatch)
    found = _prober(tmp_path).probe(60.0)
    assert found.left == ["B"]
    assert found.tried["A"].kept == pytest.approx(0.01)
    assert found.tried["A"].ended == 1
    assert "keeps too little" in str(found.table().rows)


def test_where_all_keep_too_little_the_distance_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainings({"A": 0.3, "B": 0.1, "C": 0.2}, dict.fromkeys("ABC", 1.2)).use(monkeypatch)
    assert _prober(tmp_path).probe(60.0).left == ["B"]


def test_who_diverges_loses_and_all_who_diverge_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainings({"A": math.inf, "B": 0.4, "C": math.inf}).use(monkeypatch)
    assert _prober(tmp_path / "one").probe(60.0).left == ["B"]
    Trainings({"A": math.inf, "B": math.inf, "C": math.inf}).use(monkeypatch)
    with pytest.raises(UserError, match="not finite any more"):
        _prober(tmp_path / "all").probe(60.0)


def test_a_kill_at_any_time_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distances = {"A": 0.3, "B": 0.12, "C": 0.1}
    Trainings(distances).use(monkeypatch)
    whole = _prober(tmp_path / "whole").probe(60.0)
    for kill in range(12):
        trainings = Trainings(distances).use(monkeypatch)
        writes = iter(range(100))

        def write(path: Path, text: str, kill: int = kill, writes: Any = writes) -> None:
            if next(writes) == kill:
                raise KeyboardInterrupt
            write_atomic(path, text)

        monkeypatch.setattr(probes, "write_atomic", write)
        folder = tmp_path / str(kill)
        try:
            found = _prober(folder).probe(60.0)
        except KeyboardInterrupt:
            found = _prober(folder).probe(60.0)
        assert found == whole, kill
        assert len(trainings.calls) == 5, "nothing is trained twice"


def test_the_record_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainings({"A": 0.3, "B": 0.1, "C": 0.2}).use(monkeypatch)
    found = _prober(tmp_path).probe(60.0)
    assert Probes.model_validate_json((tmp_path / probes.RECORD).read_text()) == found


def test_unrelated_images_are_the_zero_of_content(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"trainA": 3, "trainB": 3, "testA": 6, "testB": 6}, size=18)
    config = _config(**{"data.root": str(tmp_path / "data")})
    found = unrelated_distance(config, "a2b")
    assert found is not None
    assert 0.7 < found < 1.2, "edges of random images have little in common"
