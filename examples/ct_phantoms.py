"""Write phantoms as a scanner and its library would: low-dose CT (domain A) and standard-dose CT (domain B).

    python examples/ct_phantoms.py ct

Training images are DICOM series, one folder a patient, of other patients in A than in B. Test images are NIfTI volumes
of further patients, in A and B the same body, so that errors can be measured. Made of ellipses and noise: no patient.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, SIZE, SPACING, THICKNESS = 12, 96, 3.0, 5.0
LOW_DOSE, STANDARD_DOSE = 150.0, 15.0
"""Noise in Hounsfield units."""


def body(seed: int) -> np.ndarray:
    """Return Hounsfield units [slices, rows, columns] without noise: air, fat, muscle, organs, bones."""
    random = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (SLICES, SIZE, SIZE)), indexing="ij")
    size = 0.8 + 0.1 * random.random(2)
    values = np.full(z.shape, -1000.0)
    values[(y / size[0] / 0.8) ** 2 + (x / size[1]) ** 2 < 1] = -100
    values[(y / size[0] / 0.8) ** 2 + (x / size[1]) ** 2 < 0.85] = 50
    for _ in range(8):
        place, radius = random.uniform(-0.45, 0.45, 3), random.uniform(0.08, 0.22, 3)
        organ = (
            sum(((axis - at) / r) ** 2 for axis, at, r in zip((z, y, x), place, radius * (4, 1, 1), strict=True)) < 1
        )
        values[organ & (values > 0)] = random.choice([-800, 20, 60, 130, 200])
    spine = ((y - 0.45) ** 2 + x**2) < 0.02
    values[spine] = 700
    return values


def scan(values: np.ndarray, dose_noise: float, seed: int) -> np.ndarray:
    """Return what a scanner makes of it: int16, with noise, of which there is little in air."""
    noise = np.where(values > -900, dose_noise, dose_noise / 5)
    return (
        (values + np.random.default_rng(seed).normal(0, noise, values.shape)).clip(-1024, 3071).round().astype(np.int16)
    )


def write_series(folder: Path, values: np.ndarray, patient: str, description: str) -> None:
    """Write a DICOM series of Hounsfield units."""
    folder.mkdir(parents=True)
    study, series, frame = (generate_uid(entropy_srcs=[patient, kind]) for kind in ("study", "series", "frame"))
    for number, plane in enumerate(values):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        image = Dataset()
        image.file_meta = meta
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, str(number)])
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.PatientID, image.PatientName = patient, f"Phantom^{patient}"
        image.Modality, image.ImageType, image.SeriesDescription = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], description
        image.InstanceNumber, image.ImagePositionPatient = number + 1, [0, 0, THICKNESS * number]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [SPACING, SPACING], THICKNESS
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "HU"
        image.WindowCenter, image.WindowWidth = 40, 400
        image.Rows, image.Columns, image.SamplesPerPixel = SIZE, SIZE, 1
        image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.PixelData = (plane.astype(np.int32) + 1024).astype(np.uint16).tobytes()
        pydicom.dcmwrite(folder / f"{number:03d}.dcm", image, enforce_file_format=True)


def write_nifti(path: Path, values: np.ndarray) -> None:
    """Write a NIfTI volume of Hounsfield units, whose axes run to the right, the front and the head, as most do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([SPACING, SPACING, THICKNESS, 1.0])
    image = nibabel.Nifti1Image(values[:, ::-1, ::-1].transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)


def main(root: Path) -> None:
    """Write both domains."""
    for number in range(6):
        for side, first, noise, kind in (("A", 100, LOW_DOSE, "low dose"), ("B", 200, STANDARD_DOSE, "standard dose")):
            seed = first + number
            write_series(root / f"train{side}" / f"patient{seed}", scan(body(seed), noise, seed), f"P{seed}", kind)
    for seed in (300, 301):
        for side, noise in (("A", LOW_DOSE), ("B", STANDARD_DOSE)):
            write_nifti(root / f"test{side}" / f"patient{seed}.nii.gz", scan(body(seed), noise, seed + ord(side)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
