from __future__ import annotations

from pathlib import Path

import pytest

from study.studies import pictures
from unpaired.cli import main
from unpaired.study.description import read_study

COUNTS = ["--trials", "6", "--catch", "1"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    pictures(tmp_path / "real", 9, 0)
    pictures(tmp_path / "ours", 8, 1)
    return [
        *("study", "create", "--real", str(tmp_path / "real"), "--fake", f"ours={tmp_path / 'ours'}"),
        *("--out", str(tmp_path / "a study"), "--practice", "2"),
    ]


def test_create_says_how_to_go_on(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, *COUNTS, "--title", "Which?", "--show", "in-turn", "--exposure", "0.5", "--size", "16x24"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "9 real pictures, 8 of ours; 16 x 24 pixels" in said
    assert f"unpaired study serve '{tmp_path / 'a study'}'" in said
    study = read_study(tmp_path / "a study", verify=True)
    assert (study.settings.title, study.settings.show, study.settings.exposure) == ("Which?", "in-turn", 0.5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([*COUNTS, "--exposure", "0"], "--exposure: received 0; allowed: a number above 0"),
        (["--trials", "0", "--catch", "1"], "--trials: received 0; allowed: a whole number above 0"),
        (
            [*COUNTS, "--completion-code", "a b"],
            "--completion-code: received 'a b'; allowed: text that matches ^[A-Za-z0-9_-]{1,40}$",
        ),
        ([*COUNTS, "--size", "big"], "--size big: expected a number of pixels"),
        ([*COUNTS, "--size", "4"], "--size 4: expected 8 to 4096 pixels"),
        ([*COUNTS, "--fake", "theirs"], '--fake "theirs": expected NAME=DIR'),
        ([*COUNTS, "--fake", "ours=x"], 'the method "ours" is given twice'),
        (["--trials", "6", "--catch", "2"], "the real pictures: 9 pictures, and 10 are needed"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, *more])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"real", "ours"}
