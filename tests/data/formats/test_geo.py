"""GeoTIFF, COG, JPEG 2000 and VRT: values as GDAL reads them, and files like those that were read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.shutil import copy

from unpaired.data.bad_image import BadImage
from unpaired.data.decode import decode
from unpaired.data.formats import READERS, Box, Frame, find_reader
from unpaired.data.formats.geo import GeoReader
from unpaired.data.values import Domain

PLACE = rasterio.Affine(10, 0, 400_000, 0, -10, 5_000_000)
SIZE = (150, 130)


def _scene(seed: int = 0, bands: int = 4, low: int = 487, high: int = 3704) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(low, high, (*SIZE, bands), np.uint16)


def _write(path: Path, image: np.ndarray[Any, Any], **options: Any) -> Path:
    height, width, bands = image.shape
    defaults = {"driver": "GTiff", "crs": "EPSG:32633", "transform": PLACE, "dtype": image.dtype.name}
    shape = {"height": height, "width": width, "count": bands}
    with rasterio.open(path, "w", **{**defaults, **shape, **options}) as file:
        file.write(np.moveaxis(image, 2, 0))
    return path


def _reader(path: Path) -> Any:
    with path.open("rb") as stream:
        return find_reader(stream.read(512), path.suffix, path)


def _copied(path: Path, out: Path, image: np.ndarray[Any, Any], part: tuple[int, int] = (64, 50)) -> Path:
    """Write `image` as a file like another one, part by part."""
    height, width, channels = image.shape
    domain = Domain(channels=channels, dtype=image.dtype.name)
    output = _reader(path).open_output(path, out, domain, (height, width), 1)
    for top in range(0, height, part[0]):
        for left in range(0, width, part[1]):
            piece = image[top : top + part[0], left : left + part[1]]
            output.put(piece, box=Box(top, left, *piece.shape[:2]))
    output.close()
    return out


def _facts(path: Path) -> dict[str, Any]:
    with rasterio.open(path) as file:
        kept = ("crs", "transform", "nodata", "descriptions", "units", "scales", "offsets", "block_shapes", "rpcs")
        facts = {name: getattr(file, name) for name in (*kept, "mask_flag_enums", "colorinterp", "interleaving")}
        points, system = file.gcps
        return {
            **facts,
            "overviews": file.overviews(1),
            "tags": file.tags(),
            "gcps": ([(point.row, point.col, point.x, point.y) for point in points], system),
            "mask": file.dataset_mask().tolist(),
        }


def test_bands_are_bands_and_say_what_they_are(tmp_path: Path) -> None:
    image = _scene()
    path = _write(tmp_path / "scene.tif", image)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B02", "B03", "B04", "B08")
        file.units = ("reflectance",) * 4
    reader = _reader(path)
    assert isinstance(reader, GeoReader)
    np.testing.assert_array_equal(decode(path), image)
    meaning = reader.meaning(path)
    assert meaning.channels == ("B02", "B03", "B04", "B08")
    assert (meaning.spacing, meaning.spacing_unit, meaning.unit) == (
        (10, 10),
        "m",
        "reflectance",
    )
    # GDAL calls the fourth of four bands of a byte alpha: here it is near infrared.
    eight = (image >> 4).astype(np.uint8)
    np.testing.assert_array_equal(decode(_write(tmp_path / "eight.tif", eight, photometric="rgb")), eight)


def test_jpeg_2000_keeps_its_numbers(tmp_path: Path) -> None:
    image = _scene(bands=1)
    path = _write(tmp_path / "tile.jp2", image, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", NBITS=15)
    assert isinstance(_reader(path), GeoReader)
    np.testing.assert_array_equal(decode(path), image)
    assert _reader(path).meaning(path).range == (0, 2**15 - 1)
    out = _copied(path, tmp_path / "out.tif", image)
    np.testing.assert_array_equal(decode(out), image)
    assert _facts(out)["transform"] == PLACE


def test_twelve_bits_are_kept(tmp_path: Path) -> None:
    image = _scene(bands=1, high=4096)
    path = _write(tmp_path / "twelve.tif", image, NBITS=12)
    np.testing.assert_array_equal(decode(path), image)
    assert _reader(path).meaning(path).range == (0, 4095)


def test_levels_and_windows(tmp_path: Path) -> None:
    image = _scene()
    path = _write(tmp_path / "scene.tif", image, tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    reader = _reader(path)
    assert reader.levels(path) == [(150, 130), (75, 65), (38, 33)]
    box = Box(37, 51, 80, 70)
    np.testing.assert_array_equal(reader.read_window(path, box), image[37:117, 51:121])
    np.testing.assert_array_equal(decode(Frame(path, 0, box=box)), image[37:117, 51:121])
    with rasterio.open(path, overview_level=0) as file:
        np.testing.assert_array_equal(decode(Frame(path, 0, level=1)), np.moveaxis(file.read(), 0, 2))
    with pytest.raises(BadImage):
        decode(Frame(path, 0, box=Box(100, 100, 60, 60)))


@pytest.mark.parametrize("kind", ["nodata", "internal", "external"])
def test_pixels_without_a_value_are_known_and_put_back(tmp_path: Path, kind: str) -> None:
    image = _scene(bands=2)
    path = _write(tmp_path / "scene.tif", image, nodata=7 if kind == "nodata" else None)
    missing = np.zeros(SIZE, bool)
    missing[20:40, 30:60] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "internal"), rasterio.open(path, "r+") as file:
        if kind == "nodata":
            image[missing] = 7
            file.write(np.moveaxis(image, 2, 0))
        else:
            file.write_mask(~missing)
    reader = _reader(path)
    np.testing.assert_array_equal(reader.valid(path), ~missing)
    np.testing.assert_array_equal(reader.valid_window(path, Box(10, 10, 40, 40)), ~missing[10:50, 10:50])
    assert reader.valid_window(path, Box(100, 100, 20, 20)) is None
    # Whatever a network makes of them; where it makes nodata of what has a value, the value moves by one.
    made = np.where(missing[:, :, None], 1234, image)
    made[0, 0] = 7
    out = _copied(path, tmp_path / "out.tif", made)
    np.testing.assert_array_equal(_reader(out).valid(out), ~missing)
    np.testing.assert_array_equal(decode(out)[~missing][1:], image[~missing][1:])
    assert decode(out)[0, 0].tolist() == [8, 8] if kind == "nodata" else [7, 7]


def test_nodata_that_the_type_cannot_hold_becomes_a_mask(tmp_path: Path) -> None:
    image = _scene(bands=1).astype(np.int16)
    image[:5] = -9999
    path = _write(tmp_path / "scene.tif", image, nodata=-9999)
    out = _copied(path, tmp_path / "out.tif", np.full((*SIZE, 3), 9, np.uint8))
    assert _facts(out)["nodata"] is None
    np.testing.assert_array_equal(_reader(out).valid(out), image[:, :, 0] != -9999)


@pytest.mark.parametrize("cog", [False, True])
def test_what_a_file_says_survives(tmp_path: Path, cog: bool) -> None:
    image = _scene()
    path = _write(tmp_path / "plain.tif", image, tiled=True, blockxsize=128, blockysize=128, compress="lzw", nodata=0)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B02", "B03", "B04", "B08")
        file.scales, file.offsets, file.units = (1e-4,) * 4, (-0.1,) * 4, ("reflectance",) * 4
        file.update_tags(SENSOR="made by a random generator")
        file.build_overviews([2, 4])
    if cog:
        copy(path, tmp_path / "cog.tif", driver="COG", blocksize=128)
        path = tmp_path / "cog.tif"
    out = _copied(path, tmp_path / "out.tif", image)
    np.testing.assert_array_equal(decode(out), image)
    assert _facts(out) == _facts(path)
    with rasterio.open(out) as file:
        assert (file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG") is cog
    assert {found.name for found in tmp_path.iterdir()} <= {"plain.tif", "cog.tif", "out.tif"}


def test_ground_control_points_survive(tmp_path: Path) -> None:
    points = [GroundControlPoint(row, col, 10.0 + col, 50.0 - row) for row, col in ((0, 0), (0, 129), (149, 0))]
    image = _scene(bands=1)
    path = _write(tmp_path / "swath.tif", image, gcps=points, crs="EPSG:4326", transform=None)
    out = _copied(path, tmp_path / "out.tif", image)
    assert _facts(out)["gcps"] == _facts(path)["gcps"]


def test_a_smaller_output_covers_the_same_ground(tmp_path: Path) -> None:
    path = _write(tmp_path / "scene.tif", _scene())
    out = _copied(path, tmp_path / "out.tif", _scene()[:75, :65])
    with rasterio.open(path) as source, rasterio.open(out) as file:
        assert file.bounds == source.bounds


def test_a_palette_becomes_rgb_and_class_indices_stay(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 3, (*SIZE, 1), np.uint8)
    path = _write(tmp_path / "classes.tif", image, photometric="palette")
    colours = {0: (1, 2, 3, 255), 1: (40, 50, 60, 255), 2: (200, 210, 220, 255)}
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, colours)
    table = np.array([colours[index][:3] for index in range(3)], np.uint8)
    np.testing.assert_array_equal(decode(path), table[image[:, :, 0]])
    np.testing.assert_array_equal(decode(path, stored=True), image)


def test_mosaics_of_files_beside_them_are_read(tmp_path: Path) -> None:
    image = _scene(bands=1)
    _write(tmp_path / "one.tif", image)
    path = tmp_path / "all.vrt"
    copy(tmp_path / "one.tif", path, driver="VRT")
    np.testing.assert_array_equal(decode(path), image)
    assert _reader(path).output_suffix(path) == ".tif"


@pytest.mark.parametrize(
    "content",
    [
        '<SourceFilename relativeToVRT="1">../secret.tif</SourceFilename>',
        "<SourceFilename>/vsicurl/http://127.0.0.1/x.tif</SourceFilename>",
        "<SourceFilename>http://127.0.0.1/x.tif</SourceFilename>",
        '<SourceFilename relativeToVRT="1">link.tif</SourceFilename>',
        '<SourceFilename relativeToVRT="1">inner.vrt</SourceFilename>',
        "<SourceFilename>vrt://one.tif?bands=1</SourceFilename>",
    ],
)
def test_hostile_mosaics_are_refused(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    secret = _write(tmp_path / "secret.tif", _scene(bands=1))
    (folder / "link.tif").symlink_to(secret)
    band = f'<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>{content}</SimpleSource></VRTRasterBand>'
    text = f'<VRTDataset rasterXSize="130" rasterYSize="150">{band}</VRTDataset>'
    (folder / "inner.vrt").write_text(text.replace(content, "<SourceFilename>/etc/passwd</SourceFilename>"))
    path = folder / "scene.vrt"
    path.write_text(text)
    with pytest.raises(BadImage, match=r"beside or below|no TIFF"):
        decode(path)


def test_raw_bands_and_entities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "raw.vrt"
    band = '<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand"/>'
    path.write_text(f'<VRTDataset rasterXSize="9" rasterYSize="9">{band}</VRTDataset>')
    with pytest.raises(BadImage, match="VRTRawRasterBand"):
        decode(path)
    path.write_text('<VRTDataset rasterXSize="9" rasterYSize="9"><!DOCTYPE x></VRTDataset>')
    with pytest.raises(BadImage, match="entities"):
        decode(path)


def test_damaged_files_are_refused_quietly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path / "scene.tif", _scene(), tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadImage):
        decode(path)
    assert capfd.readouterr() == ("", "")


def test_plain_tiff_is_not_claimed(tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, _scene())
    assert not isinstance(_reader(path), GeoReader)
    assert not READERS["geo"].claims(path)
