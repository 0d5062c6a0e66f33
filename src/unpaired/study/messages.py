"""What a browser may send: checked field by field; anything else is refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from unpaired.core.settings import STRICT
from unpaired.study.store import Answer

Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
Session = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{32,64}$")]
Number = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@:-]{0,127}$")]
Seconds = Annotated[float, Field(ge=0.0, le=86400.0)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Enter:
    """Somebody opens the page, or agrees to take part."""

    participant: Number | None = None
    """The number in their link."""
    session: Session | None = None
    """Drawn by the browser for somebody new, and remembered there; asking twice takes nobody in twice."""
    consent: bool = False
    """Whether they agreed just now."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Choice:
    """An answer to a trial; times in seconds."""

    trial: Token
    """The trial's token."""
    side: Annotated[int, Field(ge=0, le=1)]
    """0 is left or first, 1 is right or second."""
    exposures: tuple[Seconds, Seconds]
    """For how long each picture could be seen, by the browser's frames."""
    frames: Annotated[int, Field(ge=0, le=1_000_000)]
    """Frames drawn meanwhile."""
    hidden: bool
    """Whether the page was in the background meanwhile."""
    response: Seconds
    """From the pictures' disappearance to the choice."""
    input: Literal["mouse", "touch", "pen", "keyboard"]
    """What was used to choose."""

    def answer(self) -> Answer:
        """Return it as it is stored."""
        first, second = self.exposures
        return Answer(self.side, first, second, self.frames, self.hidden, self.response, self.input)


ENTER = TypeAdapter(Enter)
CHOICE = TypeAdapter(Choice)
