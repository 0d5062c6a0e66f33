"""Which participants and which single trials the second figure leaves out; the rules are fixed with the study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic.dataclasses import dataclass

from unpaired.core.settings import STRICT
from unpaired.study.description import Rules, Settings


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
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
        fast = sum(_seconds_to_choose(answer, settings) < rules.fast_seconds for answer in counted) / len(counted)
        right_side = sum(answer.side for answer in counted) / len(counted)
        if fast > rules.fast_share:
            found.append("too fast")
        if max(right_side, 1 - right_side) > rules.same_side_share:
            found.append("same side")
    if catch and sum(not answer.fooled for answer in catch) / len(catch) < rules.catch_share:
        found.append("catch trials")
    return found


def _seconds_to_choose(answer: Answered, settings: Settings) -> float:
    """Return the browser's figure, or what the server's clock leaves room for, if that is less: a program may lie."""
    shown = settings.exposure * (2 if settings.show == "in-turn" else 1)
    return min(answer.response, answer.waited - shown)
