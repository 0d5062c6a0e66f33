from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest

from unpaired.core.text import duration
from unpaired.training.progress import Progress

LOSSES = ("gan_a2b", "gan_b2a", "cycle_a", "cycle_b", "identity_a", "identity_b", "discriminator_a", "discriminator_b")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return Terminal()


def record(images: int, epoch_images: int = 1000, **changes: Any) -> dict[str, Any]:
    return {
        "images": images,
        "epoch": images / epoch_images,
        "images_per_second": 25.0,
        "waiting_share": 0.031,
        "losses": {name: 0.1 * (number + 1) for number, name in enumerate(LOSSES)},
        **changes,
    }


def show(progress: Progress, images: int, **changes: Any) -> None:
    progress.update(record(images, **changes), total_images=4000, epoch=images // 1000 + 1, epochs=4)


def screen(text: str) -> list[str]:
    """Return the lines that were drawn, without control codes."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).strip("\r") for line in text.split("\n")]


def test_plain_lines_come_at_the_start_at_every_epochs_end_and_at_the_end() -> None:
    stream = io.StringIO()
    with Progress(every_seconds=1e9, stream=stream) as progress:
        for images in range(250, 4001, 250):
            show(progress, images)
    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["6%", "25%", "50%", "75%", "100%"]
    assert lines[1].startswith("25%  epoch 2/4  1,000/4,000 images  25 images/s  waiting for data 3%  2:00 min left")
    assert lines[1].endswith("  discriminator_a 0.700  discriminator_b 0.800")
    assert "\x1b" not in stream.getvalue()


def test_plain_lines_come_as_often_as_asked() -> None:
    stream = io.StringIO()
    with Progress(every_seconds=0, stream=stream) as progress:
        for images in range(1, 11):
            show(progress, images)
    assert len(stream.getvalue().splitlines()) == 10


def test_long_plain_lines_are_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    with Progress(stream=stream) as progress:
        show(progress, 10)
        progress.message("a message that is longer than the forty columns that there are said to be")
    assert len(stream.getvalue().splitlines()) == 2


def test_checks_show_their_end_and_not_every_file() -> None:
    stream = io.StringIO()
    with Progress(every_seconds=1e9, stream=stream) as progress:
        for done in range(2001):
            progress.checking("checking images", done, 2000)
        for done in (1, 3):
            progress.checking("building the cache", done, 3)
    assert stream.getvalue().splitlines() == ["checking images: 2,000 of 2,000", "building the cache: 3 of 3"]


def test_quiet_leaves_warnings_alone() -> None:
    stream = io.StringIO()
    with Progress(quiet=True, every_seconds=0, stream=stream) as progress:
        progress.checking("checking images", 1, 1)
        progress.message("saved")
        show(progress, 4000)
        progress.warn("[red]the discriminator[/red] always wins")
    assert stream.getvalue() == "warning: [red]the discriminator[/red] always wins\n"


def test_quiet_is_quiet_on_a_terminal(terminal: Terminal) -> None:
    with Progress(quiet=True, stream=terminal) as progress:
        show(progress, 100)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_the_live_display_fits_the_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with Progress(stream=terminal) as progress:
        progress.checking("checking images", 50, 2000)
        show(progress, 1000)
    lines = screen(terminal.getvalue())
    assert max(len(line) for line in lines) <= columns
    text = " ".join(" ".join(lines).split())
    for part in ("epoch 2/4", "1,000/4,000 images", "25 images/s", "left", "25%", "discriminator_b"[: columns // 4]):
        assert part in text


def test_the_live_display_in_eighty_columns(terminal: Terminal) -> None:
    with Progress(stream=terminal) as progress:
        progress.message("12 images left out")
        show(progress, 1000)
    lines = [line.rstrip() for line in screen(terminal.getvalue()) if line.strip()]
    assert lines[0] == "12 images left out"
    assert re.fullmatch(r"━+[╸╺]?━+  25%  (2:00|1:59) min left", lines[-4])
    assert lines[-3] == "epoch 2/4   1,000/4,000 images   25 images/s   waiting for data 3%"
    assert lines[-2] == "gan_a2b 0.100   cycle_a 0.300   identity_a 0.500   discriminator_a 0.700"
    assert lines[-1] == "gan_b2a 0.200   cycle_b 0.400   identity_b 0.600   discriminator_b 0.800"


def test_the_live_display_leaves_stdout_alone(terminal: Terminal) -> None:
    stdout = sys.stdout
    with Progress(stream=terminal) as progress:
        show(progress, 1000)
        assert sys.stdout is stdout
    assert sys.stdout is stdout


def test_an_error_inside_restores_the_cursor(terminal: Terminal) -> None:
    def fail() -> None:
        with Progress(stream=terminal) as progress:
            show(progress, 1000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert terminal.getvalue().rfind("\x1b[?25h") > terminal.getvalue().rfind("\x1b[?25l")


def test_a_dumb_terminal_gets_plain_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with Progress(stream=terminal) as progress:
        show(progress, 1000)
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": {}},
        {"losses": {"gan_a2b": None, "cycle_a": float("nan"), "cycle_b": 1e9, "big": -123456.0}},
        {"images_per_second": 0.0},
        {"losses": {f"loss_with_a_rather_long_name_{n}": 1.0 for n in range(30)}},
    ],
)
def test_unusual_records_are_shown(terminal: Terminal, changes: dict[str, Any]) -> None:
    plain = io.StringIO()
    for stream in (terminal, plain):
        with Progress(stream=stream) as progress:
            show(progress, 10, **changes)
        assert "10/4,000 images" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (725, "12:05 min"), (11220, "3:07 h"), (900_000, "10 d 10 h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
