"""The measures that an evaluation during the training knows: what they are called, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unpaired.metrics.paired import WINDOW
from unpaired.metrics.sliced import SMALLEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure; in records its name is followed by the direction, as in `swd_a2b`."""

    name: str
    title: str
    """What people read."""
    unit: str
    higher_is_better: bool = False
    of_features: bool = False
    """Whether its values depend on the features that `training.evaluate_features` names."""
    smallest: int = 1
    """Pixels that the shorter side of every image must have."""

    def is_better(self, value: float, other: float) -> bool:
        """Whether a value is strictly better than another one."""
        return value > other if self.higher_is_better else value < other

    @property
    def heading(self) -> str:
        """Return the title with the way that is better, for charts."""
        return f"{self.title} ({'higher' if self.higher_is_better else 'lower'} is better)"

    @property
    def superlative(self) -> str:
        """Return `lowest` or `highest`: what the best value is."""
        return "highest" if self.higher_is_better else "lowest"


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(name="swd", title="Sliced Wasserstein distance", unit="distance x 1000", smallest=SMALLEST),
        Measure(name="frechet", title="Fréchet distance of features", unit="distance", of_features=True),
        Measure(name="kernel", title="Kernel distance of features", unit="distance", of_features=True),
        Measure(name="l1", title="L1 to the wanted image", unit="mean absolute difference"),
        Measure(
            name="ssim", title="SSIM with the wanted image", unit="similarity", higher_is_better=True, smallest=WINDOW
        ),
        Measure(name="psnr", title="PSNR to the wanted image", unit="dB", higher_is_better=True),
        Measure(name="reconstruction_l1", title="Reconstruction L1", unit="mean absolute difference"),
    )
}
"""Name -> measure, in the order in which they are shown."""


def measure_of(key: str) -> Measure | None:
    """Return the measure of a record's key such as `swd_a2b`; None for one of another version."""
    name, _, direction = key.rpartition("_")
    return MEASURES.get(name) if direction in ("a2b", "b2a") else None
