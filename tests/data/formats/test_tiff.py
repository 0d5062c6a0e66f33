"""TIFF: bands and transparency, masks and nodata, several images, parts of large ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import rasterio
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from unpaired.data.bad_image import BadImage
from unpaired.data.check import check_images
from unpaired.data.config import DataConfig
from unpaired.data.decode import decode, decode_valid, explained, meaning_of
from unpaired.data.folders import in_frames
from unpaired.data.formats import READERS, Box, Frame
from unpaired.data.formats.meaning import BANDS
from unpaired.data.reading import Reading
from unpaired.data.training import open_training_data

RNG = np.random.default_rng(0)
TIFF = READERS["tiff"]
BANDS4 = np.stack([np.full((24, 32), value, np.uint8) for value in (136, 121, 100, 160)])


def geotiff(path: Path, bands: NDArray[Any], mask: NDArray[Any] | None = None, **options: Any) -> None:
    profile = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    where = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 4600000)}
    every = {"driver": "GTiff", **profile, **where, **options}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **every) as file:
        file.write(bands)
        if mask is not None:
            file.write_mask(mask)


def test_the_fourth_band_of_a_geotiff_is_a_band(tmp_path: Path) -> None:
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            geotiff(tmp_path / folder / f"{folder}{number}.tif", BANDS4 + np.uint8(number + 2 * (folder == "B")))
    path = tmp_path / "A/A0.tif"
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].extrasamples == (2,), "GDAL calls the fourth of four Byte bands alpha"
    assert decode(path)[0, 0].tolist() == [136, 121, 100, 160]
    assert decode(path, alpha=True)[0, 0].tolist() == [136, 121, 100, 160]
    with pytest.raises(BadImage, match="no mask"):
        decode(path, channels=3)
    assert meaning_of(path).remarks == (BANDS,)
    for channels in (None, 4):
        config = DataConfig(a=str(tmp_path / "A"), b=str(tmp_path / "B"), crop_size=16, channels_a=channels)
        data = open_training_data(config)
        assert (data.domain_a.channels, data.domain_a.alpha) == (4, False)
        assert any("2 GeoTIFF files" in notice and "data.channels_a" in notice for notice in data.notices)


def test_the_fourth_band_of_a_geotiff_may_be_a_mask(tmp_path: Path) -> None:
    path, bands = tmp_path / "x.tif", BANDS4.copy()
    bands[3] = 255
    bands[3, :10] = 0
    geotiff(path, bands)
    assert decode(path).shape == (24, 32, 4)
    image, valid = decode_valid(path, channels=3)
    assert valid is not None
    assert image[0, 0].tolist() == [136, 121, 100]
    np.testing.assert_array_equal(valid, bands[3] > 0)


def test_pictures_keep_their_transparency(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.moveaxis(BANDS4, 0, 2), photometric="rgb", extrasamples=["unassalpha"])
    assert decode(tmp_path / "x.tif").shape == (24, 32, 3)
    assert meaning_of(tmp_path / "x.tif").remarks == ()


@pytest.mark.parametrize("overviews", [False, True])
def test_an_internal_mask_says_which_pixels_have_a_value(tmp_path: Path, overviews: bool) -> None:
    path, mask = tmp_path / "x.tif", np.full((24, 32), 255, np.uint8)
    mask[:10] = 0
    geotiff(path, BANDS4[:3], mask)
    if overviews:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.build_overviews([2])
        assert TIFF.levels(path) == [(24, 32), (12, 16)]
    assert decode(path)[0, 0].tolist() == [136, 121, 100]
    valid = TIFF.valid(path)
    assert valid is not None
    np.testing.assert_array_equal(valid, mask > 0)
    assert in_frames([path]) == [path]


def test_nodata_says_which_pixels_have_a_value(tmp_path: Path) -> None:
    bands = RNG.random((2, 24, 32)).astype(np.float32)
    bands[:, 3, :5], bands[0, 4, 4] = -9999, -9999
    geotiff(tmp_path / "x.tif", bands, nodata=-9999)
    valid = TIFF.valid(tmp_path / "x.tif")
    assert valid is not None
    with rasterio.open(tmp_path / "x.tif") as file:
        np.testing.assert_array_equal(valid, file.dataset_mask() > 0)
    geotiff(tmp_path / "y.tif", bands)
    assert TIFF.valid(tmp_path / "y.tif") is None


def test_a_dicom_file_may_begin_like_a_tiff_file(tmp_path: Path) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    scan = pydicom.Dataset()
    scan.file_meta, scan.SOPClassUID, scan.SOPInstanceUID = meta, meta.MediaStorageSOPClassUID, "1.2.3"
    scan.Rows = scan.Columns = 8
    scan.preamble = b"II*\0\x10\0\0\0" + bytes(120)
    scan.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    start = (tmp_path / "x.dcm").read_bytes()[:512]
    assert start.startswith(b"II*\0")
    assert not TIFF.accepts(start, ".dcm")


def test_several_pages_are_several_images(tmp_path: Path) -> None:
    path, images = tmp_path / "x.tif", RNG.integers(0, 255, (5, 12, 10, 3), np.uint8)
    tifffile.imwrite(path, images, photometric="rgb")
    assert in_frames([path]) == [Frame(path, index) for index in range(5)]
    for index in (4, 0, 3):
        np.testing.assert_array_equal(decode(Frame(path, index)), images[index])
    with tifffile.TiffWriter(path) as writer:  # scanned pages
        for size in (12, 20):
            writer.write(images[0, :, :, 0].repeat(size // 4, axis=0), photometric="minisblack")
    assert [decode(frame).shape for frame in in_frames([path])] == [(36, 10, 1), (60, 10, 1)]


def test_pages_of_one_sample_are_channels_or_images(tmp_path: Path) -> None:
    path, pages = tmp_path / "x.tif", RNG.integers(0, 255, (6, 24, 20), np.uint8)
    tifffile.imwrite(path, pages, photometric="minisblack", metadata=None)
    assert in_frames([path]) == [path]
    np.testing.assert_array_equal(decode(path), np.moveaxis(pages, 0, 2))
    frames = in_frames([path], channels=1)
    assert len(frames) == 6
    np.testing.assert_array_equal(decode(frames[2], channels=1)[..., 0], pages[2])
    found = check_images(frames, reading=Reading(channels=1))
    assert not found.bad
    many = RNG.integers(0, 255, (40, 24, 33), np.uint8)
    tifffile.imwrite(path, many, photometric="minisblack", metadata=None)
    assert len(in_frames([path])) == 40
    np.testing.assert_array_equal(decode(path, channels=40), np.moveaxis(many, 0, 2))


@given(
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    channels=st.sampled_from([1, 3, 4, 7]),
    planar=st.booleans(),
    tile=st.sampled_from([None, (16, 16), (32, 48)]),
    rows=st.sampled_from([None, 1, 7]),
    compression=st.sampled_from([None, "zlib", "lzw"]),
    box=st.tuples(*[st.integers(0, 39)] * 2, *[st.integers(1, 40)] * 2),
    order=st.sampled_from(["<", ">"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_part_is_that_of_the_whole(
    tmp_path: Path,
    dtype: str,
    channels: int,
    planar: bool,
    tile: tuple[int, int] | None,
    rows: int | None,
    compression: str | None,
    box: tuple[int, int, int, int],
    order: str,
) -> None:
    path, image = tmp_path / "x.tif", (RNG.random((41, 53, channels)) * 200).astype(dtype)
    if dtype == "float32":
        image /= 200
    stored = np.moveaxis(image, 2, 0) if planar and channels > 1 else image
    layout = "separate" if planar else "contig"
    tifffile.imwrite(
        path,
        stored[..., 0] if channels == 1 else stored,
        photometric="minisblack",
        planarconfig=None if channels == 1 else layout,
        tile=tile,
        rowsperstrip=None if tile else rows,
        compression=compression,
        byteorder=order,
        metadata=None,
    )
    top, left, height, width = box
    part = Box(top, left, min(height, 41 - top), min(width, 53 - left))
    found = TIFF.read_window(path, part)
    assert found is not None
    whole = decode(path)
    np.testing.assert_array_equal(found, whole[top : top + part.height, left : left + part.width])


def test_parts_of_every_level_and_of_jpeg_tiles(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    bands = np.stack([np.add.outer(np.arange(300), np.arange(400)) % 251] * 3).astype(np.uint8)
    options = {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 128, "blockysize": 128}
    geotiff(path, bands, **options)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    assert TIFF.levels(path) == [(300, 400), (150, 200), (75, 100)]
    whole = decode(path)
    np.testing.assert_array_equal(TIFF.read_window(path, Box(100, 90, 150, 280)), whole[100:250, 90:370])
    half = TIFF.read_window(path, Box(10, 20, 100, 150), level=1)
    assert half is not None
    assert half.shape == (100, 150, 3)
    assert TIFF.read_window(path, Box(299, 399, 1, 1)) is not None
    with pytest.raises(BadImage), explained(path) as (file, reader):
        reader.read_window(file, Box(200, 0, 101, 10))
