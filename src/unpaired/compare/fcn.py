"""A trained FCN-8s as what labels the photos of a comparison, in place of its own small network."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.held_out import Material, Side
from unpaired.data.labels import Indices
from unpaired.evaluation.segmentation.model import Segmenter, require_classes
from unpaired.evaluation.segmentation.score import labels_for


@final
class FcnLabeller:
    """Photos to class indices as `Labeller` has it, at the size of the segmenter's training."""

    def __init__(self, segmenter: Segmenter, size: tuple[int, int]) -> None:
        self._segmenter, self._size = segmenter, size

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the segmenter is and of its weights."""
        return self._segmenter.fingerprint

    @property
    def words(self) -> str:
        """What it is and what it was trained on, in words; and that photos are resized, where they are."""
        notice = self._segmenter.notice_for(self._size)
        return self._segmenter.description.in_words() + (f"; {notice}" if notice else "")

    def __call__(self, photos: NDArray[np.float32]) -> Indices:
        """Return the classes, uint8 [N, H, W], of photos [N, C, H, W] in [-1, 1]."""
        return labels_for(self._segmenter, photos, (photos.shape[2], photos.shape[3]))


def fcn_of(place: str, material: Material, photos: Side, device: torch.device) -> FcnLabeller:
    """Read a segmenter of `unpaired segment train` for the photos of domain `photos`.

    Raises `UserError` where there is none, or where it was trained on other classes or other photos.
    """
    segmenter = Segmenter.load(Path(place).expanduser(), device=device)
    labels = material.labels("b" if photos == "a" else "a")
    assert labels is not None
    require_classes(segmenter.description, labels)
    channels = segmenter.description.photos.channels
    if channels != material.domains[photos].channels:
        raise UserError(
            f"the segmenter in {place} was trained on photos of {channels} channels, and those of this comparison have "
            f"{material.domains[photos].channels}. Give another --fcn, or set data.channels_{photos}={channels}."
        )
    return FcnLabeller(segmenter, material.size)
