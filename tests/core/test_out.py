"""The rule for `--out`: nothing is replaced that is not ours, and nothing is written among images that are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unpaired.core.errors import UserError
from unpaired.core.files import check_out, require_outside
from unpaired.report.results import Audit, Evaluation

OURS = '{"format": "unpaired-evaluation"}'
PAGE = '<!doctype html><meta name="generator" content="unpaired report">'


def test_a_strangers_files_are_never_replaced(tmp_path: Path) -> None:
    names = ["evaluation.json", "index.html", "answers.csv", "audit.svg", "picture.png"]
    assert check_out(tmp_path, replaces=names) == tmp_path
    for name in names:
        for content in ("theirs", '{"format": "their"}', "<html>unpaired</html>"):
            (tmp_path / name).write_text(content)
            with pytest.raises(UserError, match=rf"{name} exists.*so it is not replaced"):
                check_out(tmp_path, replaces=names)
            assert (tmp_path / name).read_text() == content
        (tmp_path / name).unlink()


def test_our_own_files_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(OURS)
    (tmp_path / "picture.png").touch()  # cannot say whose it is: the document beside it does
    check_out(tmp_path, replaces=["evaluation.json", "picture.png"], mark="unpaired-evaluation")
    with pytest.raises(UserError, match="not replaced"):
        check_out(tmp_path, replaces=["evaluation.json"], mark="unpaired-audit")
    (tmp_path / "report.html").write_text(PAGE)
    check_out(tmp_path / "report.html", mark="unpaired-report")
    (tmp_path / "link.html").symlink_to(tmp_path / "nowhere.html")
    (tmp_path / "folder.json").mkdir()
    for name in ("link.html", "folder.json"):
        with pytest.raises(UserError):
            check_out(tmp_path / name)


def test_documents_keep_the_rule_wherever_they_are_written(tmp_path: Path) -> None:
    Evaluation().write(tmp_path)
    Evaluation(title="again").write(tmp_path)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(UserError, match=r"audit\.json exists"):
        Audit().write(tmp_path)
    assert (tmp_path / "audit.json").read_text() == "{}"


def test_nothing_is_written_among_images(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "deeper").mkdir(parents=True)
    (tmp_path / "link").symlink_to(images)
    for place in (images, images / "out", images / "deeper", tmp_path / "link" / "out", images / ".." / "images" / "x"):
        with pytest.raises(UserError, match="lies in a folder of images"):
            check_out(place, reads=[images], replaces=())
    for place in (tmp_path, tmp_path / "images2", tmp_path / "out"):
        check_out(place, reads=[images, None, object()], replaces=())
    require_outside(tmp_path / "file.onnx", [None])


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, os.fsdecode(b"caf\xe9"), "a\0b", "a\nb", "\x1b[31m"])
def test_names_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the name cannot be used") as caught:
        check_out(tmp_path / name, replaces=())
    assert not set("\0\n\x1b") & set(str(caught.value))


@given(st.text(min_size=1))
def test_any_name_is_used_or_refused_in_one_line(name: str) -> None:
    try:
        assert check_out(Path("/nowhere") / name.replace("/", ""), replaces=()) is not None
    except UserError as error:
        assert str(error).isprintable() or "\n" not in str(error)


def test_a_file_or_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        check_out(tmp_path / "file", replaces=())
    with pytest.raises(UserError, match="is a folder"):
        check_out(tmp_path)
    with pytest.raises(UserError, match=r"ends in \.json"):
        check_out(tmp_path / "a.txt", suffixes={".json"})
    with pytest.raises(UserError, match="cannot write into"):
        check_out(tmp_path / "file" / "folder", replaces=())
