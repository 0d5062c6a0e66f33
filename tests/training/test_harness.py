"""Attacks with real processes: races for one folder, kills at file operations, dead output, Ctrl-C, full disks."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import unpaired as package
from processes import Asked
from runs import TINY, arguments, train_until, trained, unpaired, write_images
from unpaired.models.folder import checkpoints_of
from unpaired.report.run_log import means_among, read_metrics

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, forks and limits as on Linux")

SETTINGS: dict[str, Any] = {
    **TINY,
    "training.max_images": 6,
    "training.epochs": 4,
    "training.log_every_images": 1,
    "training.checkpoint_every_images": 2,
    "training.evaluate_every_images": 3,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), {"trainA": 3, "trainB": 4, "testA": 2, "testB": 2})


def digest(run: Path) -> dict[str, str]:
    """Return what the newest and the best checkpoint hold."""
    files = [*checkpoints_of(run)[0].glob("*.safetensors"), *(run / "best").glob("*.safetensors")]
    return {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _race(data: Path, tmp_path: Path, rounds: int, **options: Any) -> Iterator[tuple[list[Any], list[Any], Path]]:
    begun = time.monotonic()
    Asked(trained, data=data, out=tmp_path / "warm", settings=SETTINGS).answer()
    seconds = time.monotonic() - begun
    # At once, then at moments of the other's training, early ones more often.
    moments = [0.0, *(random.Random(0).random() * (1.0 if number % 2 else 0.3) for number in range(1, rounds))]
    for number, moment in enumerate(moments):
        run = tmp_path / f"run{number}"
        racers = []
        for seed in (1, 2):
            seeds = {} if options else {"training.seed": seed}
            racers.append(Asked(trained, data=data, out=run, settings={**SETTINGS, **seeds}, **options))
            time.sleep(moment * seconds if seed == 1 else 0)
        first, second = (racer.answer() for racer in racers)
        yield first, second, run


def test_of_two_starts_of_one_run_one_trains_and_the_other_changes_nothing(data: Path, tmp_path: Path) -> None:
    for first, second, run in _race(data, tmp_path, rounds=3):
        outcomes = [first[0], second[0]]
        assert sorted(outcomes) == ["refused", "trained"], (first, second)
        winner = outcomes.index("trained") + 1
        assert json.loads((run / "config.json").read_text())["training"]["seed"] == winner
        records = read_metrics(run)
        assert [record["images"] for record in means_among(records)] == [1, 2, 3, 4, 5, 6]
        assert [record["event"] for record in records if record.get("event") in ("finished", "resumed")] == ["finished"]


def test_two_starts_with_resume_auto_end_as_one_training(data: Path, tmp_path: Path) -> None:
    alone = package.train(data=data, out=tmp_path / "alone", settings=SETTINGS, quiet=True)
    for first, second, run in _race(data, tmp_path, rounds=2, resume="auto"):
        for state, told in (first, second):
            assert (state, told) == ("trained", 6) or "another process" in told, (first, second)
        assert "trained" in (first[0], second[0])
        assert digest(run) == digest(alone.run)


def test_killed_at_a_file_operation_it_ends_bit_identical(data: Path, tmp_path: Path) -> None:
    """In each quarter of some hundred operations once: begin, log, samples, checkpoints, best, page, end."""
    whole = tmp_path / "whole"
    state, images, operations = Asked(train_until, at=0, run=whole, data=data, settings=SETTINGS).answer()
    assert (state, images) == ("trained", 6)
    assert operations > 60
    parts, moments = 4, random.Random(9)
    for part in range(parts):
        at = moments.randint(1 + operations * part // parts, operations * (part + 1) // parts)
        run = tmp_path / f"killed{at}"
        assert Asked(train_until, at=at, run=run, data=data, settings=SETTINGS).answer() is None, at
        again = Asked(trained, out=run, data=data, settings=SETTINGS, resume="auto").answer()
        assert again == ["trained", 6], at
        assert digest(run) == digest(whole), at
        assert not [*run.rglob(".*writing*"), *run.rglob(".*replaced*")], at


def test_dead_output_ends_no_training(data: Path, tmp_path: Path) -> None:
    """The reader of a pipe goes, the disk of a log is full, a terminal is closed."""
    seldom = {f"training.{name}_every_images": 40 for name in ("checkpoint", "evaluate")}
    settings = arguments({**SETTINGS, **seldom, "training.max_images": 40, "training.epochs": 10})
    command = [sys.executable, "-m", "unpaired", "train", "cyclegan", "--data", str(data), *settings, "--out"]
    reader, pipe = os.pipe()
    controller, terminal = os.openpty()
    full = os.open("/dev/full", os.O_WRONLY)

    def with_terminal() -> None:
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    started = {
        "pipe": subprocess.Popen([*command, str(tmp_path / "pipe")], stderr=pipe, stdout=pipe),
        "full": subprocess.Popen([*command, str(tmp_path / "full")], stderr=full, stdout=full),
        "terminal": subprocess.Popen(
            [*command, str(tmp_path / "terminal")],
            stdin=terminal,
            stderr=terminal,
            stdout=terminal,
            preexec_fn=with_terminal,
        ),
    }
    for descriptor in (pipe, terminal, full):
        os.close(descriptor)
    for name, close in (("pipe", reader), ("terminal", controller)):
        while not read_metrics(tmp_path / name) and started[name].poll() is None:
            time.sleep(0.01)
        os.close(close)
    for name, process in started.items():
        code = process.wait()
        assert checkpoints_of(tmp_path / name)[0].name == "000000040", name
        assert read_metrics(tmp_path / name)[-1]["event"] == "finished", name
        # 2: the summary could not be printed. The terminal may also be closed after the last step.
        assert code in {"pipe": (0,), "full": (0, 2), "terminal": (0, 2, -signal.SIGHUP)}[name], name


def test_an_interrupt_at_any_moment_ends_the_command(data: Path, tmp_path: Path) -> None:
    settings = arguments({**SETTINGS, "training.max_images": 100_000, "training.epochs": 100_000})
    script = "import os; from unpaired.__main__ import main; os.write(1, b'.'); main()"  # Python itself has started
    command = [sys.executable, "-c", script, "train", "cyclegan", "--data", str(data), *settings, "--out"]
    for number, moment in enumerate((1.5, 4.0)):  # in imports or at the start, in the training
        run = tmp_path / f"run{number}"
        process = subprocess.Popen(
            [*command, str(run)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in the background of a shell
        )
        assert process.stdout is not None
        assert process.stdout.read(1) == "."
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=600)  # a lost interrupt would train for days
        assert process.returncode in (128 + signal.SIGINT, -signal.SIGINT), told
        assert "Traceback" not in told
        assert "Exception ignored" not in told
        if checkpoints_of(run):
            assert f"unpaired train --resume {run}" in told


def test_a_limit_of_file_sizes_is_one_message_and_the_run_goes_on_without_it(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    limited = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (20_000, 20_000))
    tokens = ("train", "cyclegan", "--data", data, "--out", run, "--resume", "auto", *arguments(SETTINGS))
    done = unpaired(*tokens, check=2, prepare=limited)
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    unpaired(*tokens)
    alone = package.train(data=data, out=tmp_path / "alone", settings=SETTINGS, quiet=True)
    assert digest(run) == digest(alone.run)
