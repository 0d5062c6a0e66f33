"""The demo that ends in the playground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unpaired import demo
from unpaired.cli import app
from unpaired.serve import start


@pytest.mark.parametrize(("code", "served"), [(0, True), (1, True), (130, False)])
def test_what_was_trained_is_served_unless_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, served: bool
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(demo, "run_demo", lambda out, **_: code)
    monkeypatch.setattr(start, "serve", lambda models, settings, **more: calls.append((models, settings.host, more)))
    words = ["demo", "--out", str(tmp_path / "demo"), "--open"]
    assert app(words, exit_on_error=False, result_action="return_value") == code
    assert calls == ([([f"fish={tmp_path / 'demo' / 'run'}"], "127.0.0.1", {"open_page": True})] if served else [])


@pytest.mark.parametrize("display", [":0", ""])
def test_without_a_window_the_address_is_said(
    display: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    start.show_page("http://127.0.0.1:1/")
    assert opened == (["http://127.0.0.1:1/"] if display else [])
    assert ("http://127.0.0.1:1/" in capsys.readouterr().out) is not bool(display)
