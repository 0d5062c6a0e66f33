from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unpaired.core.errors import UserError
from unpaired.data.check import BadFile, BadFiles, Checked, ImageInfo
from unpaired.data.config import DataConfig
from unpaired.data.pairs import match_by_name, require_equal_sizes, whole_pairs

A, B = Path("/data/a"), Path("/data/b")


def info(path: Path, height: int = 10, width: int = 10) -> ImageInfo:
    return ImageInfo(path, height, width, 3, "uint8", b"", None, None)


@given(
    named_a=st.sets(st.text("abcé", min_size=1, max_size=3), min_size=1),
    named_b=st.sets(st.text("abcé", min_size=1, max_size=3), min_size=1),
)
@settings(max_examples=100, deadline=None)
def test_partners_agree_in_their_names_and_nobody_else_stays(named_a: set[str], named_b: set[str]) -> None:
    a = [A / f"{name}.jpg" for name in sorted(named_a)]
    b = [B / f"{name}.png" for name in sorted(named_b, reverse=True)]
    common = named_a & named_b
    if not common:
        with pytest.raises(BadFiles, match="has a partner"):
            match_by_name(A, B, a, b, "skip")
        return
    left, right, notices = match_by_name(A, B, a, b, "skip")
    assert [path.stem for path in left] == [path.stem for path in right] == sorted(common)
    assert bool(notices) == (named_a != named_b)
    if named_a != named_b:
        with pytest.raises(BadFiles) as caught:
            match_by_name(A, B, a, b, "fail")
        assert {file.path.stem for file in caught.value.bad_files} == named_a ^ named_b


def test_folders_below_are_part_of_the_name() -> None:
    a = [A / "x/1.png", A / "y/1.png"]
    b = [B / "y/1.jpg", B / "x/1.jpg"]
    left, right, _ = match_by_name(A, B, a, b, "fail")
    assert list(zip(left, right, strict=True)) == [(a[0], b[1]), (a[1], b[0])]


def test_the_two_ways_of_writing_an_accent_are_one_name() -> None:
    left, _, _ = match_by_name(A, B, [A / "caf\u00e9.png"], [B / "cafe\u0301.png"], "fail")
    assert len(left) == 1


def test_the_first_mismatches_are_listed_with_their_count() -> None:
    a = [A / f"{n:02}.png" for n in range(15)]
    with pytest.raises(BadFiles, match=r"14 files without a partner:\n(.*\n){5}  and 9 more.*\n.*on_bad_image = skip"):
        match_by_name(A, B, a, [B / "03.png"], "fail")
    _, _, notices = match_by_name(A, B, a[:2], [B / "00.png"], "skip")
    assert notices == [
        "1 file without a partner, left out:\n  /data/a/01.png: no file of this name (without suffix) in /data/b"
    ]


def test_two_files_of_one_name_leave_open_which_is_meant() -> None:
    with pytest.raises(UserError, match=r"a/1\.jpg.*a/1\.png.*same name without suffix"):
        match_by_name(A, B, [A / "1.jpg", A / "1.png"], [B / "1.png"], "skip")


def test_a_bad_file_takes_its_partner_with_it() -> None:
    paths_a, paths_b = [A / f"{n}.png" for n in range(4)], [B / f"{n}.png" for n in range(4)]
    a = Checked([info(paths_a[n]) for n in (0, 2, 3)], [BadFile(paths_a[1], "empty")])
    b = Checked([info(paths_b[n]) for n in (0, 1, 3)], [BadFile(paths_b[2], "empty")])
    left, right, notices = whole_pairs(paths_a, paths_b, a, b)
    assert [one.path for one in left] == [paths_a[0], paths_a[3]]
    assert [two.path for two in right] == [paths_b[0], paths_b[3]]
    assert notices == ["2 sound images are left out because the other image of their pairs cannot be used"]
    with pytest.raises(BadFiles, match="no pair is left"):
        whole_pairs(paths_a[:1], paths_b[:1], a, Checked([], [BadFile(paths_b[0], "empty")]))


def test_sizes_must_agree_where_nothing_makes_them_agree() -> None:
    a, b = [info(A / "1.png"), info(A / "2.png")], [info(B / "1.png"), info(B / "2.png", 20, 10)]
    for mode in ("crop", "none", "scale_width"):
        config = DataConfig(preprocess=mode, **({"crop_size": 8} if mode != "none" else {}))
        with pytest.raises(
            UserError, match=r"1 pair of images of different sizes.*\n.*a/2\.png: 10 x 10, and .*b/2\.png: 20 x 10"
        ):
            require_equal_sizes(a, b, config, size_multiple=4)
    require_equal_sizes(a, b, DataConfig(), size_multiple=4)
    require_equal_sizes(a[:1], b[:1], DataConfig(preprocess="none"), size_multiple=4)
