from __future__ import annotations

import subprocess
import sys

from unpaired.training.distributed import CHECKS, Watchdog

SCRIPT = """
import time
from unpaired.training.distributed import Watchdog
with Watchdog(0.4):
    print("alive", flush=True)
    while True:
        time.sleep(1)
"""


def looks(watchdog: Watchdog, count: int) -> list[bool]:
    return [watchdog.has_been_silent() for _ in range(count)]


def test_a_training_that_goes_on_is_left_alone() -> None:
    watchdog = Watchdog(60)
    for _ in range(3):
        watchdog.beat()
        assert not any(looks(watchdog, CHECKS))


def test_silence_is_noticed_after_the_timeout() -> None:
    watchdog = Watchdog(60)
    assert looks(watchdog, CHECKS) == [False] * (CHECKS - 1) + [True]


def test_a_pause_may_last_and_after_it_the_watch_goes_on() -> None:
    watchdog = Watchdog(60)
    with watchdog.paused():
        assert not any(looks(watchdog, 5 * CHECKS))
    assert looks(watchdog, CHECKS + 1) == [False] * CHECKS + [True]


def test_silence_ends_the_process_with_a_message() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "alive\n"
    assert "another process of this training" in done.stderr
    assert "--resume" in done.stderr
