"""What a notebook shows, with a stand-in for IPython."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import unpaired
from runs import TINY, write_images
from unpaired.training.progress import open_cell


class Shown:
    """What a cell shows; every update replaces it."""

    def __init__(self) -> None:
        self.contents: list[dict[str, str]] = []

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Shown:
        assert raw
        assert display_id
        assert not self.contents, "one output, which is updated"
        self.contents.append(content)
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        self.contents.append(content)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown()
    ipython, displays = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    displays.display = shown.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    return shown


def test_one_line_changes_above_the_latest_samples(shown: Shown, tmp_path: Path) -> None:
    cell = open_cell()
    assert cell is not None
    Image.new("RGB", (4, 4)).save(tmp_path / "grid.png")
    cell.show(line="1 % <done>")
    cell.show(picture=tmp_path / "grid.png")
    cell.show(line="2 %")
    assert [content["text/plain"] for content in shown.contents] == ["1 % <done>", "1 % <done>", "2 %"]
    assert "&lt;done&gt;" in shown.contents[0]["text/html"]
    assert ["data:image/png" in content["text/html"] for content in shown.contents] == [False, True, True]


def test_a_terminal_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert open_cell() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert open_cell() is None


def test_a_training_shows_itself_and_its_result(
    shown: Shown, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data", {"trainA": 4, "trainB": 4, "testA": 2, "testB": 2})
    settings: dict[str, Any] = {**TINY, "training.max_images": 8, "training.log_every_images": 2}
    result = unpaired.train(data=data, out=tmp_path / "run", settings=settings)
    assert "8/8 images" in shown.contents[-1]["text/plain"]
    assert "data:image/png" in shown.contents[-1]["text/html"]
    assert "images/s" not in capsys.readouterr().err
    page = result._repr_html_()
    assert "Finished after 8 images" in page
    assert page.count("data:image/png") == 1
    assert page.count("data:image/svg+xml") == 1
    assert result.peak_memory_bytes is None or result.peak_memory_bytes > 2**20


def test_a_mistake_of_the_user_is_one_line() -> None:
    try:
        unpaired.train(data="no/such/folder", out="never", crop_sise=128)
    except unpaired.UserError as error:
        (line,) = error._render_traceback_()
    assert line.startswith("UserError: crop_sise")
    assert "crop_size" in line.split("Did you mean")[1]
