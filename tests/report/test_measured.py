from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from report.examples import audit, evaluation, put
from unpaired.report.measured import MOST_BYTES, PictureFile, read_measured


def test_checkpoints_come_in_order_and_the_best_last(tmp_path: Path) -> None:
    for name in ("best", "000012000", "000002000"):
        put(tmp_path, "evaluation", name, evaluation())
    found, damage = read_measured(tmp_path, "evaluation")
    assert [each.name for each in found] == ["000002000", "000012000", "best"]
    assert not damage
    figure = found[0].document.directions["a2b"].figures[0]
    assert (figure.value, figure.error, figure.better) == (75.2, 1.34, "lower")
    assert figure.protocol["features"] == "Inception-v3 (FID)"
    assert read_measured(tmp_path, "audit") == ([], [])


def test_an_audit_is_read(tmp_path: Path) -> None:
    put(tmp_path, "audit", "best", audit(hidden=0.2))
    ((found,), _) = read_measured(tmp_path, "audit")
    direction = found.document.directions["a2b"]
    assert direction.hidden_share == 0.2
    assert direction.curves[0].lines[0].x == [0, 1, 2, 4, 8, 16]


def changed(**values: Any) -> dict[str, Any]:
    return evaluation() | values


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "it is damaged (not JSON)"),
        ("[" * 100_000, "it is damaged (not JSON)"),
        ("[]", "it is no evaluation of unpaired"),
        (audit(), "it is no evaluation of unpaired"),
        (changed(version=2), "its format has version 2, this version of unpaired reads 1"),
        (changed(version="1"), "its format has version '1'"),
        (changed(directions=3), "it is damaged (directions:"),
        (changed(directions={"a2b": {"figures": [{"name": "fid"}]}}), "it is damaged (directions.a2b.figures.0.title:"),
    ],
)
def test_a_file_that_is_not_right_is_one_line_and_the_rest_goes_on(tmp_path: Path, content: Any, reason: str) -> None:
    put(tmp_path, "evaluation", "000001000", content)
    put(tmp_path, "evaluation", "best", evaluation())
    found, damage = read_measured(tmp_path, "evaluation")
    assert [each.name for each in found] == ["best"]
    (line,) = damage
    assert line.startswith(f"{tmp_path / 'evaluations' / '000001000' / 'evaluation.json'} was left out: {reason}")
    assert "\n" not in line


def test_a_folder_without_its_file_and_a_file_too_large_are_told(tmp_path: Path) -> None:
    (tmp_path / "evaluations" / "000001000").mkdir(parents=True)
    large = put(tmp_path, "evaluation", "000002000", evaluation()) / "evaluation.json"
    with large.open("ab") as file:
        file.truncate(MOST_BYTES + 1)
    found, damage = read_measured(tmp_path, "evaluation")
    assert not found
    assert ["no such file" in damage[0], "larger than 16 MB" in damage[1]] == [True, True]


def test_numbers_that_json_has_not_become_none(tmp_path: Path) -> None:
    content = evaluation()
    content["directions"]["a2b"]["figures"][0] |= {"value": float("nan"), "error": float("inf")}
    put(tmp_path, "evaluation", "best", json.dumps(content))
    ((found,), _) = read_measured(tmp_path, "evaluation")
    figure = found.document.directions["a2b"].figures[0]
    assert (figure.value, figure.error) == (None, None)


def test_a_picture_outside_its_folder_is_none(tmp_path: Path) -> None:
    put(tmp_path, "evaluation", "best", evaluation())
    ((found,), _) = read_measured(tmp_path, "evaluation")
    assert found.picture(PictureFile(file="worst.png")) == tmp_path / "evaluations" / "best" / "worst.png"
    for outside in ("../secret.png", "/etc/passwd", "a/b.png", "..", "", "a\0.png"):
        place = found.picture(PictureFile(file=outside))
        assert place is None, outside
