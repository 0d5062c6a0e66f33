"""What Pillow would cut or refuse, by imagecodecs: deep JPEG 2000, AVIF and JPEG, JPEG-LS, JPEG XL, Radiance HDR."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader, filling, over_white, upright
from unpaired.data.formats.colour import to_srgb
from unpaired.data.formats.meaning import Meaning
from unpaired.data.values import Image

_HEAD = 1 << 18
"""Bytes at the beginning in which these formats say what they hold; boxes of metadata may come before it."""
_JP2, _J2K = b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"
_JXL, _JXL_BOXES = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_JPEG, _HDR = b"\xff\xd8\xff", (b"#?RADIANCE", b"#?RGBE")
_LOSSLESS, _JPEG_LS = 0xC3, 0xF7
_FRAMES = {0xC0, 0xC1, 0xC2, _LOSSLESS, _JPEG_LS}
_GEOGRAPHIC = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
"""The UUID of the box in which GeoJP2 says where an image lies."""


class Found(NamedTuple):
    """What a file announces."""

    height: int
    width: int
    channels: int
    bits: int
    decode: Callable[[bytes], NDArray[Any]]
    alpha: bool = False
    """Whether the last of 2 or 4 channels is transparency."""
    picture: bool = True
    """Whether the numbers are shares of full colour, which then fill their type; else they are kept as stored."""
    dtype: str = ""
    """By default the smallest unsigned type of these bits."""
    orientation: int = 1
    profile: bytes = b""


class CodecReader(Reader):
    """Reads what imagecodecs decodes and Pillow does not, or not in full: [H, W, C] in 8 or 16 bits or floats.

    AVIF and JPEG XL of 9 to 15 bits fill uint16, as PNG does: their numbers are shares of full colour. JPEG 2000, JPEG
    of 12 bits and JPEG-LS hold measurements as often as pictures and keep their numbers; `meaning` has the range.
    """

    suffixes = frozenset({".hdr", ".jls", ".jxl"})
    reads_memory = True

    def accepts(self, start: bytes, suffix: str) -> bool:
        if start.startswith(_JPEG):  # nearly every file of a folder: most say at their beginning what they are
            frame = _jpeg_frame(start)
            return frame is None or _is_deep(frame)
        return start.startswith((_JP2, _J2K, _JXL, _JXL_BOXES, *_HDR)) or start[4:10] == b"ftypav"

    def claims(self, path: Path) -> bool:
        return _look(path) is not None

    def probe(self, path: Path) -> Header:
        found = _found(path)
        dtype = found.dtype or ("uint8" if found.bits <= 8 else "uint16")
        return Header(found.height, found.width, found.channels, dtype)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        image, found = self._decoded(path)
        if not (found.alpha and image.shape[2] in (2, 4)):
            return image
        return over_white(image[..., :-1], image[..., -1])

    def with_alpha(self, path: Path) -> Image | None:
        image, found = self._decoded(path)
        return image if found.alpha and image.shape[2] in (2, 4) else None

    def meaning(self, path: Path) -> Meaning:
        found = _found(path)
        if found.picture or found.dtype or found.bits in (8, 16):
            return Meaning()
        return Meaning(range=(0.0, 2.0**found.bits - 1))

    def _decoded(self, path: Path) -> tuple[Image, Found]:
        found = _found(path)
        image = np.atleast_3d(found.decode(path.read_bytes()))
        if image.ndim != 3 or {*image.shape[:2]} != {found.height, found.width}:
            raise BadImage(path, "cannot be decoded: the pixels do not fit the header")
        if found.picture and image.dtype.kind == "u":
            image = filling(image, found.bits)
        if found.profile and image.shape[2] in (3, 4):
            managed = to_srgb(image[..., :3], found.profile)
            image = image if managed is None else np.concatenate([managed, image[..., 3:]], axis=2)
        return upright(image, found.orientation), found


def _found(path: Path) -> Found:
    found = _look(path)
    if found is None:
        raise BadImage(path, "damaged: what it announces makes no sense")
    return found


def _look(path: Path) -> Found | None:
    """Return what a file announces; None where Pillow reads it whole."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(_JPEG):
        return _look_jpeg(path, head)
    if head.startswith((_JP2, _J2K)):
        return _look_jpeg2000(path, head)
    if head.startswith((_JXL, _JXL_BOXES)):
        return _look_jpegxl(head)
    return _look_hdr(head) if head.startswith(_HDR) else _look_avif(path, head)


# ---------------------------------------------------------------------------------------------------------------- JPEG


def _jpeg_frame(head: bytes) -> bytes | None:
    """Return marker and content of the segment that describes the frame; None where it lies further behind."""
    at = 2
    while at + 12 <= len(head):
        if head[at] != 0xFF:
            return b""
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4])
        if marker in _FRAMES:
            return bytes([marker]) + head[at + 4 : at + 2 + length]
        at += 2 + length
    return None


def _is_deep(frame: bytes) -> bool:
    return len(frame) > 6 and (frame[0] in (_LOSSLESS, _JPEG_LS) or frame[1] > 8)


def _look_jpeg(path: Path, head: bytes) -> Found | None:
    frame = _jpeg_frame(head)
    frame = _jpeg_frame(path.read_bytes()) if frame is None else frame
    if frame is None or not _is_deep(frame):
        return None
    import imagecodecs

    decode = {_LOSSLESS: imagecodecs.ljpeg_decode, _JPEG_LS: imagecodecs.jpegls_decode}
    bits, height, width, channels = struct.unpack(">BHHB", frame[1:7])
    return Found(height, width, channels, bits, decode.get(frame[0], imagecodecs.jpeg8_decode), picture=False)


# ----------------------------------------------------------------------------------------------------------- JPEG 2000


def _look_jpeg2000(path: Path, head: bytes) -> Found | None:
    boxes = {} if head.startswith(_J2K) else _boxes(head)
    start = head if head.startswith(_J2K) else boxes.get(b"jp2c", b"")
    if not start and b"jp2h" in boxes:  # metadata of any size come before the pixels
        content = path.read_bytes()
        start = content[content.find(_J2K) :]
    if not start.startswith(_J2K) or len(start) < 45:
        return None
    right, bottom, left, top = struct.unpack(">4I", start[8:24])
    count = int.from_bytes(start[40:42])
    depths = start[42 : 42 + 3 * count : 3]
    header = _boxes(boxes.get(b"jp2h", b""))
    kinds = header.get(b"cdef", b"")
    located = boxes.get(b"uuid", b"").startswith(_GEOGRAPHIC)
    alpha = not located and 1 in [int.from_bytes(kinds[at : at + 2]) for at in range(4, len(kinds), 6)]
    deep = any(depth > 7 for depth in depths)  # one less than the bits, and 128 where there is a sign
    if b"pclr" in header or not (deep or (count not in (1, 3) and not alpha)):
        return None
    import imagecodecs

    signed, bits = depths[0] > 127, (max(depths) & 127) + 1
    dtype = f"int{8 if bits <= 8 else 16}" if signed else ""
    colour = header.get(b"colr", b"")
    profile = colour[3:] if colour[:1] == b"\2" and count < 5 else b""
    size = bottom - top, right - left
    return Found(*size, count, bits, imagecodecs.jpeg2k_decode, alpha, picture=False, dtype=dtype, profile=profile)


def _boxes(content: bytes) -> dict[bytes, bytes]:
    """Return the first box of every kind of an ISO file or box, cut where the content ends."""
    at, found = 0, dict[bytes, bytes]()
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        start = at + 8
        if length == 1:
            length, start = int.from_bytes(content[at + 8 : at + 16]), at + 16
        end = len(content) if length == 0 else at + length
        if end <= at:
            break
        content_of = content[start:end]
        if kind != b"uuid" or content_of.startswith(_GEOGRAPHIC):
            found.setdefault(kind, content_of)
        at = end
    return found


# ---------------------------------------------------------------------------------------------------------------- AVIF


def _look_avif(path: Path, head: bytes) -> Found | None:
    at = head.find(b"av1C")
    if at < 0 or len(head) < at + 7 or not head[at + 6] & 0x40:
        return None
    import imagecodecs

    from unpaired.data.formats.pillow import announced

    bits = 12 if head[at + 6] & 0x20 else 10
    header, orientation, profile = announced(path)
    alpha = header.channels in (2, 4)
    decode = lambda content: imagecodecs.avif_decode(content, index=0, numthreads=1)  # noqa: E731
    return Found(*header[:3], bits, decode, alpha, orientation=orientation, profile=profile)


# ------------------------------------------------------------------------------------------------------------- JPEG XL


@final
class _Bits:
    """The bits of a codestream, the lowest of every byte first; ISO/IEC 18181-1, annex B."""

    def __init__(self, content: bytes) -> None:
        self.number, self.left = int.from_bytes(content, "little"), 8 * len(content)

    def take(self, count: int) -> int:
        if count > self.left:
            raise ValueError("truncated: the header is not whole")
        value = self.number & ((1 << count) - 1)
        self.number, self.left = self.number >> count, self.left - count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """Return one of four numbers: what it begins at, and how many bits are added."""
        base, count = choices[self.take(2)]
        return base + self.take(count)


_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def _jpegxl_size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def side() -> int:
        return 8 * (1 + bits.take(5)) if small else bits.choose((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.take(3)
    over, under = _RATIOS.get(ratio, (0, 1))
    return height, height * over // under if ratio else side()


def _look_jpegxl(head: bytes) -> Found | None:
    import imagecodecs

    if head.startswith(_JXL_BOXES):
        boxes = _boxes(head)
        head = boxes.get(b"jxlc") or boxes.get(b"jxlp", b"")[4:]
    if not head.startswith(_JXL):
        return None
    bits = _Bits(head[2:66])
    height, width = _jpegxl_size(bits)
    depth, floating = _jpegxl_depth(bits)
    dtype = "float32" if floating else ""
    decode = lambda content: imagecodecs.jpegxl_decode(content, index=0, numthreads=1)  # noqa: E731
    return Found(height, width, 4, depth, decode, alpha=True, dtype=dtype)


def _jpegxl_depth(bits: _Bits) -> tuple[int, bool]:
    """Return the bits per sample, and whether samples are floats."""
    if bits.take(1):  # everything is as usual
        return 8, False
    if bits.take(1):  # more than usual is said
        bits.take(3)  # orientation, which the decoder applies
        if bits.take(1):
            _jpegxl_size(bits)  # at which it is shown
        if bits.take(1) or bits.take(1):
            return 16, False  # a preview or an animation: the depth lies behind them, and 16 bits are the most
    if bits.take(1):
        return 32, True
    return bits.choose((8, 0), (10, 0), (12, 0), (1, 6)), False


# -------------------------------------------------------------------------------------------------------- Radiance HDR


def _look_hdr(head: bytes) -> Found | None:
    import imagecodecs

    end = head.find(b"\n\n")
    size = re.match(rb"-Y (\d{1,9}) \+X (\d{1,9})\n", head[end + 2 : end + 40])
    if end < 0 or size is None or b"FORMAT=32-bit_rle_rgbe" not in head[:end]:
        return None
    return Found(int(size[1]), int(size[2]), 3, 32, imagecodecs.rgbe_decode, dtype="float32")
