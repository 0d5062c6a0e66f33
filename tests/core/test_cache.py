"""The user's cache: made once, bounded, whole, and never taken from a process that is at work."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from unpaired.core import cache
from unpaired.core.cache import Cache, CacheError, cache_key, make_once, user_cache_folder
from unpaired.core.errors import UserError

CACHE = Cache(folder="things", suffix=".thing", limit_bytes=250)
CHECKED = Cache(folder="checked", suffix=".thing", limit_bytes=250, checked=True)
KEYS = [cache_key(number) for number in range(6)]


def keep(key: str, *, age: float = 0.0, cache: Cache = CACHE, size: int = 100) -> Path:
    path = cache.path(key)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def names(cache: Cache = CACHE) -> set[str]:
    return {path.name for path in cache.path("").parent.iterdir()}


def test_a_file_is_made_once() -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"content")

    assert CACHE.find(KEYS[0]) is None
    for _ in range(2):
        path = CACHE.get(KEYS[0], make)
        assert path.read_bytes() == b"content"
    assert len(made) == 1
    assert made[0] != path, "written beside, and moved into its place"
    assert CACHE.find(KEYS[0]) == path


def test_what_fails_while_it_is_made_leaves_nothing() -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise UserError("bad image")

    with pytest.raises(UserError, match="bad image"):
        CACHE.get(KEYS[0], fail)
    assert names() <= {f"{KEYS[0]}.lock"}

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CacheError, match=r"No space left.*UNPAIRED_CACHE"):
        CACHE.get(KEYS[0], full)
    CACHE.put(KEYS[0], b"kept")
    assert CACHE.path(KEYS[0]).read_bytes() == b"kept"


def test_a_damaged_file_is_made_again() -> None:
    CHECKED.put(KEYS[0], b"content")
    path = CHECKED.find(KEYS[0])
    assert path is not None
    path.write_bytes(b"damaged")
    assert CHECKED.find(KEYS[0]) is None
    CHECKED.put(KEYS[0], b"content")
    assert CHECKED.find(KEYS[0]) == path
    assert path.read_bytes() == b"content"


def test_the_least_recently_used_go_first_and_nothing_else_is_deleted() -> None:
    paths = [keep(key, age=age) for age, key in enumerate(KEYS[:4])]
    others = ["notes.txt", "holiday.thing", "foreign.lock", f"{KEYS[0]}.txt", ".hidden.lock"]
    for name in others:
        (paths[0].parent / name).touch()
    CACHE.prune(keep=KEYS[3])
    assert names() == {paths[0].name, paths[1].name, paths[3].name, *others}
    assert CACHE.find(KEYS[1]) == paths[1]  # used now
    CACHE.put(KEYS[5], bytes(100))
    assert {paths[1].name, f"{KEYS[5]}.thing"} <= names()
    assert paths[0].name not in names()


HOLD = """
import sys
from pathlib import Path
from unpaired.core.cache import Cache

def make(path):
    path.write_bytes(b"half")
    print("making", flush=True)
    sys.stdin.readline()
    path.write_bytes(b"whole")

print(Cache(folder="things", suffix=".thing", limit_bytes=250).get(sys.argv[1], make).read_bytes(), flush=True)
"""


def start(key: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, key]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    return process


def test_what_another_process_is_making_is_never_pruned_however_old_its_lock() -> None:
    process = start(KEYS[0])
    folder = CACHE.path("").parent
    in_the_making = names()
    assert f"{KEYS[0]}.lock" in in_the_making
    for path in folder.iterdir():
        os.utime(path, (1.0, 1.0))
    keep(KEYS[1], size=1000)
    CACHE.prune(keep=KEYS[1])
    assert names() == in_the_making | {f"{KEYS[1]}.thing"}
    output, _ = process.communicate("go on\n")
    assert output == "b'whole'\n"


def killed(key: str) -> None:
    process = start(key)
    process.kill()
    process.communicate()


def test_what_a_killed_process_left_is_deleted() -> None:
    killed(KEYS[0])
    assert len(names()) == 2, "the lock and half a file"
    CACHE.prune()
    assert names() == set()
    killed(KEYS[0])
    CACHE.put(KEYS[0], b"whole")
    assert names() == {f"{KEYS[0]}.thing", f"{KEYS[0]}.lock"}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path / "file" / "folder"))
    with pytest.raises(CacheError, match="UNPAIRED_CACHE"):
        user_cache_folder()
    with pytest.raises(CacheError, match="UNPAIRED_CACHE"):
        CACHE.get(KEYS[0], Path.touch)
    assert CACHE.find(KEYS[0]) is None
    CACHE.put(KEYS[0], b"")
    CACHE.prune()


STRANGERS = (
    *("poetry.lock", "uv.lock", "Cargo.lock", "movie.part", ".x.writing-12", f"{'0' * 32}.npz", f"{'0' * 32}.lock"),
    *(f"{'1' * 32}.images", f"{'2' * 32}.onnx", f".{'3' * 32}.writing-7.json", f"{'4' * 32}.sha256", "notes.txt"),
    *("checked-2.sqlite", "checked-2.sqlite-wal"),
)
"""Names of other people's files; some look like those of a cache."""


def test_a_strangers_files_are_never_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    from unpaired.data.check import CheckMemory

    source = Path(cache.__file__).parents[1]
    modules = [path for path in source.rglob("*.py") if " = Cache(" in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(source.parent).with_suffix("").parts) for path in modules]
    found = [value for name in names for value in vars(import_module(name)).values()]
    kinds = {value for value in found if isinstance(value, Cache)}
    assert len(kinds) >= 4
    monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path))
    folders = [tmp_path, *(tmp_path / name for name in ("weights", "things", *(kind.folder for kind in kinds)))]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for name in STRANGERS:
            (folder / name).write_bytes(bytes(1000))
            os.utime(folder / name, (1.0, 1.0))
    own = user_cache_folder()
    for folder in (own, *(own / kind.folder for kind in kinds)):
        folder.mkdir(exist_ok=True)
        for name in ("poetry.lock", "movie.part", "notes.txt", ".hidden.lock"):
            (folder / name).touch()
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    for kind in kinds:
        small = dataclasses.replace(kind, limit_bytes=0)
        small.put(KEYS[0], b"one")
        small.put(KEYS[1], b"two")
        small.prune()
        make_once(kind.path(KEYS[2]), lambda path: path.write_bytes(b"three") and None)
    memory = CheckMemory()
    (own / "checked-2.sqlite").write_bytes(b"damaged" * 1000)
    memory.remember([])
    memory.recall([tmp_path / "notes.txt"])
    assert before <= {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(not kind.find(KEYS[0]) for kind in kinds), "our own are deleted"
