"""What a study is (settings, rules and pictures, kept in `STUDY/study.json`), and what each participant sees."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from numpy.random import Generator
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from unpaired.core import settings
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.core.settings import STRICT, Flag
from unpaired.core.text import printable

DESCRIPTION = "study.json"
PICTURES = "pictures"
ANSWERS = "answers.sqlite"

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, le=10_000)]
Line = Annotated[str, Field(min_length=1, max_length=200)]
METHOD_NAME = r"^[^\x00-\x1f/\\=]{1,60}$"
MethodName = Annotated[str, Field(pattern=METHOD_NAME)]

CONSENT = (
    "Taking part is voluntary, and you can stop at any time by closing this page. Your choices, their times, the kind "
    "of input and, if your link holds one, your participant number are stored; nothing else about you is. I agree to "
    "take part."
)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Rules:
    """Who is left out of the second figure; fixed when the study is created, before anybody has answered."""

    fast_seconds: Annotated[float, Field(ge=0.0)] = 0.15
    """An answer sooner than this after the pictures were hidden is too fast to be a reaction to them."""
    fast_share: Share = 0.25
    """Left out when more than this share of the counted answers is too fast."""
    same_side_share: Share = 0.9
    """Left out when more than this share of the counted answers is the same side."""
    catch_share: Share = 0.75
    """Left out when less than this share of the catch trials is right."""
    exposure_share: Share = 0.25
    """A single trial is left out when a picture could be seen for a time that is further than this from the setting."""


class Settings(settings.Settings):
    """How a study is shown. The defaults are the protocol of the CycleGAN paper, and catch trials."""

    pairs: Annotated[Literal["unmatched", "matched"], Flag("--pairs")] = "unmatched"
    """Which real picture stands beside a generated one: any (unmatched), or the one of the same name (matched)."""
    show: Annotated[Literal["together", "in-turn"], Flag("--show")] = "together"
    """Both pictures at once, or one after the other."""
    exposure: Annotated[float, Flag("--exposure"), Field(gt=0.0, le=60.0)] = 1.0
    """Seconds for which the pictures (in turn: each of them) can be seen."""
    practice: Annotated[Count, Flag("--practice")] = 10
    """Trials at the start that tell whether the answer was right and do not count."""
    trials: Annotated[int, Flag("--trials"), Field(gt=0, le=10_000)] = 40
    """Trials that count."""
    catch: Annotated[Count, Flag("--catch")] = 4
    """Trials mixed in whose false picture is plainly false, to find who does not look; 0 is as published."""
    participants: Annotated[int, Flag("--participants"), Field(gt=0, le=1_000_000)] = 25
    """Participants wanted per method; the report says how many are there, nobody is turned away."""
    title: Annotated[Line, Flag("--title")] = "Which picture is real?"
    """Heading of the first page."""
    consent: Annotated[str, Flag("--consent"), Field(min_length=1, max_length=4000)] = CONSENT
    """The line that participants agree to."""
    completion_code: Annotated[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] | None, Flag("--completion-code")
    ] = None
    """One code for all at the end, as some crowd platforms want; by default each participant gets their own."""
    links_only: Annotated[bool, Flag("--links-only")] = False
    """Refuse people who come without ?participant=NUMBER in the address."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Picture:
    """One picture of a study."""

    file: Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.png$")]
    """Random name inside the study; says nothing."""
    name: str
    """Where it came from: its path inside the folder that was given."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the file inside the study."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Study:
    """Everything about a study but the answers."""

    format: Literal[1] = 1
    """Version of this description."""
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """Random; tells one study from another."""
    created: str
    """When, ISO 8601 with the time zone."""
    settings: Settings
    rules: Rules
    height: Annotated[int, Field(gt=0)]
    """Of every picture, pixels."""
    width: Annotated[int, Field(gt=0)]
    """Of every picture, pixels."""
    bytes: Annotated[int, Field(gt=0)]
    """Length of every picture's file; all have the same."""
    real: tuple[Picture, ...]
    """The real pictures."""
    methods: dict[MethodName, tuple[Picture, ...]]
    """The generated pictures of every method."""
    catch: tuple[Picture, ...]
    """Real pictures made plainly false."""

    def pictures(self) -> dict[str, Picture]:
        """Return every picture by its file's name."""
        everything = [*self.real, *self.catch, *(picture for made in self.methods.values() for picture in made)]
        return {picture.file: picture for picture in everything}


_STUDY = TypeAdapter(Study)


def write_study(study: Study, folder: Path) -> None:
    """Write `study.json` in one move."""
    text = json.dumps(_STUDY.dump_python(study, mode="json"), indent=1, ensure_ascii=False)
    write_atomic(folder / DESCRIPTION, text.encode())


def read_study(folder: Path, *, verify: bool = False) -> Study:
    """Read a study's description; with `verify`, every picture is compared with its checksum.

    Raises `UserError` where the folder is no study, or something in it is missing or damaged.
    """
    path = folder / DESCRIPTION
    try:
        study = _STUDY.validate_json(path.read_bytes(), strict=False)
    except FileNotFoundError as error:
        raise UserError(
            f'"{printable(folder)}" is no study: it has no {DESCRIPTION}. Make one with: '
            "unpaired study create --real DIR --fake NAME=DIR --out STUDY"
        ) from error
    except OSError as error:
        raise UserError(f'cannot read "{printable(path)}": {error.strerror}.') from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise UserError(f'"{printable(path)}" is damaged or of another version: {place}: {first["msg"]}.') from error
    if verify:
        for picture in study.pictures().values():
            picture_bytes(folder, study, picture)
    return study


def picture_bytes(folder: Path, study: Study, picture: Picture) -> bytes:
    """Return a picture's file; raises `UserError` unless it is the one that the study was made with."""
    path = folder / PICTURES / picture.file  # the name is 32 hexadecimal digits: it leads nowhere else
    try:
        if path.is_symlink():
            raise UserError(f'"{printable(path)}" is a link; a study holds its own pictures. Create the study again.')
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f'cannot read "{printable(path)}": {error.strerror}. The study is not whole.') from error
    if len(data) != study.bytes or hashlib.sha256(data).hexdigest() != picture.sha256:
        raise UserError(
            f'"{printable(path)}" is not the file that the study was created with. Restore it, or start anew.'
        )
    return data


Kind = Literal["practice", "trial", "catch"]
ACTIVE_SECONDS = 3600.0
"""Somebody who has not finished counts for the balance of the methods for this long after their last sign of life."""


@dataclasses.dataclass(frozen=True, slots=True)
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
