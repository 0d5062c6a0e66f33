"""SIGINT and SIGTERM end a training after the present step; a terminal that is closed (SIGHUP) does not end it."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType

from unpaired.core.errors import LostError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)


class Interrupt:
    """While entered, the first signal sets `received`; a second one of the same kind acts as usual.

    Signals within `patience_seconds` of the first count as the same: torchrun passes on a Ctrl-C which its processes
    have received from the terminal already.
    """

    def __init__(self, patience_seconds: float = 0.0) -> None:
        self.received: signal.Signals | None = None
        self._patience_seconds = patience_seconds
        self._first_at = 0.0
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
            if HANGUP is not None:  # torchrun passes it on and then kills: processes of one training save and stop
                several = self._patience_seconds > 0
                self._before[HANGUP] = signal.signal(HANGUP, self._note if several else signal.SIG_IGN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # torchrun ends those that a lost process leaves behind at once; they are to say why first.
            lost = number == signal.SIGTERM and isinstance(error, LostError)
            signal.signal(number, signal.SIG_IGN if lost else handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._first_at = signal.Signals(number), now
        if now - self._first_at < self._patience_seconds:
            return
        signal.signal(number, self._before.get(signal.Signals(number), signal.SIG_DFL))
        if self._patience_seconds:  # this was a second one already
            os.kill(os.getpid(), number)
