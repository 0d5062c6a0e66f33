from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from unpaired.core.cache import user_cache_folder
from unpaired.data import check
from unpaired.data.check import BadFiles, Checked, check_images, require
from unpaired.data.folders import list_images
from unpaired.data.parallel import for_each, num_threads


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """One good image and one file of every bad kind."""
    image = PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    image.save(tmp_path / "good.png")
    image.save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    PillowImage.new("RGB", (10, 40)).save(tmp_path / "small.png")
    PillowImage.new("L", (400, 400)).save(tmp_path / "bomb.png")
    (tmp_path / "text.jpg").write_text("not an image")
    np.save(tmp_path / "nan.npy", np.full((40, 40), np.nan))
    np.save(tmp_path / "range.npy", np.full((40, 40), 7.5))
    np.save(tmp_path / "wide.npy", np.full((40, 40), 7, np.int32))
    np.save(tmp_path / "five.npy", np.zeros((40, 40, 5), np.uint8))
    return tmp_path


REASONS = {
    "bomb.png": "absurdly large: 400 x 400",
    "cut.jpg": "truncated",
    "empty.png": "empty",
    "five.npy": "5 channels, where the domain has 3",
    "gone.png": "missing",
    "nan.npy": "NaN",
    "range.npy": "floats from 7.5 to 7.5",
    "small.png": "too small: 40 x 10",
    "text.jpg": "wrongly typed",
    "wide.npy": "int32 have no obvious range",
}


def checked_zoo(zoo: Path) -> Checked:
    return check_images(list_images(zoo), max_pixels=100_000, minimum=(32, 32), channels=3)


def test_every_kind_of_bad_file_is_reported_the_same_when_remembered(zoo: Path) -> None:
    for _ in range(2):
        found = checked_zoo(zoo)
        assert [info.path.name for info in found.good] == ["good.png"]
        reasons = {file.path.name: file.reason for file in found.bad}
        assert reasons.keys() == REASONS.keys()
        for name, words in REASONS.items():
            assert words in reasons[name]


def test_declared_ranges_admit_what_they_declare(zoo: Path) -> None:
    names = [zoo / "range.npy", zoo / "wide.npy"]
    found = check_images(names, value_range=(0, 10))
    assert [(info.dtype, info.low, info.high) for info in found.good] == [("float32", 7.5, 7.5), ("int32", 7, 7)]


def test_failing_lists_every_file_with_its_reason(zoo: Path) -> None:
    with pytest.raises(BadFiles) as caught:
        require({"A": checked_zoo(zoo)}, "fail")
    for name, words in REASONS.items():
        assert name in str(caught.value)
        assert words in str(caught.value)
    assert "data.on_bad_image = skip" in str(caught.value)
    assert [file.path.name for file in caught.value.bad_files] == sorted(REASONS)


def test_skipping_tells_and_never_empties_a_domain(zoo: Path) -> None:
    found = checked_zoo(zoo)
    (notice,) = require({"A": found, "B": Checked(found.good, [])}, "skip")
    assert "A: 10 files left out" in notice
    assert all(name in notice for name in REASONS)
    with pytest.raises(BadFiles, match="no usable image is left in B"):
        require({"A": found, "B": Checked([], found.bad)}, "skip")


def test_a_hundred_files_with_one_fault_take_a_few_lines() -> None:
    bad = [check.BadFile(Path(f"{number:03}.png"), f"too small: {number} x 7") for number in range(117)]
    bad += [check.BadFile(Path(f"x{number}.png"), "empty") for number in range(3)]
    with pytest.raises(BadFiles, match=r"(?s)120 files.*000\.png.*x0\.png.*x2\.png") as caught:
        require({"A": Checked([], bad)}, "fail")
    assert len(caught.value.bad_files) == 120
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert "  and 112 more for the same reason" in lines


class TestMemory:
    @pytest.fixture
    def images(self, tmp_path: Path) -> list[Path]:
        for number in range(5):
            PillowImage.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        return list_images(tmp_path)

    @pytest.fixture
    def decoded(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        calls: list[Path] = []
        original = check._inspect
        monkeypatch.setattr(check, "_inspect", lambda path, *rest: calls.append(path) or original(path, *rest))
        return calls

    def test_only_changed_files_are_read_again(self, images: list[Path], decoded: list[Path]) -> None:
        first = check_images(images)
        assert sorted(decoded) == images
        decoded.clear()
        assert check_images(images) == first
        assert decoded == []
        status = images[1].stat()
        os.utime(images[1], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        PillowImage.new("RGB", (9, 9)).save(images[2])
        assert check_images(images).good[2].height == 9
        assert sorted(decoded) == [images[1], images[2]]
        images[3].unlink()
        assert [file.path for file in check_images(images).bad] == [images[3]]

    def test_a_damaged_memory_is_made_again(self, images: list[Path], decoded: list[Path]) -> None:
        check_images(images)
        (file,) = user_cache_folder().glob("checked*.sqlite")
        for content in (b"this is no database at all" * 100, b"SQLite format 3\0" + bytes(50) + b"junk" * 500):
            file.write_bytes(content)
            decoded.clear()
            assert len(check_images(images).good) == 5
            assert len(decoded) == 5
            assert len(check_images(images).good) == 5
            assert len(decoded) == 5

    def test_works_without_a_memory(
        self, images: list[Path], decoded: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (user_cache_folder() / check._FILE).mkdir()
        assert len(check_images(images).good) == 5
        (images[0].parent / "file").touch()
        monkeypatch.setenv("UNPAIRED_CACHE", str(images[0].parent / "file/folder"))
        assert len(check_images(images).good) == 5
        assert len(decoded) == 10

    def test_several_checks_at_once(self, images: list[Path]) -> None:
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(len(check_images(images).good))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [5] * 4

    def test_what_was_read_before_an_interruption_is_remembered(self, images: list[Path], decoded: list[Path]) -> None:
        def interrupt(done: int, total: int) -> None:
            if done == total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            check_images(images, progress=interrupt)
        decoded.clear()
        check_images(images)
        assert decoded == []


class TestForEach:
    def test_does_everything_once_and_reports(self) -> None:
        done: list[int] = []
        seen: list[tuple[int, int]] = []
        for_each(100, done.append, workers=4, progress=lambda *now: seen.append(now))
        assert sorted(done) == list(range(100))
        assert seen[-1] == (100, 100)
        assert seen == sorted(seen)
        for_each(0, done.append, workers=4)

    def test_an_error_stops_the_rest(self) -> None:
        done: list[int] = []

        def work(index: int) -> None:
            if index == 3:
                raise ValueError("three")
            time.sleep(0.001)
            done.append(index)

        with pytest.raises(ValueError, match="three"):
            for_each(10_000, work, workers=2)
        assert len(done) < 9_000

    def test_number_of_threads(self) -> None:
        assert num_threads(3) == 3
        assert 1 <= num_threads(0) <= 8
