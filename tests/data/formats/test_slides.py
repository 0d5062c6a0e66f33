"""Slides: resolutions, micrometres per pixel, windows, and pyramids of OME-TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.data import immunohistochemistry

from unpaired.data.bad_image import BadImage
from unpaired.data.decode import decode
from unpaired.data.formats import READERS, Box, Frame, find_reader
from unpaired.data.formats.ome import OmeReader
from unpaired.data.values import Domain

HEADER = "Aperio Image Library v12\r\n{0}x{0} [0,0 {0}x{0}] (256x256) JPEG/RGB Q=95|AppMag = 40|MPP = 0.25"


def _picture(times: int = 3) -> np.ndarray[Any, Any]:
    return np.tile(immunohistochemistry(), (times, times, 1))


def _svs(path: Path, image: np.ndarray[Any, Any]) -> Path:
    """Write what Aperio's scanners write: the image, a thumbnail, a smaller resolution."""
    options = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 95}, "metadata": None}
    small = image[::4, ::4].copy()
    with tifffile.TiffWriter(path) as file:
        file.write(image, tile=(256, 256), description=HEADER.format(len(image)), **options)
        file.write(small, description="Aperio Image Library v12\r\n", **options)
        file.write(small, tile=(256, 256), description=HEADER.format(len(small)), **options)
    return path


def _reader(path: Path) -> Any:
    with path.open("rb") as stream:
        return find_reader(stream.read(512), path.suffix, path)


def test_slides_are_read_as_openslide_reads_them(tmp_path: Path) -> None:
    path = _svs(tmp_path / "a.svs", _picture())
    ours, theirs = _reader(path), READERS["slides"]
    assert isinstance(ours, OmeReader)
    for reader in (ours, theirs):
        assert reader.levels(path) == [(1536, 1536), (384, 384)]
        assert (reader.meaning(path).spacing, reader.meaning(path).spacing_unit) == ((0.25, 0.25), "um")
        assert reader.probe(path) == (1536, 1536, 3, "uint8")
    for level, box in ((0, Box(700, 900, 300, 310)), (1, Box(100, 17, 200, 60))):
        np.testing.assert_array_equal(ours.read_window(path, box, 0, level), theirs.read_window(path, box, 0, level))
    whole = decode(path)
    np.testing.assert_array_equal(decode(Frame(path, 0, box=Box(700, 900, 300, 310))), whole[700:1000, 900:1210])
    np.testing.assert_array_equal(theirs.read(path), whole)
    assert decode(Frame(path, 0, level=1)).shape == (384, 384, 3)
    with pytest.raises(BadImage, match="2 resolutions"):
        decode(Frame(path, 0, level=2))


def test_a_slide_comes_back_as_a_pyramid(tmp_path: Path) -> None:
    image = _picture()[:1500, :1400]
    path = _svs(tmp_path / "a.svs", image)
    for reader in (_reader(path), READERS["slides"]):
        out = tmp_path / f"out{reader.output_suffix(path)}"
        output = reader.open_output(path, out, Domain(channels=3), (1500, 1400), 1)
        for top in range(0, 1500, 400):
            for left in range(0, 1400, 700):
                part = image[top : top + 400, left : left + 700]
                output.put(part, box=Box(top, left, *part.shape[:2]))
        output.close()
        np.testing.assert_array_equal(decode(out), image)
        again = _reader(out)
        assert again.levels(out) == [(1500, 1400), (750, 700), (375, 350)]
        assert again.meaning(out).spacing == (0.25, 0.25)
        mean = image.reshape(750, 2, 700, 2, 3).astype(int).sum((1, 3))
        np.testing.assert_array_equal(decode(Frame(out, 0, level=1)), (mean + 2) >> 2)


def test_a_lower_level_has_larger_pixels(tmp_path: Path) -> None:
    path = _svs(tmp_path / "a.svs", _picture())
    out = tmp_path / "out.ome.tif"
    output = _reader(path).open_output(path, out, Domain(channels=3), (384, 384), 1)
    output.put(decode(Frame(path, 0, level=1)))
    output.close()
    assert _reader(out).meaning(out).spacing == (1.0, 1.0)


def test_pyramids_of_any_type_are_read(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 60000, (300, 280, 1), np.uint16)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        options = {"tile": (64, 64), "metadata": None, "photometric": "minisblack", "compression": "deflate"}
        file.write(image[:, :, 0], resolution=(20000, 20000), resolutionunit="CENTIMETER", **options)
        file.write(image[::2, ::2, 0].copy(), subfiletype=1, **options)
    reader = _reader(path)
    assert isinstance(reader, OmeReader)
    assert reader.levels(path) == [(300, 280), (150, 140)]
    assert reader.meaning(path).spacing == (0.5, 0.5)
    np.testing.assert_array_equal(decode(path), image)
    np.testing.assert_array_equal(decode(Frame(path, 0, level=1)), image[::2, ::2])


def test_a_damaged_slide_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ndpi"
    path.write_bytes(b"II*\0" + bytes(200))
    with pytest.raises(BadImage, match="OpenSlide"):
        decode(path)
