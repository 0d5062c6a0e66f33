from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.studies import QUICK, make_study, pictures
from unpaired.core.errors import UserError
from unpaired.study.create import Created, create_study
from unpaired.study.description import Settings, read_study


def create(
    root: Path, fakes: dict[str, Path] | None = None, size: tuple[int, int] | None = None, **settings: Any
) -> Created:
    return create_study(
        root / "real", fakes or {"ours": root / "ours"}, root / "study", Settings(**QUICK | settings), size=size
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pictures(tmp_path / "real", 10, 0)
    pictures(tmp_path / "ours", 9, 1)
    return tmp_path


def left(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_files_tell_nothing(tmp_path: Path) -> None:
    folder, study = make_study(tmp_path)
    files = sorted((folder / "pictures").iterdir())
    assert len(files) == len(study.pictures()) == 3 * 12 + 1
    assert {path.stat().st_size for path in files} == {study.bytes}
    assert {path.name for path in files} == set(study.pictures())
    for picture in study.pictures().values():
        assert hashlib.sha256((folder / "pictures" / picture.file).read_bytes()).hexdigest() == picture.sha256
    with Image.open(folder / "pictures" / study.methods["ours"][4].file) as stored:
        with Image.open(tmp_path / "ours" / study.methods["ours"][4].name) as given:
            np.testing.assert_array_equal(np.asarray(stored), np.asarray(given))
        assert not stored.info
    assert (folder.stat().st_mode & 0o777, (folder / "answers.sqlite").stat().st_mode & 0o777) == (0o700, 0o600)
    assert read_study(folder, verify=True) == study


def test_just_enough_pictures_are_enough(root: Path) -> None:
    with pytest.raises(UserError, match=r"the real pictures: 10 pictures, and 11 are needed"):
        create(root, trials=7, practice=1, catch=3)
    with pytest.raises(UserError, match=r"ours: 9 pictures, and 10 are needed"):
        create(root, trials=8, practice=2, catch=0)
    assert left(root) == {"real", "ours"}
    assert len(create(root, trials=7, practice=2, catch=1).study.real) == 10


def test_nothing_half_made_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unpaired.study.create.write_study", full)
    with pytest.raises(UserError, match="the disk is full: could not write"):
        create(root)
    assert left(root) == {"real", "ours"}


def test_an_existing_folder_is_left_alone(root: Path) -> None:
    (root / "study").mkdir()
    with pytest.raises(UserError, match="exists already"):
        create(root)
    assert not left(root / "study")


def test_sizes_must_agree_or_be_made_to(root: Path) -> None:
    shutil.rmtree(root / "ours")
    pictures(root / "ours", 9, 1, size=(48, 64))
    with pytest.raises(UserError, match=r"differ in size.*real pictures: 24 x 32 \(10\); ours: 48 x 64 \(9\).*--size"):
        create(root)
    created = create(root, size=(20, 20))
    assert (created.study.height, created.study.width) == (20, 20)
    assert "how sharp they are may tell them apart" in created.notices[0]
    for file in created.study.pictures():
        with Image.open(root / "study" / "pictures" / file) as image:
            assert image.size == (20, 20)


def test_a_copy_of_a_real_picture_is_refused_whatever_its_name(root: Path) -> None:
    with Image.open(root / "real" / "003.png") as image:
        image.save(root / "ours" / "copy.bmp")
    with pytest.raises(UserError, match=r'"copy\.bmp" is pixel for pixel the real picture "003\.png"'):
        create(root)
    assert left(root) == {"real", "ours"}


def test_repeated_pictures_count_once(root: Path) -> None:
    shutil.copy(root / "ours" / "001.png", root / "ours" / "again.png")
    created = create(root)
    assert created.notices == ["ours: 1 repeated picture left out."]
    assert len(created.study.methods["ours"]) == 9


def test_matched_takes_names_that_every_folder_has(root: Path) -> None:
    pictures(root / "theirs", 10, 2)
    (root / "theirs" / "009.png").unlink()
    (root / "theirs" / "008.png").rename(root / "theirs" / "008.webp")  # the content decides what it is
    created = create(root, {"ours": root / "ours", "theirs": root / "theirs"}, pairs="matched", catch=0)
    assert [picture.name for picture in created.study.real] == [f"{number:03}.png" for number in range(9)]
    assert created.study.methods["theirs"][8].name == "008.webp"
    assert created.notices == ["the real pictures: 1 pictures left out, no partner of the same name."]


def test_matched_needs_shared_and_unambiguous_names(root: Path) -> None:
    shutil.copy(root / "ours" / "001.png", root / "ours" / "001.webp")
    with pytest.raises(UserError, match="differ in the suffix only"):
        create(root, pairs="matched")
    shutil.rmtree(root / "ours")
    pictures(root / "elsewhere", 9, 1)
    shutil.copytree(root / "elsewhere", root / "ours" / "deep")
    with pytest.raises(UserError, match=r'no name .* is in every folder.*ours has e\.g\. "deep/000"'):
        create(root, pairs="matched")


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x=y", "a" * 61, "the real pictures", "a\n", "a\udce9"])
def test_names_of_methods(root: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be a method's name"):
        create(root, {name: root / "ours"})


@pytest.mark.parametrize("pairs", ["unmatched", "matched"])
def test_files_whose_names_are_not_unicode(root: Path, pairs: str) -> None:
    try:
        for folder in ("real", "ours"):
            (root / folder / "000.png").rename(root / folder / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes unicode names only")
    create(root, pairs=pairs)
    assert r"caf\udce9.png" in {picture.name for picture in read_study(root / "study").real}


def test_a_missing_folder_is_named(root: Path) -> None:
    with pytest.raises(UserError, match=r'--fake ours= "\S+nowhere" is not a folder'):
        create(root, {"ours": root / "nowhere"})


def test_a_damaged_study_is_refused(tmp_path: Path) -> None:
    folder, study = make_study(tmp_path)
    with pytest.raises(UserError, match=r"is no study: it has no study\.json"):
        read_study(tmp_path)
    victim = folder / "pictures" / study.real[2].file
    data = victim.read_bytes()
    victim.write_bytes(data[:-1] + b"x")
    read_study(folder)
    with pytest.raises(UserError, match="is not the file that the study was created with"):
        read_study(folder, verify=True)
    victim.unlink()
    with pytest.raises(UserError, match="The study is not whole"):
        read_study(folder, verify=True)
    (tmp_path / "outside.png").write_bytes(data)
    victim.symlink_to(tmp_path / "outside.png")
    with pytest.raises(UserError, match="is a link"):
        read_study(folder, verify=True)


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", "0" * 32 + ".png/../x", "real.png"])
def test_a_description_cannot_lead_outside(tmp_path: Path, file: str) -> None:
    folder, _ = make_study(tmp_path)
    content = json.loads((folder / "study.json").read_text())
    content["real"][0]["file"] = file
    (folder / "study.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"damaged or of another version: real\.0\.file"):
        read_study(folder)


def test_matched_pairs_with_a_picture_that_came_before_are_left_out(root: Path) -> None:
    shutil.copy(root / "real" / "000.png", root / "real" / "003.png")
    shutil.copy(root / "ours" / "001.png", root / "ours" / "005.png")
    made = create(root, pairs="matched", trials=4, practice=1)
    assert "2 pairs left out: a picture of theirs came before." in made.notices
    for pictures_of in (made.study.real, made.study.methods["ours"]):
        names = [Path(picture.name).stem for picture in pictures_of]
        assert names == ["000", "001", "002", "004", "006", "007", "008"]
