"""Ends a process that waits for another one which no longer answers, where nothing else would notice."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from unpaired.core.terminal import note

CHECKS = 20
"""Looks per timeout."""


class Watchdog:
    """While entered, ends the process with code 2 and a message when `beat` has not been called for too long.

    A recorded step waits on the GPU for the other processes' gradients, where neither PyTorch's own timeout nor a
    signal reaches it. gloo and unrecorded steps have timeouts of their own and need no watchdog.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._beats = self._seen = self._silent_checks = 0
        self._paused = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    def beat(self) -> None:
        """Say that the training goes on."""
        self._beats += 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Wait without limit while one process does something that the others wait for."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False
            self.beat()

    def has_been_silent(self) -> bool:
        """Look once; true where there was no beat between the last `CHECKS` looks, pauses apart."""
        self._silent_checks = self._silent_checks + 1 if self._beats == self._seen and not self._paused else 0
        self._seen = self._beats
        return self._silent_checks >= CHECKS

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._timeout_seconds / CHECKS):
            if self.has_been_silent():
                note(
                    f"error: no step has ended for {self._timeout_seconds:g} seconds: another process of this training "
                    "has ended or no longer answers. The newest checkpoint is intact; go on with --resume."
                )
                os._exit(2)
