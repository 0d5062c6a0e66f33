"""Colour profiles: other spaces become sRGB, sRGB and damaged profiles change nothing."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from PIL import ImageCms

from unpaired.data.check import check_images
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.data.decode import decode, meaning_of
from unpaired.data.describe import remarks
from unpaired.data.formats.meaning import CONVERTED
from unpaired.data.training import Part, open_training_data

COLOURS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = imagecodecs.cms_profile(
    "rgb", whitepoint=(0.3127, 0.3290), primaries=(0.680, 0.320, 0.265, 0.690, 0.150, 0.060), gamma=2.2
)
ADOBE = imagecodecs.cms_profile(
    "rgb", whitepoint=(0.3127, 0.3290), primaries=(0.64, 0.33, 0.21, 0.71, 0.15, 0.06), gamma=2.19921875
)


def by_pillow(profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(PillowImage.fromarray(COLOURS), source, target, ImageCms.Intent(1), "RGB")
    return np.asarray(made).astype(int)


@pytest.mark.parametrize("profile", [P3, ADOBE], ids=["Display P3", "Adobe RGB"])
def test_other_spaces_become_srgb(tmp_path: Path, profile: bytes) -> None:
    expected = by_pillow(profile)
    assert np.abs(expected - COLOURS).max() > 40
    PillowImage.fromarray(COLOURS).save(tmp_path / "x.png", icc_profile=profile)
    PillowImage.fromarray(COLOURS).save(tmp_path / "x.webp", lossless=True, icc_profile=profile)
    tifffile.imwrite(tmp_path / "x.tif", COLOURS, photometric="rgb", iccprofile=profile)
    deep = imagecodecs.png_encode(COLOURS.astype(np.uint16) * 257)
    content = b"x\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(content)) + b"iCCP" + content + struct.pack(">I", zlib.crc32(b"iCCP" + content))
    (tmp_path / "deep.png").write_bytes(deep[:33] + chunk + deep[33:])
    for name in ("x.png", "x.webp", "x.tif", "deep.png"):
        found = decode(tmp_path / name)
        scale = 257 if found.dtype == np.uint16 else 1
        assert np.abs(found / scale - expected).max() <= 1.5, name
        assert meaning_of(tmp_path / name).remarks == (CONVERTED,), name
        np.testing.assert_array_equal(decode(tmp_path / name, profiles=False) // scale, COLOURS)


def test_the_check_counts_what_is_converted(tmp_path: Path) -> None:
    for name, profile in (("a", P3), ("b", ADOBE), ("c", SRGB), ("d", None)):
        PillowImage.fromarray(COLOURS).save(tmp_path / f"{name}.jpg", icc_profile=profile)
    for _ in range(2):  # the second time it is remembered
        found = check_images(sorted(tmp_path.iterdir()))
        assert [info.meaning.remarks for info in found.good] == [(CONVERTED,), (CONVERTED,), (), ()]
        assert remarks("a", found.good)[0].startswith("2 images")


@pytest.mark.parametrize("profile", [SRGB, b"", b"damaged" * 50, P3[:200], imagecodecs.cms_profile("gray", gamma=2.2)])
def test_what_changes_nothing(tmp_path: Path, profile: bytes) -> None:
    PillowImage.fromarray(COLOURS).save(tmp_path / "x.png", icc_profile=profile)
    np.testing.assert_array_equal(decode(tmp_path / "x.png"), COLOURS)
    assert meaning_of(tmp_path / "x.png").remarks == ()


def test_grey_and_transparent_pictures(tmp_path: Path) -> None:
    grey = PillowImage.fromarray(COLOURS[..., 0])
    grey.save(tmp_path / "g.png", icc_profile=imagecodecs.cms_profile("gray", gamma=1.8))
    np.testing.assert_array_equal(decode(tmp_path / "g.png")[..., 0], COLOURS[..., 0])
    alpha = np.full((24, 32, 1), 255, np.uint8)
    alpha[:12] = 0
    PillowImage.fromarray(np.concatenate([COLOURS, alpha], axis=2)).save(tmp_path / "a.png", icc_profile=P3)
    found = decode(tmp_path / "a.png")
    assert (found[:12] == 255).all()
    assert np.abs(found[12:] - by_pillow(P3)[12:]).max() <= 1


def test_label_maps_keep_their_colours(tmp_path: Path) -> None:
    palette = ((200, 10, 10), (10, 200, 10))
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            classes = np.random.default_rng(number).integers(0, 2, (3, 4)).repeat(8, axis=0).repeat(8, axis=1)
            image = PillowImage.fromarray(np.array(palette, np.uint8)[classes])
            image.save(tmp_path / folder / f"{folder}{number}.png", icc_profile=P3)
    labels = LabelsConfig(kind="colour")
    data = open_training_data(DataConfig(a=str(tmp_path / "A"), b=str(tmp_path / "B"), labels_a=labels, crop_size=16))
    assert data.domain_a.labels is not None
    assert set(data.domain_a.labels.palette) == set(palette)
    assert {tuple(colour) for colour in data.sources[Part(False, "a")][0].reshape(-1, 3).tolist()} <= set(palette)
