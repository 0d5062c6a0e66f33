"""Derived DICOM images: the geometry and the patient of their source, other values, new identifiers.

The series and every image in it get identifiers that follow from the source's and from what made the values, so that
slices of one series stay one series, and the same translation made again is the same image.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from unpaired.data.formats.base import quiet
from unpaired.data.formats.dicom import Announced, padding_of, read_dataset, stored_frame
from unpaired.data.formats.meaning import Box
from unpaired.data.formats.output import Output
from unpaired.data.formats.scaling import Scaling
from unpaired.data.values import Domain, Image, value_range

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DROPPED = (
    *("IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence", "ModalityLUTSequence"),
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "SourceImageSequence", "PixelDataProviderURL"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "PlanarConfiguration"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData", "PixelAspectRatio"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData", "RescaleType"),
)
"""Facts of the source's pixels that do not hold for others."""
_WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTSequence", "VOILUTFunction")
_PIXEL_PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
IDENTIFYING_KINDS = ("PN", "DA", "TM", "DT", "AS", "LT", "ST", "UT", "AE", "UR", "OB", "UN")
"""Kinds of elements that `--deidentify` removes: names, dates, times, ages, free text, addresses, unknown content."""
IDENTIFYING = (
    *(
        "AccessionNumber",
        "AdmissionID",
        "BranchOfService",
        "CassetteID",
        "CountryOfResidence",
        "CurrentPatientLocation",
    ),
    *("DetectorID", "DeviceSerialNumber", "EthnicGroup", "FillerOrderNumberImagingServiceRequest", "GantryID"),
    *("GeneratorID", "InstitutionName", "InstitutionalDepartmentName", "IssuerOfAdmissionID", "IssuerOfPatientID"),
    *("InsurancePlanIdentification", "MedicalRecordLocator", "MilitaryRank", "Occupation", "OtherPatientIDs"),
    *("PatientID", "PatientReligiousPreference", "PatientSex", "PatientSexNeutered", "PatientSize", "PatientState"),
    *("PatientTelephoneNumbers", "PatientWeight", "PatientBreedDescription", "PatientSpeciesDescription"),
    *("PerformedLocation", "PerformedProcedureStepDescription", "PerformedProcedureStepID", "PerformedStationName"),
    *("PlacerOrderNumberImagingServiceRequest", "PlateID", "PregnancyStatus", "ProtocolName", "RegionOfResidence"),
    *("RequestedContrastAgent", "RequestedProcedureDescription", "RequestedProcedureID", "RequestingService"),
    *("ReasonForTheRequestedProcedure", "ScheduledProcedureStepDescription", "ScheduledProcedureStepID"),
    *("SeriesDescription", "ServiceEpisodeDescription", "ServiceEpisodeID", "SmokingStatus", "SpecialNeeds"),
    *("StationName", "StudyDescription", "StudyID", "MedicalAlerts", "Allergies", "AdmittingDiagnosesDescription"),
)
"""Elements of one value that `--deidentify` removes, after the basic profile of PS3.15, table E.1-1."""
_KEPT_SEQUENCES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "VOILUTSequence")
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"),
    *("ReferringPhysicianName", "StudyID"),
)
"""Elements that every image has, empty where they are unknown."""


def open_derived(
    source: Path, path: Path, found: Announced, domain: Domain, size: tuple[int, int], count: int
) -> DicomOutput | None:
    """Begin a derived image; None for another size or number of images, and for channels that DICOM has no word for."""
    colour = domain.channels == 3 and domain.dtype == "uint8" and domain.range in (None, (0, 255))
    fits = size == (found.height, found.width) and count == found.frames and domain.labels is None
    if not fits or not (colour or domain.channels == 1) or found.floating:
        return None
    return DicomOutput(source, path, found, domain)


@final
class DicomOutput(Output):
    """One derived file, written uncompressed when it is closed; private elements and overlays are left out."""

    can_deidentify = True

    def __init__(self, source: Path, path: Path, found: Announced, domain: Domain) -> None:
        self._source, self._path, self._found, self._domain = source, path, found, domain
        same = not (domain.unit and found.unit) or domain.unit == found.unit
        own = same and found.samples == 1 and not found.looked_up and domain.channels == 1
        low, high = found.stored_range
        # Another 16 bits may be used for values that the source's bits do not reach.
        self._kept = own and all(
            scaling.holds(domain, min(low, -(1 << 15)), max(high, (1 << 16) - 1)) for scaling in found.scalings
        )
        self._planes: list[NDArray[Any]] = []

    def put(self, image: Image, index: int = 0, box: Box | None = None) -> None:
        assert box is None, "frames come whole"
        assert index == len(self._planes), "frames come in their order"
        with quiet():
            self._planes.append(self._numbers(image, index))

    def _numbers(self, image: Image, index: int) -> NDArray[Any]:
        """Return the numbers to store, int64 [H, W, C]."""
        if not self._kept:
            return self._rescaled.stored(image, np.dtype(np.int64))
        found = self._found
        numbers = found.scaling(index).stored(image, np.dtype(np.int64))
        if found.inverts:
            numbers = sum(found.stored_range) - numbers
        if found.padding is not None:
            before = stored_frame(self._source, index)
            padding = padding_of(found, before)
            if padding is not None:
                numbers[padding] = before[padding]
        return numbers

    @property
    def _rescaled(self) -> Scaling:
        """The scaling of values that the source's cannot stand for."""
        low, high = value_range(np.dtype(self._domain.dtype), self._domain.range)
        if self._domain.dtype == "float32":
            return Scaling((high - low) / 65535, low)
        return Scaling(1.0, min(0.0, np.floor(low)))

    def close(self) -> None:
        with quiet():
            dataset = read_dataset(self._source)
            dataset.walk(lambda _, __: None)  # decodes what is read lazily, in the encoding of its file
            self._describe_pixels(dataset, np.stack(self._planes))
            self._describe_origin(dataset)
            if self.deidentify:
                deidentify(dataset)
            _write(dataset, self._path)

    def _describe_pixels(self, dataset: Dataset, numbers: NDArray[Any]) -> None:
        found, colour = self._found, self._domain.channels == 3
        dataset.remove_private_tags()
        for element in [element for element in dataset if element.tag.group & 0xFF00 == 0x6000]:
            del dataset[element.tag]
        for name in (*_DROPPED, *(() if self._kept else (*_WINDOW, *_PIXEL_PADDING))):
            if name in dataset and not (name == "RescaleType" and self._kept):
                del dataset[name]
        low, high = int(numbers.min()), int(numbers.max())
        signed, bits = found.signed and self._kept, found.bits
        least, most = found.stored_range
        if not self._kept or low < least or high > most:
            bits, signed = ((8, 8) if colour else (16, 16)), low < 0
        dtype = np.dtype("uint8" if bits[0] == 8 and not signed else f"{'i' if signed else 'u'}{bits[0] // 8}")
        ends = np.iinfo(dtype)
        dataset.PixelData = _even(np.clip(numbers, ends.min, ends.max).astype(dtype.newbyteorder("<")).tobytes())
        dataset["PixelData"].VR = "OB" if bits[0] == 8 else "OW"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits[0], bits[1], bits[1] - 1
        dataset.PixelRepresentation = int(signed)
        dataset.SamplesPerPixel = self._domain.channels
        kept = found.photometric if self._kept else "MONOCHROME2"
        dataset.PhotometricInterpretation = "RGB" if colour else kept
        if colour:
            dataset.PlanarConfiguration = 0
        elif not self._kept:
            _set_scaling(dataset, self._rescaled, self._domain.unit)

    def _describe_origin(self, dataset: Dataset) -> None:
        from pydicom.dataset import Dataset as Item

        made_by = self.made_by or "unpaired"
        source = Item()
        source.ReferencedSOPClassUID = dataset.SOPClassUID
        source.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
        source.PurposeOfReferenceCodeSequence = [_code("121322", "Source image for image processing operation")]
        dataset.SourceImageSequence = [source]
        dataset.ImageType = ["DERIVED", "SECONDARY", *list(dataset.get("ImageType") or [])[2:]]
        dataset.DerivationDescription = f"Image-to-image translation by {made_by}"[:1024]
        dataset.SeriesDescription = f"{dataset.get('SeriesDescription') or ''} translated".strip()[:64]
        equipment = Item()
        equipment.Manufacturer, equipment.ManufacturerModelName = "unpaired", made_by[:64]
        equipment.PurposeOfReferenceCodeSequence = [_code("109103", "Modifying Equipment")]
        dataset.ContributingEquipmentSequence = [*dataset.get("ContributingEquipmentSequence", []), equipment]
        dataset.SeriesInstanceUID = derived_uid(dataset.get("SeriesInstanceUID", ""), made_by)
        dataset.SOPInstanceUID = derived_uid(dataset.get("SOPInstanceUID", ""), made_by)


def derived_uid(source: str, made_by: str) -> str:
    """Return the identifier of what was made from something identified: always the same for the same two."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{source} {made_by}').int}"


def deidentify(dataset: Dataset) -> None:
    """Remove what names a person or a place, and replace identifiers; this is no certified de-identification.

    Elements of `IDENTIFYING` and of `IDENTIFYING_KINDS`, private ones, and all sequences but those of geometry and
    display are removed; study, frame of reference, series and image get other identifiers, always the same for the
    same ones. What is written into the pixels stays.
    """
    pixels = dataset.PixelData
    for element in list(dataset):
        keyword, kind = element.keyword, element.VR
        if keyword in ("PixelData", "DerivationDescription"):  # the latter says what made the image, and nothing else
            continue
        if (kind == "SQ" and keyword not in _KEPT_SEQUENCES) or kind in IDENTIFYING_KINDS or keyword in IDENTIFYING:
            del dataset[element.tag]
        elif kind == "SQ":
            for item in element.value:
                _clean_item(item)
        elif kind == "UI" and keyword not in ("SOPClassUID", "SeriesInstanceUID", "SOPInstanceUID"):
            element.value = derived_uid(str(element.value), "deidentified")
    dataset.PixelData = pixels
    for keyword in _REQUIRED:
        dataset.setdefault(keyword, "")
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "unpaired --deidentify: main tags of PS3.15 E.1, not certified"


def _clean_item(item: Dataset) -> None:
    for element in list(item):
        if element.VR == "SQ":
            for inner in element.value:
                _clean_item(inner)
        elif element.VR in IDENTIFYING_KINDS or element.VR == "UI" or element.keyword in IDENTIFYING:
            del item[element.tag]


def _set_scaling(dataset: Dataset, scaling: Scaling, unit: str) -> None:
    """Say what stored numbers mean; an enhanced file says it of all frames at once."""
    from pydicom.dataset import Dataset as Item

    target = dataset
    if "SharedFunctionalGroupsSequence" in dataset:
        target = Item()
        dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [target]
        for group in dataset.get("PerFrameFunctionalGroupsSequence", []):
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                if name in group:
                    del group[name]
    target.RescaleSlope, target.RescaleIntercept = _decimal(scaling.slope), _decimal(scaling.intercept)
    target.RescaleType = unit[:16] or "US"


def _decimal(number: float) -> str:
    """Return a number in the 16 characters that DICOM has for one."""
    return next(text for digits in range(16, 3, -1) if len(text := f"{number:.{digits}g}") <= 16)


def _code(value: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset as Item

    code = Item()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _even(content: bytes) -> bytes:
    return content + bytes(len(content) % 2)


def _write(dataset: Dataset, path: Path) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    dataset.preamble = bytes(128)
    dataset.set_original_encoding(False, True)  # all of it is decoded, whatever its file was written in
    dataset.save_as(path, enforce_file_format=True)
