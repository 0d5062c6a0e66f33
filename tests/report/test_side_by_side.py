from __future__ import annotations

from pathlib import Path

import pytest

from report.examples import evaluation, put, write_run
from unpaired.report.results import Evaluation, Value
from unpaired.report.runs import Run, read_runs
from unpaired.report.side_by_side import SideBySide, columns_of, protocol_of, side_by_side, table_of, verdicts


def runs_with(tmp_path: Path, *contents: object) -> list[Run]:
    folders = [write_run(tmp_path / f"r{place}", records=3, grids=0, evaluations=0) for place in range(len(contents))]
    for folder, content in zip(folders, contents, strict=True):
        put(folder, "evaluation", "best", content)
    return read_runs(folders)


def compared(tmp_path: Path, *contents: object) -> SideBySide:
    """Return the figures of the first direction, A to B."""
    return side_by_side(columns_of(runs_with(tmp_path, *contents), Evaluation), [])[0]


def values(found: SideBySide, name: str) -> list[list[float | None]]:
    rows = [row for row in found.rows if row.figure.name == name and not row.bound]
    return [[None if cell is None else cell.value for cell in row.cells] for row in rows]


def test_figures_of_one_protocol_stand_beside_each_other(tmp_path: Path) -> None:
    found = compared(tmp_path, evaluation(fid=80.0), evaluation(fid=60.0))
    assert found.direction == "a2b"
    assert values(found, "fid") == [[80.0, 60.0]]
    assert found.rows[0].best == 1
    assert not found.differences


@pytest.mark.parametrize(("second", "best"), [(77.4, None), (77.6, 0), (73.6, None), (73.4, 1)])
def test_the_best_is_marked_from_two_standard_errors_of_the_difference_on(
    tmp_path: Path, second: float, best: int | None
) -> None:
    # Errors of 0.6 and 0.8 make one of 1.0 for the difference from 75.5.
    found = compared(tmp_path, evaluation(fid=75.5, error=0.6), evaluation(fid=second, error=0.8))
    assert found.rows[0].best == best


def test_higher_is_better_where_it_is_and_equal_values_have_no_best(tmp_path: Path) -> None:
    first, second = evaluation(), evaluation()
    for content in (first, second):
        for figure in content["directions"]["a2b"]["figures"]:
            figure["error"] = None if figure["name"] == "swd" else 0.01
            figure["value"] = figure["value"] and figure["value"] - (content is second)
    found = compared(tmp_path, first, second)
    best = {row.figure.name: row.best for row in found.rows if not row.bound}
    assert best["psnr"] == 0
    assert best["kid"] == 1
    assert best["swd"] is None, "its error is not known"
    assert best["ms_ssim"] is None, "it has no value"
    same = compared(tmp_path / "same", evaluation(), evaluation())
    assert {row.best for row in same.rows} == {None}


def test_figures_of_different_protocols_stand_in_rows_of_their_own(tmp_path: Path) -> None:
    other = evaluation(fid=1.0, **{"resize filter": "bilinear", "antialias": False})
    found = compared(tmp_path, evaluation(fid=80.0), other)
    assert values(found, "fid") == [[80.0, None], [None, 1.0]]
    assert [row.best for row in found.rows if row.figure.name == "fid"] == [None, None]
    first, second = (row.protocol + 1 for row in found.rows if row.figure.name == "fid")
    (line,) = found.differences
    assert line.startswith("FID: measured by different protocols, which cannot be compared.")
    assert f"resize filter: bicubic, antialiased (P{first}), bilinear (P{second})" in line
    assert f"antialias: unknown (P{first}), false (P{second})" in line
    assert "seed" not in line
    assert values(found, "kid") == [[0.0312, 0.0312]]


def test_other_images_are_another_protocol_for_every_figure_and_another_folder_is_not(tmp_path: Path) -> None:
    moved = evaluation()
    moved["data"] = moved["data"] | {"root": "/elsewhere"}
    assert not compared(tmp_path / "moved", evaluation(), moved).differences
    fewer = evaluation()
    fewer["data"] = fewer["data"] | {"contents": "0ther"}
    found = compared(tmp_path / "fewer", evaluation(), fewer)
    assert all(row.cells.count(None) == 1 for row in found.rows)
    assert all("data: contents: c0ffee12" in line for line in found.differences)


def test_bounds_follow_their_figure_and_are_never_the_best(tmp_path: Path) -> None:
    found = compared(tmp_path, evaluation())
    order = [(row.figure.name, row.bound) for row in found.rows]
    swd = [("swd", ""), ("swd", "untranslated"), ("swd_64", "")]
    assert order == [("fid", ""), ("kid", ""), *swd, ("psnr", ""), ("ms_ssim", "")]
    assert found.rows[3].best is None


def test_the_data_belongs_to_the_protocol(tmp_path: Path) -> None:
    (run,) = runs_with(tmp_path, evaluation())
    measured = run.evaluations[0]
    protocol = protocol_of(measured.document.directions["a2b"].figures[1], measured)
    assert protocol["data: contents"] == "c0ffee12"
    assert protocol["seed"] == 0
    assert "root" not in " ".join(protocol)


def test_what_changes_no_figure_makes_no_other_protocol(tmp_path: Path) -> None:
    found = compared(tmp_path, evaluation(python="3.11.7"), evaluation(python="3.12.1"))
    assert not found.differences
    assert values(found, "fid") == [[75.2, 75.2]]


def test_the_table_marks_the_best_and_names_protocols_where_there_are_several(tmp_path: Path) -> None:
    table = table_of(compared(tmp_path, evaluation(fid=80.0), evaluation(fid=60.0)))
    assert table.columns == ("metric", "1 r0 · best", "2 r1 · best", "better")
    row = next(row for row in table.rows if row[0] == "FID")
    assert [cell.best for cell in row if isinstance(cell, Value)] == [False, True]
    assert [table.rows[place][0] for place in table.references] == ["untranslated input"]
    other = table_of(compared(tmp_path / "other", evaluation(), evaluation(images=50)))
    assert [row[0] for row in other.rows if str(row[0]).startswith("FID")] == ["FID (protocol P1)", "FID (protocol P3)"]


def test_a_sentence_says_which_run_is_better_and_whether_by_more_than_the_error(tmp_path: Path) -> None:
    first, second = verdicts(compared(tmp_path, evaluation(fid=80.0), evaluation(fid=60.0)))
    assert first.startswith("1 r0 · best: worse than")
    assert second.startswith("2 r1 · best: better than")
    same = verdicts(compared(tmp_path / "same", evaluation(fid=60.0), evaluation(fid=60.5)))
    assert not any("better" in line for line in same)
    assert verdicts(compared(tmp_path / "one", evaluation())) == []
