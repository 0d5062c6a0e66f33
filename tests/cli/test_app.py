"""What becomes of errors at the top: one message, a log for what nobody foresaw, and output that has gone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runs import unpaired
from unpaired import cli
from unpaired.cli.app import UNEXPECTED
from unpaired.core import terminal

SOURCE = Path(cli.__file__).resolve().parents[1]


def _run(*tokens: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(tokens)
    return int(stopped.value.code or 0)


def _fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(sys.modules["unpaired.cli.app"], "_run", fail)


def test_what_nobody_foresaw_is_one_message_and_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _fails_with(monkeypatch, KeyError("\x1b[31mweird\nerror: forged"))
    assert _run("info", "somewhere") == UNEXPECTED == 70
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert "\x1b" not in shown.err
    assert shown.err.count("error: unexpected KeyError") == 1
    log = re.search(r"log: (.*)$", shown.err.strip(), re.MULTILINE)
    assert log is not None
    content = Path(log[1]).read_text(encoding="utf-8")
    assert "unpaired info somewhere" in content
    assert "Traceback" in content


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(13, "Permission denied", "some/\x1bfile"), 2, "cannot use some/\\x1bfile: Permission denied"),
        (OSError(28, "No space left on device"), 2, "cannot write the output: No space left on device"),
        (FileNotFoundError(2, "No usable temporary directory found in []"), 2, "TMPDIR"),
        (MemoryError(), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, ""),
        (RecursionError("deep"), 70, "unexpected RecursionError"),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["unpaired.cli.app"], "discard", lambda stream: None)
    _fails_with(monkeypatch, error)
    assert _run() == code
    assert said in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("output", ["full", "closed"])
def test_output_that_has_gone_is_no_traceback(output: str) -> None:
    place = {"full": "> /dev/full", "closed": ">&-"}[output]
    line = f"exec {sys.executable} -m unpaired settings cyclegan {place}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == (2 if output == "full" else 0), done.stderr
    assert ("cannot write the output" in done.stderr) == (output == "full")


@pytest.mark.parametrize("command", [("settings", "cyclegan"), ("info", ".")])
def test_a_reader_that_has_gone_is_no_error(command: tuple[str, ...]) -> None:
    """`info` prints with rich, whose own answer to a closed pipe is exit code 1."""
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "unpaired", *command]
    done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("seconds", [0.02, 0.6])
def test_an_interruption_at_any_moment_is_quiet(seconds: float, tmp_path: Path) -> None:
    script = "import sys; from unpaired.__main__ import main; sys.argv = ['unpaired', *sys.argv[1:]]; main()"
    tokens = ("train", "cyclegan", "--data", str(tmp_path), "--out", str(tmp_path / "out"))
    process = subprocess.Popen(
        [sys.executable, "-c", f"import unpaired; print('begun', flush=True); {script}", *tokens],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert "Traceback" not in error, error
    assert process.returncode in (130, -signal.SIGINT, 2)  # 2: it had ended, since the folder holds no images


def test_only_one_place_prints() -> None:
    for path in SOURCE.rglob("*.py"):
        if path == Path(terminal.__file__):
            continue
        content = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])print\(|sys\.std(out|err)\.write|[^_]Console\(", content), path


def test_names_that_are_not_unicode_are_shown(tmp_path: Path) -> None:
    place = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    done = unpaired("info", place, check=2)
    assert r"caf\udce9" in done.stderr


def test_the_log_has_no_place_where_nothing_can_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in []")

    monkeypatch.setenv("UNPAIRED_CACHE", "/dev/null/cache")
    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    _fails_with(monkeypatch, KeyError("x"))
    assert _run("info", "somewhere") == UNEXPECTED
    assert "it cannot be written anywhere" in capsys.readouterr().err
