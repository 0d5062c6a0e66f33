"""Files are there whole or not at all, and one process writes a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unpaired.core import files
from unpaired.core.errors import UserError
from unpaired.core.files import LOCK, atomic_folder, clear_leftovers, locked, new_folder, write_atomic
from unpaired.core.given import read_document

HOLD = """
import sys
from pathlib import Path
from unpaired.core.files import new_folder
with new_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "file.txt"
    write_atomic(path, "one \udcff")
    assert path.read_bytes() == rb"one \udcff"

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(UserError, match=r"file\.txt.*then measure again"):
        write_atomic(path, b"two", then="measure again")
    assert path.read_bytes() == rb"one \udcff"
    assert [other.name for other in path.parent.iterdir()] == ["file.txt"]
    write_atomic(path, b"three", durable=False)  # needs no sync
    assert path.read_bytes() == b"three"


def test_a_folder_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for content in ("one", "two"):
        with atomic_folder(folder) as temporary:
            (temporary / "file").write_text(content)
    with pytest.raises(KeyError), atomic_folder(folder) as temporary:
        raise KeyError((temporary / "file").write_text("three"))
    assert (folder / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_one_process_holds_a_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another process"), new_folder(folder):
        raise AssertionError
    process.kill()
    process.communicate()
    with new_folder(folder):
        pass  # what a killed process left is no content
    with locked(folder):
        pass


def test_a_used_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    for place in (tmp_path, tmp_path / "photo.png"):
        with pytest.raises(UserError, match=r"exists.*--out"), new_folder(place):
            raise AssertionError
    assert os.listdir(tmp_path) == ["photo.png"]


def test_a_faster_process_is_noticed_under_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = files.locked

    def faster(folder: Path) -> object:
        folder.mkdir()
        (folder / "config.json").touch()
        return original(folder)

    monkeypatch.setattr(files, "locked", faster)
    with pytest.raises(UserError, match="not an empty folder"), new_folder(tmp_path / "run"):
        raise AssertionError


def test_leftovers_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    for name in (".x.writing-12", ".x.replaced-12"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    others = {LOCK, ".notes", ".notes.writing-today", ".x.writing-12-today.txt", "x.writing-12", "config.json"}
    for name in (".config.writing-3-0123abcd.json", *others):
        (tmp_path / name).touch()
    clear_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == others


# ------------------------------------------------------------------------------------------------- files not trusted


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read_regular(tmp_path / "a", at_most=5, inside=tmp_path) == b"12345"
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert files.read_regular(tmp_path / "link", at_most=5, inside=tmp_path) == b"12345", "a link inside is a file"
    with pytest.raises(OSError, match="No such file"):
        files.read_regular(tmp_path / "missing", at_most=5)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_bytes(b"secret")
    os.mkfifo(inside / "fifo")
    (inside / "zero").symlink_to("/dev/zero")
    (inside / "link").symlink_to(outside)
    (inside / "folder").mkdir()
    with (inside / "huge").open("wb") as file:
        file.truncate(1 << 40)
    expected = {"fifo": "a FIFO", "zero": "a device", "link": "outside", "folder": "a folder", "huge": "at most 100"}
    for name, words in expected.items():
        with pytest.raises(UserError, match=words):
            files.read_regular(inside / name, at_most=100, inside=inside if name == "link" else None)


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    for name in (f"{'a' * 251}.txt", f"{'ß' * 125}.txt"):
        files.write_atomic(tmp_path / name, "text")
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()


def test_settings_are_read_from_regular_files_of_their_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    with (tmp_path / "huge.toml").open("wb") as file:
        file.truncate(1 << 40)
    for name, words in (("fifo.toml", "a FIFO"), ("zero.json", "a device"), ("huge.toml", "at most")):
        with pytest.raises(UserError, match=words):
            read_document(tmp_path / name, f"--config {name}")


def test_links_in_a_loop_and_unknown_users_are_no_errors_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert files.real_path(tmp_path / "a").parent == tmp_path.resolve()
    assert files.real_path("~no-user-of-this-name/x").name == "x"
    with pytest.raises(UserError, match="lies in a folder"):
        files.check_out(tmp_path / "a" / "out", reads=[tmp_path / "a"], replaces=())
    with pytest.raises(OSError, match="links"):
        files.read_regular(tmp_path / "a", at_most=1)


def test_paths_are_not_resolved_by_what_raises_for_links_in_a_loop() -> None:
    package = Path(files.__file__).parents[1]
    users = [path.name for path in package.rglob("*.py") if ".resolve(" in path.read_text("utf-8")]
    users += [path.name for path in package.rglob("*.py") if ".expanduser()" in path.read_text("utf-8")]
    assert not users, "use core.files.real_path or os.path.expanduser"
