"""Clips: the frames of MP4, MOV, Matroska, WebM and AVI files, read by PyAV, which brings FFmpeg's libraries.

What a container says of itself is not trusted: frames are counted by their packets, and each is found by the time at
which it is shown. A frame that cannot be decoded is refused, and so are those that are predicted from it.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError, needs_extra
from unpaired.data.bad_image import MAX_PIXELS, BadImage
from unpaired.data.formats.base import Header, Reader
from unpaired.data.formats.meaning import HDR, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.formats.video_output import OUTPUTS, VideoOutput, fits
from unpaired.data.values import Domain, Image

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

OPEN = 4
"""Clips that stay open for their next frame; a decoder of a large clip takes some 100 MB."""
_RECENT = 2**25
"""Bytes of decoded frames that an open clip keeps, because threads ask for them out of order; at least 8 frames."""
_NEAR = 16
"""Frames that are decoded on the way to one that is asked for, rather than looking for a key frame."""
_MATROSKA, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_STILL = (b"avif", b"avis", b"crx ", b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"jp2 ", b"mif1", b"msf1")
"""Brands of the MP4 family that are pictures."""
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""How RGB became luma and colour difference: numbers of ITU-T H.273, and those of swscale for them."""
FULL_RANGE = 2
"""FFmpeg's number for luma that uses all of its levels; 1 is 16 to 235 of 255."""
EXACT = 4 | 0x2000 | 0x4000 | 0x40000
"""swscale's bicubic, full chroma in and out, and accurate rounding: within half a level of the equations of H.273, and
the only such flags that are right for more than 8 bits."""


_HDR = (16, 18)
"""Transfers of ITU-T H.273 that are no pictures for a screen of SDR: PQ and HLG."""


class Track(NamedTuple):
    """What is known of the pictures of a clip once all its packets were seen."""

    header: Header
    times: NDArray[np.int64]
    """When each frame is shown, increasing, in units of the stream's time base; empty where packets do not say it."""
    frames: int
    keys: list[tuple[int, int]]
    """(frame, where to look for it) of those that are decoded without others."""
    is_hdr: bool = False


class VideoReader(Reader):
    """Reads clips: [H, W, 3] of 8 bits, or of 16 where the clip has more than 8; grey clips of one channel.

    Turned upright, converted by the clip's own matrix and range (where it names none, BT.709 from 720 lines up and
    BT.601 below, as players do). Primaries and transfer are left as they are.
    """

    suffixes = containers = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
    extra, is_moving = "video", True

    def accepts(self, start: bytes, suffix: str) -> bool:
        if start.startswith(_MATROSKA) or (start[:4], start[8:12]) == (b"RIFF", b"AVI "):
            return True
        if start[4:8] == b"ftyp":
            return start[8:12] not in _STILL
        return suffix in (".mov", ".mp4") and start[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip")

    def probe(self, path: Path) -> Header:
        return track(path).header

    def count(self, path: Path, axis: int = 0) -> int:
        return track(path).frames

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return self.read_frame(path, 0)

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        if axis != 0:
            raise BadImage(path, f"frames of a clip lie along axis 0; received axis {axis}")
        found = track(path)
        return picture(path, _decoder(path, found, index).frame(index), found.header.channels)

    def meaning(self, path: Path) -> Meaning:
        return Meaning(group=os.fspath(path), remarks=(HDR,) * track(path).is_hdr)

    def output_suffix(self, path: Path) -> str:
        return OUTPUTS[path.suffix.lower()]

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        return VideoOutput(source, path, domain, size) if count == track(source).frames and fits(domain) else None


def open_clip(path: Path) -> tuple[Any, Any]:
    """Open a clip and its first video track: only this file, whatever it names; raises `BadImage`."""
    try:
        with needs_extra("video", "reading video", "av"):
            import av
    except UserError as error:
        raise BadImage(path, str(error)) from error
    allowed = {"protocol_whitelist": "file", "format_whitelist": "mov,matroska,avi"}
    try:
        container = av.open(
            str(path.absolute()),
            container_options=allowed,
            options={"max_pixels": str(MAX_PIXELS)},
            metadata_errors="replace",
        )
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, ValueError):
            raise
        raise BadImage(path, "truncated or damaged: it cannot be opened as a video") from error
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not streams:
        raise BadImage(path, "it holds no video")
    stream = streams[0]
    if stream.codec_context is None or stream.codec_context.format is None:
        raise BadImage(path, "its video is of a kind that cannot be decoded here, or damaged")
    return container, stream


def track(path: Path) -> Track:
    """Return what is known of a clip's pictures; raises `BadImage` for one that is not whole."""
    return _track(*_identity(path))


def _identity(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return os.fspath(path), status.st_size, status.st_mtime_ns


@lru_cache(4096)
def _track(name: str, size: int, mtime: int) -> Track:
    path = Path(name)
    if _announced(path) > size:
        raise BadImage(path, f"truncated: the file ends at {size:,} of {_announced(path):,} bytes")
    container, stream = open_clip(path)
    with container:
        mp4 = container.format.name.startswith("mov")
        deep = _bits(stream.codec_context.format) > 8
        header = Header(stream.height, stream.width, _channels(stream), "uint16" if deep else "uint8")
        packets = [packet for packet in container.demux(stream) if packet.size]
        seen = [(packet.pts, packet.dts, packet.is_keyframe) for packet in packets if not packet.is_discard]
        if any(packet.is_corrupt for packet in packets) or (mp4 and stream.frames > len(packets)):
            raise BadImage(path, "truncated: the file ends before its video does")
        timed = container.format.name != "avi" and all(pts is not None for pts, _, _ in seen)
    first = min((pts for pts, _, key in seen if key and timed), default=0)
    times = np.unique([pts for pts, _, _ in seen if pts >= first]) if timed else np.empty(0, np.int64)
    keys = [(int(np.searchsorted(times, pts)), pts if dts is None else dts) for pts, dts, key in seen if key and timed]
    found = Track(header, times, len(times), sorted(keys), stream.codec_context.color_trc in _HDR)
    if not timed:  # frames that carry no time are counted by decoding them
        found = found._replace(frames=_Decoder(path, found).count())
    if not found.frames:
        raise BadImage(path, "it holds no frame that can be decoded")
    return found


def _announced(path: Path) -> int:
    """Return how many bytes a Matroska or AVI file says it has, 0 where it does not: both are read until they end."""
    with path.open("rb") as stream:
        start = stream.read(4096)
    if start[:4] == b"RIFF":
        return 8 + int(struct.unpack("<I", start[4:8])[0])
    at = start.find(_SEGMENT) + 4
    if not start.startswith(_MATROSKA) or at < 4 or len(start) <= at or not start[at]:
        return 0
    width = 9 - start[at].bit_length()
    length = int.from_bytes(start[at : at + width], "big") & (1 << 7 * width) - 1
    return 0 if length == (1 << 7 * width) - 1 else at + width + length  # all ones: unknown, as live recorders write


def _channels(stream: Any) -> int:
    """Return 1 for grey numbers that use all their levels, as cameras of science record them; else 3."""
    context, form = stream.codec_context, stream.codec_context.format
    full = context.color_range == FULL_RANGE or context.name in ("ffv1", "rawvideo")
    return 1 if full and form.name in ("gray", "gray16le") else 3


def _bits(form: Any) -> int:
    return max(int(component.bits) for component in form.components)


# ------------------------------------------------------------------------------------------------------------ decoding

_open: OrderedDict[tuple[str, int, int], _Decoder] = OrderedDict()
_lock = threading.Lock()


def _decoder(path: Path, found: Track, index: int) -> _Decoder:
    """Return the open decoder of a clip; those that were used last stay open, until their last frame is read."""
    key = _identity(path)
    with _lock:
        decoder = _open.pop(key) if key in _open else _Decoder(path, found)
        if index < found.frames - 1:
            _open[key] = decoder
        while len(_open) > OPEN:
            _open.popitem(last=False)
    return decoder


def _decoded(clip: tuple[Any, Any], found: Track) -> Iterator[tuple[int, VideoFrame | None]]:
    """Yield each frame of an open clip with its number from here on, None for one that is damaged."""
    from av.error import FFmpegError

    number, broken = -1, False
    for packet in clip[0].demux(clip[1]):
        try:
            decoded = packet.decode()
        except FFmpegError:
            broken = True
            continue
        for frame in decoded:
            broken = (broken and not frame.key_frame) or frame.is_corrupt
            broken |= (frame.height, frame.width) != found.header[:2]
            if found.keys:
                number = int(np.searchsorted(found.times, -1 if frame.pts is None else frame.pts))
                if number == found.frames or found.times[number] != frame.pts:
                    continue
            else:
                number += 1
            yield number, None if broken else frame


@final
class _Decoder:
    """Decodes one clip; frames are cheap in their order, others cost the way from the key frame before them."""

    def __init__(self, path: Path, found: Track) -> None:
        self._path, self._track = path, found
        self._lock, self._at = threading.Lock(), 0
        self._recent: OrderedDict[int, VideoFrame | None] = OrderedDict()
        self._start()

    def __del__(self) -> None:
        if hasattr(self, "_clip"):
            self._clip[0].close()  # its streams refer to it, so that it would wait for the garbage collector

    def frame(self, number: int) -> VideoFrame:
        """Return a frame as it was decoded; `BadImage` where that is impossible."""
        with self._lock:
            if number not in self._recent:
                self._go_to(number)
            frame = self._recent.get(number)
        if frame is None:
            raise BadImage(self._path, f"damaged: frame {number} (from 0) cannot be decoded")
        return frame

    def count(self) -> int:
        """Return how many frames there are, by decoding them."""
        return sum(1 for _ in self._frames)

    def _go_to(self, number: int) -> None:
        before = [key for key in self._track.keys if key[0] <= number]
        near = self._at <= number and (not before or before[-1][0] <= self._at + _NEAR)
        if not near and before:
            container, stream = self._clip
            container.seek(before[-1][1], stream=stream)
            self._frames = _decoded(self._clip, self._track)
        elif not near:
            self._start()
        if not self._run_to(number) and not near:  # the container's index led behind it
            self._start()
            self._run_to(number)

    def _run_to(self, number: int) -> bool:
        """Decode up to a frame; return False where the first one that came is behind it."""
        passed = False
        for at, frame in self._frames:
            self._at = at + 1
            self._keep(at, frame)
            if at >= number:
                return at == number or passed
            passed = True
        return True

    def _keep(self, number: int, frame: VideoFrame | None) -> None:
        self._recent[number] = frame
        size = 2 * self._track.header.height * self._track.header.width * np.dtype(self._track.header.dtype).itemsize
        while len(self._recent) > max(8, _RECENT // size):
            self._recent.popitem(last=False)

    def _start(self) -> None:
        """Open the clip, or open it again, at its first frame."""
        self.__del__()
        self._clip = open_clip(self._path)
        height, width, *_ = self._track.header
        # No picture much larger than announced is decoded; decoders add an edge.
        limits = {"max_pixels": str(max(2 * height * width, 2**20)), "err_detect": "explode"}
        self._clip[1].codec_context.options = limits
        self._clip[1].thread_type = "AUTO"
        self._at, self._frames = 0, _decoded(self._clip, self._track)


# ----------------------------------------------------------------------------------------------------------- to pixels


def picture(path: Path, frame: VideoFrame, channels: int = 3) -> Image:
    """Return a decoded frame as an image [H, W, C], upright; raises `BadImage` for colours that are not known."""
    name, bits = frame.format.name, _bits(frame.format)
    if channels == 1:
        image: Image = frame.to_ndarray()[..., None]
    else:
        if frame.colorspace not in (0, 2, *_MATRICES):
            raise BadImage(path, f"colours of kind {frame.colorspace} (ITU-T H.273) are not supported")
        form = "rgb24" if bits == 8 else "rgb48le"
        matrix = matrix_of(frame.colorspace, frame.height)
        image = frame.to_ndarray(
            format=form, src_colorspace=matrix, dst_color_range=FULL_RANGE, interpolation=EXACT, threads=1
        )
        if bits > 8 and not name.startswith(("rgb", "bgr", "gbr")):
            image = stretched(image, bits, frame.color_range == FULL_RANGE)
    turned: Image = np.rot90(image, round(frame.rotation / 90))
    return turned


def matrix_of(named: int, height: int) -> int:
    """Return swscale's number for the matrix that a clip names, or for the one that players assume."""
    return _MATRICES.get(named, 1 if height >= 720 else 5)


def stretched(image: NDArray[Any], bits: int, full: bool, *, back: bool = False) -> Image:
    """Return 16-bit RGB from end to end: swscale's white is 65280, or 2 ** bits - 1 shifted up; `back` undoes it."""
    white = (2**bits - 1) << (16 - bits) if full else 0xFF00
    top, bottom = (white, 0xFFFF) if back else (0xFFFF, white)
    filled: NDArray[np.uint32] = (image.astype(np.uint32) * top + bottom // 2) // bottom
    return np.asarray(np.minimum(filled, 0xFFFF).astype(np.uint16))
