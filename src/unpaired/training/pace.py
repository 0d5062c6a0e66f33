"""How long a training will take, reported once its first steps, which are slower, are over."""

from __future__ import annotations

from typing import final

from unpaired.core.text import duration

WARM_UP_STEPS = 5
"""Steps that are not counted: kernels are chosen, networks compiled, a CUDA graph recorded."""
COUNTED_STEPS = 5
COUNTED_SECONDS = 10.0
"""The expectation rests on at least so many steps, and so much time."""
WORTH_TELLING_SECONDS = 60.0
TOO_LONG_SECONDS = 14 * 86_400.0


@final
class Pace:
    """Watches the first steps of a process and tells the expected time once."""

    def __init__(self, total_images: int) -> None:
        self._total_images = total_images
        self._steps = 0
        self._start: tuple[int, float] | None = None
        self._reported = False

    def observe(self, images_seen: int, seconds: float) -> float | None:
        """Take in a step that ended after so many images and seconds; return the expected rest, in seconds, once."""
        self._steps += 1
        if self._reported or self._steps < WARM_UP_STEPS:
            return None
        if self._start is None:
            self._start = (images_seen, seconds)
            return None
        images, elapsed = images_seen - self._start[0], seconds - self._start[1]
        if self._steps < WARM_UP_STEPS + COUNTED_STEPS or elapsed < COUNTED_SECONDS:
            return None
        self._reported = True
        return (self._total_images - images_seen) * elapsed / images


def expectation(seconds: float) -> tuple[str, bool] | None:
    """Return what to say of the expected rest of a training, and whether it is a warning; None for a short one."""
    if seconds < WORTH_TELLING_SECONDS:
        return None
    if seconds < TOO_LONG_SECONDS:
        return f"Expected time on this machine: about {duration(seconds)}.", False
    return (
        f"on this machine this training would take about {seconds / 604_800:.0f} weeks. --config small-64 trains a "
        "smaller network on smaller images; a GPU is 50 times as fast or more.",
        True,
    )
