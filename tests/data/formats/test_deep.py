"""Samples of more than 8 bits: as stored where files hold measurements, filling their type where they hold pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.data.bad_image import BadImage
from unpaired.data.decode import decode, meaning_of, probe

RAMP = np.linspace(487, 3703, 24 * 32).reshape(24, 32).astype(np.uint16)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


def geotiff(path: Path, bands: NDArray[Any], **options: Any) -> None:
    bands = bands if bands.ndim == 3 else bands[None]
    profile = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    where = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 4600000)}
    with rasterio.open(path, "w", **{"driver": "GTiff", **profile, **where, **options}) as file:
        file.write(bands)


@pytest.mark.parametrize(
    ("name", "bits", "options"),
    [
        ("x.tif", 12, {"NBITS": 12}),
        ("x.tif", 12, {"NBITS": 12, "compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}),
        ("x.jp2", 12, {"driver": "JP2OpenJPEG", "NBITS": 12, "QUALITY": 100, "REVERSIBLE": "YES"}),
        ("x.jp2", 15, {"driver": "JP2OpenJPEG", "NBITS": 15, "QUALITY": 100, "REVERSIBLE": "YES"}),
    ],
)
def test_significant_bits_are_what_rasterio_reads(
    tmp_path: Path, name: str, bits: int, options: dict[str, Any]
) -> None:
    path = tmp_path / name
    geotiff(path, RAMP, **options)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(decode(path)[..., 0], file.read(1))
    assert (decode(path).min(), decode(path).max()) == (487, 3703)
    assert meaning_of(path).range == (0, 2**bits - 1)
    assert probe(path)[:2] == RAMP.shape


def test_portable_maps_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.pgm"
    path.write_bytes(b"P5\n# a comment\n32 24\n4095\n" + RAMP.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode(path)[..., 0], RAMP)
    assert meaning_of(path).range == (0, 4095)
    path.write_bytes(b"P2 32 24 4095\n" + "\n".join(map(str, RAMP.flat)).encode())
    np.testing.assert_array_equal(decode(path)[..., 0], RAMP)
    path.write_bytes(b"P6 32 24 4095\n" + COLOURS.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode(path), COLOURS)
    path.write_bytes(b"P5 32 24 15\n" + (RAMP >> 8).astype(np.uint8).tobytes())
    np.testing.assert_array_equal(decode(path)[..., 0], (RAMP >> 8) * 17)  # few bits are pictures
    path.write_bytes(b"P6 32 24 4095\n" + COLOURS.astype(">u2").tobytes()[:-1])
    with pytest.raises(BadImage, match="truncated"):
        decode(path)


def test_jpeg_2000_of_any_depth_sign_and_channels(tmp_path: Path) -> None:
    path = tmp_path / "x.jp2"
    many = np.stack([RAMP, *np.moveaxis(COLOURS, 2, 0)])
    for stored, found in (
        (COLOURS * 16, COLOURS * 16),
        ((RAMP.astype(np.int16) - 2000), (RAMP.astype(np.int16) - 2000)[..., None]),
    ):
        path.write_bytes(imagecodecs.jpeg2k_encode(stored, level=0, reversible=True))
        assert decode(path).dtype == stored.dtype
        np.testing.assert_array_equal(decode(path), found)
    eight = (many >> 4).astype(np.uint8)
    geotiff(path, eight, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    np.testing.assert_array_equal(decode(path), np.moveaxis(eight, 0, 2))  # the fourth is no transparency
    PillowImage.fromarray(eight[:3].transpose(1, 2, 0)).save(path, irreversible=False)
    np.testing.assert_array_equal(decode(path), np.moveaxis(eight[:3], 0, 2))


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_pictures_fill_sixteen_bits(tmp_path: Path, bits: int) -> None:
    stored = COLOURS >> (12 - bits)
    filling = np.rint(stored * (65535 / (2**bits - 1))).astype(np.uint16)
    (tmp_path / "x.avif").write_bytes(imagecodecs.avif_encode(stored, level=100, bitspersample=bits))
    (tmp_path / "x.jxl").write_bytes(imagecodecs.jpegxl_encode(stored, lossless=True, bitspersample=bits))
    for name in ("x.avif", "x.jxl"):
        np.testing.assert_array_equal(decode(tmp_path / name), filling)
        assert meaning_of(tmp_path / name).range is None
    wide = (stored << (16 - bits)).tobytes()
    pillow_heif.encode("RGB;16", (32, 24), wide, tmp_path / "x.heic", quality=100, chroma=444)
    found = decode(tmp_path / "x.heic")
    assert found.dtype == np.uint16
    assert np.abs(found.astype(int) - filling).max() < 65535 / 32  # HEVC is lossy


def test_jpeg_xl_of_every_type(tmp_path: Path) -> None:
    path, eight = tmp_path / "x.jxl", (COLOURS >> 4).astype(np.uint8)
    alpha = np.full((24, 32, 1), 255, np.uint8)
    alpha[:12] = 0
    for stored in (eight, eight[..., 0], COLOURS * 16, (COLOURS / 4095).astype(np.float32)):
        path.write_bytes(imagecodecs.jpegxl_encode(stored, lossless=True))
        found = decode(path)
        assert found.dtype == stored.dtype
        np.testing.assert_array_equal(found, np.atleast_3d(stored))
        assert probe(path)[:2] == (24, 32)
    path.write_bytes(imagecodecs.jpegxl_encode(np.concatenate([eight, alpha], axis=2), lossless=True))
    assert (decode(path)[:12] == 255).all()
    np.testing.assert_array_equal(decode(path)[12:], eight[12:])
    assert decode(path, alpha=True).shape == (24, 32, 4)
    large = np.zeros((500, 300), np.uint8)
    path.write_bytes(imagecodecs.jpegxl_encode(large, lossless=True))
    with pytest.raises(BadImage, match="absurdly large: 500 x 300"):
        decode(path, max_pixels=1000)


def test_jpegs_that_pillow_refuses(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(imagecodecs.jpeg8_encode(RAMP, level=100, bitspersample=12))
    assert np.abs(decode(path)[..., 0].astype(int) - RAMP).max() <= 2
    assert meaning_of(path).range == (0, 4095)
    path.write_bytes(imagecodecs.ljpeg_encode(RAMP, bitspersample=12))
    np.testing.assert_array_equal(decode(path)[..., 0], RAMP)
    path.write_bytes(imagecodecs.jpegls_encode(COLOURS * 16))
    np.testing.assert_array_equal(decode(path), COLOURS * 16)


def test_radiance_holds_floats(tmp_path: Path) -> None:
    stored = (COLOURS / 100).astype(np.float32)
    (tmp_path / "x.hdr").write_bytes(imagecodecs.rgbe_encode(stored, header=True))
    found = decode(tmp_path / "x.hdr")
    assert found.dtype == np.float32
    assert np.abs(found - stored).max() < 0.01 * stored.max()  # 8 bits and a common exponent
    (tmp_path / "x.hdr").write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n\n-Y 1 +X 1\n1234")
    with pytest.raises(BadImage):
        decode(tmp_path / "x.hdr")


def test_eight_bit_files_are_left_to_pillow(tmp_path: Path) -> None:
    eight = PillowImage.fromarray((COLOURS >> 4).astype(np.uint8))
    for suffix in (".avif", ".jp2", ".jpg"):
        eight.save(tmp_path / f"x{suffix}")
        with PillowImage.open(tmp_path / f"x{suffix}") as opened:
            np.testing.assert_array_equal(decode(tmp_path / f"x{suffix}"), np.asarray(opened))


def test_sgi_of_16_bits_is_refused(tmp_path: Path) -> None:
    picture = PillowImage.fromarray(np.zeros((8, 8, 3), np.uint8))
    picture.save(tmp_path / "deep.sgi", bpc=2)
    picture.save(tmp_path / "plain.sgi")
    with pytest.raises(BadImage, match="16 bits"):
        decode(tmp_path / "deep.sgi")
    assert decode(tmp_path / "plain.sgi").shape == (8, 8, 3)
