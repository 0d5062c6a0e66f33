"""Scans as scanners and their libraries write them: phantoms with values that say where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SERIES, STUDY, FRAME = "1.2.840.99999.1", "1.2.840.99999.2", "1.2.840.99999.3"


def phantom(slices: int, height: int, width: int, seed: int = 0) -> NDArray[np.int16]:
    """Return Hounsfield units [up, back, left]: air, a body of water, a bone at the left, noise."""
    up, back, left = np.meshgrid(*(np.linspace(-1, 1, n) for n in (slices, height, width)), indexing="ij")
    body = (back / 0.9) ** 2 + (left / 0.8) ** 2 < 1
    bone = (back**2 + (left - 0.4) ** 2) < 0.04 * (1.5 + up)
    noise = np.random.default_rng(seed).normal(0, 20, body.shape)
    return np.where(bone, 800, np.where(body, 40, -1000) + noise * body).round().astype(np.int16)


def dicom(stored: NDArray[Any], **given: Any) -> Dataset:
    """Return a CT image of stored numbers [H, W] or frames [N, H, W]; `given` are other elements."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    image = Dataset()
    image.file_meta = meta
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "1.2.840.99999.10"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = STUDY, SERIES, FRAME
    image.PatientName, image.PatientID, image.PatientBirthDate = "Doe^Jane", "P-17", "19700101"
    image.PatientSex, image.PatientAge = "F", "050Y"
    image.StudyDate, image.StudyTime, image.AccessionNumber = "20200102", "101112", "A1"
    image.ReferringPhysicianName, image.StudyID, image.InstitutionName = "Who^Dr", "S1", "General Hospital"
    image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.PixelSpacing, image.SliceThickness = [0.7, 0.6], 2.5
    image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-100, -90, 5]
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "HU"
    image.WindowCenter, image.WindowWidth = 40, 400
    if stored.ndim == 3:
        image.NumberOfFrames = len(stored)
    image.Rows, image.Columns = stored.shape[-2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 * stored.dtype.itemsize
    image.BitsAllocated, image.BitsStored, image.HighBit = bits, min(bits, 12), min(bits, 12) - 1
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    image.PixelData = stored.tobytes()
    image["PixelData"].VR = "OW"
    image.add_new(0x00091001, "LO", "private")
    for keyword, value in given.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def write_dicom(path: Path, stored: NDArray[Any], **given: Any) -> Path:
    """Write a CT image, see `dicom`; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom(stored, **given).save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, volume: NDArray[Any], patient: str = "P-17", suffix: str = ".dcm") -> list[Path]:
    """Write the slices of Hounsfield units [up, back, left] as a series of one patient."""
    study = f"{STUDY}.{int.from_bytes(patient.encode()) % 10**9}"
    return [
        write_dicom(
            folder / f"{patient}_{number:03d}{suffix}",
            (one.astype(np.int32) + 1024).clip(0, 4095).astype(np.uint16),
            PatientID=patient,
            InstanceNumber=number + 1,
            ImagePositionPatient=[-100, -90, 5 + 2.5 * number],
            StudyInstanceUID=study,
            SeriesInstanceUID=f"{study}.1",
            SOPInstanceUID=f"{study}.1.{number + 1}",
        )
        for number, one in enumerate(volume)
    ]


def write_nifti(
    path: Path, volume: NDArray[Any], *, axes: str = "LPS", slope: tuple[float, float] | None = None
) -> Path:
    """Write numbers [up, back, left] as NIfTI whose axes run as `axes` says ("RAS": to the right, front, head)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = volume.transpose(2, 1, 0)  # to the left, the back, up
    affine = np.diag([-0.6, -0.7, 2.5, 1.0])
    affine[:3, 3] = 100, 90, 5
    want = nibabel.orientations.axcodes2ornt(tuple(axes))
    change = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt(("L", "P", "S")), want)
    array = nibabel.orientations.apply_orientation(own, change)
    affine = affine @ nibabel.orientations.inv_ornt_aff(change, own.shape)
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"a phantom"
    image.header.set_data_dtype(volume.dtype)
    if slope is not None:
        image.header.set_slope_inter(*slope)
    image.to_filename(path)
    return path


def write_itk(path: Path, volume: NDArray[Any], *, flip: bool = False, compressed: bool = False) -> Path:
    """Write numbers [up, back, left] as MHA or NRRD; with `flip` the rows run to the front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(volume[:, ::-1] if flip else volume)
    image.SetSpacing((0.6, 0.7, 2.5))
    image.SetOrigin((-100.0, 12.0, 5.0))
    if flip:
        image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetMetaData("Scanner", "phantom")
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    return path


def read_dicom(path: Path) -> Dataset:
    """Return what a DICOM file holds."""
    return pydicom.dcmread(path)
