"""How an evaluation is carried out: a value that is passed in and printed with every figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What may differ between evaluations; a metric of one name computes the same in all of them."""

    name: str = "full"
    patches: int = 128
    """Patches per image and level of the sliced Wasserstein distance; 128 are the published number."""
    projections: int = 512
    """Random projections of the sliced Wasserstein distance; 512 are the published number."""
    errors: bool = True
    """Compute the standard errors of distances between sets, which takes as long as the distances."""
    bounds: bool = True
    """Measure the bounds too: untranslated inputs, halves of the real images, shuffled labels, real photos."""
    pictures: bool = True
    """Keep the pictures of the best and worst images."""
    seed: int = 0
    """Of patches, projections, samples and shuffles."""
    batch_size: int = 8
    """At most so many images of one size are handled together, ..."""
    batch_pixels: int = 1 << 22
    """... and at most so many pixels; a larger image by itself."""


FULL = Protocol()
"""`unpaired evaluate`."""
TRAINING = Protocol(
    name="training", patches=64, projections=128, errors=False, bounds=False, pictures=False, batch_pixels=1 << 18
)
"""Evaluation during training: half the patches and a quarter of the projections, always the same."""
COMPARISON = Protocol(name="comparison", pictures=False)
"""`unpaired compare`."""
