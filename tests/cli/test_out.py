"""`--out` of every command: a stranger's file is never replaced, and nothing is written among images that are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparisons import write_places
from runs import TINY, arguments
from unpaired import cli

THEIRS = "<html>my thesis</html>"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("places")
    found = write_places(root)
    data = found["data"]
    _run(
        f"study create --real {data}/trainA --fake m={data}/testB --out {root}/study --practice 0 --trials 1 --catch 0",
        code=0,
    )
    return {**found, "study": str(root / "study")}


def _run(command: str, code: int) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(command.split())
    assert (stopped.value.code or 0) == code


TINY_RUN = " ".join(arguments(TINY))
REPLACE = {
    "evaluate {model} --data {data} --device cpu --metrics swd --no-bounds --out {out}": "evaluation.json",
    "audit {model} --data {data} --device cpu --images 2 --out {out}": "audit.json",
    "study report {study} --out {out}": "index.html",
    "study report {study} --out {out} ": "report.json",
    "study report {study} --out {out}  ": "answers.csv",
    "report {run} --out {out}/index.html": "index.html",
    "report {run} --out {out}/a.html --json {out}/report.json": "report.json",
    "segment score {model} --data {labelled} --out {out}/score.json": "score.json",
    "train cyclegan --data {data} --out {out} " + TINY_RUN: "index.html",
    "segment train --data {labelled} --set data.labels_a.kind=index --out {out}": "config.json",
    "compare {plan} --data {labelled} --out {out}": "index.html",
    "export {model} --out {out}/model.onnx": "model.onnx",
    "convert {model} --to-official --out {out}/model.pth": "model.pth",
    "demo --out {out}": "demo.png",
    "translate {model} {data}/testA --device cpu --out {out}": "0.png",
}


@pytest.mark.parametrize(("command", "name"), REPLACE.items(), ids=lambda value: value.strip()[:40])
def test_a_strangers_file_is_never_replaced(
    command: str, name: str, places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(THEIRS)
    _run(command.format(**places, out=tmp_path / "out"), code=2)
    shown = capsys.readouterr().err
    assert shown.count("error: ") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_text() == THEIRS


AMONG = (
    "train cyclegan --data {data} --out {data}/trainA/run " + TINY_RUN,
    "translate {model} {data}/testA --device cpu --out {data}/testA/out",
    "translate {model} {data}/testA --device cpu --existing overwrite --out {data}/testA",
    "evaluate {model} --data {data} --device cpu --metrics swd --out {data}/testA",
    "evaluate --real {data}/testA --fake {data}/testB --metrics swd --device cpu --out {data}/testB/out",
    "evaluate --real {data}/testA --fake {data}/testB/*.png --metrics swd --device cpu --out {data}/testB/out",
    "audit {model} --data {data} --device cpu --images 2 --out {data}/testB/audit",
    "compare {plan} --data {labelled} --out {labelled}/train/compared",
    "segment train --data {labelled} --set data.labels_a.kind=index --out {labelled}/trainannot/segmenter",
    "study create --real {data}/testA --fake m={data}/testB --out {data}/testB/study",
    "export {model} --precision int8 --calibrate {data}/testA --out {data}/testA/model.onnx",
)


@pytest.mark.parametrize("command", AMONG, ids=lambda value: value[:40])
def test_nothing_is_written_among_images(
    command: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(places["data"]).parent
    before = sorted(root.rglob("*"))
    _run(command.format(**places), code=2)
    assert "lies in a folder of images that is read" in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (
            "evaluate {model} --data {data} --device cpu --metrics swd --out {out} --quiet",
            "evaluation.json",
        ),
        ("study report {study} --out {out}", "index.html"),
        ("report {run} --out {out}/index.html", "index.html"),
    ],
)
def test_our_own_results_are_replaced(command: str, name: str, places: dict[str, str], tmp_path: Path) -> None:
    for _ in range(2):
        _run(command.format(**places, out=tmp_path / "out"), code=0)
        assert (tmp_path / "out" / name).is_file()
