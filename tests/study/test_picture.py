from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from unpaired.core.errors import UserError
from unpaired.study.create import Pixels, encode, filled, filled_length, fit, read_pixels, spoiled


def some(seed: int = 0, height: int = 20, width: int = 30) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def chunks(png: bytes) -> list[str]:
    names, place = [], 8
    while place < len(png):
        length = struct.unpack(">I", png[place : place + 4])[0]
        names.append(png[place + 4 : place + 8].decode())
        place += 12 + length
    assert place == len(png)
    return names


def test_filling_changes_the_length_and_nothing_else() -> None:
    flat, noise = np.full((20, 30, 3), 7, np.uint8), some()
    files = [encode(flat), encode(noise)]
    length = filled_length([len(file) for file in files])
    assert len(files[0]) < len(files[1]) < length
    for file, pixels in zip(files, (flat, noise), strict=True):
        whole = filled(file, length)
        assert len(whole) == length
        assert [name for name in chunks(whole) if name != "IDAT"] == ["IHDR", "paDd", "IEND"]
        with Image.open(io.BytesIO(whole)) as image:
            image.load()  # checks every checksum
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), pixels)
    with pytest.raises(ValueError, match="cannot be filled"):
        filled(files[1], len(files[1]) + 11)


def test_metadata_does_not_come_along(tmp_path: Path) -> None:
    picture = Image.fromarray(some())
    exif = Image.Exif()
    exif[0x0131] = "generator 3000"
    picture.save(tmp_path / "a.jpg", exif=exif, comment=b"made by generator 3000", quality=95)
    assert b"generator" in (tmp_path / "a.jpg").read_bytes()
    assert b"generator" not in encode(read_pixels(tmp_path / "a.jpg"))


def test_every_kind_of_value_becomes_eight_bits(tmp_path: Path) -> None:
    Image.fromarray(some()[..., 0]).save(tmp_path / "grey.png")
    assert read_pixels(tmp_path / "grey.png").shape == (20, 30, 3)
    tifffile.imwrite(tmp_path / "deep.tif", np.array([[0, 257, 65535], [128 * 257, 100, 150]], np.uint16))
    assert read_pixels(tmp_path / "deep.tif")[..., 0].tolist() == [[0, 1, 255], [128, 0, 1]]
    np.save(tmp_path / "float.npy", np.array([[[0.0], [0.5], [1.0]]], np.float32))
    assert read_pixels(tmp_path / "float.npy")[0, :, 0].tolist() == [0, 128, 255]


def test_what_people_cannot_look_at_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "five.npy", np.zeros((8, 9, 5), np.uint8))
    with pytest.raises(UserError, match="has 5 channels"):
        read_pixels(tmp_path / "five.npy")
    np.save(tmp_path / "wide.npy", np.zeros((4, 4, 1), np.int64))
    with pytest.raises(UserError, match="no brightness is obvious"):
        read_pixels(tmp_path / "wide.npy")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"broken\.png"):
        read_pixels(tmp_path / "broken.png")


def test_fit_crops_the_middle() -> None:
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 255
    assert (fit(picture, 10, 10) == 255).all()
    assert fit(picture, 10, 30) is picture
    assert fit(some(), 40, 60).shape == (40, 60, 3)


@pytest.mark.parametrize("size", [(64, 64), (20, 30), (5, 9)])
def test_a_spoiled_picture_is_far_from_its_source_and_of_its_size(size: tuple[int, int]) -> None:
    source = np.broadcast_to(np.linspace(0, 255, size[1]).astype(np.uint8)[None, :, None], (*size, 3)).copy()
    before = source.copy()
    made = spoiled(source, np.random.default_rng(0))
    np.testing.assert_array_equal(source, before)
    assert made.shape == source.shape
    assert np.abs(made.astype(int) - source).mean() > 40
