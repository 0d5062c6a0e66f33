"""The metrics as a library."""

from __future__ import annotations

import pytest
import torch

from unpaired import metrics


def test_the_package_offers_its_functions() -> None:
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    assert metrics.ssim(images, images).tolist() == pytest.approx([1, 1])
    patches = metrics.Patches()
    patches.add(images)
    assert metrics.sliced_wasserstein(patches, patches).mean == 0
