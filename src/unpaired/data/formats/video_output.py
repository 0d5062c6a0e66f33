"""Clips that are written frame by frame, with the times, the sound and the colour tags of another clip."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import numpy as np

from unpaired.core.errors import UserError
from unpaired.data.formats.meaning import Box
from unpaired.data.formats.output import Output
from unpaired.data.values import Domain, Image

OUTPUTS = {".mp4": ".mp4", ".m4v": ".mp4", ".mov": ".mov", ".mkv": ".mkv", ".webm": ".webm", ".avi": ".mkv"}
"""What clips become: AVI cannot say when a frame is shown, nor hold what H.264 needs."""
CRF = 16
"""x264's quality: 0 is lossless, 18 is called visually lossless, 23 is its own default."""
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm"}
_OWN_METADATA = ("major_brand", "minor_version", "compatible_brands", "encoder")
_BT709, _RGB = 1, 0


def fits(domain: Domain) -> bool:
    """Return whether a clip can hold images of a domain: grey or RGB of 8 or 16 bits that fill their type."""
    return (
        domain.labels is None
        and not domain.alpha
        and domain.range is None
        and (domain.channels in (1, 3) and domain.dtype in ("uint8", "uint16"))
    )


@final
class VideoOutput(Output):
    """A clip in H.264, or VP9 in WebM; sound and subtitles are copied packet by packet.

    `quality` is x264's constant rate factor, 0 to 51 (VP9's goes to 63 and is set in proportion). 4:2:0 as the source,
    4:4:4 where the source has full colour or an odd size, which 4:2:0 cannot hold.
    """

    def __init__(self, source: Path, path: Path, domain: Domain, size: tuple[int, int]) -> None:
        from unpaired.data.formats.video import open_clip, track

        self._track = track(source)
        self._source, self._video = open_clip(source)
        self._path, self._domain, self._size = path, domain, size
        self._webm = source.suffix.lower() == ".webm"
        self._container = _CONTAINERS.get(source.suffix.lower(), "matroska")
        self._out: Any = None

    def put(self, image: Image, index: int = 0, box: Box | None = None) -> None:
        from av.video.frame import VideoFrame

        from unpaired.data.formats.video import EXACT, FULL_RANGE, matrix_of, stretched

        assert box is None, "frames of a clip are written whole"
        if self._out is None:
            self._begin()
        pixels: Any = np.ascontiguousarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)
        deep, form, full = image.dtype == np.uint16, self._stream.pix_fmt, self._range == FULL_RANGE
        if form.startswith("yuv"):
            if deep and form.endswith("10le"):
                pixels = np.ascontiguousarray(stretched(pixels, 10, full, back=True))
            matrix = matrix_of(self._stream.codec_context.colorspace, self._video.height)
            frame = VideoFrame.from_ndarray(pixels, "rgb48le" if deep else "rgb24").reformat(
                format=form, dst_colorspace=matrix, dst_color_range=self._range, interpolation=EXACT, threads=1
            )
        else:
            frame = VideoFrame.from_ndarray(pixels, "rgb48le" if deep else "rgb24").reformat(format=form)
        frame.pts, frame.time_base = self._time(index), self._base
        frame.duration = max(1, self._time(index + 1) - frame.pts)
        self._out.mux(self._stream.encode(frame))
        self._copy_sound(frame.pts * self._base)

    def close(self) -> None:
        self._out.mux(self._stream.encode(None))
        self._copy_sound(None)
        self._out.close()
        self._source.close()

    def _begin(self) -> None:
        import av

        self._out = av.open(str(self._path.absolute()), "w", format=self._container)
        self._out.metadata.update({k: v for k, v in self._source.metadata.items() if k not in _OWN_METADATA})
        self._out.set_chapters(self._source.chapters())
        source, (codec, form, options) = self._video.codec_context, self._coding()
        # Where a clip names no frame rate, its container's guess only guides the encoder.
        rate = self._video.guessed_rate or Fraction(25)
        self._base = self._video.time_base
        if not len(self._track.times):  # AVI: frames of equal length
            length = (self._video.duration or 0) * self._base / self._track.frames
            self._base = (length or 1 / rate).limit_denominator(90_000)
        try:
            self._stream = self._out.add_stream(codec, rate=rate, options=options)
        except av.codec.codec.UnknownCodecError as error:
            raise UserError(f"the installed PyAV cannot encode {codec}. Install av from PyPI, which can.") from error
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt, self._stream.bit_rate = form, 0
        self._stream.metadata.update(self._video.metadata)
        context, turned = self._stream.codec_context, self._size != self._track.header[:2]
        context.time_base = self._base
        if (shape := source.sample_aspect_ratio) and shape > 0:
            context.sample_aspect_ratio = 1 / shape if turned else shape
        context.color_primaries, context.color_trc = source.color_primaries, source.color_trc
        of_rgb = not form.startswith("yuv")
        named = _BT709 if source.colorspace == _RGB else source.colorspace
        context.colorspace = _RGB if of_rgb else named
        self._range = 2 if of_rgb or source.color_range == 2 or (source.pix_fmt or "").startswith("yuvj") else 1
        context.color_range = self._range if of_rgb or source.color_range else 0
        self._begin_sound()

    def _coding(self) -> tuple[str, str, dict[str, str]]:
        """Return encoder, pixel format and options."""
        form, crf = self._video.codec_context.format, CRF if self.quality is None else self.quality
        assert form is not None
        deep = self._domain.dtype == "uint16"
        half = not form.is_rgb and any(c.width < form.width or c.height < form.height for c in form.components)
        odd = self._size[0] % 2 + self._size[1] % 2 > 0
        colour = "yuv420p" if half and (not odd or self._webm) else "yuv444p"
        if colour == "yuv444p" and crf:
            self.notes += ("written as H.264 4:4:4, which some players do not show",) if not self._webm else ()
        if self._webm:
            if deep:
                self.notes += ("written with 8 bits, all that WebM holds here",)
            lossless = {"lossless": "1"} if crf == 0 else {"crf": str(round(crf * 63 / 51))}
            return "libvpx-vp9", "gbrp" if crf == 0 else colour, {**lossless, "row-mt": "1", "cpu-used": "3"}
        if crf == 0:
            if deep and self._container == "matroska":
                return "ffv1", "gbrp16le", {}
            if deep:
                self.notes += ("written with 10 bits, all that H.264 holds",)
            return ("libx264", "yuv444p10le", {"qp": "0"}) if deep else ("libx264rgb", "rgb24", {"qp": "0"})
        return "libx264", colour + ("10le" if deep else ""), {"crf": str(crf)}

    def _time(self, index: int) -> int:
        times = self._track.times
        if not len(times):
            return index
        if index < len(times):
            return int(times[index])
        return int(times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1))

    # --------------------------------------------------------------------------------------------------------- sound

    def _begin_sound(self) -> None:
        """Add a copy of each stream of sound and subtitles; what the container cannot hold is noted."""
        self._copies: dict[int, Any] = {}
        for stream in self._source.streams:
            if stream.type not in ("audio", "subtitle"):
                if stream.index != self._video.index:
                    self.notes += (f"its {stream.type} stream {stream.index} was left out",)
                continue
            copy = self._out.add_stream_from_template(stream)
            copy.metadata.update(stream.metadata)
            self._copies[stream.index] = copy
        self._packets: Iterator[Any] = iter(())
        if self._copies:
            streams = [stream for stream in self._source.streams if stream.index in self._copies]
            self._packets = (packet for packet in self._source.demux(streams) if packet.size)

    def _copy_sound(self, until: Fraction | None) -> None:
        """Copy what is heard up to a time in seconds, so that pictures and sound lie side by side in the file."""
        for packet in self._packets:
            time = (packet.dts if packet.dts is not None else packet.pts or 0) * packet.time_base
            packet.stream = self._copies[packet.stream.index]
            self._out.mux(packet)
            if until is not None and time > until:
                return
