from __future__ import annotations

from dataclasses import replace

import pytest

from unpaired.study.description import Rules, Settings
from unpaired.study.report import Answered, is_sound, reasons, stated, stated_for_trials

GOOD = Answered(
    participant=1,
    number=3,
    kind="trial",
    real="r",
    fake="f",
    fake_file="0" * 32 + ".png",
    real_side=0,
    side=0,
    exposure_first=1.0,
    exposure_second=1.0,
    frames=60,
    hidden=False,
    response=0.6,
    waited=1.7,
    input="mouse",
    views=1,
    answered=0.0,
)


def answers(fast: int = 0, right: int = 20, wrong_catch: int = 0) -> list[Answered]:
    """40 counted answers, so many of them too fast, so many on the right; 4 catch trials; and a practice trial."""
    made = [
        replace(GOOD, number=n, side=int(n < right), real_side=n % 2, response=0.1 if n < fast else 0.15)
        for n in range(40)
    ]
    made += [replace(GOOD, kind="catch", side=int(n < wrong_catch)) for n in range(4)]
    return [*made, replace(GOOD, kind="practice", side=1, response=0.0)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"fast": 10}, []),
        ({"fast": 11}, ["too fast"]),
        ({"right": 36}, []),
        ({"right": 37}, ["same side"]),
        ({"right": 4}, []),
        ({"right": 3}, ["same side"]),
        ({"wrong_catch": 1}, []),
        ({"wrong_catch": 2}, ["catch trials"]),
        ({"fast": 40, "right": 0, "wrong_catch": 4}, ["too fast", "same side", "catch trials"]),
    ],
)
def test_the_rules_at_their_edges(changes: dict[str, int], expected: list[str]) -> None:
    assert reasons(answers(**changes), Rules(), Settings()) == expected


def test_without_catch_trials_nobody_fails_them() -> None:
    only = [answer for answer in answers(wrong_catch=4) if answer.kind != "catch"]
    assert reasons(only, Rules(), Settings()) == []
    assert len(stated(Rules(), Settings(catch=0))) == 2
    assert "fewer than 75% of the 4" in stated(Rules(), Settings())[2]


@pytest.mark.parametrize(
    ("changes", "sound"),
    [
        ({}, True),
        ({"exposure_first": 1.25}, True),
        ({"exposure_first": 1.26}, False),
        ({"exposure_second": 0.74}, False),
        ({"views": 2}, False),
        ({"hidden": True}, False),
    ],
)
def test_single_trials(changes: dict[str, float], sound: bool) -> None:
    assert is_sound(replace(GOOD, **changes), Rules(), Settings()) is sound  # type: ignore[arg-type]
    assert "25% away from 1 s" in stated_for_trials(Rules(), Settings())


def test_the_servers_clock_wins_where_the_browser_claims_more_time() -> None:
    liar = [replace(GOOD, number=n, side=n % 2, response=1.0, waited=1.05) for n in range(40)]
    assert reasons(liar, Rules(), Settings(catch=0)) == ["too fast"]
    patient = [replace(GOOD, number=n, side=n % 2, response=1.0, waited=2.05) for n in range(40)]
    assert reasons(patient, Rules(), Settings(catch=0)) == []
    assert reasons(patient, Rules(), Settings(catch=0, show="in-turn")) == ["too fast"]
