"""Published shares of generated pictures taken for real, to put a study's own beside.

As quoted by later papers and programs; the tables of the papers themselves were not at hand, so a deviation that no
second source confirms is left out here.
"""

from __future__ import annotations

from typing import NamedTuple

CYCLEGAN = "CycleGAN paper (Zhu et al., 2017), Table 1"
PIX2PIX = "pix2pix paper (Isola et al., 2017)"


class Published(NamedTuple):
    """One published figure; shares from 0 to 1; `deviation` is what the paper prints after its plus-minus sign."""

    method: str
    task: str
    share: float
    deviation: float | None
    source: str


PUBLISHED = (
    Published("CycleGAN", "map to photo", 0.268, 0.028, CYCLEGAN),
    Published("CycleGAN", "photo to map", 0.232, 0.034, CYCLEGAN),
    Published("CoGAN", "map to photo", 0.006, None, CYCLEGAN),
    Published("CoGAN", "photo to map", 0.009, None, CYCLEGAN),
    Published("BiGAN/ALI", "map to photo", 0.021, None, CYCLEGAN),
    Published("BiGAN/ALI", "photo to map", 0.019, None, CYCLEGAN),
    Published("SimGAN", "map to photo", 0.007, None, CYCLEGAN),
    Published("SimGAN", "photo to map", 0.026, None, CYCLEGAN),
    Published("Feature loss + GAN", "map to photo", 0.012, None, CYCLEGAN),
    Published("Feature loss + GAN", "photo to map", 0.003, None, CYCLEGAN),
    Published("pix2pix (paired)", "map to photo", 0.189, 0.025, PIX2PIX),
)
"""Amazon Mechanical Turk, 256 pixels, one second, 10 practice and 40 counted trials, 25 participants per method."""
