from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from unpaired.core.errors import UserError
from unpaired.data.decode import BadImage, as_channels, decode
from unpaired.data.formats import Frame

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
GREY = RGB[..., 0]
DEEP = RNG.integers(0, 65536, (12, 10, 3), dtype=np.uint16)


def pillow(path: Path, image: PillowImage.Image, **options: object) -> NDArray[np.generic]:
    image.save(path, **options)
    return decode(path)


def over_white(colour: NDArray[np.generic], alpha: NDArray[np.generic], white: int) -> NDArray[np.generic]:
    """The rule in floating point."""
    share = alpha[..., None] / white
    return np.rint(colour * share + white * (1 - share)).astype(colour.dtype)


def test_plain_formats_keep_their_pixels(tmp_path: Path) -> None:
    for suffix in (".png", ".bmp", ".tga", ".ppm", ".tif", ".webp", ".PNG"):
        options = {"lossless": True} if suffix == ".webp" else {}
        found = pillow(tmp_path / f"ü ñ{suffix}", PillowImage.fromarray(RGB), **options)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, RGB)
    np.testing.assert_array_equal(pillow(tmp_path / "g.png", PillowImage.fromarray(GREY)), GREY[..., None])


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(imagecodecs.png_encode(DEEP))
    np.testing.assert_array_equal(decode(tmp_path / "x.jpg"), DEEP)


def test_sixteen_bit_png_stays_sixteen_bit(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(imagecodecs.png_encode(DEEP))
    with PillowImage.open(path) as alone:
        assert alone.mode == "RGB", "Pillow alone would have cut it to 8 bits"
    np.testing.assert_array_equal(decode(path), DEEP)
    path.write_bytes(imagecodecs.png_encode(DEEP[..., 0].copy()))
    np.testing.assert_array_equal(decode(path), DEEP[..., :1])


@pytest.mark.parametrize("colours", [1, 3])
def test_transparency_is_laid_over_white_at_both_depths(tmp_path: Path, colours: int) -> None:
    alpha = RNG.integers(0, 65536, (12, 10), dtype=np.uint16)
    deep = np.concatenate([DEEP[..., :colours], alpha[..., None]], axis=2)
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    np.testing.assert_array_equal(decode(tmp_path / "deep.png"), over_white(DEEP[..., :colours], alpha, 65535))
    flat = (deep >> 8).astype(np.uint8)
    found = pillow(tmp_path / "flat.png", PillowImage.fromarray(flat))
    np.testing.assert_array_equal(found, over_white(flat[..., :-1], flat[..., -1], 255))
    tifffile.imwrite(
        tmp_path / "x.tif", flat, photometric="rgb" if colours == 3 else "minisblack", extrasamples=["unassalpha"]
    )
    np.testing.assert_array_equal(decode(tmp_path / "x.tif"), found)


def test_transparent_colours_without_an_alpha_channel(tmp_path: Path) -> None:
    palette = PillowImage.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert pillow(tmp_path / "p.png", palette).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert pillow(tmp_path / "t.png", palette, transparency=1).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    half = bytes([128, 255])
    assert pillow(tmp_path / "h.png", palette, transparency=half).tolist() == [[[255, 127, 127], [0, 0, 255]]]
    assert pillow(tmp_path / "p.gif", palette, transparency=1).tolist()[0][1] == [255, 255, 255]
    colour = PillowImage.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    found = pillow(tmp_path / "c.png", colour, transparency=(1, 2, 3))
    assert found.tolist() == [[[255, 255, 255], [4, 5, 6]]]
    grey = PillowImage.fromarray(np.array([[7, 8]], np.uint8))
    assert pillow(tmp_path / "g.png", grey, transparency=7).tolist() == [[[255], [8]]]


def test_modes_that_become_grey_or_rgb(tmp_path: Path) -> None:
    bits = PillowImage.fromarray(GREY).convert("1")
    assert set(np.unique(pillow(tmp_path / "1.png", bits))) == {0, 255}
    assert decode(tmp_path / "1.png").shape == (12, 10, 1)
    cmyk = PillowImage.fromarray(RGB).convert("CMYK")
    found = pillow(tmp_path / "cmyk.jpg", cmyk, quality=100)
    expected = np.asarray(PillowImage.open(tmp_path / "cmyk.jpg").convert("RGB"))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(pillow(tmp_path / "cmyk.tif", cmyk), np.asarray(cmyk.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, orientation: int) -> None:
    image = PillowImage.fromarray(RGB)
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    for suffix in (".png", ".tif", ".jpg", ".webp"):
        path = tmp_path / f"x{suffix}"
        found = pillow(path, image, exif=exif)
        with PillowImage.open(path) as opened:
            expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        np.testing.assert_array_equal(found, expected)
    flat = (tmp_path / "x.png").read_bytes()
    at = flat.index(b"eXIf") - 4
    chunk = flat[at : at + 12 + int.from_bytes(flat[at : at + 4], "big")]
    deep = imagecodecs.png_encode(DEEP)
    (tmp_path / "deep.png").write_bytes(deep[:33] + chunk + deep[33:])
    shown = decode(tmp_path / "deep.png")
    assert shown.dtype == np.uint16
    expected = np.asarray(ImageOps.exif_transpose(_oriented((DEEP >> 8).astype(np.uint8), exif)))
    np.testing.assert_array_equal(shown >> 8, expected)


def _oriented(pixels: NDArray[np.uint8], exif: PillowImage.Exif) -> PillowImage.Image:
    image = PillowImage.fromarray(pixels)
    image.getexif()[0x0112] = exif[0x0112]
    return image


def test_damaged_metadata_is_ignored(tmp_path: Path) -> None:
    found = pillow(tmp_path / "x.jpg", PillowImage.fromarray(RGB), exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert found.shape == RGB.shape


def test_numbers_beyond_eight_bits(tmp_path: Path) -> None:
    (tmp_path / "x.pgm").write_bytes(b"P5 10 12 65535\n" + DEEP[..., 0].astype(">u2").tobytes())
    found = decode(tmp_path / "x.pgm")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[..., 0], DEEP[..., 0])
    floats = RNG.random((12, 10)).astype(np.float32)
    found = pillow(tmp_path / "x.tif", PillowImage.fromarray(floats))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[..., 0], floats)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [PillowImage.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert decode(tmp_path / "x.gif")[0, 0].tolist() == [255, 0, 0]


class TestTiff:
    def test_thirteen_float_channels_in_every_arrangement(self, tmp_path: Path) -> None:
        image = RNG.random((20, 24, 13)).astype(np.float32)
        path = tmp_path / "x.tif"
        planar = np.moveaxis(image, 2, 0).copy()
        for stored, options in (
            (image, {"photometric": "minisblack", "planarconfig": "contig"}),
            (planar, {"photometric": "minisblack", "planarconfig": "separate"}),
            (planar, {"photometric": "minisblack"}),
            (planar, {"photometric": "minisblack", "metadata": None}),
            (image, {}),
            (image.astype(np.float64), {"compression": "zlib", "planarconfig": "contig", "photometric": "minisblack"}),
            (image, {"byteorder": ">", "planarconfig": "contig", "photometric": "minisblack"}),
        ):
            tifffile.imwrite(path, stored, **options)
            found = decode(path)
            assert found.dtype == np.float32
            assert found.dtype.isnative
            np.testing.assert_allclose(found, image, rtol=1e-7)

    def test_colours(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tif"
        for options in ({}, {"compression": "lzw"}, {"tile": (16, 16), "compression": "zstd"}, {"bigtiff": True}):
            for image in (RGB, DEEP):
                tifffile.imwrite(path, image, photometric="rgb", **options)
                np.testing.assert_array_equal(decode(path), image)
        tifffile.imwrite(path, np.moveaxis(RGB, 2, 0).copy(), photometric="rgb", planarconfig="separate")
        np.testing.assert_array_equal(decode(path), RGB)
        tifffile.imwrite(path, GREY, photometric="miniswhite")
        np.testing.assert_array_equal(decode(path)[..., 0], 255 - GREY)
        colormap = RNG.integers(0, 256, (3, 256)).astype(np.uint16) * 257
        tifffile.imwrite(path, GREY, photometric="palette", colormap=colormap)
        np.testing.assert_array_equal(decode(path), (colormap >> 8).T[GREY])

    def test_odd_bit_depths_fill_their_range(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tif"
        rows = bytes([0x0F, 0x80, 0x12, 0x34])
        tags = [(256, 4), (257, 2), (258, 4), (259, 1), (262, 1), (273, 8), (277, 1), (278, 2), (279, 4)]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        path.write_bytes(b"II*\0" + struct.pack("<I", 12) + rows + struct.pack("<H", len(tags)) + entries + bytes(4))
        assert decode(path)[..., 0].tolist() == [[0, 255, 136, 0], [17, 34, 51, 68]]
        tifffile.imwrite(path, GREY > 100, photometric="minisblack")
        assert set(np.unique(decode(path))) == {0, 255}

    def test_channels_without_a_meaning_are_kept_and_integers_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tif"
        for dtype in (np.uint8, np.uint16, np.int16, np.int32):
            image = RNG.integers(0, 100, (12, 10, 4)).astype(dtype)
            tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig", extrasamples=[0, 0, 0])
            found = decode(path)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, image)

    def test_pages_that_are_no_channels(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tif"
        tifffile.imwrite(path, np.stack([RGB, 255 - RGB]), photometric="rgb")
        np.testing.assert_array_equal(decode(Frame(path, 1)), 255 - RGB)
        with tifffile.TiffWriter(path) as writer:
            writer.write(GREY, photometric="minisblack")
            writer.write(GREY[:6, :5], photometric="minisblack", subfiletype=1)
        np.testing.assert_array_equal(decode(path)[..., 0], GREY)

    def test_lost_pages_and_lost_strips_are_noticed(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tif"
        tifffile.imwrite(path, RNG.random((5, 12, 10)).astype(np.float32), photometric="minisblack")
        content = path.read_bytes()
        for kept in range(8, len(content) - 40, 97):
            path.write_bytes(content[:kept])
            with pytest.raises(BadImage):
                decode(path)


class TestNpy:
    @pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i2", "f2", "f4", ">f8", "i4"])
    def test_grey_and_channels(self, tmp_path: Path, dtype: str) -> None:
        path = tmp_path / "x.npy"
        for shape in ((15, 17), (15, 17, 1), (15, 17, 6)):
            image = (RNG.random(shape) * 100).astype(dtype)
            for order in ("C", "F"):
                np.save(path, np.asarray(image, order=order))
                found = decode(path)
                assert found.shape == (15, 17, (*shape, 1)[2])
                assert found.dtype.isnative
                np.testing.assert_allclose(found.reshape(shape), image.astype(np.float64), rtol=1e-6)

    def test_booleans_are_black_and_white(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.array([[True, False]]))
        assert decode(tmp_path / "x.npy").tolist() == [[[255], [0]]]

    def test_a_huge_shape_is_refused_by_its_header(self, tmp_path: Path) -> None:
        path = tmp_path / "x.npy"
        np.lib.format.write_array_header_1_0(
            buffer := io.BytesIO(), {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6)}
        )
        path.write_bytes(buffer.getvalue())
        with pytest.raises(BadImage, match="absurdly large"):
            decode(path)
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (9, 9)})
        with pytest.raises(BadImage, match="truncated"):
            decode(path)

    def test_what_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.npy"
        for array, words in (
            (np.array([[object()]], object), "objects"),
            (np.zeros((3, 3), [("a", "u1")]), "objects"),
            (np.zeros((3, 3), complex), "objects"),
            (np.zeros(3), "shape"),
            (np.zeros((1, 8, 8, 8)), "shape"),
            (np.zeros((0, 3)), "no pixels"),
            (np.array([[1.0, np.nan]]), "NaN"),
            (np.array([[1.0, -np.inf]]), "NaN"),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                np.save(path, array, allow_pickle=True)
            with pytest.raises(BadImage, match=words):
                decode(path)
        path.write_bytes(imagecodecs.png_encode(RGB))
        with pytest.raises(BadImage, match="wrongly typed"):
            decode(path)


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    PillowImage.new("L", (300, 200)).save(tmp_path / "x.png")
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(np.zeros((200, 300, 3), np.uint16)))
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((200, 300), np.uint8), compression="zlib")
    np.save(tmp_path / "x.npy", np.zeros((200, 300), np.uint8))
    for path in sorted(tmp_path.iterdir()):
        assert decode(path, max_pixels=60_000).shape[:2] == (200, 300)
        with pytest.raises(BadImage, match="absurdly large: 200 x 300"):
            decode(path, max_pixels=59_999)
    np.save(tmp_path / "many.npy", np.zeros((6, 6, 5), np.uint8))
    with pytest.raises(BadImage, match="with 5 channels"):
        decode(tmp_path / "many.npy", max_pixels=71)


def test_more_than_pillows_own_limit_is_allowed_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PillowImage.fromarray(RGB).save(tmp_path / "x.png")
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 10)
    assert decode(tmp_path / "x.png").shape == RGB.shape


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "x.nef").write_bytes(b"II*\0")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in (
        ("empty.png", "empty"),
        ("page.jpg", "wrongly typed: not an image"),
        ("x.heic", "damaged"),
        ("x.nef", "camera raw"),
        ("broken.png", "missing"),
        ("folder.png", "not a regular file"),
        ("pipe.png", "not a regular file"),
        ("absent.png", "missing"),
    ):
        with pytest.raises(BadImage, match=words) as caught:
            decode(tmp_path / name)
        assert caught.value.path == tmp_path / name


def test_decoding_leaves_the_warning_filters_as_they_were(tmp_path: Path) -> None:
    PillowImage.fromarray(RGB).save(tmp_path / "x.png")
    before = list(warnings.filters)
    decode(tmp_path / "x.png")
    assert list(warnings.filters) == before


class TestAsChannels:
    def test_grey_and_rgb_become_one_another(self) -> None:
        np.testing.assert_array_equal(as_channels(GREY[..., None], 3), np.stack([GREY] * 3, axis=2))
        np.testing.assert_array_equal(as_channels(RGB, 1)[..., 0], np.asarray(PillowImage.fromarray(RGB).convert("L")))
        assert as_channels(RGB, 3) is RGB

    def test_every_dtype_is_rounded_to_nearest_luma(self) -> None:
        weights = np.array([19595, 38470, 7471]) / 65536
        for image in (DEEP, (DEEP.astype(np.int32) - 32768).astype(np.int16)):
            found = as_channels(image, 1)
            assert found.dtype == image.dtype
            assert np.abs(found[..., 0] - image.astype(np.float64) @ weights).max() <= 0.5
        assert as_channels(np.full((1, 1, 3), 65535, np.uint16), 1).item() == 65535
        floats = RNG.random((3, 3, 3)).astype(np.float32)
        np.testing.assert_allclose(as_channels(floats, 1)[..., 0], floats @ weights, atol=1e-5)

    def test_anything_else_is_an_error(self) -> None:
        for found, wanted in ((2, 3), (3, 4), (13, 1)):
            with pytest.raises(UserError, match=f"{found} channels cannot become one of {wanted}"):
                as_channels(np.zeros((2, 2, found), np.uint8), wanted)
