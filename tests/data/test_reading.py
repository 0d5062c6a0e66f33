from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.data.check import check_images
from unpaired.data.decode import BadImage, decode
from unpaired.data.labels import VOID, Labels
from unpaired.data.reading import PICTURES, Reading, half_of

VALUES = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)
PALETTE = [10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200]
FOUR = Labels(kind="index", palette=((9, 9, 9), (200, 0, 0), (0, 200, 0), (0, 0, 200)))


def stored(path: Path) -> list[list[int]]:
    return decode(path, stored=True)[:, :, 0].tolist()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_stored_index_of_palette_files_counts(tmp_path: Path, bits: int) -> None:
    values = VALUES % 2 ** min(bits, 2)
    picture = PillowImage.fromarray(values)
    picture.putpalette(PALETTE[: 3 * int(values.max() + 1)])
    for name in ("x.png", "x.gif", "x.bmp"):
        picture.save(tmp_path / name, **({"bits": bits} if name == "x.png" else {}))
        assert stored(tmp_path / name) == values.tolist()
    assert decode(tmp_path / "x.png").shape == (2, 3, 3), "without it the colours count"


def test_transparent_palettes_and_grey_with_alpha_keep_their_numbers(tmp_path: Path) -> None:
    picture = PillowImage.fromarray(VALUES)
    picture.putpalette(PALETTE)
    picture.save(tmp_path / "p.png", transparency=0)
    assert stored(tmp_path / "p.png") == VALUES.tolist()
    PillowImage.merge("LA", [PillowImage.fromarray(VALUES), PillowImage.new("L", (3, 2), 0)]).save(tmp_path / "la.png")
    assert stored(tmp_path / "la.png") == VALUES.tolist()


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_not_scaled(tmp_path: Path, bits: int) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    per_byte = 8 // bits
    row = sum(value << (8 - bits * (place + 1)) for place, value in enumerate([3, 1][:per_byte]))
    header = struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0)
    raw = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes([0, row])))
    (tmp_path / "x.png").write_bytes(raw + chunk(b"IEND", b""))
    assert stored(tmp_path / "x.png") == [[3, 1]]
    assert decode(tmp_path / "x.png")[:, :, 0].tolist() == [[255, 85]] if bits == 2 else [[51, 17]]


def test_one_bit_tiff_and_numpy(tmp_path: Path) -> None:
    import tifffile

    PillowImage.fromarray(VALUES > 0).save(tmp_path / "x.png")
    assert stored(tmp_path / "x.png") == (VALUES > 0).astype(int).tolist()
    np.save(tmp_path / "x.npy", VALUES > 0)
    assert stored(tmp_path / "x.npy") == (VALUES > 0).astype(int).tolist()
    np.save(tmp_path / "y.npy", VALUES.astype(np.int64))
    assert stored(tmp_path / "y.npy") == VALUES.tolist()
    tifffile.imwrite(tmp_path / "x.tif", VALUES.astype(np.uint16))
    assert stored(tmp_path / "x.tif") == VALUES.tolist()
    colours = np.arange(3 * 256, dtype=np.uint16).reshape(3, 256)
    tifffile.imwrite(tmp_path / "p.tif", VALUES, photometric="palette", colormap=colours)
    assert stored(tmp_path / "p.tif") == VALUES.tolist()


def two_sides(path: Path, width: int = 6) -> NDArray[Any]:
    image = np.random.default_rng(0).integers(0, 256, (4, width, 3), dtype=np.uint8)
    PillowImage.fromarray(image).save(path)
    return image


def test_halves(tmp_path: Path) -> None:
    image = two_sides(tmp_path / "x.png")
    np.testing.assert_array_equal(Reading(half="left").read(tmp_path / "x.png"), image[:, :3])
    np.testing.assert_array_equal(Reading(half="right").read(tmp_path / "x.png"), image[:, 3:])
    np.testing.assert_array_equal(PICTURES.read(tmp_path / "x.png"), image)
    two_sides(tmp_path / "odd.png", 7)
    with pytest.raises(BadImage, match="odd width of 7 pixels"):
        Reading(half="left").read(tmp_path / "odd.png")


def test_which_half_belongs_to_whom() -> None:
    assert [half_of("a", "ab"), half_of("b", "ab")] == ["left", "right"]
    assert [half_of("a", "ba"), half_of("b", "ba")] == ["right", "left"]
    assert half_of("a", None) is None


def test_label_maps_become_indices_or_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    PillowImage.fromarray(VALUES).save(path)
    read = Reading(labels=FOUR).read(path)
    assert read.dtype == np.uint8
    assert read[:, :, 0].tolist() == VALUES.tolist()
    without = Labels(kind="index", palette=FOUR.palette[:3], void=(3,))
    assert Reading(labels=without).read(path)[1, 0, 0] == VOID
    strict = Labels(kind="index", palette=FOUR.palette[:3])
    with pytest.raises(BadImage, match=r"no label map: values that are no class: 3 \(classes are 0 to 2\)"):
        Reading(labels=strict).read(path)


def test_what_is_remembered_of_a_file_holds_for_one_reading_only(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    PillowImage.fromarray(np.concatenate([VALUES, VALUES + 4], axis=1)).save(path)
    for _ in range(2):  # the second time from memory
        (whole,) = check_images([path]).good
        (left,) = check_images([path], reading=Reading(half="left")).good
        (labelled,) = check_images([path], reading=Reading(half="left", labels=FOUR)).good
        assert (whole.width, left.width, labelled.width) == (6, 3, 3)
        assert (whole.channels, left.channels, labelled.channels) == (1, 1, 3)
        assert check_images([path], reading=Reading(half="right", labels=FOUR)).bad[0].reason.startswith("no label map")
    (right,) = check_images([path], reading=Reading(half="right")).good
    assert len({whole.digest, left.digest, right.digest}) == 3, "halves of one file are no copies of one another"


def test_keys_differ_where_pixels_may_differ() -> None:
    other = Labels(kind="index", palette=FOUR.palette, feed="one_hot")
    readings = [PICTURES, Reading(half="left"), Reading(half="right"), Reading(labels=FOUR), Reading(labels=other)]
    assert len({reading.key() for reading in readings}) == 5
    assert PICTURES.key() == ""


def test_class_indices_in_jpeg_are_refused(tmp_path: Path) -> None:
    PillowImage.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "x.jpg")
    with pytest.raises(BadImage, match="JPEG, which is lossy"):
        Reading(labels=FOUR).read(tmp_path / "x.jpg")
    assert Reading().read(tmp_path / "x.jpg").shape == (8, 8, 1)
