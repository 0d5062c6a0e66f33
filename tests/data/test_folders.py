from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig
from unpaired.data.folders import find_folders, list_images
from unpaired.data.formats import READERS, readable_suffixes
from unpaired.data.formats.pillow import FORMATS


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_images(folder)]


@pytest.mark.parametrize(
    "parts",
    [
        ("trainA", "trainB", "testA", "testB"),
        ("train_A", "train_B", "test_A", "test_B"),
        ("train/A", "train/B", "test/A", "test/B"),
        ("A/train", "B/train", "A/test", "B/test"),
    ],
)
def test_layouts_with_and_without_test_images(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in parts[:2]:
        (tmp_path / part).mkdir(parents=True)
    found = find_folders(DataConfig(root=str(tmp_path)))
    assert (found.train_a, found.train_b) == (tmp_path / parts[0], tmp_path / parts[1])
    assert found.test_a is None
    for part in parts[2:]:
        (tmp_path / part).mkdir(parents=True)
    put(tmp_path / parts[2] / "below/1.png")
    found = find_folders(DataConfig(root=str(tmp_path)))
    assert (found.test_a, found.test_b) == (tmp_path / parts[2], None)
    put(tmp_path / parts[3] / "1.png")
    found = find_folders(DataConfig(root=str(tmp_path)))
    assert (found.test_a, found.test_b) == (tmp_path / parts[2], tmp_path / parts[3])
    assert "ROOT" in found.layout


def test_explicit_folders(tmp_path: Path) -> None:
    for name in ("x", "y y", "tx", "ty"):
        (tmp_path / name).mkdir()
    found = find_folders(DataConfig(a=str(tmp_path / "x"), b=str(tmp_path / "y y")))
    assert (found.train_a, found.train_b, found.test_a) == (tmp_path / "x", tmp_path / "y y", None)
    tests = {"test_a": str(tmp_path / "tx"), "test_b": str(tmp_path / "ty")}
    assert find_folders(DataConfig(a=str(tmp_path / "x"), b=str(tmp_path / "y y"), **tests)).test_b == tmp_path / "ty"


def test_no_layout_fits_names_what_was_tried_and_found(tmp_path: Path) -> None:
    (tmp_path / "horses").mkdir()
    put(tmp_path / "readme.txt")
    with pytest.raises(UserError, match=r"trainA.*train,test.*horses/.*1 files"):
        find_folders(DataConfig(root=str(tmp_path)))


def test_two_layouts_at_once_are_ambiguous(tmp_path: Path) -> None:
    for name in ("trainA", "trainB", "train/A", "train/B"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UserError, match="more than one"):
        find_folders(DataConfig(root=str(tmp_path)))


def test_settings_that_contradict_or_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    a = str(tmp_path / "a")
    for config, words in (
        (DataConfig(), "data.a and data.b missing"),
        (DataConfig(a=a), "data.b missing"),
        (DataConfig(root=a, b=a), "together with data.b"),
        (DataConfig(root=a, test_a=a), "together with data.test_a"),
        (DataConfig(a=a, b="x" * 5000), "data.b = x{200}: .*(no such folder|name too long)"),
        (DataConfig(root=f"{a}/{'x' * 300}"), "(no such folder|name too long)"),
        (DataConfig(root="\ud800\0"), "no such folder"),
        (DataConfig(a=a, b="~nobody-of-this-name/x"), "no such folder"),
        (DataConfig(root=str(tmp_path / "none")), "no such folder"),
        (DataConfig(a=a, b=str(tmp_path / "aa")), 'no such folder.*Did you mean "a"'),
    ):
        with pytest.raises(UserError, match=f"(?i){words}"):
            find_folders(config)
    put(tmp_path / "file")
    with pytest.raises(UserError, match="is a file"):
        find_folders(DataConfig(root=str(tmp_path / "file")))


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("trainA", "trainB", "other"):
        (tmp_path / name).mkdir()

    def refused(path: str | Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refused)
    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(UserError, match=r"cannot read the folder.*trainA.*Permission denied"):
        list_images(tmp_path / "trainA")
    for config in (
        DataConfig(root=str(tmp_path / "other")),
        DataConfig(root=str(tmp_path), side_by_side="ab"),
        DataConfig(a=str(tmp_path / "no"), b="x"),
    ):
        with pytest.raises(UserError, match=r"cannot read the folder.*Permission denied"):
            find_folders(config)


def test_domains_must_be_apart(tmp_path: Path) -> None:
    (tmp_path / "a/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    a = str(tmp_path / "a")
    for b in (a, str(tmp_path / "link"), f"{a}/../a"):
        with pytest.raises(UserError, match="same folder"):
            find_folders(DataConfig(a=a, b=b))
    for one, two in ((a, f"{a}/inner"), (f"{a}/inner", a), (str(tmp_path / "link/inner"), a)):
        with pytest.raises(UserError, match="inside the other"):
            find_folders(DataConfig(a=one, b=two))


def test_lists_what_people_have(tmp_path: Path) -> None:
    wanted = ["IMG.JPG", "a b/ü 漢字.png", "deep/er/x.TiFf", "z.npy"]
    put(*(tmp_path / name for name in wanted))
    hidden = (".DS_Store", "._IMG.jpg", "__MACOSX/x.png", ".hidden/x.png", "Thumbs.db", "notes.txt", "labels.json")
    put(*(tmp_path / name for name in hidden))
    (tmp_path / "folder.png").mkdir()
    assert names(tmp_path) == sorted(wanted)


def test_links_are_followed_once_and_broken_ones_are_kept(tmp_path: Path) -> None:
    put(tmp_path / "data/sub/1.png", tmp_path / "elsewhere/2.png")
    folder = tmp_path / "data"
    (folder / "again").symlink_to(folder / "sub")
    (folder / "loop").symlink_to(folder)
    (folder / "sub/up").symlink_to(tmp_path / "data")
    (folder / "other").symlink_to(tmp_path / "elsewhere")
    (folder / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "file.png").symlink_to(tmp_path / "elsewhere/2.png")
    assert names(folder) == ["broken.png", "file.png", "other/2.png", "self.png", "sub/1.png"]


def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    raw = os.path.join(os.fsencode(tmp_path), b"\xff.png")
    try:
        with open(raw, "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes only unicode names")
    assert len(list_images(tmp_path)) == 1


def test_no_images_says_what_was_found(tmp_path: Path) -> None:
    put(tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.json")
    (tmp_path / "sub").mkdir()
    with pytest.raises(UserError, match=r"3 other files \(2 \.txt, 1 \.json\) and 1 folder"):
        list_images(tmp_path)


def test_every_suffix_belongs_to_a_format_that_is_read() -> None:
    PillowImage.init()
    known = {suffix for suffix, name in PillowImage.registered_extensions().items() if name in FORMATS}
    others = frozenset().union(*(reader.suffixes for name, reader in READERS.items() if name != "pillow"))
    assert known | others >= readable_suffixes()
    # Animations with a suffix of their own and such come with newer releases; the usual ones must all be here.
    assert (
        known & {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".ppm", ".tga", ".jp2", ".avif"}
        <= readable_suffixes()
    )
