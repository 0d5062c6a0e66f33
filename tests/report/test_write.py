from __future__ import annotations

import json
from pathlib import Path

import pytest

from report.examples import audit, evaluation, put, write_run
from unpaired.cli import main
from unpaired.core.errors import UserError
from unpaired.report.write import write_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "h2z", records=20, grids=2, evaluations=4)
    put(folder, "evaluation", "best", evaluation())
    put(folder, "audit", "best", audit())
    return folder


def test_the_data_is_what_the_page_shows(tmp_path: Path, run: Path) -> None:
    other = write_run(tmp_path / "other", records=20, grids=0, settings={"batch_size": 4})
    put(other, "evaluation", "best", evaluation(fid=60.0, images=50))
    written = write_report([run, other], tmp_path / "report.html", data=tmp_path / "report.json", title="Both")
    assert written.data is not None

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(written.data.read_text(encoding="utf-8"), parse_constant=refuse)
    assert (content["format"], content["version"], content["title"]) == ("unpaired-report", 1, "Both")
    assert [each["name"] for each in content["runs"]] == ["h2z", "other"]
    first = content["runs"][0]
    assert first["standing"]["images"] == 2000
    assert first["config"]["method"]["cycle_weight"] == 10.0
    assert len(first["training_evaluations"]) == 4
    assert first["curves"]["charts"][0]["lines"]["gan_a2b"][0] is not None
    assert first["samples"][1]["file"] == str(run / "samples" / "000001000.png")
    assert first["audits"][0]["directions"]["a2b"]["hidden_share"] == 0.34
    picture = first["evaluations"][0]["directions"]["a2b"]["pictures"][0]["file"]
    assert picture == str(run / "evaluations" / "best" / "worst.png")
    assert content["settings"]["differing"] == {"training.batch_size": [None, 4]}
    figures = content["figures"]["directions"]["a2b"]
    assert figures["columns"] == [{"run": 1, "checkpoint": "best"}, {"run": 2, "checkpoint": "best"}]
    fid = [row for row in figures["rows"] if row["name"] == "fid"]
    assert [row["values"] for row in fid] == [[75.2, None], [None, 60.0]]
    assert [content["figures"]["protocols"][row["protocol"]]["images"] for row in fid] == [100, 50]
    assert len(figures["differences"]) == 1


def test_a_report_is_replaced_and_nothing_else(tmp_path: Path, run: Path) -> None:
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    write_report([run], page, data=data)
    before = page.read_bytes()
    write_report([run], page, data=data, title="Again")
    assert b"<h1>Again</h1>" in page.read_bytes() != before
    theirs = run / "index.html"
    theirs.write_text('<meta name="generator" content="unpaired">')  # the page of the training is no report
    with pytest.raises(UserError, match="is no report of unpaired, so it is not replaced"):
        write_report([run], theirs)
    with pytest.raises(UserError, match=r"--json .*config.json exists and is no report"):
        write_report([run], tmp_path / "new.html", data=run / "config.json")
    assert not (tmp_path / "new.html").exists()
    assert json.loads((run / "config.json").read_text())["method"]["name"] == "cyclegan"


def test_places_that_would_mislead_are_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UserError, match=r"--out .*report.pdf: expected a file that ends in .htm or .html"):
        write_report([run], tmp_path / "report.pdf")
    with pytest.raises(UserError, match=r"--json .*report.html: expected a file that ends in .json"):
        write_report([run], tmp_path / "a.html", data=tmp_path / "report.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UserError, match=r"is a folder. Give a file, such as"):
        write_report([run], tmp_path / "folder.html")
    with pytest.raises(UserError, match="--title is empty"):
        write_report([run], tmp_path / "a.html", title=" ")
    with pytest.raises(UserError, match="no run is given"):
        write_report([], tmp_path / "a.html")


def test_nothing_is_left_behind_where_it_cannot_be_written(tmp_path: Path, run: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        write_report([run], blocked / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "h2z"]


def test_the_command(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(run, "evaluation", "000000100", "{")
    out = tmp_path / "out" / "report.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run), "--out", str(out), "--json", str(tmp_path / "report.json")])
    told = capsys.readouterr()
    assert ended.value.code == 0
    assert told.out.startswith(f"Report: {out} (")
    assert told.out.endswith(f"Data: {tmp_path / 'report.json'}\n")
    assert told.err.startswith("warning: ")
    assert "evaluation.json was left out: it is damaged" in told.err
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "none"), "--out", str(out)])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: there is no run at {tmp_path / 'none'}. Give folders that `unpaired train` wrote.\n"
    )
