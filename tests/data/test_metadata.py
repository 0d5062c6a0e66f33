"""What pictures say of themselves, kept in every format that holds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from unpaired.data.decode import decode
from unpaired.data.encode import encode_image
from unpaired.data.metadata import Metadata, metadata_of

COLOURS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    exif = PillowImage.Exif()
    exif[0x0112], exif[271], exif[33432], exif[256] = 6, "A camera", "Somebody", 9999
    exif[0x8769] = {0x9003: "2026:01:02 03:04:05", 0x927C: b"notes", 0x829A: 0.5}
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    PillowImage.fromarray(COLOURS).save(tmp_path / "x.jpg", exif=exif, dpi=(300, 300))
    return tmp_path / "x.jpg"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_resolution_and_exif_survive_without_orientation(photo: Path, suffix: str, dtype: str) -> None:
    if dtype == "uint16" and suffix in (".jpg", ".webp"):
        return
    metadata, image = metadata_of(photo), COLOURS.astype(dtype)
    path = photo.with_name(f"out{suffix}")
    path.write_bytes(encode_image(image, suffix, None, metadata))
    found = metadata_of(path)
    with PillowImage.open(path) as opened:
        exif = opened.getexif()
        assert (exif[271], exif[33432]) == ("A camera", "Somebody")
        assert exif.get(0x0112, 1) == 1
        if suffix != ".tif":
            inner = exif.get_ifd(0x8769)
            assert inner[0x9003] == "2026:01:02 03:04:05"
            assert 0x927C not in inner
            assert exif.get_ifd(0x8825)[1] == "N"
    if suffix != ".webp":
        assert found.dpi == pytest.approx((300, 300), abs=0.01)
    assert decode(path).shape == (24, 32, 3)
    if suffix != ".jpg":
        np.testing.assert_array_equal(decode(path), image)


def test_files_that_say_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", COLOURS)
    PillowImage.fromarray(COLOURS).save(tmp_path / "x.png")
    PillowImage.fromarray(COLOURS).save(tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    for path in tmp_path.iterdir():
        assert metadata_of(path)._replace(dpi=None) == Metadata()
