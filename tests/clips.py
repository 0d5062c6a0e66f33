"""Clips made by PyAV, the library of the field."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

EXACT = 4 | 0x2000 | 0x4000 | 0x40000
SMOOTH = {"crf": "4", "g": "12"}
LOSSLESS = {"qp": "0", "g": "12"}


def drawn(number: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Return a smooth picture whose mean level tells its number: 20 + 5 * number."""
    y, x = np.mgrid[:height, :width]
    wave = 10 * np.sin(x / 9 + number / 3)[..., None] + np.array([0, 10, -10]) * np.cos(y / 11)[..., None]
    return np.clip(20 + 5 * number + wave, 0, 255).astype(np.uint8)


def make_clip(
    path: Path,
    images: Sequence[NDArray[Any]],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    tags: tuple[int, int, int, int] = (1, 1, 1, 1),
    options: dict[str, str] = SMOOTH,
    sound: bool = False,
    rotation: int = 0,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a clip of images [H, W, 3] at these milliseconds; `tags` are primaries, transfer, matrix and range."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        out.metadata.update(metadata or {})
        video: Any = out.add_stream(codec, rate=25, options=options)
        video.height, video.width, video.pix_fmt = *images[0].shape[:2], pix_fmt
        video.codec_context.time_base = Fraction(1, 1000)
        context = video.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        if rotation:
            video.set_display_rotation(rotation)
        webm = path.suffix == ".webm"
        audio: Any = out.add_stream("libopus" if webm else "aac", rate=48000) if sound else None
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image), "rgb24" if image.itemsize == 1 else "rgb48le"
            )
            if not pix_fmt.startswith(("rgb", "gbr")):
                matrix = tags[2] if tags[2] in (1, 5, 9) else 5
                frame = frame.reformat(
                    format=pix_fmt, dst_colorspace=matrix, dst_color_range=tags[3] or 1, interpolation=EXACT
                )
            frame.pts, frame.time_base = (40 * number if times is None else times[number]), Fraction(1, 1000)
            out.mux(video.encode(frame))
            if audio is not None:
                wave = np.sin((np.arange(1920) + 1920 * number) / 17).astype(np.float32)[None]
                tone = av.AudioFrame.from_ndarray(wave, "flt" if webm else "fltp", layout="mono")
                tone.rate, tone.pts = 48000, 1920 * number
                out.mux(audio.encode(tone))
        out.mux(video.encode(None))
        if audio is not None:
            out.mux(audio.encode(None))
    return path


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Return (seconds, content) of the packets of a clip's first stream of a kind."""
    with av.open(str(path)) as clip:
        stream = next(stream for stream in clip.streams if stream.type == kind)
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in clip.demux(stream) if packet.size]


def tags_of(path: Path) -> tuple[int, int, int, int]:
    """Return primaries, transfer, matrix and range of a clip."""
    with av.open(str(path)) as clip:
        context = clip.streams.video[0].codec_context
        return context.color_primaries, context.color_trc, context.colorspace, context.color_range
