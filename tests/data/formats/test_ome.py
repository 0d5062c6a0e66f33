"""OME-TIFF, ImageJ stacks, OME-Zarr: planes are images, channels are channels, and outputs are OME-TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from unpaired.data.bad_image import BadImage
from unpaired.data.decode import decode
from unpaired.data.folders import in_frames, list_images
from unpaired.data.formats import READERS, Box, Frame, find_reader
from unpaired.data.formats.meaning import Meaning
from unpaired.data.formats.ome import OmeReader
from unpaired.data.formats.pyramid import PyramidOutput
from unpaired.data.values import Domain

SIZES = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.4, "PhysicalSizeZ": 2.0}
UNITS = {f"{name}Unit": "µm" for name in SIZES}


def _stack(dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 120, (2, 3, 2, 40, 52)).astype(dtype)  # T, Z, C, Y, X


def _reader(path: Path) -> Any:
    if path.is_dir():
        return READERS["ome zarr"]
    with path.open("rb") as stream:
        return find_reader(stream.read(512), path.suffix, path)


def _ome(path: Path, stack: np.ndarray[Any, Any]) -> Path:
    tifffile.imwrite(path, stack, metadata={"axes": "TZCYX", **SIZES, **UNITS, "Channel": {"Name": ["DAPI", "GFP"]}})
    return path


def _imagej(path: Path, stack: np.ndarray[Any, Any]) -> Path:
    metadata = {"axes": "TZCYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(path, stack, imagej=True, metadata=metadata, resolution=(2.0, 2.5))
    return path


def _zarr(path: Path, stack: np.ndarray[Any, Any], version: str = "0.4") -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    for level, array in enumerate((stack, stack[..., ::2, ::2].copy())):
        group.create_array(str(level), data=array, chunks=(1, 1, 1, 32, 32))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "tzcyx"]
    steps = [{"type": "scale", "scale": [1, 2.0, 1, 0.4, 0.5]}]
    datasets = [{"path": str(level), "coordinateTransformations": steps} for level in range(2)]
    image = {"multiscales": [{"version": version, "axes": axes, "datasets": datasets}]}
    labels = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    group.attrs.update({**image, "omero": labels} if version == "0.4" else {"ome": {**image, "omero": labels}})
    return path


MAKERS = {
    "ome": ("a.ome.tif", _ome),
    "imagej": ("a.tif", _imagej),
    "zarr 0.4": ("a.zarr", _zarr),
    "zarr 0.5": ("a.zarr", lambda path, stack: _zarr(path, stack, "0.5")),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_planes_are_images_and_come_back(tmp_path: Path, kind: str) -> None:
    name, make = MAKERS[kind]
    stack = _stack()
    path = make(tmp_path / name, stack)
    reader = _reader(path)
    images = stack.reshape(6, 2, 40, 52).transpose(0, 2, 3, 1)
    frames = in_frames([path])
    assert frames == [Frame(path, index) for index in range(6)]
    for frame, image in zip(frames, images, strict=True):
        np.testing.assert_array_equal(decode(frame), image)
    box = Box(7, 9, 20, 30)
    np.testing.assert_array_equal(decode(Frame(path, 4, box=box)), images[4][7:27, 9:39])
    meaning = reader.meaning(path)
    assert (meaning.spacing, meaning.spacing_unit) == ((0.4, 0.5, 2.0), "um")
    assert meaning.channels == (() if kind == "imagej" else ("DAPI", "GFP"))
    out = tmp_path / f"out{reader.output_suffix(path)}"
    output = reader.open_output(path, out, Domain(channels=2, dtype="uint16"), (40, 52), 6)
    for index, image in enumerate(images):
        output.put(image, index)
    output.close()
    np.testing.assert_array_equal(tifffile.imread(out).reshape(stack.shape), stack)
    again = _reader(out)
    assert again.meaning(out)._replace(group="") == meaning._replace(group="")
    with tifffile.TiffFile(out) as file:
        assert file.is_ome
        assert file.series[0].axes == "TZCYX"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_types_come_back(tmp_path: Path, dtype: str) -> None:
    stack = _stack(dtype) - (60 if dtype != "uint8" else 0)
    path = _ome(tmp_path / "a.ome.tif", stack.astype(dtype))
    out = tmp_path / "out.ome.tif"
    output = _reader(path).open_output(path, out, Domain(channels=2, dtype=dtype), (40, 52), 6)
    for index in range(6):
        output.put(decode(Frame(path, index)), index)
    output.close()
    np.testing.assert_array_equal(tifffile.imread(out), stack)


def test_folders_that_are_images_are_found(tmp_path: Path) -> None:
    path = _zarr(tmp_path / "below" / "a.zarr", _stack())
    assert list_images(tmp_path) == [path]


def test_zarr_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    path = _zarr(tmp_path / "a.zarr", _stack())
    group = zarr.open_group(path, mode="r+")
    image = group.attrs["multiscales"][0]
    group.attrs["multiscales"] = [{**image, "datasets": [{"path": "../other.zarr/0"}]}]
    with pytest.raises(BadImage, match="outside"):
        decode(path)
    group.attrs["multiscales"] = [{"datasets": []}]
    with pytest.raises(BadImage, match="multiscales"):
        decode(path)


def test_truncated_stacks_are_refused(tmp_path: Path) -> None:
    for path in (_ome(tmp_path / "a.ome.tif", _stack()), _imagej(tmp_path / "b.tif", _stack())):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - 40 * 52])
        with pytest.raises(BadImage):
            decode(Frame(path, 5))


def test_other_tiff_files_are_left_to_their_reader(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _stack()[0, 0], photometric="minisblack")
    assert not isinstance(_reader(tmp_path / "a.tif"), OmeReader)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    channels=st.sampled_from([1, 2, 3]),
    rows=st.integers(1, 64),
    columns=st.integers(1, 64),
    tile=st.sampled_from([(16, 16), (32, 16), None]),
)
def test_parts_of_any_size_make_the_same_file(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    channels: int,
    rows: int,
    columns: int,
    tile: tuple[int, int] | None,
) -> None:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)
    path = tmp_path_factory.mktemp("pyramid") / "out.ome.tif"
    domain, smallest = Domain(channels=channels), (10, 10)
    output = PyramidOutput(
        path, domain, (height, width), 1, tile=tile, smallest=smallest, frames={}, meaning=Meaning(), factor=(1, 1)
    )
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            part = image[top : top + rows, left : left + columns]
            output.put(part, box=Box(top, left, *part.shape[:2]))
    output.close()
    np.testing.assert_array_equal(decode(path), image)


def test_parts_that_are_missing_or_out_of_turn_are_errors(tmp_path: Path) -> None:
    def begun() -> PyramidOutput:
        return PyramidOutput(
            tmp_path / "out.tif",
            Domain(channels=1),
            (40, 40),
            1,
            tile=None,
            smallest=None,
            frames={},
            meaning=Meaning(),
            factor=(1, 1),
        )

    part = np.zeros((10, 40, 1), np.uint8)
    output = begun()
    output.put(part, box=Box(0, 0, 10, 40))
    with pytest.raises(ValueError, match="missing"):
        output.close()
    with pytest.raises(ValueError, match="turn"):
        begun().put(part, box=Box(20, 0, 10, 40))
