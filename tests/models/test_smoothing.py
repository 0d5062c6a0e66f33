"""Smoothing of clips: what changes from frame to frame is lowered, what the input shows stays sharp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from clips import drawn, make_clip, packets
from identity import write_identity
from unpaired.core.errors import UserError
from unpaired.data.decode import count_frames, decode
from unpaired.data.formats import Frame
from unpaired.data.values import Domain, Signed
from unpaired.models.files import translate_files
from unpaired.models.smoothing import Smoother
from unpaired.models.translator import Translator


def _frames(count: int, seed: int = 0) -> list[Signed]:
    """Return views of a detailed picture that move by 1.5 pixels a frame, with a little noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(160, 200))
    picture = sum(size * ndimage.gaussian_filter(noise, size) for size in (1.5, 3, 6))
    picture *= 0.6 / np.abs(picture).max()
    y, x = np.mgrid[:128, :128]
    views = [ndimage.map_coordinates(picture, [y + 10, x + 10 + 1.5 * t], order=1) for t in range(count)]
    return [(np.stack([view] * 3, 2) + rng.normal(0, 0.01, (128, 128, 3))).astype(np.float32) for view in views]


def _sharpness(image: Signed) -> float:
    return float(np.abs(np.diff(image, axis=1)).mean())


def test_a_steady_change_stays_as_it_is() -> None:
    smooth = Smoother(0.8)
    for x in _frames(4):
        np.testing.assert_allclose(smooth(x, 0.5 * x + 0.2), 0.5 * x + 0.2, atol=0.12)
    assert smooth.result.difference < 1.5


def test_flicker_is_lowered_and_detail_kept() -> None:
    smooth, rng = Smoother(0.8), np.random.default_rng(1)
    for x in _frames(8):
        y = np.clip(x + np.float32(rng.normal(0, 0.1)), -1, 1)
        made = smooth(x, y)
        assert _sharpness(made) > 0.95 * _sharpness(y)
    found = smooth.result
    assert found.before is not None
    assert found.after is not None
    assert found.after < 0.5 * found.before


def test_nothing_is_carried_across_a_cut() -> None:
    smooth, before, after = Smoother(0.9), _frames(1)[0], _frames(1, seed=5)[0]
    smooth(before, before + 0.3)
    assert np.abs(smooth(after, after - 0.3) - (after - 0.3)).mean() < 0.1


def _identity(folder: Path, channels: int = 3, target: Domain | None = None) -> Translator:
    write_identity(folder, Domain(channels=channels), b=target)
    return Translator.load(folder, extensions=["identity:Identity"], engine="torch")


def test_an_identity_gives_the_clip_back(tmp_path: Path) -> None:
    images = [drawn(number) for number in range(9)]
    source = make_clip(
        tmp_path / "clips" / "a.mp4", images, sound=True, times=[0, 40, 90, 100, 300, 340, 380, 420, 900]
    )
    seen = list[tuple[int, int]]()
    report = translate_files(
        _identity(tmp_path / "model"), source, tmp_path / "out", crf=0, progress=lambda *done: seen.append(done)
    )
    copy = tmp_path / "out" / "a.mp4"
    assert (report.written, report.failed, report.notices) == (1, [], [])
    assert seen[-1] == (9, 9)
    assert count_frames(copy) == 9
    for index in range(9):
        np.testing.assert_array_equal(decode(Frame(copy, index)), decode(Frame(source, index)))
    assert packets(copy, "audio") == packets(source, "audio")
    shown = [sorted(time for time, _ in packets(path, "video")) for path in (copy, source)]
    assert shown[0] == shown[1]


def test_smoothing_is_reported(tmp_path: Path) -> None:
    frames = [np.clip(127.5 * frame + 127.5, 0, 255).astype(np.uint8) for frame in _frames(4)]
    source = make_clip(tmp_path / "a.mkv", frames)
    report = translate_files(_identity(tmp_path / "model"), source, tmp_path / "out", smooth=0.7)
    ((path, found),) = report.smoothed
    assert path == tmp_path / "out" / "a.mkv"
    assert found.before == pytest.approx(1)
    assert found.after == pytest.approx(1)
    assert found.difference == pytest.approx(0)


def test_odd_sizes_are_told(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", [drawn(number, 31, 45) for number in range(2)], pix_fmt="yuv444p")
    report = translate_files(_identity(tmp_path / "model"), source, tmp_path / "out")
    assert report.notices == ["a.mp4: written as H.264 4:4:4, which some players do not show"]


def test_a_cut_off_clip_leaves_nothing(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", [drawn(number) for number in range(9)])
    source.write_bytes(source.read_bytes()[:-200])
    report = translate_files(_identity(tmp_path / "model"), source, tmp_path / "out")
    assert [failed.reason.partition(":")[0] for failed in report.failed] == ["truncated"]
    assert not [*(tmp_path / "out").rglob("*.*")]


def test_what_a_clip_cannot_hold_becomes_single_images(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", [drawn(number) for number in range(3)])
    translator = _identity(tmp_path / "model", target=Domain(channels=3, dtype="float32"))
    report = translate_files(translator, source, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "a").iterdir()) == ["0.tif", "1.tif", "2.tif"]
    assert "cannot be held" in report.notices[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"crf": 52}, "0 .no loss. to 51"), ({"smooth": 1.0}, "below 1"), ({"crf": 3, "format": "png"}, "single images")],
)
def test_what_cannot_be_is_refused(tmp_path: Path, options: dict[str, float], message: str) -> None:
    source = make_clip(tmp_path / "a.mp4", [drawn(0)] * 2)
    with pytest.raises(UserError, match=message):
        translate_files(_identity(tmp_path / "model"), source, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_smoothing_needs_the_same_channels_and_a_clip(tmp_path: Path) -> None:
    photo = decode(make_clip(tmp_path / "a.mp4", [drawn(0)] * 2))
    np.save(tmp_path / "photo.npy", photo)
    model = _identity(tmp_path / "model")
    with pytest.raises(UserError, match="no input is a clip"):
        translate_files(model, tmp_path / "photo.npy", tmp_path / "out", smooth=0.5)
    from_grey = _identity(tmp_path / "grey", channels=1, target=Domain(channels=3))
    with pytest.raises(UserError, match="same channels"):
        translate_files(from_grey, tmp_path / "a.mp4", tmp_path / "out", smooth=0.5)


def test_planes_are_no_clip(tmp_path: Path) -> None:
    np.save(tmp_path / "volume.npy", np.random.default_rng(0).integers(0, 256, (9, 24, 24, 3)).astype(np.uint8))
    model, clip = _identity(tmp_path / "model"), make_clip(tmp_path / "a.mp4", [drawn(0)] * 2)
    with pytest.raises(UserError, match="no input is a clip"):
        translate_files(model, tmp_path / "volume.npy", tmp_path / "out", smooth=0.5)
    with pytest.raises(UserError, match="planes or pages"):
        translate_files(model, [clip, tmp_path / "volume.npy"], tmp_path / "out", smooth=0.5)
    with pytest.raises(UserError, match="no input is a clip"):
        translate_files(model, tmp_path / "volume.npy", tmp_path / "out", crf=3)
    assert not (tmp_path / "out").exists()


def test_hdr_is_told(tmp_path: Path) -> None:
    pictures = [drawn(number).astype(np.uint16) * 257 for number in range(2)]
    clip = make_clip(tmp_path / "a.mkv", pictures, pix_fmt="yuv420p10le", tags=(9, 16, 9, 1))
    target = Domain(channels=3, dtype="uint16")
    write_identity(tmp_path / "model", target)
    model = Translator.load(tmp_path / "model", extensions=["identity:Identity"], engine="torch")
    report = translate_files(model, clip, tmp_path / "out")
    assert any(notice.startswith("2 images of HDR") for notice in report.notices)
