"""What a browser may send, checked field by field, how often, and how a request that is not granted is answered."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from unpaired.core.settings import STRICT

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
    """Drawn by the browser for somebody new, and stored there; asking twice takes nobody in twice."""
    consent: bool = False
    """Whether they agreed just now."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Answer:
    """What a participant chose, and what their browser measured; times in seconds."""

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


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Choice(Answer):
    """An answer as it is sent."""

    trial: Token
    """The trial's token."""


ENTER = TypeAdapter(Enter)
CHOICE = TypeAdapter(Choice)


MOST_KEYS = 20_000
"""Buckets that are kept; the longest unused ones are forgotten first."""


class Limit:
    """At most `burst` requests at once and `per_second` in the long run, for every key; safe across threads."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Take one request from the key's bucket and return 0, or return the seconds until there is one."""
        with self._lock:
            content = self._content(key)
            if content < 1.0:
                return (1.0 - content) / self._per_second
            self._buckets[key] = (content - 1.0, self._clock())
            self._buckets.move_to_end(key)
            while len(self._buckets) > MOST_KEYS:
                self._buckets.popitem(last=False)
            return 0.0

    def _content(self, key: str) -> float:
        content, since = self._buckets.get(key, (self._burst, self._clock()))
        return min(self._burst, content + (self._clock() - since) * self._per_second)
