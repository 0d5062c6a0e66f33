"""How often somebody may ask: buckets that fill with time and are emptied by requests."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

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
