"""CZI, ND2 and LIF: planes are images, channels are channels, with names and micrometres; OME-TIFF comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from microscopes import COLOURS, NAMES, stack, write_czi, write_lif, write_nd2
from unpaired.data.bad_image import BadImage
from unpaired.data.decode import decode, meaning_of, reader_of
from unpaired.data.describe import remarked
from unpaired.data.folders import in_frames
from unpaired.data.formats import READERS, Box, Frame, find_reader
from unpaired.data.formats.meaning import PARTS
from unpaired.data.values import Domain

WRITERS: dict[str, Callable[..., Path]] = {"czi": write_czi, "nd2": write_nd2, "lif": write_lif}


@pytest.mark.parametrize("kind", WRITERS)
def test_planes_are_images_and_come_back(tmp_path: Path, kind: str) -> None:
    values = stack()
    path = WRITERS[kind](tmp_path / f"x.{kind}", values)
    images = values.reshape(6, 2, 40, 52).transpose(0, 2, 3, 1)
    assert in_frames([path]) == [Frame(path, index) for index in range(6)]
    for index, image in enumerate(images):
        found = decode(Frame(path, index))
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(decode(Frame(path, 4, box=Box(7, 9, 20, 30))), images[4][7:27, 9:39])
    meaning = meaning_of(path)
    assert meaning.spacing == ((0.5, 0.5, 2.0) if kind == "nd2" else (0.4, 0.5, 2.0))  # Nikon's pixels are square
    assert (meaning.spacing_unit, meaning.channels) == ("um", COLOURS if kind == "lif" else NAMES)
    reader, out = reader_of(path), tmp_path / "out.ome.tif"
    assert reader is READERS[kind]
    output = reader.open_output(path, out, Domain(channels=2, dtype="uint16"), (40, 52), 6)
    assert output is not None
    for index, image in enumerate(images):
        output.put(image, index)
    output.close()
    assert output.notes == ()
    assert meaning_of(out) == meaning
    np.testing.assert_array_equal(np.stack([decode(frame) for frame in in_frames([out])]), images)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_content_decides(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / f"x.{kind}", stack(1, 1))
    with path.open("rb") as stream:
        assert find_reader(stream.read(512), ".dat", path) is READERS[kind]


@pytest.mark.parametrize("kind", WRITERS)
def test_truncated_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / f"x.{kind}", stack())
    for share in (0.99, 0.5, 0.01):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(BadImage):
            decode(Frame(path, 5))


def test_scenes_of_one_size_are_images(tmp_path: Path) -> None:
    first, second, small = stack(1, 1), stack(1, 1)[..., ::-1].copy(), stack(1, 1, 20, 20)
    path = write_czi(tmp_path / "x.czi", first, [(0, 100, second), (100, 0, small)])
    frames = in_frames([path])
    found = [decode(frame) for frame in frames]
    np.testing.assert_array_equal(found, [each[0, 0].transpose(1, 2, 0) for each in (first, second)])
    assert meaning_of(path).remarks == (PARTS,)
    assert "left out" in remarked({PARTS: 2})[0]
    output = READERS["czi"].open_output(path, tmp_path / "o.tif", Domain(channels=2, dtype="uint16"), (40, 52), 2)
    assert output is not None
    assert output.notes == ()  # scenes alone lie along T, which loses nothing


def test_colours_of_czi_are_rgb(tmp_path: Path) -> None:
    from pylibCZIrw import czi

    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    with czi.create_czi(str(tmp_path / "x.czi"), compression_options="zstd1:") as file:
        file.write(image[:, :, ::-1].copy())
    np.testing.assert_array_equal(decode(tmp_path / "x.czi"), image)


def test_series_like_the_first_are_images(tmp_path: Path) -> None:
    first, second, other = stack(), stack() + 1, stack(1, 1)
    path = write_lif(tmp_path / "x.lif", first, second, other)
    assert len(in_frames([path])) == 12
    np.testing.assert_array_equal(decode(Frame(path, 8)), second[0, 2].transpose(1, 2, 0))
    assert meaning_of(path).remarks == (PARTS,)
    output = READERS["lif"].open_output(path, tmp_path / "o.tif", Domain(channels=2, dtype="uint16"), (40, 52), 12)
    assert output is not None
    assert "along T" in output.notes[0]


def test_images_that_were_never_recorded_are_refused(tmp_path: Path) -> None:
    path = write_nd2(tmp_path / "x.nd2", stack(), recorded=4)
    assert decode(Frame(path, 3)).shape == (40, 52, 2)
    with pytest.raises(BadImage, match="4 were recorded"):
        decode(Frame(path, 4))
