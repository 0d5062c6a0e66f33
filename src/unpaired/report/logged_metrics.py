"""What the metrics of a run's log are called on charts; in the log a name is followed by the direction: `swd_a2b`."""

from __future__ import annotations

from typing import NamedTuple

from unpaired.report.results import Better


class LoggedMetric(NamedTuple):
    """One metric of the evaluations during training."""

    title: str
    unit: str
    better: Better

    @property
    def heading(self) -> str:
        """Return the title with the side that is better, for charts."""
        return f"{self.title} ({self.better} is better)"


LOGGED: dict[str, LoggedMetric] = {
    "swd": LoggedMetric("Sliced Wasserstein distance", "distance x 1000", "lower"),
    "frechet": LoggedMetric("Fréchet distance", "distance", "lower"),
    "kernel": LoggedMetric("Kernel distance", "distance", "lower"),
    "l1": LoggedMetric("L1 to the true image", "mean absolute difference", "lower"),
    "ssim": LoggedMetric("SSIM to the true image", "similarity", "higher"),
    "psnr": LoggedMetric("PSNR to the true image", "dB", "higher"),
    "reconstruction_l1": LoggedMetric("L1 of the reconstruction", "mean absolute difference", "lower"),
}
"""Name -> metric, in the order in which charts are shown."""


def logged_metric(key: str) -> LoggedMetric | None:
    """Return the metric of a log's key such as `swd_a2b`; None for one of another version."""
    name, _, direction = key.rpartition("_")
    return LOGGED.get(name) if direction in ("a2b", "b2a") else None
