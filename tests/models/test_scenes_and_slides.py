"""Scenes, stacks and slides through `translate`: a model that changes nothing gives back values and metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
import zarr

from identity import write_identity
from microscopes import stack, write_czi, write_lif, write_nd2
from unpaired.data.decode import decode, decode_valid, meaning_of, reader_of
from unpaired.data.formats import READERS, Frame
from unpaired.data.scale import Scale
from unpaired.data.values import Domain
from unpaired.models.files import translate_files
from unpaired.models.translator import Translator

PLACE = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
TWELVE = (0.0, 4095.0)


def _values(shape: tuple[int, ...], low: int = 1, high: int = 4096, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


def _geotiff(path: Path, **options: Any) -> Path:
    scene = _values((4, 90, 80))
    scene[:, :20, :30] = 0
    shape = {"height": 90, "width": 80, "count": 4, "dtype": "uint16", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **PLACE, **tiles, **options) as file:
        file.write(scene)
        file.descriptions = ("B02", "B03", "B04", "B08")
        file.scales, file.units = (1e-4,) * 4, ("reflectance",) * 4
        file.update_tags(SENSOR="none")
        file.build_overviews([2])
    return path


def _jp2(path: Path) -> Path:
    options = {"QUALITY": 100, "REVERSIBLE": "YES", "NBITS": 12}
    shape = {"height": 90, "width": 80, "count": 1, "dtype": "uint16"}
    with rasterio.open(path, "w", driver="JP2OpenJPEG", **shape, **PLACE, **options) as file:
        file.write(_values((1, 90, 80)))
    return path


def _ome(path: Path) -> Path:
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    units = {f"{name}Unit": "µm" for name in sizes}
    metadata = {"axes": "ZCYX", **sizes, **units, "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path, _values((3, 2, 40, 44)), metadata=metadata)
    return path


def _imagej(path: Path) -> Path:
    metadata = {"axes": "ZCYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(path, _values((3, 2, 40, 44)), imagej=True, metadata=metadata, resolution=(2.0, 2.0))
    return path


def _zarr(path: Path) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", data=_values((3, 2, 40, 44)), chunks=(1, 1, 32, 32))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zcyx"]
    steps = [{"type": "scale", "scale": [2.0, 1, 0.5, 0.5]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    labels = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    group.attrs.update({"ome": {"version": "0.5", "multiscales": [image], "omero": labels}})
    return path


def _cog(path: Path) -> Path:
    with rasterio.open(_geotiff(path.with_name("plain.tif"))) as plain:
        rasterio.shutil.copy(plain, path, driver="COG", blocksize=32, overview_resampling="nearest")
    return path


def _vrt(path: Path) -> Path:
    """Write a mosaic of two scenes beside one another, as gdalbuildvrt does."""
    parts = path.parent / "parts"
    parts.mkdir()
    _geotiff(parts / "left.tif")
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{band}"><Description>B{band}</Description><NoDataValue>0</NoDataValue>'
        + "".join(
            f'<ComplexSource><SourceFilename relativeToVRT="1">parts/left.tif</SourceFilename><SourceBand>{band}'
            f'</SourceBand><SrcRect xOff="0" yOff="0" xSize="80" ySize="90"/><DstRect xOff="{left}" yOff="0" '
            'xSize="80" ySize="90"/><NODATA>0</NODATA></ComplexSource>'
            for left in (0, 80)
        )
        + "</VRTRasterBand>"
        for band in (1, 2, 3, 4)
    )
    place = "<SRS>EPSG:32633</SRS><GeoTransform>400000, 10, 0, 5000000, 0, -10</GeoTransform>"
    path.write_text(f'<VRTDataset rasterXSize="160" rasterYSize="90">{place}{bands}</VRTDataset>')
    return path


def _philips(path: Path) -> Path:
    """Write what OpenSlide takes for a slide of Philips: tiles, and XML that names the maker."""
    image = _values((600, 560, 3), 0, 256, "uint8")
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate", "metadata": None}
    sizes = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING">'
        f'"{0.00025 * 2**level}" "{0.00025 * 2**level}"</Attribute><Attribute Name='
        f'"PIIM_PIXEL_DATA_REPRESENTATION_NUMBER">{level}</Attribute></DataObject>'
        for level in range(2)
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport"><Attribute Name='
        '"DICOM_MANUFACTURER">PHILIPS</Attribute><Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType='
        '"DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute><Attribute Name='
        f'"PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{sizes}</Array></Attribute></DataObject></Array></Attribute>'
        "</DataObject>"
    )
    with tifffile.TiffWriter(path) as file:
        file.write(image, description=text, software="Philips DP v1.0", **options)
        file.write(image[::2, ::2].copy(), subfiletype=1, **options)
    return path


def _svs(path: Path) -> Path:
    image = _values((600, 560, 3), 0, 256, "uint8")
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(image, description="Aperio Image Library\r\n560x600 |AppMag = 40|MPP = 0.25", **options)
        file.write(image[::4, ::4].copy(), photometric="rgb", metadata=None)  # a thumbnail
        file.write(image[::2, ::2].copy(), **options)
    return path


def _microscope(write: Callable[[Path, np.ndarray[Any, Any]], Path]) -> Callable[[Path], Path]:
    return lambda path: write(path, stack())


KINDS: dict[str, tuple[str, Callable[[Path], Path], Domain, str]] = {
    "geotiff": ("scene.tif", _geotiff, Domain(channels=4, dtype="uint16", range=TWELVE), "scene.tif"),
    "jpeg 2000": ("tile.jp2", _jp2, Domain(channels=1, dtype="uint16", range=TWELVE), "tile.tif"),
    "ome-tiff": ("stack.ome.tif", _ome, Domain(channels=2, dtype="uint16", range=TWELVE), "stack.ome.tif"),
    "imagej": ("stack.tif", _imagej, Domain(channels=2, dtype="uint16", range=TWELVE), "stack.ome.tif"),
    "ome-zarr": ("stack.zarr", _zarr, Domain(channels=2, dtype="uint16", range=TWELVE), "stack.ome.tif"),
    "cog": ("scene.tif", _cog, Domain(channels=4, dtype="uint16", range=TWELVE), "scene.tif"),
    "vrt": ("mosaic.vrt", _vrt, Domain(channels=4, dtype="uint16", range=TWELVE), "mosaic.tif"),
    "czi": ("x.czi", _microscope(write_czi), Domain(channels=2, dtype="uint16", range=TWELVE), "x.ome.tif"),
    "nd2": ("x.nd2", _microscope(write_nd2), Domain(channels=2, dtype="uint16", range=TWELVE), "x.ome.tif"),
    "lif": ("x.lif", _microscope(write_lif), Domain(channels=2, dtype="uint16", range=TWELVE), "x.ome.tif"),
    "philips": ("slide.tiff", _philips, Domain(channels=3), "slide.ome.tif"),
    "svs": ("slide.svs", _svs, Domain(channels=3), "slide.ome.tif"),
}


def _translated(tmp_path: Path, path: Path, domain: Domain, scale: Scale | None = None) -> Path:
    translator = Translator.load(write_identity(tmp_path / "model", domain, scale=scale), device="cpu")
    report = translate_files(translator, path, tmp_path / "out")
    assert not report.failed, report.failed
    (made,) = (tmp_path / "out").iterdir()
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_metadata_come_back(tmp_path: Path, kind: str) -> None:
    name, make, domain, called = KINDS[kind]
    path = make(tmp_path / name)
    made = _translated(tmp_path, path, domain)
    assert made.name == called
    before, after = reader_of(path), reader_of(made)
    assert before is READERS.get(kind, READERS["slides"] if kind == "philips" else before)
    count = before.count(path)
    assert after.count(made) == count
    for index in range(count):
        for one, two in zip(decode_valid(Frame(path, index)), decode_valid(Frame(made, index)), strict=True):
            np.testing.assert_array_equal(one, two)
    meant = before.meaning(path)
    assert after.meaning(made)._replace(range=None, group="") == meant._replace(range=None, group="")
    assert len(after.levels(made)) == len(before.levels(path)) if kind in ("geotiff", "svs") else True


@pytest.mark.parametrize("kind", ["geotiff", "cog", "vrt"])
def test_a_scene_keeps_all_that_it_says(tmp_path: Path, kind: str) -> None:
    name, make, domain, _ = KINDS[kind]
    path = make(tmp_path / name)
    made = _translated(tmp_path, path, domain)
    names = ["crs", "transform", "nodata", "descriptions", "scales", "offsets", "units", "dtypes", "bounds", "gcps"]
    with rasterio.open(path) as one, rasterio.open(made) as two:
        for each in names if kind == "vrt" else [*names, "block_shapes"]:
            assert getattr(one, each) == getattr(two, each), each
        assert one.overviews(1) == two.overviews(1)
        assert {"AREA_OR_POINT": "Area", **one.tags()} == two.tags()  # what GeoTIFF says where nothing is said
        assert two.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == ("COG" if kind == "cog" else None)
        np.testing.assert_array_equal(one.dataset_mask(), two.dataset_mask())


def test_a_slide_is_translated_at_the_level_of_training(tmp_path: Path) -> None:
    path = _svs(tmp_path / "slide.svs")
    scale = Scale(preprocess="crop", load_size=(64, 64), crop_size=(64, 64), level=1)
    made = _translated(tmp_path, path, Domain(channels=3), scale)
    np.testing.assert_array_equal(decode(made), decode(Frame(path, 0, level=1)))
    assert reader_of(made).meaning(made).spacing == (0.5, 0.5)


def test_pixels_of_another_size_than_those_of_training_are_told(tmp_path: Path) -> None:
    path = _svs(tmp_path / "slide.svs")
    native = Scale(preprocess="crop", load_size=(64, 64), crop_size=(64, 64))
    for um, level, expected in ((0.25, 0, None), (0.5, 0, "0.5 times"), (0.5, 1, None), (0.1, 1, "5 times")):
        domain = Domain(channels=3, spacing=(um / 1000, um / 1000))
        model = write_identity(tmp_path / f"{um}-{level}", domain, scale=replace(native, level=level))
        report = translate_files(Translator.load(model, device="cpu"), path, tmp_path / f"out {um} {level}")
        assert [expected for notice in report.notices if f"pixels {expected} as large" in notice] == [expected] * bool(
            expected
        )
        assert expected or not report.notices


def test_a_level_has_its_own_spacing(tmp_path: Path) -> None:
    path = _svs(tmp_path / "slide.svs")
    assert meaning_of(Frame(path, 0, level=1)).spacing == (0.5, 0.5)
    assert meaning_of(Frame(path, 0)).millimetres() == (0.00025, 0.00025)


def test_images_of_one_resolution_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "tile.tif"
    tifffile.imwrite(path, _values((64, 64)), photometric="minisblack")
    scale = Scale(preprocess="crop", load_size=(64, 64), crop_size=(64, 64), level=1)
    made = _translated(tmp_path, path, Domain(channels=1, dtype="uint16", range=TWELVE), scale)
    np.testing.assert_array_equal(decode(made), decode(path))
