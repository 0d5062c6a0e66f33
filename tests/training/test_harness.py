"""Attacks with real processes: races for one folder, kills at file operations, dead output, Ctrl-C, full disks."""

from __future__ import annotations

import contextlib
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
from runs import TINY, arguments, unpaired, write_images
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
WORKER = """
import json, os, signal, sys
import unpaired

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.truncate"}

def train(job):
    try:
        return ["trained", unpaired.train(quiet=True, **job).images_seen]
    except unpaired.UserError as error:
        return ["refused", str(error)]

def killed(job, run, at):
    # Train in a fork that is killed at this file operation in the run; return how many there were
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0
        def count(event, args):
            nonlocal seen
            if event not in EVENTS or not any(run in os.fsdecode(a) for a in args if isinstance(a, (str, bytes))):
                return
            if event == "open" and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        outcome = train(job)
        os.write(writer, json.dumps([*outcome, seen]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else ["killed"]

for line in sys.stdin:
    job = json.loads(line)
    at = job.pop("at", None)
    print(json.dumps(train(job) if at is None else killed(job, job.get("out") or job["resume"], at)), flush=True)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), {"trainA": 3, "trainB": 4, "testA": 2, "testB": 2})


class Worker:
    """A process that trains what it is asked to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **job: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job, default=str) + "\n")
        self.process.stdin.flush()

    def answer(self) -> list[Any]:
        assert self.process.stdout is not None
        found: list[Any] = json.loads(self.process.stdout.readline())
        return found


@contextlib.contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    made = [Worker() for _ in range(count)]
    try:
        yield made
    finally:
        for worker in made:
            worker.process.communicate()


def digest(run: Path) -> dict[str, str]:
    """Return what the newest and the best checkpoint hold."""
    files = [*checkpoints_of(run)[0].glob("*.safetensors"), *(run / "best").glob("*.safetensors")]
    return {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _race(data: Path, tmp_path: Path, rounds: int, **options: Any) -> list[tuple[list[Any], list[Any], Path]]:
    moments, found = random.Random(0), []
    with workers(2) as (one, two):
        for worker in (one, two):  # both have imported everything, and know how long a training takes
            begun = time.monotonic()
            worker.ask(data=data, out=tmp_path / f"warm{worker.process.pid}", settings=SETTINGS)
            worker.answer()
            seconds = time.monotonic() - begun
        for number in range(rounds):
            run = tmp_path / f"run{number}"
            for worker, seed in ((one, 1), (two, 2)):
                seeds = {} if options else {"training.seed": seed}
                worker.ask(data=data, out=run, settings={**SETTINGS, **seeds}, **options)
                if worker is one:
                    time.sleep(moments.choice([0, moments.random() * 0.3, moments.random() * 1.2]) * seconds)
            found.append((one.answer(), two.answer(), run))
    return found


def test_of_two_starts_of_one_run_one_trains_and_the_other_changes_nothing(data: Path, tmp_path: Path) -> None:
    for first, second, run in _race(data, tmp_path, rounds=7):
        outcomes = [first[0], second[0]]
        assert sorted(outcomes) == ["refused", "trained"], (first, second)
        winner = outcomes.index("trained") + 1
        assert json.loads((run / "config.json").read_text())["training"]["seed"] == winner
        records = read_metrics(run)
        assert [record["images"] for record in means_among(records)] == [1, 2, 3, 4, 5, 6]
        assert [record["event"] for record in records if record.get("event") in ("finished", "resumed")] == ["finished"]


def test_two_starts_with_resume_auto_end_as_one_training(data: Path, tmp_path: Path) -> None:
    alone = package.train(data=data, out=tmp_path / "alone", settings=SETTINGS, quiet=True)
    for first, second, run in _race(data, tmp_path, rounds=4, resume="auto"):
        for state, told in (first, second):
            assert (state, told) == ("trained", 6) or "another process" in told, (first, second)
        assert "trained" in (first[0], second[0])
        assert digest(run) == digest(alone.run)


def _kill(data: Path, tmp_path: Path, points: int) -> None:
    """Kill a training at this many of its file operations, some 100 in all."""
    with workers(1) as (worker,):
        whole = tmp_path / "whole"
        worker.ask(data=data, out=whole, settings=SETTINGS, at=0)
        state, images, operations = worker.answer()
        assert (state, images) == ("trained", 6)
        assert operations > 60
        for at in random.Random(points).sample(range(1, operations + 1), points):
            run = tmp_path / f"killed{at}"
            worker.ask(data=data, out=run, settings=SETTINGS, at=at)
            assert worker.answer()[0] == "killed", at
            worker.ask(data=data, out=run, settings=SETTINGS, resume="auto", at=0)
            assert worker.answer()[:2] == ["trained", 6], at
            assert digest(run) == digest(whole), at
            assert not [*run.rglob(".*writing*"), *run.rglob(".*replaced*")], at


def test_killed_at_a_file_operation_it_ends_bit_identical(data: Path, tmp_path: Path) -> None:
    _kill(data, tmp_path, points=6)


@pytest.mark.slow
def test_killed_at_many_file_operations_it_ends_bit_identical(data: Path, tmp_path: Path) -> None:
    _kill(data, tmp_path, points=8)


def test_dead_output_ends_no_training(data: Path, tmp_path: Path) -> None:
    """The reader of a pipe goes, the disk of a log is full, a terminal is closed."""
    settings = arguments({**SETTINGS, "training.max_images": 80, "training.epochs": 20})
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
        assert checkpoints_of(tmp_path / name)[0].name == "000000080", name
        assert read_metrics(tmp_path / name)[-1]["event"] == "finished", name
        # 2: the summary could not be printed. The terminal may also be closed after the last step.
        assert code in {"pipe": (0,), "full": (0, 2), "terminal": (0, 2, -signal.SIGHUP)}[name], name


def _interrupt(data: Path, tmp_path: Path, times: int) -> None:
    settings = arguments({**SETTINGS, "training.max_images": 100_000, "training.epochs": 100_000})
    script = "import os; from unpaired.__main__ import main; os.write(1, b'.'); main()"  # Python itself has started
    command = [sys.executable, "-c", script, "train", "cyclegan", "--data", str(data), *settings, "--out"]
    moments = random.Random(times)
    for number in range(times):
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
        time.sleep(moments.random() * 6)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=600)  # a lost interrupt would train for days
        assert process.returncode in (128 + signal.SIGINT, -signal.SIGINT), told
        assert "Traceback" not in told
        assert "Exception ignored" not in told
        if checkpoints_of(run):
            assert f"unpaired train --resume {run}" in told


def test_an_interrupt_at_any_moment_ends_the_command(data: Path, tmp_path: Path) -> None:
    _interrupt(data, tmp_path, 3)


@pytest.mark.slow
def test_many_interrupts_at_any_moment_end_the_command(data: Path, tmp_path: Path) -> None:
    _interrupt(data, tmp_path, 6)


def test_a_limit_of_file_sizes_is_one_message_and_the_run_goes_on_without_it(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    tokens = ("train", "cyclegan", "--data", data, "--out", run, "--resume", "auto", *arguments(SETTINGS))
    done = unpaired(*tokens, check=2, preexec_fn=limited)
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    unpaired(*tokens)
    alone = package.train(data=data, out=tmp_path / "alone", settings=SETTINGS, quiet=True)
    assert digest(run) == digest(alone.run)
