from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from report.examples import audit, evaluation, put
from unpaired.core.files import MOST_BYTES
from unpaired.report.results import Audit, Evaluation, Picture
from unpaired.report.runs import read_results


def test_checkpoints_come_in_order_and_the_best_last(tmp_path: Path) -> None:
    for name in ("best", "000012000", "000002000"):
        put(tmp_path, "evaluation", name, evaluation())
    found, damage = read_results(tmp_path, Evaluation)
    assert [each.name for each in found] == ["000002000", "000012000", "best"]
    assert not damage
    figure = found[0].document.directions["a2b"].figures[0]
    assert (figure.value, figure.error, figure.better) == (75.2, 1.34, "lower")
    assert figure.protocol["features"] == "Inception-v3 (FID)"
    assert read_results(tmp_path, Audit) == ([], [])


def test_an_audit_is_read(tmp_path: Path) -> None:
    put(tmp_path, "audit", "best", audit())
    ((found,), _) = read_results(tmp_path, Audit)
    direction = found.document.directions["a2b"]
    assert direction.figure("noise_1") is not None
    assert direction.charts[0].lines[0].x == (0, 1, 2, 4, 8, 16)


def changed(**values: Any) -> dict[str, Any]:
    return evaluation() | values


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is damaged (not JSON)"),
        ("[" * 100_000, "is damaged (not JSON)"),
        ("[]", "is damaged (no JSON object)"),
        (audit(), "is no document of format unpaired-evaluation"),
        (changed(version=2), "has version 2, this version of unpaired reads 1"),
        (changed(version="1"), "has version '1'"),
        (changed(directions=3), "is damaged (directions:"),
        (changed(directions={"a2b": {"figures": [{"name": "fid"}]}}), "is damaged (directions.a2b.figures.0.title:"),
    ],
)
def test_a_file_that_is_not_right_is_one_line_and_the_rest_goes_on(tmp_path: Path, content: Any, reason: str) -> None:
    put(tmp_path, "evaluation", "000001000", content)
    put(tmp_path, "evaluation", "best", evaluation())
    found, damage = read_results(tmp_path, Evaluation)
    assert [each.name for each in found] == ["best"]
    (line,) = damage
    assert line.startswith(f"{tmp_path / 'evaluations' / '000001000' / 'evaluation.json'} {reason}")
    assert "\n" not in line


def test_a_folder_without_its_file_and_a_file_too_large_are_told(tmp_path: Path) -> None:
    (tmp_path / "evaluations" / "000001000").mkdir(parents=True)
    large = put(tmp_path, "evaluation", "000002000", evaluation()) / "evaluation.json"
    with large.open("ab") as file:
        file.truncate(MOST_BYTES + 1)
    found, damage = read_results(tmp_path, Evaluation)
    assert not found
    assert ["No such file" in damage[0], "at most 16,000,000" in damage[1]] == [True, True]


def test_a_picture_outside_its_folder_is_none(tmp_path: Path) -> None:
    put(tmp_path, "evaluation", "best", evaluation())
    ((found,), _) = read_results(tmp_path, Evaluation)
    assert found.picture(Picture(file="worst.png")) == tmp_path / "evaluations" / "best" / "worst.png"
    for outside in ("../secret.png", "/etc/passwd", "a/b.png", "..", "", "a\0.png"):
        place = found.picture(Picture(file=outside))
        assert place is None, outside


def test_a_document_is_written_whole_and_replaces_its_pictures(tmp_path: Path) -> None:
    found = Evaluation.model_validate(evaluation())
    direction = found.directions["a2b"].model_copy(update={"pictures": (Picture(file="new.png", content=b"png"),)})
    put(tmp_path, "evaluation", "best", evaluation())
    folder = tmp_path / "evaluations" / "best"
    path = found.model_copy(update={"directions": {"a2b": direction}}).write(folder)
    assert sorted(each.name for each in folder.iterdir()) == ["evaluation.json", "new.png"]
    again = Evaluation.read(folder)
    assert path == folder / "evaluation.json"
    assert again.directions["a2b"].figures == found.directions["a2b"].figures
    assert "NaN" not in path.read_text()


def test_two_processes_never_mix_their_files(tmp_path: Path) -> None:
    """Each of two processes writes a document with pictures of its own, again and again, into one folder."""
    program = """
import sys
from pathlib import Path
from unpaired.report.results import Direction, Evaluation, Picture
folder, name = Path(sys.argv[1]), sys.argv[2]
for number in range(30):
    pictures = tuple(Picture(file=f"{place}.png", content=f"{name}{number}".encode()) for place in range(4))
    Evaluation(title=f"{name}{number}", directions={"a2b": Direction(pictures=pictures)}).write(folder)
"""
    both = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in ("x", "y")]
    assert [process.wait(60) for process in both] == [0, 0]
    title = Evaluation.read(tmp_path).title
    assert {(tmp_path / f"{place}.png").read_text() for place in range(4)} == {title}
