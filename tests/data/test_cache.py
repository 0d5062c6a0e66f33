from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from unpaired.core.cache import user_cache_folder
from unpaired.core.errors import UserError
from unpaired.data import cache
from unpaired.data.cache import choose_cache, open_cache
from unpaired.data.check import check_images
from unpaired.data.config import DataConfig
from unpaired.data.encode import write_image
from unpaired.data.folders import list_images
from unpaired.data.source import FolderSource, ImageSource

CONFIG = DataConfig(crop_size=16, preprocess="none")


def make_images(folder: Path, count: int = 6) -> None:
    """Images of several sizes, dtypes and channel counts."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        shape = (20 + 4 * number, 31, 3 if number % 2 else 1)
        deep = number % 3 == 0
        image = rng.integers(0, 65536 if deep else 256, shape).astype(np.uint16 if deep else np.uint8)
        write_image(image, folder / f"{number}.png")


def source_of(folder: Path, config: DataConfig = CONFIG) -> FolderSource:
    return FolderSource(check_images(list_images(folder)).good, config, channels=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_images(tmp_path / "images")
    return tmp_path / "images"


def same(one: ImageSource, two: ImageSource) -> None:
    assert len(one) == len(two)
    for index in range(len(one)):
        assert one.name(index) == two.name(index)
        assert one[index].dtype == two[index].dtype
        np.testing.assert_array_equal(one[index], two[index])


def cache_files() -> list[Path]:
    return sorted((user_cache_folder() / "decoded").glob("[!.]*.images"))


def leftovers() -> list[str]:
    return [path.name for path in (user_cache_folder() / "decoded").glob(".*")]


@pytest.mark.parametrize("mode", ["memory", "disk", "none", "auto"])
def test_every_cache_gives_the_same_images(folder: Path, mode: cache.CacheMode) -> None:
    source = source_of(folder)
    for _ in range(2):
        opened, words = open_cache({"A": source}, mode)
        for _ in range(2):
            same(opened["A"], source)
        assert ("not kept" in words) == (mode == "none")


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_channels_are_kept_one_after_the_other(folder: Path, mode: cache.CacheMode) -> None:
    opened, _ = open_cache({"A": source_of(folder)}, mode)
    image = opened["A"][1]
    assert image.shape == (24, 32, 3)
    assert image.transpose(2, 0, 1).flags.c_contiguous
    assert not image.flags.writeable
    assert len(cache_files()) == (mode == "disk")


def test_memory_decodes_each_image_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, calls = source_of(folder), list[int]()
    original = FolderSource.__getitem__
    monkeypatch.setattr(FolderSource, "__getitem__", lambda self, i: calls.append(i) or original(self, i))
    opened, _ = open_cache({"A": source}, "memory")
    assert calls == []
    for _ in range(3):
        for index in range(len(source)):
            assert opened["A"][index].flags.writeable is False
    assert calls == list(range(len(source)))


def test_a_disk_cache_is_made_once_and_outlives_its_images(folder: Path) -> None:
    source = source_of(folder)
    seen: list[tuple[str, int, int]] = []
    opened, _ = open_cache({"A": source}, "disk", progress=lambda *now: seen.append(now))
    assert seen[-1] == ("A", 6, 6)
    before = [opened["A"][index].copy() for index in range(6)]
    (file,) = cache_files()
    stamp = file.stat().st_ino
    for path in folder.iterdir():
        path.write_bytes(b"")
    seen.clear()
    opened, _ = open_cache({"A": source}, "disk", progress=lambda *now: seen.append(now))
    assert seen == []
    assert file.stat().st_ino == stamp
    for index, image in enumerate(before):
        np.testing.assert_array_equal(opened["A"][index], image)


def test_the_key_follows_contents_and_options_and_not_names(folder: Path) -> None:
    key = cache.decoded_key(source_of(folder))
    assert cache.decoded_key(source_of(folder)) == key
    others = {
        cache.decoded_key(source_of(folder, DataConfig(crop_size=16))),
        cache.decoded_key(source_of(folder, DataConfig(crop_size=16, load_size=20))),
        cache.decoded_key(source_of(folder, DataConfig(crop_size=32, load_size=40))),
        cache.decoded_key(FolderSource(source_of(folder).images, CONFIG, channels=1)),
        cache.decoded_key(FolderSource(source_of(folder).images, CONFIG, channels=3, size_multiple=8)),
        cache.decoded_key(FolderSource(source_of(folder).images[::-1], CONFIG, channels=3)),
    }
    assert len(others - {key}) == 6
    for path in list_images(folder):
        path.rename(path.with_name(f"x{path.name}"))
    assert cache.decoded_key(source_of(folder)) == key
    PillowImage.new("RGB", (31, 24)).save(folder / "x1.png")
    assert cache.decoded_key(source_of(folder)) != key


@pytest.mark.parametrize("damage", ["cut", "longer", "header", "index", "empty"])
def test_a_damaged_file_is_made_again(folder: Path, damage: str) -> None:
    source = source_of(folder)
    open_cache({"A": source}, "disk")
    (file,) = cache_files()
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[-1]
    elif damage == "longer":
        content += b"x"
    elif damage == "header":
        content[9] ^= 1
    elif damage == "index":
        content[60] ^= 1
    else:
        content.clear()
    file.write_bytes(content)
    opened, _ = open_cache({"A": source}, "disk")
    same(opened["A"], source)


@pytest.mark.parametrize("writable", [True, False])
def test_overwritten_pixels_are_noticed_and_decoded_again(
    folder: Path, writable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(folder)
    open_cache({"A": source}, "disk")
    (file,) = cache_files()
    content = bytearray(file.read_bytes())
    content[-3000:-1000] = bytes(2000)
    file.write_bytes(content)
    if not writable:
        monkeypatch.setattr(cache, "_write", lambda *_: (_ for _ in ()).throw(PermissionError()))
    for repaired in (1, 0 if writable else 1):
        opened = open_cache({"A": source}, "disk")[0]["A"]
        same(opened, source)
        assert isinstance(opened, cache.CachedSource)
        assert opened.repaired >= repaired
        assert (opened.repaired > 0) == (repaired > 0)


def test_a_full_disk_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left.*UNPAIRED_CACHE"):
        open_cache({"A": source_of(folder)}, "disk")
    assert cache_files() == []
    assert leftovers() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
def test_an_interruption_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def stop(*_: object) -> None:
        raise error("stop")

    monkeypatch.setattr(FolderSource, "__getitem__", stop)
    with pytest.raises(error):
        open_cache({"A": source_of(folder)}, "disk")
    assert cache_files() == []
    assert leftovers() == []


BUILD = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from test_cache import source_of, same, open_cache
source = source_of(Path(sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
opened, _ = open_cache({"A": source}, "disk")
same(opened["A"], source)
"""


def test_two_processes_may_make_one_cache_at_once(tmp_path: Path) -> None:
    make_images(tmp_path / "many", 60)
    here = Path(__file__).parent
    command = [sys.executable, "-c", BUILD, str(here), str(here.parents[1] / "src"), str(tmp_path / "many")]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outcomes = [process.communicate("go\n", timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outcomes
    assert len(cache_files()) == 1
    assert leftovers() == []


class TestChoice:
    def test_auto_takes_memory_then_disk_then_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gibi = 2**30
        monkeypatch.setattr(cache, "free_disk", lambda _: 100 * gibi)
        monkeypatch.setattr(cache, "available_memory", lambda: 64 * gibi)
        assert choose_cache("auto", 2 * gibi).mode == "memory"
        assert choose_cache("auto", 2 * gibi + 1).mode == "disk"
        assert choose_cache("auto", 99 * gibi).mode == "disk"
        assert choose_cache("auto", 99 * gibi + 1).mode == "none"
        assert choose_cache("auto", 500 * gibi, missing=0).mode == "disk"
        assert "every epoch decodes them again" in choose_cache("auto", 200 * gibi).reason
        monkeypatch.setattr(cache, "available_memory", lambda: 4 * gibi)
        assert choose_cache("auto", gibi + 1).mode == "disk"
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
        assert choose_cache("auto", gibi // 2).mode == "disk"

    def test_auto_does_without_a_cache_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path / "file/folder"))
        assert choose_cache("auto", 100).mode == "memory"
        assert choose_cache("auto", 3 * 2**30).mode == "none"
        with pytest.raises(UserError, match="UNPAIRED_CACHE"):
            choose_cache("disk", 100)

    def test_what_is_asked_for_must_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache, "free_disk", lambda _: 10)
        monkeypatch.setattr(cache, "available_memory", lambda: 10)
        with pytest.raises(UserError, match=r"data\.cache = disk"):
            choose_cache("disk", 11)
        with pytest.raises(UserError, match=r"data\.cache = memory"):
            choose_cache("memory", 11)
