"""Scans through `unpaired translate` with a model that changes nothing: values and metadata return as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from identity import EXTENSION, write_identity
from runs import unpaired
from scans import phantom, read_dicom, write_dicom, write_itk, write_nifti, write_series
from unpaired.core.errors import UserError
from unpaired.data.values import Domain
from unpaired.models.files import translate_files
from unpaired.models.translator import Translator

HU: dict[str, Any] = {"dtype": "int16", "range": (-1024, 3071)}


def identity(folder: Path, **given: Any) -> Translator:
    neighbours = given.get("neighbours", 0)
    return Translator.load(write_identity(folder, Domain(channels=2 * neighbours + 1, **HU, **given)), device="cpu")


def test_every_kind_by_the_command(tmp_path: Path) -> None:
    volume, scans = phantom(3, 20, 24), tmp_path / "scans"
    series = write_series(scans / "series", volume, suffix="")
    write_dicom(scans / "frames.dcm", (volume + 1024).clip(0, 4095).astype(np.uint16))
    write_nifti(scans / "a.nii.gz", volume, axes="RAS")
    write_nifti(scans / "b.nii", (volume + 1024).astype(np.uint16), axes="PIR", slope=(1, -1024))
    for name in ("c.mha", "d.nrrd", "e.mhd"):
        write_itk(scans / name, volume, flip=True)
    write_identity(tmp_path / "model", Domain(channels=1, **HU))
    out = tmp_path / "out"
    done = unpaired("translate", tmp_path / "model", scans, "--out", out, "--extension", EXTENSION)
    assert "9 written" in done.stdout
    assert not done.stderr.replace("warning", "")
    uids = set()
    for path in series:
        before, after = read_dicom(path), read_dicom(out / "series" / f"{path.name}.dcm")
        np.testing.assert_array_equal(before.pixel_array, after.pixel_array)
        for name in ("RescaleSlope", "RescaleIntercept", "BitsStored", "PatientID", "ImagePositionPatient"):
            assert before[name].value == after[name].value
        assert "weights " in after.DerivationDescription
        uids.add(after.SeriesInstanceUID)
    assert len(uids) == 1
    np.testing.assert_array_equal(
        read_dicom(scans / "frames.dcm").pixel_array, read_dicom(out / "frames.dcm").pixel_array
    )
    for name in ("a.nii.gz", "b.nii"):
        images = [nibabel.load(folder / name) for folder in (scans, out)]
        np.testing.assert_array_equal(*[image.dataobj.get_unscaled() for image in images])
        assert images[0].header.binaryblock == images[1].header.binaryblock
    for name, made in (("c.mha", "c.mha"), ("d.nrrd", "d.nrrd"), ("e.mhd", "e.mha")):
        before, after = (SimpleITK.ReadImage(str(path)) for path in (scans / name, out / made))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(before), SimpleITK.GetArrayFromImage(after))
        assert (before.GetDirection(), before.GetOrigin()) == (after.GetDirection(), after.GetOrigin())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_along_each_axis_and_with_neighbours(tmp_path: Path, axis: int, neighbours: int) -> None:
    source = write_nifti(tmp_path / "x.nii.gz", phantom(9, 10, 11), axes="RAS")
    translator = identity(tmp_path / "model", axis=axis, neighbours=neighbours)
    report = translate_files(translator, source, tmp_path / "out")
    assert (report.written, report.failed) == (1, [])
    before, after = nibabel.load(source), nibabel.load(tmp_path / "out" / "x.nii.gz")
    np.testing.assert_array_equal(before.get_fdata(), after.get_fdata())
    np.testing.assert_array_equal(before.affine, after.affine)


@pytest.mark.parametrize("neighbours", [0, 1])
def test_gaps_of_a_volume_stay_gaps(tmp_path: Path, neighbours: int) -> None:
    volume = phantom(4, 16, 16).astype(np.float32)
    volume[1, 3:5, 6] = np.nan
    source = write_nifti(tmp_path / "x.nii", volume)
    assert translate_files(identity(tmp_path / "model", neighbours=neighbours), source, tmp_path / "out").written == 1
    before, after = (nibabel.load(path).get_fdata() for path in (source, tmp_path / "out" / "x.nii"))
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))
    np.testing.assert_allclose(after, before, atol=0.01)


def test_the_neighbours_of_a_dicom_slice_are_those_of_its_series(tmp_path: Path) -> None:
    volume = phantom(4, 16, 16)
    paths = write_series(tmp_path / "in", volume)
    paths[0].rename(tmp_path / "in" / "zzz.dcm")  # the order is that of positions
    report = translate_files(identity(tmp_path / "model", neighbours=1), tmp_path / "in", tmp_path / "out")
    assert (report.written, report.failed) == (4, [])
    made = read_dicom(tmp_path / "out" / "zzz.dcm")
    np.testing.assert_array_equal(made.pixel_array.astype(int) - 1024, volume[0])


def test_deidentify(tmp_path: Path) -> None:
    write_series(tmp_path / "in", phantom(2, 16, 16))
    translator = identity(tmp_path / "model")
    report = translate_files(translator, tmp_path / "in", tmp_path / "out", deidentify=True)
    assert report.written == 2
    for path in (tmp_path / "out").iterdir():
        assert b"Doe" not in path.read_bytes()
        assert read_dicom(path).PatientIdentityRemoved == "YES"


def test_deidentify_is_refused_by_files_that_keep_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unpaired.data.formats.volumes import VolumeOutput

    monkeypatch.setattr(VolumeOutput, "can_deidentify", False)
    source = write_nifti(tmp_path / "x.nii", phantom(2, 16, 16))
    report = translate_files(identity(tmp_path / "model"), source, tmp_path / "out", deidentify=True)
    assert "deidentify" in report.failed[0].reason
    with pytest.raises(UserError, match="deidentify"):
        raise UserError(report.failed[0].reason)
    assert not list((tmp_path / "out").glob("*.nii"))
