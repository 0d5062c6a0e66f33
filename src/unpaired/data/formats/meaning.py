"""What a file says of its images beyond their pixels; facts travel as fields, so that nobody parses them again."""

from __future__ import annotations

from typing import Literal, NamedTuple

Remark = Literal["converted", "bands", "animated", "channels first", "parts", "hdr"]
"""What reading did that a person may not expect: a colour profile was converted to sRGB; what a GeoTIFF calls alpha is
read as a band; the first image of an animation is taken; an array has its channels first; series or scenes unlike the
first one of a file are left out; HDR is read as it is coded."""
CONVERTED: Remark = "converted"
BANDS: Remark = "bands"
ANIMATED: Remark = "animated"
CHANNELS_FIRST: Remark = "channels first"
PARTS: Remark = "parts"
HDR: Remark = "hdr"
_MILLIMETRES = {"mm": 1.0, "um": 1e-3}


class Meaning(NamedTuple):
    """What the numbers of an image are and where it lies, as far as its file says so; empty fields are unknown."""

    unit: str = ""
    """Of the values: `HU`, `K`; empty for pictures."""
    range: tuple[float, float] | None = None
    """The values that the file says are possible or meant to be shown, such as 0 to 4095 for 12 bits."""
    spacing: tuple[float, ...] = ()
    """Distance between neighbouring pixels, down and across, then between images where the file holds several."""
    spacing_unit: str = ""
    """`mm`, `um`, `m`, or empty where it is unknown."""
    channels: tuple[str, ...] = ()
    """What each channel is called: bands, stains, markers."""
    group: str = ""
    """What images of one origin have in common, such as the patient: training and held-out images never share it."""
    remarks: tuple[Remark, ...] = ()
    """What reading did that is reported when the data are checked."""

    def millimetres(self, axis: int = 0) -> tuple[float, ...]:
        """Return the spacing of images that are cut along an axis of their volume; empty where it is unknown."""
        scale = _MILLIMETRES.get(self.spacing_unit)
        spacing = () if scale is None else tuple(length * scale for length in self.spacing)
        if axis == 0 or len(spacing) != 3:
            return spacing
        down, across, between = spacing
        return (between, across, down) if axis == 1 else (between, down, across)


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int
