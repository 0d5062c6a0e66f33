"""Arrays whose shape leaves open what their axes are: .npy, .npz, .mat and HDF5."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from unpaired.data.bad_image import BadImage
from unpaired.data.decode import count_frames, decode, meaning_of, probe
from unpaired.data.folders import in_frames
from unpaired.data.formats import Frame
from unpaired.data.formats.layout import axes_of
from unpaired.data.formats.meaning import CHANNELS_FIRST

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "channels", "axes"),
    [
        ((64, 64), None, "YX"),
        ((64, 64, 3), None, "YXC"),
        ((64, 48, 13), None, "YXC"),
        ((3, 64, 64), None, "CYX"),
        ((3, 32, 32), None, "CYX"),
        ((24, 64, 64), None, "ZYX"),
        ((60000, 28, 28), None, "ZYX"),
        ((24, 64, 80), None, "ZYX"),
        ((24, 64, 64), 24, "CYX"),
        ((64, 64, 200), 200, "YXC"),
        ((64, 64, 200), 1, "ZYX"),
        ((64, 64, 64), None, "ZYX"),
        ((10, 64, 64, 3), None, "ZYXC"),
        ((10, 3, 64, 64), None, "ZCYX"),
    ],
)
def test_axes(shape: tuple[int, ...], channels: int | None, axes: str) -> None:
    assert axes_of(Path("x"), shape, channels).names == axes


@pytest.mark.parametrize("shape", [(64, 64, 200), (64,), (2, 8, 8, 8), (2, 2, 2, 2, 2)])
def test_what_is_asked(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadImage, match="shape"):
        axes_of(Path("x"), shape, None)


def test_a_volume_is_its_slices_along_every_axis(tmp_path: Path) -> None:
    path, volume = tmp_path / "x.npy", RNG.integers(0, 4096, (24, 60, 64), dtype=np.uint16)
    for order in ("C", "F"):
        np.save(path, np.asarray(volume, order=order))
        assert in_frames([path]) == [Frame(path, index) for index in range(24)]
        for axis in range(3):
            assert count_frames(path, axis) == volume.shape[axis]
            np.testing.assert_array_equal(decode(Frame(path, 7, axis))[..., 0], np.moveaxis(volume, axis, 0)[7])
    assert probe(path)[:3] == (60, 64, 1)
    np.testing.assert_array_equal(decode(path, channels=24), np.moveaxis(volume, 0, 2))
    assert in_frames([path], channels=24) == [path]


def test_channels_first_are_told(tmp_path: Path) -> None:
    image = RNG.random((3, 60, 64)).astype(np.float32)
    np.save(tmp_path / "x.npy", image)
    np.testing.assert_array_equal(decode(tmp_path / "x.npy"), np.moveaxis(image, 0, 2))
    assert meaning_of(tmp_path / "x.npy").remarks == (CHANNELS_FIRST,)


def test_npz_mat_and_hdf5_hold_one_array(tmp_path: Path) -> None:
    image, volume = RNG.integers(0, 255, (20, 30, 3), np.uint8), RNG.random((9, 20, 30)).astype(np.float32)
    other = np.zeros((4, 4))
    np.savez_compressed(tmp_path / "one.npz", pixels=image)
    np.savez(tmp_path / "two.npz", image=image, other=other)
    np.savez(tmp_path / "volume.npz", volume=volume)
    savemat(tmp_path / "one.mat", {"pixels": image, "scale": 2.0})
    savemat(tmp_path / "two.mat", {"image": image, "other": other}, do_compression=True)
    savemat(tmp_path / "volume.mat", {"volume": volume})
    for name, arrays in (
        ("one", {"group/pixels": image, "scale": np.zeros(3)}),
        ("two", {"image": image, "other": other}),
        ("volume", {"volume": volume}),
    ):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array, compression="gzip")
    for suffix in (".npz", ".mat", ".h5"):
        for name in ("one", "two"):
            np.testing.assert_array_equal(decode(tmp_path / f"{name}{suffix}"), image)
        path = tmp_path / f"volume{suffix}"
        assert len(in_frames([path])) == 9
        np.testing.assert_array_equal(decode(Frame(path, 4))[..., 0], volume[4])
        np.testing.assert_array_equal(decode(Frame(path, 4, axis=2))[..., 0], volume[:, :, 4])
        with pytest.raises(BadImage, match="absurdly large"):
            decode(tmp_path / f"one{suffix}", max_pixels=599)


def test_matlabs_newer_files_have_their_axes_in_reverse(tmp_path: Path) -> None:
    path, image = tmp_path / "x.mat", RNG.integers(0, 255, (20, 30, 3), np.uint8)
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("pixels", data=image.T)
    content = bytearray(path.read_bytes())
    content[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(content)
    np.testing.assert_array_equal(decode(path), image)


def test_several_arrays_are_listed_and_objects_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros((4, 4)), b=np.zeros((4, 4)))
    np.savez(tmp_path / "o.npz", a=np.array([[object()]], object))
    savemat(tmp_path / "x.mat", {"a": np.ones((4, 4)), "b": np.ones((4, 4))})
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["words"] = "none"
    for name, words in (("x.npz", "a, b"), ("o.npz", "objects"), ("x.mat", "a, b"), ("x.h5", "found none")):
        with pytest.raises(BadImage, match=words):
            decode(tmp_path / name)
