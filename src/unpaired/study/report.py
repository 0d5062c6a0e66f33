"""From answers to figures: shares with intervals, comparisons, pictures; of everybody, and after the rules."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from unpaired.core.errors import UserError
from unpaired.core.settings import STRICT
from unpaired.study.description import Rules, Settings, Study
from unpaired.study.statistics import (
    Interval,
    Shares,
    detectable,
    difference_interval,
    holm,
    participants_needed,
    permutation_p,
    share_interval,
)
from unpaired.study.store import Store


@validated_dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Answered:
    """A trial that somebody answered; times in seconds."""

    participant: int
    number: int
    kind: str
    """practice, trial or catch."""
    real: str
    """Name of the real picture."""
    fake: str
    """Name of the generated picture."""
    fake_file: str
    """Its file inside the study."""
    real_side: Literal[0, 1]
    """0 is left or first, 1 is right or second."""
    side: Literal[0, 1]
    """What was chosen."""
    exposure_first: float
    exposure_second: float
    frames: int
    hidden: bool
    """Whether the page was in the background while the pictures were to be seen."""
    response: float
    """From the pictures' disappearance to the choice."""
    waited: float
    """From the sending of the pictures to the answer, by the server's clock."""
    input: str
    views: int
    """How often the pictures were sent; more than once when the page was loaded again."""
    answered: float
    """Unix time."""

    @property
    def fooled(self) -> bool:
        """Whether the generated picture was taken for real."""
        return self.side != self.real_side


def stated(rules: Rules, settings: Settings) -> list[str]:
    """Return the rules in words, one sentence each."""
    sentences = [
        f"too fast: more than {rules.fast_share:.0%} of the counted answers came within {rules.fast_seconds:g} s of "
        "the pictures' disappearance",
        f"always the same side: more than {rules.same_side_share:.0%} of the counted answers are the same side",
    ]
    if settings.catch:
        sentences.append(f"catch trials: fewer than {rules.catch_share:.0%} of the {settings.catch} were right")
    return sentences


def stated_for_trials(rules: Rules, settings: Settings) -> str:
    """Return in words which single trials are left out."""
    return (
        "its pictures were sent more than once (the page was loaded again), the page was in the background meanwhile, "
        f"or a picture could be seen for a time more than {rules.exposure_share:.0%} away from {settings.exposure:g} s"
    )


def is_sound(answer: Answered, rules: Rules, settings: Settings) -> bool:
    """Return whether a trial went as it should have."""
    most = rules.exposure_share * settings.exposure
    times = (answer.exposure_first, answer.exposure_second)
    return answer.views <= 1 and not answer.hidden and all(abs(time - settings.exposure) <= most for time in times)


def reasons(answers: Sequence[Answered], rules: Rules, settings: Settings) -> list[str]:
    """Return why a participant is left out: any of `too fast`, `same side`, `catch trials`; empty for most people."""
    counted = [answer for answer in answers if answer.kind == "trial"]
    catch = [answer for answer in answers if answer.kind == "catch"]
    found = []
    if counted:
        # A program may lie: the browser's figure counts, or what the server's clock leaves room for, if that is less.
        shown = settings.exposure * (2 if settings.show == "in-turn" else 1)
        fast = sum(min(a.response, a.waited - shown) < rules.fast_seconds for a in counted) / len(counted)
        right_side = sum(answer.side for answer in counted) / len(counted)
        if fast > rules.fast_share:
            found.append("too fast")
        if max(right_side, 1 - right_side) > rules.same_side_share:
            found.append("same side")
    if catch and sum(not answer.fooled for answer in catch) / len(catch) < rules.catch_share:
        found.append("catch trials")
    return found


_ANSWERS = """
SELECT participant, number, kind, real, fake, real_side, side, exposure_first, exposure_second, frames, hidden,
    response, waited, input, views, answered
FROM answers JOIN trials USING (participant, number) ORDER BY participant, number
"""
_PEOPLE = "SELECT id, external, method, code, joined, finished FROM participants ORDER BY id"
Record = TypeVar("Record")
Group = Sequence[Sequence[Answered]]
"""The counted answers of each participant."""
OFF = 0.05
"""Exposures further than this (seconds) from the setting are counted in the report."""


@validated_dataclass(frozen=True, slots=True, config=STRICT)
class Person:
    """One participant."""

    id: int
    external: str | None
    """The number in their link."""
    method: str
    code: str
    joined: float
    finished: float | None
    answers: list[Answered]
    reasons: list[str]
    """Why the second figure leaves them out; empty where it does not."""

    @property
    def counted(self) -> list[Answered]:
        """The answers that count: neither practice nor catch trials."""
        return [answer for answer in self.answers if answer.kind == "trial"]


@dataclass(frozen=True, slots=True)
class Figure:
    """The share of generated pictures taken for real."""

    participants: int
    answers: int
    share: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class MethodFigures:
    """What is known of one method."""

    name: str
    joined: int
    finished: int
    everybody: Figure | None
    """Everybody who finished, all counted trials; None where nobody has."""
    kept: Figure | None
    """After the rules."""
    left_out: dict[str, int]
    """Participants left out, by reason; one participant may have several."""
    trials_left_out: int
    """Single trials left out, of participants who are kept."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two methods; differences are shares of the first less those of the second."""

    first: str
    second: str
    difference: float
    interval: Interval | None
    p: float
    p_corrected: float
    """Holm, over all comparisons of the study."""
    needed: int | None
    """Participants per method for 80 % power, were this difference the true one."""
    more: tuple[int, int] | None
    """How many more of each method that is."""
    detectable: float | None
    """The smallest true difference that these participants would show with 80 % power."""


@dataclass(frozen=True, slots=True)
class PictureFigure:
    """How one generated picture did, after the rules."""

    method: str
    name: str
    file: str
    shown: int
    fooled: int

    @property
    def rank(self) -> float:
        """The share that took it for real, drawn towards a half where few saw it (Laplace)."""
        return (self.fooled + 1) / (self.shown + 2)


@dataclass(frozen=True, slots=True)
class Exposures:
    """For how long pictures could be seen, by the browsers' frames; seconds."""

    count: int
    median: float
    low: float
    """2.5 % were shorter."""
    high: float
    """2.5 % were longer."""
    off: int
    """Further than 50 ms from the setting."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a study found."""

    study: Study
    made: float
    people: list[Person]
    methods: list[MethodFigures]
    comparisons: list[Comparison]
    """After the rules."""
    comparisons_of_everybody: list[Comparison]
    pictures: list[PictureFigure]
    exposures: Exposures | None
    inputs: dict[str, int] = field(default_factory=dict)
    """Counted answers by mouse, touch, pen and keyboard."""


def make_report(study: Study, store: Store) -> Report:
    """Compute every figure of a study from what is stored; the same answers give the same report."""
    people = _people(study, store)
    everybody, kept, methods = dict[str, Group](), dict[str, Group](), list[MethodFigures]()
    for name in study.methods:
        own = [person for person in people if person.method == name]
        finished = [person for person in own if person.finished is not None]
        stay = [person for person in finished if not person.reasons]
        everybody[name] = [person.counted for person in finished if person.counted]
        sound = [[a for a in person.counted if is_sound(a, study.rules, study.settings)] for person in stay]
        kept[name] = [answers for answers in sound if answers]
        methods.append(
            MethodFigures(
                name=name,
                joined=len(own),
                finished=len(finished),
                everybody=_figure(everybody[name]),
                kept=_figure(kept[name]),
                left_out=dict(Counter(reason for person in finished for reason in person.reasons)),
                trials_left_out=sum(len(person.counted) for person in stay) - _total(kept[name]),
            )
        )
    return Report(
        study=study,
        made=time.time(),
        people=people,
        methods=methods,
        comparisons=_compare(kept),
        comparisons_of_everybody=_compare(everybody),
        pictures=[picture for name in study.methods for picture in _pictures(name, kept[name])],
        exposures=_exposures(study, people),
        inputs=dict(Counter(answer.input for person in people for answer in person.counted).most_common()),
    )


def _people(study: Study, store: Store) -> list[Person]:
    names = {file: picture.name for file, picture in study.pictures().items()}
    answers: dict[int, list[Answered]] = {}
    # At one moment: who finished in between would be counted without their last answer.
    given_rows, people_rows = store.snapshot(_ANSWERS, _PEOPLE)
    for row in given_rows:
        real, fake = names.get(row["real"], row["real"]), names.get(row["fake"], row["fake"])
        row |= {"real": real, "fake": fake, "fake_file": row["fake"]}
        answers.setdefault(row["participant"], []).append(_checked(Answered, row))
    people = []
    for row in people_rows:
        given = answers.get(row["id"], [])
        judged = reasons(given, study.rules, study.settings) if row["finished"] is not None else []
        people.append(_checked(Person, {**row, "answers": given, "reasons": judged}))
    return people


def _checked(kind: type[Record], row: Mapping[str, Any]) -> Record:
    try:
        return kind(**row)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"the answers are damaged: {first['loc'][0]} = {first['input']!r} of participant "
            f"{row.get('participant', row.get('id'))}: {first['msg']}. Restore the study's files."
        ) from error


def _shares(group: Group) -> Shares:
    return np.array([np.mean([answer.fooled for answer in answers]) for answers in group], dtype=np.float64)


def _total(group: Group) -> int:
    return sum(map(len, group))


def _figure(group: Group) -> Figure | None:
    if not group:
        return None
    shares, answers = _shares(group), _total(group)
    interval = share_interval(shares, answers, np.random.default_rng(0))
    return Figure(len(group), answers, float(shares.mean()), interval)


def _compare(groups: Mapping[str, Group]) -> list[Comparison]:
    shares = {name: _shares(answers) for name, answers in groups.items()}
    pairs = [(first, second) for first, second in combinations(shares, 2) if len(shares[first]) and len(shares[second])]
    random = np.random.default_rng(0)
    values = [permutation_p(shares[first], shares[second], random) for first, second in pairs]
    found = []
    for (first, second), p, corrected in zip(pairs, values, holm(values), strict=True):
        a, b = shares[first], shares[second]
        needed = participants_needed(a, b, len(pairs))
        found.append(
            Comparison(
                first=first,
                second=second,
                difference=float(a.mean() - b.mean()),
                interval=difference_interval(a, b, (_total(groups[first]), _total(groups[second])), random),
                p=p,
                p_corrected=corrected,
                needed=needed,
                more=None if needed is None else (max(0, needed - len(a)), max(0, needed - len(b))),
                detectable=detectable(a, b, len(pairs)),
            )
        )
    return found


def _pictures(method: str, group: Group) -> list[PictureFigure]:
    """Return a method's pictures, those that fooled most first."""
    answers = [answer for person in group for answer in person]
    shown, fooled = Counter(a.fake_file for a in answers), Counter(a.fake_file for a in answers if a.fooled)
    names = {answer.fake_file: answer.fake for answer in answers}
    figures = [PictureFigure(method, names[file], file, count, fooled[file]) for file, count in shown.items()]
    return sorted(figures, key=lambda picture: (-picture.rank, picture.name))


def _exposures(study: Study, people: Sequence[Person]) -> Exposures | None:
    times = np.array(
        [time for person in people for a in person.answers for time in (a.exposure_first, a.exposure_second)]
    )
    if not len(times):
        return None
    low, median, high = (float(value) for value in np.quantile(times, [0.025, 0.5, 0.975]))
    off = int((np.abs(times - study.settings.exposure) > OFF).sum())
    return Exposures(len(times), median, low, high, off)
