"""Archives that want out of their folder, into memory, or to be something else."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unpaired.core import archive as room
from unpaired.core.archive import unpack
from unpaired.core.errors import UserError

FILES = {"set/trainA/1.png": b"one" * 50, "set/trainA/2.png": b"two", "set/trainB/1.png": b""}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            info = zipfile.ZipInfo()
            info.filename = name  # as it is: the constructor would clean it
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, content)
    return path


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _refused(archive: Path, words: str = "archive|damaged|a.zip|a.tar") -> None:
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(UserError, match=words):
        unpack(archive, archive.parent / "out")
    assert sorted(archive.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_an_archive_is_unpacked_whole(name: str, tmp_path: Path) -> None:
    make = make_zip if name.endswith("zip") else make_tar
    seen: list[int] = []
    archive = make(tmp_path / name, {**FILES, "__MACOSX/set/._1.png": b"x", "set/._2.png": b"x"})
    assert unpack(archive, tmp_path / "out", progress=lambda done, _: seen.append(done)) == 3
    assert _contents(tmp_path / "out") == FILES
    assert seen == sorted(seen)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    only = unpack(archive, tmp_path / "b", rename=lambda path: path[9:] if path.startswith("set/trainB") else None)
    assert (only, _contents(tmp_path / "b")) == (1, {"B/1.png": b""})
    with pytest.raises(UserError):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "C:/x", "..\\x", "a\\..\\..\\x", "a//x", "a\nb", "x" * 300]
)
@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_no_path_leads_out(name: str, kind: str, tmp_path: Path) -> None:
    make = make_zip if kind.endswith("zip") else make_tar
    _refused(make(tmp_path / kind, {"good.png": b"x", name: b"x"}), "out of the folder or cannot be used")


names = st.one_of(
    st.text(max_size=12),
    st.lists(st.sampled_from(["..", ".", "a", "b", "", "C:", "~", "\\", "con", "a" * 254]), max_size=5).map("/".join),
)


@settings(max_examples=80)
@given(st.lists(names, min_size=1, max_size=4), st.booleans())
def test_whatever_the_names_files_stay_inside(wild: list[str], zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        inner = Path(place) / "one" / "two"
        inner.mkdir(parents=True)
        archive = inner / ("a.zip" if zipped else "a.tar")
        try:
            (make_zip if zipped else make_tar)(archive, dict.fromkeys(wild, b"x"))
        except (UnicodeError, ValueError):
            return  # such a name cannot be packed
        try:
            count = unpack(archive, inner / "out")
        except UserError:
            count = 0
        outside = {path for path in Path(place).rglob("*") if path.is_file() and not path.is_relative_to(inner / "out")}
        assert outside == {archive}
        assert len(_contents(inner / "out")) == count


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        packed.addfile(info)
    _refused(tmp_path / "a.tar", "a link or device")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        packed.writestr(info, "/etc/passwd")
    _refused(tmp_path / "a.zip", "a link or device")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_bombs_are_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = make_zip if kind.endswith("zip") else make_tar
    monkeypatch.setattr(room, "MOST_EXTRA", 1000)
    _refused(make(tmp_path / kind, {f"{n}.png": bytes(100_000) for n in range(20)}), "30 times its own size")


def test_a_zip_whose_sizes_are_lies_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_EXTRA", 1000)
    archive = make_zip(tmp_path / "a.zip", {"0.png": bytes(1_000_000)})
    content = archive.read_bytes()
    assert content.count(struct.pack("<L", 1_000_000)) == 2
    archive.write_bytes(content.replace(struct.pack("<L", 1_000_000), struct.pack("<L", 10)))
    _refused(archive)


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_too_many_files_are_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = make_zip if kind.endswith("zip") else make_tar
    monkeypatch.setattr(room, "MOST_FILES", 5)
    _refused(make(tmp_path / kind, {f"{n}.png": b"" for n in range(20)}), "more than 5 files")


@pytest.mark.parametrize(
    "files",
    [{"a": b"x", "a/b": b"x"}, {"a/B.png": b"x", "a/b.png": b"y"}],
    ids=["file and folder", "twice where case is not told apart"],
)
@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_no_file_takes_the_place_of_another(files: dict[str, bytes], kind: str, tmp_path: Path) -> None:
    _refused((make_zip if kind.endswith("zip") else make_tar)(tmp_path / kind, files))


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    for content, words in (
        (b"<!DOCTYPE html><html>not found", "a page of a website"),
        (b"", "something else"),
        (b"x" * 2000, "something else"),
        (b"PK\x03\x04" + b"x" * 50, "damaged"),
        (gzip.compress(b"no tar"), "damaged|holds none"),
    ):
        (tmp_path / "a").write_bytes(content)
        _refused(tmp_path / "a", words)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.png": b"x"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    _refused(archive, "encrypted")


@settings(max_examples=60)
@given(st.sampled_from(["a.zip", "a.tar", "a.tar.gz"]), st.floats(0, 1), st.binary(max_size=3))
def test_damage_is_told_and_nothing_is_left(kind: str, where: float, wrong: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        archive = (make_zip if kind.endswith("zip") else make_tar)(Path(place) / kind, FILES)
        content = archive.read_bytes()
        at = int(where * len(content))
        archive.write_bytes(content[:at] + wrong + (content[at + len(wrong) :] if wrong else b""))
        try:
            unpack(archive, Path(place) / "out")
        except UserError:
            assert sorted(path.name for path in Path(place).iterdir()) == [kind]
