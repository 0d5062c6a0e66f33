from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unpaired.core.errors import UserError
from unpaired.data.values import Domain
from unpaired.models.export.quantize import AT_MOST, calibration_images

COLOUR = Domain(channels=3)


def write_flat(folder: Path, count: int, size: int = 8) -> Path:
    """Write images whose value is their number."""
    for number in range(count):
        Image.new("RGB", (size, size), (number, number, number)).save(folder / f"{number:03d}.png")
    return folder


def numbers(images: list[torch.Tensor]) -> list[int]:
    return [round((float(image.mean()) + 1) * 127.5) for image in images]


def test_a_quarter_is_kept_out(tmp_path: Path) -> None:
    used, kept_out = calibration_images(write_flat(tmp_path, 8), COLOUR)
    assert numbers(used) == [0, 1, 2, 4, 5, 6]
    assert numbers(kept_out) == [3, 7]
    assert used[0].shape == (1, 3, 8, 8)


def test_of_many_images_some_are_taken_evenly(tmp_path: Path) -> None:
    used, kept_out = calibration_images(write_flat(tmp_path, 2 * AT_MOST), COLOUR)
    assert sorted(numbers(used) + numbers(kept_out)) == list(range(0, 2 * AT_MOST, 2))


def test_of_a_large_image_the_middle_is_taken(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(400)[:, None] // 2, (400, 300)).astype(np.uint8)
    for number in range(4):
        Image.fromarray(ramp).save(tmp_path / f"{number}.png")
    used, _ = calibration_images(tmp_path, Domain(channels=1))
    assert used[0].shape == (1, 1, 256, 256)
    assert round((float(used[0][0, 0, 0, 0]) + 1) * 127.5) == 72 // 2


def test_too_few_images_and_unreadable_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds 3 images. Calibration needs at least 4"):
        calibration_images(write_flat(tmp_path, 3), COLOUR)
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(UserError, match=r"cannot calibrate with .*bad.png"):
        calibration_images(tmp_path, COLOUR)
