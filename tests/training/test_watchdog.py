from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import time
from unpaired.training.watchdog import Watchdog
with Watchdog(0.4) as watchdog:
    for _ in range(8):
        time.sleep(0.1)
        watchdog.beat()
    print("alive", flush=True)
    {then}
print("ended by itself")
"""


def _run(then: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(then=then)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_training_that_goes_on_is_left_alone() -> None:
    done = _run("pass")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["alive", "ended by itself"]


def test_silence_ends_the_process_with_a_message() -> None:
    done = _run("time.sleep(50)")
    assert done.returncode == 2
    assert done.stdout == "alive\n"
    assert "another process of this training" in done.stderr
    assert "--resume" in done.stderr


def test_a_pause_may_last() -> None:
    done = _run("with watchdog.paused():\n        time.sleep(1.2)\n    time.sleep(0.2)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["alive", "ended by itself"]


def test_after_a_pause_it_watches_again() -> None:
    done = _run("with watchdog.paused():\n        time.sleep(0.1)\n    time.sleep(50)")
    assert done.returncode == 2
