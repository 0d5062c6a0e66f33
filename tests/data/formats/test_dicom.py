"""DICOM: values in the modality's unit, what files say beside them, and derived images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from scans import FRAME, SERIES, STUDY, dicom, phantom, read_dicom, write_dicom, write_series
from unpaired.data.bad_image import BadImage
from unpaired.data.decode import count_frames, decode, reader_of
from unpaired.data.folders import in_frames, list_images
from unpaired.data.formats import Frame, Meaning
from unpaired.data.formats.base import quiet
from unpaired.data.formats.dicom_output import IDENTIFYING, IDENTIFYING_KINDS
from unpaired.data.values import Domain

SIZE = (72, 64)
HU = Domain(channels=1, dtype="int16", range=(-1024, 3071))
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"


def stored(seed: int = 0) -> Any:
    return (phantom(3, *SIZE, seed)[1] + 1024).clip(0, 4095).astype(np.uint16)


def derived(source: Path, out: Path, domain: Domain = HU, change: int = 0, **fields: Any) -> Dataset:
    """Write a file's own values, changed by `change`, as an image derived from it."""
    frames = count_frames(source)
    images = [decode(Frame(source, index)) for index in range(frames)]
    output = reader_of(source).open_output(source, out, domain, images[0].shape[:2], frames)
    assert output is not None
    for name, value in fields.items():
        setattr(output, name, value)
    for index, image in enumerate(images):
        output.put((image.astype(np.float64) + change).astype(domain.dtype), index)
    output.close()
    return read_dicom(out)


def test_values_are_in_their_unit(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", stored())
    image = decode(path)
    assert (image.dtype, image.shape) == (np.int16, (*SIZE, 1))
    np.testing.assert_array_equal(image[..., 0], stored().astype(int) - 1024)
    meaning = reader_of(path).meaning(path)
    assert meaning == Meaning("HU", (-1024, 3071), (0.7, 0.6, 2.5), "mm", (), "P-17")


PLAIN = {"RescaleType": None, "RescaleIntercept": None, "RescaleSlope": None}
PET = {"Modality": "PT", "Units": "BQML", "RescaleSlope": 1.7, "RescaleIntercept": 0, "RescaleType": None}
INVERTED = {"PhotometricInterpretation": "MONOCHROME1"}
SIXTEEN = {"BitsStored": 16, "HighBit": 15}
CASES: list[tuple[type[Any], list[int], dict[str, Any], str, list[float]]] = [
    (np.uint16, [0, 4095], {"RescaleSlope": 0.5}, "float32", [-1024, 1023.5]),
    (np.int16, [-5, 7], SIXTEEN, "int16", [-1029, -1017]),
    (np.uint16, [0, 300], {**PLAIN, "Modality": "MR"}, "uint16", [0, 300]),
    (np.uint16, [1, 2], PET, "float32", [1.7, 3.4]),
    (np.uint8, [10, 255], {**PLAIN, "Modality": "CR", "BitsStored": 8, "HighBit": 7}, "uint8", [10, 255]),
    (np.uint16, [1, 4095], {**PLAIN, **INVERTED, "Modality": "DX"}, "uint16", [4094, 0]),
    (np.uint16, [0, 24], INVERTED, "int16", [-1024, -1000]),
]


@pytest.mark.parametrize(("kind", "row", "given", "dtype", "values"), CASES)
def test_scaling_and_signs(tmp_path: Path, kind: Any, row: Any, given: dict[str, Any], dtype: str, values: Any) -> None:
    numbers = np.array([row], kind)
    path = write_dicom(tmp_path / "x.dcm", np.repeat(numbers, 8, axis=0), **given)
    image = decode(path)
    assert image.dtype == dtype
    np.testing.assert_allclose(image[0, :, 0], values, rtol=1e-7)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed(tmp_path: Path, syntax: str) -> None:
    image = dicom(stored())
    image.compress(syntax, encoding_plugin="pylibjpeg" if syntax == JPEG2000Lossless else "pydicom")
    image.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(decode(tmp_path / "x.dcm")[..., 0], stored().astype(int) - 1024)


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    image = dicom(stored())
    image.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
    image.Rows = 100
    image.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pytest.raises(BadImage, match="100 x 64 pixels, and 72 x 64 inside"):
        decode(tmp_path / "x.dcm")


def test_frames_of_one_file(tmp_path: Path) -> None:
    frames = np.stack([stored(seed) for seed in range(3)])
    path = write_dicom(tmp_path / "x.dcm", frames)
    assert in_frames([path]) == [Frame(path, index) for index in range(3)]
    np.testing.assert_array_equal(decode(Frame(path, 2))[..., 0], frames[2].astype(int) - 1024)
    with pytest.raises(BadImage, match="3 frames"):
        decode(path)
    with pytest.raises(BadImage, match="cut already"):
        decode(in_frames([path], axis=1)[0])


def test_frames_with_scalings_of_their_own(tmp_path: Path) -> None:
    groups = []
    for slope in (1, 2):
        group, transformation = Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = slope, 3, "HU"
        group.PixelValueTransformationSequence = [transformation]
        groups.append(group)
    path = write_dicom(
        tmp_path / "x.dcm",
        np.stack([stored(), stored()]),
        PerFrameFunctionalGroupsSequence=groups,
        RescaleSlope=None,
        RescaleIntercept=None,
        RescaleType=None,
    )
    np.testing.assert_array_equal(decode(Frame(path, 1))[..., 0], stored().astype(int) * 2 + 3)
    made = derived(path, tmp_path / "y.dcm", Domain(channels=1, dtype="int16", range=(0, 8000)))
    np.testing.assert_array_equal(made.pixel_array, np.stack([stored(), stored()]))


def test_padding_is_no_value(tmp_path: Path) -> None:
    numbers = stored().astype(np.int16)
    numbers[0, 0], numbers[1, 1] = -2000, -1999
    path = write_dicom(
        tmp_path / "x.dcm", numbers, BitsStored=16, HighBit=15, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1999
    )
    valid = reader_of(path).valid(path)
    assert valid is not None
    assert (~valid).sum() == 2
    assert not valid[0, 0]
    assert decode(path).dtype == np.int16
    made = derived(path, tmp_path / "y.dcm", change=10)
    assert (made.pixel_array[0, 0], made.pixel_array[1, 1]) == (-2000, -1999)
    assert made.PixelPaddingValue == -2000


def test_files_without_a_suffix_are_found(tmp_path: Path) -> None:
    paths = [*write_series(tmp_path, phantom(2, 8, 8), suffix=""), write_dicom(tmp_path / "1.2.840.77", stored())]
    write_dicom(tmp_path / "DICOMDIR", stored())
    (tmp_path / "README").write_text("no image")
    assert list_images(tmp_path) == sorted(paths)


def test_a_preamble_of_another_kind_changes_nothing(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", stored())
    content = bytearray(path.read_bytes())
    content[:8] = b"II*\0\x08\0\0\0"
    path.write_bytes(content)
    assert decode(path).dtype == np.int16


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    image = dicom(stored(), SOPClassUID=pydicom.uid.BasicTextSRStorage)
    for name in ("Rows", "Columns", "PixelData"):
        delattr(image, name)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.save_as(path, enforce_file_format=True)
    with pytest.raises(BadImage, match="Basic Text SR"):
        decode(path)
    path.write_bytes(b"\x08\0\x05\0CS" + bytes(200))
    with pytest.raises(BadImage, match="letters DICM"):
        decode(path)
    with pytest.raises(BadImage, match="cannot hold 1000000000 frames"):
        count_frames(write_dicom(path, stored(), NumberOfFrames=10**9))
    whole = write_dicom(path, stored()).read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(BadImage):
        decode(path)


# ----------------------------------------------------------------------------------------------------------- derived


def test_a_derived_image_keeps_all_but_what_it_is(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "x.dcm", stored())
    before, after = read_dicom(source), derived(source, tmp_path / "y.dcm", made_by="a2b of a model")
    np.testing.assert_array_equal(before.pixel_array, after.pixel_array)
    changed = {
        *("SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "ImageType", "SourceImageSequence"),
        *("DerivationDescription", "ContributingEquipmentSequence"),
    }
    names = {element.keyword for element in [*before, *after] if element.keyword}
    assert {name for name in names if before.get(name) != after.get(name)} == changed
    assert list(after.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert "a2b of a model" in after.DerivationDescription
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert (0x0009, 0x1001) not in after
    assert (after.StudyInstanceUID, after.FrameOfReferenceUID, after.PatientID) == (STUDY, FRAME, "P-17")


def test_a_series_stays_one_series(tmp_path: Path) -> None:
    sources = write_series(tmp_path / "in", phantom(3, 8, 8))
    made = [derived(path, tmp_path / path.name, made_by="one") for path in sources]
    assert len({each.SeriesInstanceUID for each in made}) == 1
    assert len({each.SOPInstanceUID for each in made}) == 3
    again = derived(sources[0], tmp_path / "again.dcm", made_by="one")
    assert again.SOPInstanceUID == made[0].SOPInstanceUID
    other = derived(sources[0], tmp_path / "other.dcm", made_by="another")
    assert {other.SeriesInstanceUID, SERIES}.isdisjoint({made[0].SeriesInstanceUID})


def test_values_beyond_the_bits_take_more_bits(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "x.dcm", stored())
    made = derived(source, tmp_path / "y.dcm", Domain(channels=1, dtype="int16", range=(-3000, 4000)), change=-1500)
    assert (made.BitsStored, made.PixelRepresentation, made.RescaleIntercept) == (16, 1, -1024)
    np.testing.assert_array_equal(decode(tmp_path / "y.dcm"), decode(source) - 1500)


def test_other_values_get_a_scaling_of_their_own(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "x.dcm", stored())
    domain = Domain(channels=1, dtype="float32", range=(0, 1), unit="g/ml")
    output = reader_of(source).open_output(source, tmp_path / "y.dcm", domain, SIZE, 1)
    assert output is not None
    values = np.linspace(0, 1, 72 * 64, dtype=np.float32).reshape(*SIZE, 1)
    output.put(values)
    output.close()
    np.testing.assert_allclose(decode(tmp_path / "y.dcm"), values, atol=1 / 65535)
    assert "WindowCenter" not in read_dicom(tmp_path / "y.dcm")
    assert reader_of(source).meaning(tmp_path / "y.dcm").unit == "G/ML"


def test_what_is_turned_over_is_turned_back(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "x.dcm", stored(), Modality="DX", **PLAIN, **INVERTED)
    made = derived(source, tmp_path / "y.dcm", Domain(channels=1, dtype="uint16", range=(0, 4095)))
    np.testing.assert_array_equal(made.pixel_array, stored())
    assert made.PhotometricInterpretation == "MONOCHROME1"


def test_deidentified(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "x.dcm", stored(), PatientComments="called Jane", StationName="CT7")
    made = derived(source, tmp_path / "y.dcm", deidentify=True)
    text = (tmp_path / "y.dcm").read_bytes()
    secrets = [b"Doe", b"P-17", b"1970", b"2020", b"Who", b"General", b"CT7", b"Jane", STUDY.encode(), SERIES.encode()]
    for secret in secrets:
        assert secret not in text
    assert made.PatientIdentityRemoved == "YES"
    for element in made:
        assert (
            element.VR not in IDENTIFYING_KINDS
            or element.is_empty
            or element.keyword in ("PixelData", "DerivationDescription")
        )
        assert element.keyword not in IDENTIFYING or element.is_empty
    np.testing.assert_array_equal(decode(tmp_path / "y.dcm"), decode(source))
    assert made.ImagePositionPatient == [-100, -90, 5]
    assert derived(source, tmp_path / "z.dcm", deidentify=True).StudyInstanceUID == made.StudyInstanceUID


def test_no_derived_image_of_another_size(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "x.dcm", stored())
    for domain, size, count in ((HU, (72, 63), 1), (HU, SIZE, 2), (Domain(channels=3, dtype="uint16"), SIZE, 1)):
        assert reader_of(source).open_output(source, tmp_path / "y.dcm", domain, size, count) is None
    made = reader_of(source).open_output(source, tmp_path / "y.dcm", Domain(channels=3), SIZE, 1)
    assert made is not None
    colours = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    made.put(colours)
    made.close()
    np.testing.assert_array_equal(decode(tmp_path / "y.dcm"), colours)


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="pydicom came without its test files")
@pytest.mark.parametrize(
    "name",
    [
        *("CT_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"),
        *("MR_small_padded", "JPGExtended", "693_J2KI", "examples_palette", "SC_rgb_jpeg_gdcm", "rtdose", "SC_rgb_rle"),
        *("examples_overlay", "ExplVR_BigEnd", "examples_ybr_color"),
    ],
)
def test_those_that_pydicom_ships(tmp_path: Path, name: str) -> None:
    path = SHIPPED / f"{name}.dcm"
    frames = min(count_frames(path), 2)
    images = [decode(Frame(path, index)) for index in range(frames)]
    raw = pydicom.dcmread(path)
    if raw.SamplesPerPixel == 1 and raw.PhotometricInterpretation != "PALETTE COLOR":
        slope = float(raw.get("DoseGridScaling", raw.get("RescaleSlope", 1)))
        with quiet():
            pixels = raw.pixel_array
        values = pixels.reshape(-1, *images[0].shape[:2])[0] * slope + float(raw.get("RescaleIntercept", 0))
        np.testing.assert_allclose(images[0][..., 0], values, rtol=1e-6)
    if frames == 1:
        kind: Any = images[0].dtype.name
        span = (float(images[0].min()), float(images[0].max()))
        domain = Domain(channels=images[0].shape[2], dtype=kind, range=None if kind == "uint8" else span)
        derived(path, tmp_path / "y.dcm", domain)
        np.testing.assert_array_equal(decode(tmp_path / "y.dcm"), images[0])


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", stored())
    code = f"""
import sys; sys.modules["pydicom"] = None
from unpaired.data.decode import decode
try: decode({str(path)!r})
except Exception as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'unpaired[medical]'" in done.stdout
