"""Volumes: slices as viewers show them, values in the file's unit, and back into a file of the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scans import phantom, write_itk, write_nifti
from unpaired.data.bad_image import BadImage
from unpaired.data.decode import count_frames, decode, reader_of
from unpaired.data.folders import in_frames, list_images
from unpaired.data.formats import Frame
from unpaired.data.values import Domain

HU = Domain(channels=1, dtype="int16", range=(-1024, 3071))


def back_through(source: Path, out: Path, domain: Domain = HU, change: int = 0) -> Path:
    """Write the slices of a file into another one like it."""
    reader, axis = reader_of(source), domain.axis
    slices = [decode(Frame(source, index, axis)) for index in range(count_frames(source, axis))]
    output = reader.open_output(source, out, domain, slices[0].shape[:2], len(slices))
    assert output is not None
    for index, image in enumerate(slices):
        output.put((image.astype(np.float64) + change).astype(domain.dtype), index)
    output.close()
    return out


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SAL", "PIR"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slices_are_upright_whatever_the_order(tmp_path: Path, axes: str, suffix: str) -> None:
    volume = phantom(5, 7, 9)
    path = write_nifti(tmp_path / f"x{suffix}", volume, axes=axes)
    assert [count_frames(path, axis) for axis in range(3)] == [5, 7, 9]
    np.testing.assert_array_equal(decode(Frame(path, 2))[..., 0], volume[2])
    np.testing.assert_array_equal(decode(Frame(path, 3, axis=1))[..., 0], volume[::-1, 3])
    np.testing.assert_array_equal(decode(Frame(path, 4, axis=2))[..., 0], volume[::-1, :, 4])
    assert reader_of(path).meaning(path).spacing == pytest.approx((0.7, 0.6, 2.5))


@given(
    axes=st.permutations(["LR", "PA", "SI"]).flatmap(lambda ends: st.tuples(*map(st.sampled_from, ends))),
    axis=st.integers(0, 2),
    size=st.tuples(st.integers(2, 5), st.integers(2, 5), st.integers(2, 5)),
)
def test_any_orientation_returns_to_itself(
    tmp_path_factory: pytest.TempPathFactory, axes: Any, axis: int, size: Any
) -> None:
    folder = tmp_path_factory.mktemp("volume")
    source = write_nifti(folder / "x.nii", phantom(*size), axes="".join(axes))
    made = back_through(source, folder / "y.nii", Domain(channels=1, dtype="int16", range=(-1024, 3071), axis=axis))
    before, after = nibabel.load(source), nibabel.load(made)
    np.testing.assert_array_equal(np.asanyarray(before.dataobj), np.asanyarray(after.dataobj))
    np.testing.assert_array_equal(before.affine, after.affine)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("slope", [None, (1.0, -1024.0), (0.5, 3.0)])
def test_nifti_returns_whole(tmp_path: Path, suffix: str, slope: tuple[float, float] | None) -> None:
    stored = (phantom(4, 6, 8) + 1024).astype(np.uint16 if slope else np.int16)
    source = write_nifti(tmp_path / f"x{suffix}", stored, axes="RAS", slope=slope)
    span = (3.0, 1000.0) if slope == (0.5, 3.0) else (-1024.0, 3071.0)
    domain = Domain(channels=1, dtype="float32", range=span) if slope else HU
    made = back_through(source, tmp_path / f"y{suffix}", domain)
    before, after = nibabel.load(source), nibabel.load(made)
    assert before.header.binaryblock == after.header.binaryblock
    np.testing.assert_array_equal(before.dataobj.get_unscaled(), after.dataobj.get_unscaled())
    assert made.read_bytes() == back_through(source, tmp_path / f"z{suffix}", domain).read_bytes()


def test_values_that_a_type_cannot_hold_take_that_of_the_domain(tmp_path: Path) -> None:
    source = write_nifti(tmp_path / "x.nii", np.full((2, 4, 4), 7, np.uint8))
    made = nibabel.load(back_through(source, tmp_path / "y.nii", HU, change=-500))
    assert made.get_data_dtype() == np.int16
    assert set(np.unique(made.get_fdata())) == {-493}


def test_what_has_no_value_stays_so(tmp_path: Path) -> None:
    volume = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4)
    volume[0, 1, 2] = np.nan
    source = write_nifti(tmp_path / "x.nii", volume)
    domain = Domain(channels=1, dtype="float32")
    output = reader_of(source).open_output(source, tmp_path / "y.nii", domain, (4, 4), 2)
    assert output is not None
    for index in range(2):
        output.put(np.full((4, 4, 1), 0.5, np.float32), index)
    output.close()
    made = nibabel.load(tmp_path / "y.nii").get_fdata()
    assert np.isnan(made).sum() == 1
    assert np.nanmax(made) == 0.5


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".mhd", ".nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_itk_returns_whole(tmp_path: Path, suffix: str, compressed: bool) -> None:
    volume = phantom(4, 24, 32)
    source = write_itk(tmp_path / f"x{suffix}", volume, flip=True, compressed=compressed)
    np.testing.assert_array_equal(decode(Frame(source, 1))[..., 0], volume[1])
    assert reader_of(source).meaning(source).spacing == pytest.approx((0.7, 0.6, 2.5))
    kept = reader_of(source).output_suffix(source)
    assert kept == {".mhd": ".mha", ".nhdr": ".nrrd"}.get(suffix, suffix)
    made = back_through(source, tmp_path / f"y{kept}")
    before, after = (SimpleITK.ReadImage(str(path)) for path in (source, made))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(before), SimpleITK.GetArrayFromImage(after))
    for each in ("GetSpacing", "GetOrigin", "GetDirection", "GetPixelID"):
        assert getattr(before, each)() == getattr(after, each)()
    keys = {key for key in before.GetMetaDataKeys() if not key.startswith(("ITK_", "NRRD_data"))}
    assert "Scanner" in keys
    assert {key: before.GetMetaData(key) for key in keys} == {key: after.GetMetaData(key) for key in keys}
    assert (made.stat().st_size < volume.nbytes) == compressed


def test_colour_has_channels(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (2, 5, 6, 3), np.uint8)
    image = SimpleITK.GetImageFromArray(colours, isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "x.mha"))
    np.testing.assert_array_equal(decode(Frame(tmp_path / "x.mha", 1)), colours[1])
    rgb = np.ascontiguousarray(colours).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0].transpose(2, 1, 0)
    nibabel.Nifti1Image(rgb, np.diag([-1, -1, 1, 1])).to_filename(tmp_path / "x.nii")
    np.testing.assert_array_equal(decode(Frame(tmp_path / "x.nii", 1)), colours[1])
    made = back_through(tmp_path / "x.nii", tmp_path / "y.nii", Domain(channels=3))
    np.testing.assert_array_equal(np.asarray(nibabel.load(made).dataobj), rgb)


def test_one_slice_is_an_image(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "x.nii", phantom(1, 6, 8))
    assert in_frames([path]) == [path]
    np.testing.assert_array_equal(decode(path)[..., 0], phantom(1, 6, 8)[0])
    picture = write_itk(tmp_path / "x.mha", phantom(1, 6, 8)[0][None])
    assert decode(picture).shape == (6, 8, 1)


def test_only_volumes_among_packed_files(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", phantom(2, 6, 8))
    (tmp_path / "notes.txt.gz").write_bytes(b"\x1f\x8b")
    assert list_images(tmp_path) == [tmp_path / "a.nii.gz"]


def test_what_is_refused(tmp_path: Path) -> None:
    series = nibabel.Nifti1Image(np.zeros((4, 4, 3, 2), np.int16), np.eye(4))
    series.to_filename(tmp_path / "time.nii")
    with pytest.raises(BadImage, match="four_to_three"):
        count_frames(tmp_path / "time.nii")
    with pytest.raises(BadImage, match="volume of 3 slices"):
        decode(write_nifti(tmp_path / "x.nii", phantom(3, 6, 8)))
    whole = write_nifti(tmp_path / "x.nii.gz", phantom(3, 6, 8)).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImage):
        decode(Frame(tmp_path / "cut.nii.gz", 2))


@pytest.mark.parametrize("named", ["/etc/hostname", "../x.raw", "missing.raw", "LIST"])
def test_a_header_leads_to_no_other_file(tmp_path: Path, named: str) -> None:
    path = write_itk(tmp_path / "in" / "x.mhd", phantom(2, 6, 8))
    (tmp_path / "x.raw").write_bytes(bytes(192))
    path.write_text(path.read_text().replace("x.raw", named))
    with pytest.raises(BadImage, match="one file beside it"):
        count_frames(path)


def test_announced_sizes_are_bounded(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "x.nii", phantom(2, 6, 8))
    header = bytearray(path.read_bytes())
    header[42:48] = np.asarray([30000, 30000, 30000], "<i2").tobytes()
    path.write_bytes(header)
    with pytest.raises(BadImage, match="absurdly large"):
        decode(Frame(path, 0))
    header[42:48] = np.asarray([500, 500, 500], "<i2").tobytes()
    path.write_bytes(header)
    with pytest.raises(BadImage, match="cannot hold"):
        decode(Frame(path, 0))


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "x.nii.gz", phantom(2, 6, 8))
    before: NDArray[Any] = decode(Frame(path, 0))
    write_nifti(path, phantom(3, 6, 8, seed=1))
    assert count_frames(path) == 3
    assert (decode(Frame(path, 0)) != before).any()


def test_those_that_nibabel_ships() -> None:
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    if not (folder / "anatomical.nii").is_file():
        pytest.skip("nibabel came without its data")
    for name in ("anatomical.nii", "standard.nii.gz"):
        image = nibabel.load(folder / name)
        canonical = nibabel.as_closest_canonical(image).get_fdata()[::-1, ::-1]  # to the left, the back, up
        np.testing.assert_allclose(decode(Frame(folder / name, 2))[..., 0], canonical[:, :, 2].T, rtol=1e-6)
    with pytest.raises(BadImage, match="4 dimensions"):
        count_frames(folder / "functional.nii")
