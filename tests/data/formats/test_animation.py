"""Animated GIF, APNG and WebP: times and loop of the input in what is written like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import drawn
from identity import write_identity
from unpaired.data.decode import count_frames, decode
from unpaired.data.formats import READERS, Frame
from unpaired.data.values import Domain
from unpaired.models.files import translate_files
from unpaired.models.translator import Translator

DURATIONS = [40, 50, 120, 70]


def _animation(path: Path, **options: object) -> Path:
    first, *rest = [Image.fromarray(drawn(4 * number)) for number in range(len(DURATIONS))]
    form = "PNG" if path.suffix == ".apng" else None
    first.save(path, form, save_all=True, append_images=rest, duration=DURATIONS, **options)
    return path


def _times(path: Path) -> tuple[list[int], object]:
    with Image.open(path) as image:
        found = list[int]()
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            found.append(round(image.info["duration"]))
        return found, image.info.get("loop")


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.gif", {"loop": 3}), ("b.gif", {}), ("a.webp", {"loop": 0, "lossless": True}), ("a.apng", {"loop": 2})],
)
def test_times_and_loop_are_kept(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    source = _animation(tmp_path / name, **options)
    write_identity(tmp_path / "model", Domain(channels=3))
    translator = Translator.load(tmp_path / "model", extensions=["identity:Identity"], engine="torch")
    report = translate_files(translator, source, tmp_path / "out", crf=0)
    copy = tmp_path / "out" / name
    assert not report.failed
    assert count_frames(copy) == len(DURATIONS)
    assert _times(copy) == _times(source)
    assert _times(copy)[0] == DURATIONS
    for index in range(len(DURATIONS)):
        error = np.abs(decode(Frame(copy, index)).astype(int) - decode(Frame(source, index)))
        assert error.max() <= (24 if copy.suffix == ".gif" else 0)
    assert any("256 colours" in notice for notice in report.notices) == (copy.suffix == ".gif")


def test_pictures_are_no_animations(tmp_path: Path) -> None:
    Image.fromarray(drawn(0)).save(tmp_path / "one.webp")
    assert READERS["pillow"].output_suffix(tmp_path / "one.webp") == ""
    source = _animation(tmp_path / "a.gif")
    deep = Domain(channels=3, dtype="uint16")
    assert READERS["pillow"].open_output(source, tmp_path / "out.gif", deep, (48, 64), 4) is None
