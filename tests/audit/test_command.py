"""`unpaired audit` prints a table and a paragraph, or the document, and tells a mistake in one message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unpaired import cli


def call(*tokens: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, tokens)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_verdict_table_and_paragraph(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("audit", run, "--images", "2", "--direction", "AtoB") == 0
    out = capsys.readouterr().out
    words = " ".join(out.split())
    assert words.startswith(f"{run}, checkpoint 000000100 (100 images) A to B")
    assert "the translations hide their inputs" in words
    assert "A to B, 2 images. Translated back to A" in words
    assert "B to A, 2 images" not in words
    lines = out.partition("Protocol")[0].splitlines()
    for title in ("JPEG of quality 75", "noise of 0.5 levels", "8 bits per value"):
        assert sum(title in line for line in lines) == 1, "no row is broken at 80 columns"
    assert str(run / "audits" / "000000100") in out.replace("\n", "")


def test_json_is_all_that_is_printed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("audit", run, "--images", "2", "--out", tmp_path / "out", "--json", "--quiet") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))


def test_quiet_prints_the_tables_and_no_notes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("audit", run, "--checks", "hidden", "--images", "2", "--direction", "b2a", "--quiet") == 0
    caught = capsys.readouterr()
    assert "noise of 2 levels" in caught.out
    assert "note:" not in caught.err


def test_a_mistake_is_one_message(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tokens, said in (
        (("audit", tmp_path / "nowhere"), "there is no model at"),
        (("audit", run, "--size", "big"), "--size: received 'big'; allowed: a number of pixels"),
        (("audit", run, "--device", "abacus"), "--device abacus"),
        (("audit", run, "--data", tmp_path / "nothing"), "nothing"),
    ):
        assert call(*tokens) == 2
        caught = capsys.readouterr()
        assert caught.out == ""
        assert caught.err.startswith("error: ")
        assert said in caught.err
    assert not (run / "audits").exists()
