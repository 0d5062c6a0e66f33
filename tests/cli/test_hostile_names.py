"""Names that a stranger chose, of files, folders, domains and models, are never obeyed by the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from evaluations import write_data, write_small_model
from runs import TINY, arguments
from unpaired import cli
from unpaired.models.folder import ModelCard

NAME = "a\x1b[31m\x9b2J\u202eb\nerror: forged"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|^error: forged", re.MULTILINE)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = write_data(tmp_path / "data", test=2, size=32)
    for part in ("trainA", "testA"):
        Image.new("RGB", (32, 32), "red").save(root / part / f"{NAME}.png")
        (root / part / f"{NAME} broken.png").write_bytes(b"no image")
    Image.new("RGB", (32, 32), "red").save(root / "testA" / f"{NAME}.jpg")
    return root


def _run(capsys: pytest.CaptureFixture[str], *tokens: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(token) for token in tokens])
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert not RAW.search(text), ascii(text)
    assert "unexpected" not in shown.err
    return int(stopped.value.code or 0), shown.out, shown.err


def test_file_names(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = write_small_model(tmp_path / "model"), tmp_path / "out"
    tokens = ("train", "cyclegan", "--data", data, "--out", tmp_path / "run", *arguments(TINY))
    code, _, error = _run(capsys, *tokens)
    assert code == 2
    assert "forged" in error
    assert _run(capsys, "info", data)[0] == 0
    assert "forged" in json.dumps(json.loads(_run(capsys, "info", data, "--json")[1]))
    assert _run(capsys, "translate", model, data / "testA", "--out", out, "--device", "cpu")[0] == 2  # one output
    broken = data / "testA" / f"{NAME} broken.png"
    for suffix in ("jpg", "png"):
        _run(capsys, "translate", model, data / "testA" / f"{NAME}.{suffix}", "--out", out, "--device", "cpu")
    assert _run(capsys, "translate", model, broken, "--out", out, "--device", "cpu")[0] == 1
    assert _run(capsys, "evaluate", model, "--data", data, "--out", out, "--device", "cpu")[0] == 2
    folders = ("--real", data / "testA", "--fake", data / "testB", "--input", data / "testA", "--out", out)
    assert _run(capsys, "evaluate", *folders, "--device", "cpu")[0] == 2
    assert _run(capsys, "evaluate", *folders, "--device", "cpu", "--paired", "--on-bad-image", "skip")[0] in (0, 2)
    assert _run(capsys, "convert", broken, "--out", tmp_path / "converted")[0] == 2
    assert _run(capsys, "info", broken)[0] == 2
    assert _run(capsys, "info", data / "testA" / f"{NAME}.png")[0] == 0


def test_folder_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_data(tmp_path / NAME.replace("/", ""), test=2, size=32)
    model = write_small_model(root / "model")
    for tokens in (
        ("info", root),
        ("info", model),
        ("info", root / "nowhere"),
        ("translate", root, root, "--out", "x"),
    ):
        _run(capsys, *tokens)
    (root / "other").mkdir()
    assert _run(capsys, "train", "cyclegan", "--data", root / "other", "--out", tmp_path / "run")[0] == 2
    assert _run(capsys, "train", "--resume", root / "other")[0] == 2
    assert _run(capsys, "report", root / "other", "--out", tmp_path / "a.html")[0] == 2
    assert _run(capsys, "audit", root / "other", "--data", root)[0] == 2


def test_what_a_model_says_of_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ModelCard.__init__

    def hostile(self: ModelCard, **fields: object) -> None:
        made(self, **(fields | {"origin": NAME, "versions": {NAME: NAME}}))  # type: ignore[arg-type]

    data = write_data(tmp_path / "data", test=2, size=32)
    monkeypatch.setattr(ModelCard, "__init__", hostile)
    model = write_small_model(tmp_path / "model")
    assert "forged" in _run(capsys, "info", model)[1]
    assert "forged" in _run(capsys, "info", model, "--json")[1]
    assert _run(capsys, "translate", model, data / "testA", "--out", tmp_path / "out", "--device", "cpu")[0] == 0
    _run(capsys, "evaluate", model, "--data", data, "--metrics", "swd", "--out", tmp_path / "e", "--device", "cpu")
