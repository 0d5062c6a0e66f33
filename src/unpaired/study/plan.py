"""Which pictures a participant sees, in which order, on which side: drawn once, when they agree to take part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from numpy.random import Generator

from unpaired.study.description import Picture, Study

Kind = Literal["practice", "trial", "catch"]
ACTIVE_SECONDS = 3600.0
"""Somebody who has not finished counts for the balance of the methods for this long after their last sign of life."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One pair of pictures."""

    kind: Kind
    real: str
    """File of the real picture."""
    fake: str
    """File of the generated (catch: the spoiled) picture."""
    real_side: int
    """Where the real one stands: 0 is left or first, 1 is right or second."""


def draw_trials(study: Study, method: str, random: Generator) -> list[Trial]:
    """Draw a participant's trials: practice first, then counted and catch trials mixed; no picture comes twice.

    Which side is real is an independent fair coin each time, so that no answer follows from earlier ones.
    """
    settings = study.settings
    made = study.methods[method]
    numbers = random.permutation(len(made))[: settings.practice + settings.trials]
    fakes = [made[number] for number in numbers]
    if settings.pairs == "matched":
        partners = {_key(picture): picture for picture in study.real}
        reals = [partners[_key(fake)] for fake in fakes]
    else:
        reals = [study.real[place] for place in random.permutation(len(study.real))[: len(fakes)]]
    taken = {picture.file for picture in reals}
    rest = [picture for picture in study.real if picture.file not in taken]
    beside = [rest[place] for place in random.permutation(len(rest))[: settings.catch]]
    catch = [study.catch[place] for place in random.permutation(len(study.catch))[: settings.catch]]
    counts: dict[Kind, int] = {"practice": settings.practice, "trial": settings.trials, "catch": settings.catch}
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    trials = [
        Trial(kind, real.file, fake.file, int(random.integers(2)))
        for kind, real, fake in zip(kinds, reals + beside, fakes + catch, strict=True)
    ]
    counted = trials[settings.practice :]
    return trials[: settings.practice] + [counted[place] for place in random.permutation(len(counted))]


def choose_method(counts: Mapping[str, int], random: Generator) -> str:
    """Return the method with the fewest participants; among equals, any."""
    fewest = min(counts.values())
    able = [name for name, count in counts.items() if count == fewest]
    return able[int(random.integers(len(able)))]


def _key(picture: Picture) -> str:
    return PurePosixPath(picture.name).with_suffix("").as_posix()
