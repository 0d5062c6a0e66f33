"""Clips: frames, times, colours and sound, of sound files and of damaged and hostile ones."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clips import LOSSLESS, drawn, make_clip, packets, tags_of
from unpaired.data.bad_image import BadImage, TooLarge
from unpaired.data.check import check_images
from unpaired.data.decode import count_frames, decode, probe
from unpaired.data.folders import in_frames
from unpaired.data.formats import READERS, Frame, Header, find_reader
from unpaired.data.formats.video import OPEN, VideoReader
from unpaired.data.values import Domain

COUNT = 30
TIMES = [0, 40, 80, 120, 200, 210, 220, 400, *range(433, 433 + 33 * 22, 33)]
"""Milliseconds: a variable frame rate."""
VP9 = {"crf": "8", "b": "0", "g": "12"}
KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"sound": True},
    "h264.mov": {"sound": True},
    "h264.mkv": {"sound": True},
    "vp9.webm": {"sound": True, "codec": "libvpx-vp9", "options": VP9},
    "hevc.mp4": {"codec": "libx265", "options": {"crf": "4", "x265-params": "log-level=none:keyint=12"}},
    "h264.avi": {"tags": (2, 2, 2, 0)},
    "full.mp4": {"tags": (1, 1, 1, 2)},
    "bt601.mp4": {"tags": (6, 6, 6, 1)},
    "unnamed.mp4": {"tags": (2, 2, 2, 0)},
    "bt2020.mkv": {"tags": (9, 14, 9, 1), "pix_fmt": "yuv420p10le"},
    "rgb.mp4": {"codec": "libx264rgb", "pix_fmt": "rgb24", "options": LOSSLESS, "tags": (1, 1, 0, 2)},
    "ten.mkv": {"codec": "ffv1", "pix_fmt": "gbrp10le", "options": {}, "tags": (1, 1, 0, 2)},
}
IMAGES = [drawn(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: make_clip(folder / name, IMAGES, times=TIMES, **how) for name, how in KINDS.items()}


def _levels(image: Any) -> Any:
    return image.astype(float) / (1 if image.dtype == np.uint8 else 257)


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_in_any_order(clips: dict[str, Path], name: str) -> None:
    path = clips[name]
    deep = "10le" in KINDS[name].get("pix_fmt", "")
    assert count_frames(path) == COUNT
    assert probe(path) == Header(48, 64, 3, "uint16" if deep else "uint8")
    frames = [decode(Frame(path, index)) for index in range(COUNT)]
    for frame, image in zip(frames, IMAGES, strict=True):
        assert frame.dtype == (np.uint16 if deep else np.uint8)
        assert np.abs(_levels(frame) - image).mean() < 1.2
    for index in random.Random(0).sample(range(COUNT), COUNT):
        np.testing.assert_array_equal(decode(Frame(path, index)), frames[index])
    with ThreadPoolExecutor(4) as pool:
        again = pool.map(lambda index: decode(Frame(path, index)), range(COUNT))
    assert all(np.array_equal(one, other) for one, other in zip(again, frames, strict=True))
    with pytest.raises(BadImage, match=f"{COUNT} images"):
        decode(Frame(path, COUNT))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("full", [False, True])
def test_colours_follow_matrix_and_range(
    tmp_path: Path, bits: int, matrix: int, red: float, blue: float, full: bool
) -> None:
    """Compared with the equations of ITU-T H.273, for luma and colour difference that are stored as they are."""
    rng, scale = np.random.default_rng(0), 2 ** (bits - 8)
    y, u, v = (rng.integers(low * scale, high * scale, (4, 4)) for low, high in ((60, 180), (110, 146), (110, 146)))
    path = tmp_path / "patches.mkv"
    form, kind = ("yuv444p", np.uint8) if bits == 8 else ("yuv444p10le", np.uint16)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, form
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        frame = av.VideoFrame(32, 32, form)
        for plane, values in zip(frame.planes, (y, u, v), strict=True):
            rows = np.zeros((32, plane.line_size // np.dtype(kind).itemsize), kind)
            rows[:, :32] = values.repeat(8, 0).repeat(8, 1)
            plane.update(rows.tobytes())
        frame.pts = 0
        out.mux([*stream.encode(frame), *stream.encode(None)])
    top = 2**bits - 1
    luma = y / top if full else (y - 16 * scale) / (219 * scale)
    cb, cr = ((c - 128 * scale) / (top if full else 224 * scale) for c in (u, v))
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    true = np.stack([r, (luma - red * r - blue * b) / (1 - red - blue), b], 2) * (255 if bits == 8 else 65535)
    assert np.abs(decode(path)[4::8, 4::8] - true).max() < (0.6 if bits == 8 else 20)


def test_turned_upright(tmp_path: Path) -> None:
    for turn in (90, 180, -90):
        path = make_clip(tmp_path / f"{turn}.mp4", IMAGES[:2], rotation=turn)
        assert np.abs(decode(Frame(path, 1)).astype(int) - np.rot90(IMAGES[1], turn // 90)).mean() < 1.2


def test_grey_numbers_keep_one_channel(tmp_path: Path) -> None:
    path = tmp_path / "thermal.mkv"
    values = np.random.default_rng(0).integers(0, 65536, (3, 24, 32)).astype(np.uint16)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=9)
        stream.height, stream.width, stream.pix_fmt = 24, 32, "gray16le"
        for number, image in enumerate(values):
            frame = av.VideoFrame.from_ndarray(image, "gray16le")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    np.testing.assert_array_equal([decode(Frame(path, index))[..., 0] for index in range(3)], values)


def test_a_clip_is_checked_like_files(clips: dict[str, Path]) -> None:
    frames = in_frames([clips["h264.mp4"]])
    checked = check_images(frames)
    assert not checked.bad
    assert [info.path for info in checked.good] == frames
    assert VideoReader().meaning(clips["h264.mp4"]).group


# --------------------------------------------------------------------------------------------------------------- output


def _copied(source: Path, out: Path, quality: int | None = None) -> tuple[Path, tuple[str, ...]]:
    reader = READERS["video"]
    images = [decode(frame) for frame in in_frames([source])]
    domain = Domain(channels=images[0].shape[2], dtype=images[0].dtype.name)  # type: ignore[arg-type]
    output = reader.open_output(source, out.with_suffix(".part"), domain, images[0].shape[:2], len(images))
    assert output is not None
    output.quality = quality
    for index, image in enumerate(images):
        output.put(image, index)
    output.close()
    return out.with_suffix(".part").rename(out.with_suffix(reader.output_suffix(source))), output.notes


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("quality", [None, 0])
def test_written_like_the_source(clips: dict[str, Path], tmp_path: Path, name: str, quality: int | None) -> None:
    source = clips[name]
    copy, _ = _copied(source, tmp_path / "copy", quality)
    assert count_frames(copy) == COUNT
    for index in range(COUNT):
        error = np.abs(_levels(decode(Frame(copy, index))) - _levels(decode(Frame(source, index))))
        if quality is None:
            assert error.mean() < 1.6
        else:
            assert error.max() == 0
    if source.suffix != ".avi":  # which cannot say when its frames are shown
        times = sorted(time for time, _ in packets(source, "video"))
        assert sorted(time for time, _ in packets(copy, "video")) == times
    primaries, transfer, matrix, levels = tags_of(source)
    assert tags_of(copy)[:2] == (primaries, transfer)
    if quality is None and matrix != 0:
        assert tags_of(copy)[2:] == (matrix, levels)
    if KINDS[name].get("sound"):
        assert packets(copy, "audio") == packets(source, "audio")


def test_what_players_see_is_kept(tmp_path: Path) -> None:
    late = [time + 200 for time in TIMES]
    source = make_clip(tmp_path / "a.mp4", IMAGES, times=late, rotation=90, sound=True, metadata={"title": "pan"})
    copy, notes = _copied(source, tmp_path / "copy")
    assert notes == ()
    with av.open(str(copy)) as clip:
        stream = clip.streams.video[0]
        assert clip.metadata["title"] == "pan"
        assert (stream.height, stream.width, stream.pix_fmt, stream.name) == (64, 48, "yuv420p", "h264")
        assert next(clip.decode(stream)).time == pytest.approx(0.2)


def test_avi_becomes_frames_of_equal_length(tmp_path: Path) -> None:
    copy, _ = _copied(make_clip(tmp_path / "a.avi", IMAGES, codec="mpeg4", tags=(2, 2, 2, 0)), tmp_path / "copy")
    assert copy.suffix == ".mkv"
    times = sorted(time for time, _ in packets(copy, "video"))
    assert float(times[-1]) == pytest.approx(0.04 * (COUNT - 1), abs=0.002)


def test_odd_sizes_are_kept_and_said(tmp_path: Path) -> None:
    odd = [drawn(number, 47, 63) for number in range(3)]
    copy, notes = _copied(make_clip(tmp_path / "a.mp4", odd, pix_fmt="yuv444p"), tmp_path / "copy")
    assert probe(copy)[:2] == (47, 63)
    assert "4:4:4" in notes[0]
    webm = make_clip(tmp_path / "a.webm", odd, codec="libvpx-vp9", options=VP9)
    assert probe(_copied(webm, tmp_path / "copy")[0])[:2] == (47, 63)


@pytest.mark.parametrize(
    "domain",
    [
        Domain(channels=4),
        Domain(channels=4, alpha=True),
        Domain(channels=1, dtype="int16"),
        Domain(channels=3, dtype="float32"),
        Domain(channels=1, range=(0.0, 100.0)),
    ],
)
def test_what_a_clip_cannot_hold_is_refused(clips: dict[str, Path], tmp_path: Path, domain: Domain) -> None:
    out = tmp_path / "out.mp4"
    assert READERS["video"].open_output(clips["h264.mp4"], out, domain, (48, 64), COUNT) is None
    assert not out.exists()


# ------------------------------------------------------------------------------------------------- damaged and hostile


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "vp9.webm", "h264.avi"])
def test_truncated_clips_are_refused(
    clips: dict[str, Path], tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = clips[name].read_bytes()
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / f"{share}{clips[name].suffix}"
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(BadImage, match="truncated"):
            count_frames(path)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_read(clips: dict[str, Path], data: st.DataObject) -> None:
    source = clips[data.draw(st.sampled_from(["h264.mp4", "h264.mkv", "vp9.webm", "h264.avi"]))]
    content = bytearray(source.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=12)):
        content[at] ^= data.draw(st.integers(1, 255))
    path = source.with_name(f"damaged{source.suffix}")
    path.write_bytes(content)
    for frame in in_frames([path])[:COUNT]:
        try:
            image = decode(frame)
        except BadImage:
            continue
        assert image.shape[2] in (1, 3)


def test_damage_is_not_hidden_by_concealment(clips: dict[str, Path], tmp_path: Path) -> None:
    """Frames of H.264 whose packets were wiped out are refused, and so are those predicted from them."""
    source, path = clips["h264.mkv"], tmp_path / "a.mkv"
    content = source.read_bytes()
    fourth = packets(source, "video")[3][1]
    path.write_bytes(content.replace(fourth[8:], bytes(len(fourth) - 8)))
    bad = list[int]()
    for index in range(COUNT):
        try:
            np.testing.assert_array_equal(decode(Frame(path, index)), decode(Frame(source, index)))
        except BadImage:
            bad.append(index)
    assert bad
    assert max(bad) < 12  # the next key frame


def test_playlists_open_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    make_clip(tmp_path / "other.mp4", IMAGES[:2])
    for name in ("list.mp4", "concat.mp4"):
        with pytest.raises(BadImage, match="not an image"):
            decode(tmp_path / name)
        with pytest.raises(BadImage, match="cannot be opened"):
            VideoReader().probe(tmp_path / name)


def test_pixels_are_limited_before_decoding(clips: dict[str, Path]) -> None:
    with pytest.raises(TooLarge):
        decode(Frame(clips["h264.mp4"], 0), max_pixels=48 * 64 - 1)


def test_files_without_pictures(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("aac", rate=48000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", layout="mono")
        tone.rate, tone.pts = 48000, 0
        out.mux([*stream.encode(tone), *stream.encode(None)])
    with pytest.raises(BadImage, match="no video"):
        decode(path)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", IMAGES[:4])
    assert count_frames(path) == 4
    shutil.copy(make_clip(tmp_path / "b.mp4", IMAGES[10:17]), path)
    assert count_frames(path) == 7
    assert np.abs(decode(Frame(path, 2)).astype(int) - IMAGES[12]).mean() < 1.2


@pytest.mark.parametrize(
    ("start", "suffix", "is_clip"),
    [
        (b"\0\0\0\x20ftypisom", ".mp4", True),
        (b"\0\0\0\x20ftypqt  ", ".mov", True),
        (b"\0\0\0\x08wide\0\0\0\0mdat", ".mov", True),
        (b"\x1a\x45\xdf\xa3" + bytes(20), ".webm", True),
        (b"RIFF\0\0\0\0AVI LIST", ".avi", True),
        (b"RIFF\0\0\0\0WEBPVP8 ", ".webp", False),
        (b"\0\0\0\x20ftypavif", ".avif", False),
        (b"\0\0\0\x20ftypheic", ".mp4", False),
        (b"\xff\xd8\xff\xe0", ".mp4", False),
    ],
)
def test_the_content_decides(tmp_path: Path, start: bytes, suffix: str, is_clip: bool) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(start)
    assert isinstance(find_reader(start, suffix, path), VideoReader) == is_clip


def test_a_time_of_90000_parts_is_kept(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", IMAGES[:5], times=[0, 1, 3, 500, 501])
    copy, _ = _copied(source, tmp_path / "copy")
    assert sorted(time for time, _ in packets(copy, "video"))[:4] == [0, *(Fraction(n, 1000) for n in (1, 3, 500))]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted as Linux shows them")
def test_few_clips_stay_open(tmp_path: Path) -> None:
    paths = [make_clip(tmp_path / f"{number}.mkv", IMAGES[:4]) for number in range(8)]
    opened = {path: [decode(Frame(path, index)).mean() for index in range(4)] for path in paths}
    open_files = [path for path in Path("/proc/self/fd").glob("*") if path.exists() and path.resolve() in paths]
    assert open_files == []
    with ThreadPoolExecutor(8) as pool:
        again = [*pool.map(lambda number: decode(Frame(paths[number % 8], number // 8 % 3)).mean(), range(48))]
    assert again == [opened[paths[number % 8]][number // 8 % 3] for number in range(48)]
    open_files = [path for path in Path("/proc/self/fd").glob("*") if path.exists() and path.resolve() in paths]
    assert len(open_files) <= OPEN
