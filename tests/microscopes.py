"""Files of microscopes: CZI by Zeiss's own library, LIF and ND2 part by part, since their libraries only read.

Every file holds uint16 [T, Z, C, Y, X], channels DAPI and GFP (Green and Red in LIF, which names colours), pixels of
0.4 um down, 0.5 um across, planes 2 um apart.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ("DAPI", "GFP")
COLOURS = ("Green", "Red")
Stack = NDArray[Any]


def stack(times: int = 2, planes: int = 3, height: int = 40, width: int = 52) -> Stack:
    """Return random values of 12 bits."""
    return np.random.default_rng(0).integers(1, 4096, (times, planes, 2, height, width)).astype(np.uint16)


def write_czi(path: Path, values: Stack, scenes: Sequence[tuple[int, int, Stack]] = ()) -> Path:
    """Write a file; `scenes` are further ones with where they lie, down and across."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        for scene, (top, left, images) in enumerate([(0, 0, values), *scenes]):
            for time, plane, channel in np.ndindex(*images.shape[:3]):
                at = {"T": time, "Z": plane, "C": channel}
                file.write(images[time, plane, channel][..., None], (left, top), at, scene=scene)
        file.write_metadata("made by a test", dict(enumerate(NAMES)), scale_x=5e-7, scale_y=4e-7, scale_z=2e-6)
    return path


# --------------------------------------------------------------------------------------------------------------- LIF


def write_lif(path: Path, *series: Stack) -> Path:
    """Write a file: an XML header in UTF-16, then one block of memory for each series."""
    elements = "".join(_series(number, values) for number, values in enumerate(series, 1))
    inside = f'<Element Name="x"><Memory Size="0" MemoryBlockID="Block_0"/><Children>{elements}</Children></Element>'
    header = f'<LMSDataContainerHeader Version="2">{inside}</LMSDataContainerHeader>'
    content = struct.pack("<IIBI", 0x70, 2 * len(header) + 5, 0x2A, len(header)) + header.encode("utf-16-le")
    for number, values in enumerate(series, 1):
        name = f"Block_{number}"
        begin = struct.pack("<IIBQBI", 0x70, 2 * len(name) + 14, 0x2A, values.nbytes, 0x2A, len(name))
        content += begin + name.encode("utf-16-le") + values.tobytes()
    path.write_bytes(content)
    return path


def _series(number: int, values: Stack) -> str:
    times, planes, colours, height, width = values.shape
    step = values.itemsize
    plane = step * height * width
    axes = (
        (1, width, 0.5e-6, step),
        (2, height, 0.4e-6, step * width),
        (3, planes, 2e-6, plane * colours),
        (4, times, 1.0, plane * colours * planes),
    )
    dimensions = "".join(
        f'<DimensionDescription DimID="{axis}" NumberOfElements="{length}" Origin="0" Length="{size * (length - 1)}" '
        f'Unit="m" BytesInc="{increment}" BitInc="0"/>'
        for axis, length, size, increment in axes
    )
    channels = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="12" NameOfMeasuredQuantity="" Min="0" Max="4095" '
        f'Unit="" LUTName="{COLOURS[channel]}" IsLUTInverted="0" BytesInc="{channel * plane}" BitInc="0"/>'
        for channel in range(colours)
    )
    described = f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions>"
    data = f"<Data><Image><ImageDescription>{described}</ImageDescription></Image></Data>"
    memory = f'<Memory Size="{values.nbytes}" MemoryBlockID="Block_{number}"/>'
    return f'<Element Name="Series{number}">{data}{memory}</Element>'


# --------------------------------------------------------------------------------------------------------------- ND2

_MAGIC = 0x0ABECEDA
_SPACE = 4072
"""Bytes for the name of a chunk."""


def write_nd2(path: Path, values: Stack, recorded: int | None = None) -> Path:
    """Write a file of version 3: named chunks, and where they are at the end; `recorded` images of all."""
    times, planes, colours, height, width = values.shape
    count = times * planes if recorded is None else recorded
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": width * colours * 2,
        "uiHeight": height,
        "uiComp": colours,
        "uiBpcInMemory": 16,
        "uiBpcSignificant": 12,
        "uiSequenceCount": count,
        "eCompression": 2,
    }
    plane = {"uiCompCount": 1, "uiColor": 255, "pFluorescentProbe": {"m_sName": "a dye"}}
    found = {f"a{number}": {**plane, "sDescription": name} for number, name in enumerate(NAMES)}
    picture = {"bCalibrated": True, "dCalibration": 0.5, "sPicturePlanes": {"uiCount": colours, "sPlaneNew": found}}
    stacks = {"eType": 4, "uLoopPars": {"uiCount": planes, "dZStep": 2.0}}
    loop = {"uiCount": times, "dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0}
    chunks = {
        "ImageAttributesLV!": _variant({"SLxImageAttributes": attributes}),
        "ImageMetadataSeqLV|0!": _variant({"SLxPictureMetadata": picture}),
        "ImageMetadataLV!": _variant({"SLxExperiment": {"eType": 1, "uLoopPars": loop, "ppNextLevelEx": {"": stacks}}}),
    }
    for number, image in enumerate(values.reshape(-1, colours, height, width)[:count]):
        chunks[f"ImageDataSeq|{number}!"] = bytes(8) + np.moveaxis(image, 0, 2).tobytes()
    content = struct.pack("<IIQ32s64s", _MAGIC, 32, 64, b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0")
    places = b""
    for name, data in chunks.items():
        places += name.encode() + struct.pack("<QQ", len(content), len(data))
        content += _chunk(name.encode(), data, _SPACE)
    places += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", len(content))
    path.write_bytes(content + _chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", places, 32))
    return path


def _chunk(name: bytes, data: bytes, space: int) -> bytes:
    return struct.pack("<IIQ", _MAGIC, space, len(data)) + name.ljust(space, b"\0") + data


def _variant(values: Mapping[str, Any]) -> bytes:
    """Return named values as ND2 stores them: type, name, value."""
    return b"".join(_one(name, value) for name, value in values.items())


def _one(name: str, value: Any) -> bytes:
    kinds = {bool: (1, "<B"), int: (3, "<I"), float: (6, "<d"), str: (8, ""), dict: (11, "")}
    kind, form = kinds[type(value)]
    start = bytes([kind, len(name) + 1]) + f"{name}\0".encode("utf-16-le")
    if isinstance(value, str):
        return start + f"{value}\0".encode("utf-16-le")
    if isinstance(value, dict):
        inside = _variant(value)
        return start + struct.pack("<IQ", len(value), len(start) + 12 + len(inside)) + inside + bytes(8 * len(value))
    return start + struct.pack(form, value)
