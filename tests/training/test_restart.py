"""Restarts: several agents of torchrun, a worker that is killed, locks that are still held, folders that differ."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from processes import together
from runs import TINY, arguments, write_images
from unpaired.core.errors import ReportedElsewhere, UserError
from unpaired.core.files import locked
from unpaired.models.folder import checkpoints_of
from unpaired.plan.start import train
from unpaired.report.run_log import read_metrics
from unpaired.training.distributed import World
from unpaired.training.restart import has_begun, require_same_view, take_lock

SETTINGS = {**TINY, "training.num_samples": 0, "training.evaluate_images": 0, "training.log_every_images": 10}


class Scripted(World):
    """A world whose other process sees what it is told to."""

    other: Any = (True, "node1")

    def collect(self, value: Any) -> list[Any]:
        return [value, self.other] if self.is_first else [self.other, value]


def test_machines_that_see_different_folders_are_told_once(tmp_path: Path) -> None:
    require_same_view(Scripted(0, 2), True, tmp_path)
    with pytest.raises(
        UserError, match=r"holds a run for process 1 on node1 and none for process 0 on .*share"
    ) as told:
        require_same_view(Scripted(0, 2), False, tmp_path)
    assert not isinstance(told.value, ReportedElsewhere)
    with pytest.raises(ReportedElsewhere):
        require_same_view(Scripted(1, 2), False, tmp_path)


def test_a_run_has_begun_with_its_settings(tmp_path: Path) -> None:
    assert not has_begun(tmp_path / "nothing")
    assert not has_begun(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert has_begun(tmp_path)


def test_a_lock_that_is_given_up_in_time_is_taken(tmp_path: Path) -> None:
    said = list[str]()
    told, released = threading.Event(), threading.Event()

    def say(text: str) -> None:
        said.append(text)
        told.set()

    def hold() -> None:
        with locked(tmp_path):
            released.set()
            told.wait()

    other = threading.Thread(target=hold)
    other.start()
    released.wait()
    with contextlib.ExitStack() as held:
        take_lock(held, tmp_path, say, 600)
    other.join()
    assert len(said) == 1
    assert "waiting up to 600 seconds" in said[0]
    with locked(tmp_path), contextlib.ExitStack() as held, pytest.raises(UserError, match="another process is writing"):
        take_lock(held, tmp_path, say)
    with locked(tmp_path), contextlib.ExitStack() as held, pytest.raises(UserError, match="another process is writing"):
        take_lock(held, tmp_path, say, 0.01)


def test_resuming_automatically_a_run_that_is_done_changes_nothing(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", {"trainA": 2, "trainB": 2})
    settings = {**SETTINGS, "training.max_images": 4}
    for _ in range(2):
        result = train(data=data, out=tmp_path / "run", settings=settings, resume="auto", quiet=True)
        assert (result.state, result.images_seen) == ("finished", 4)


def test_a_machine_that_does_not_see_the_run_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"this is not a run.*on a file system that they share"):
        train(resume=tmp_path / "elsewhere")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _agent(port: int, *tokens: str | Path) -> subprocess.Popen[str]:
    """Start torchrun as one of two machines does."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test"]
    command += ["--local-addr", "127.0.0.1", "--max-restarts", "3", "-m", "unpaired", *map(str, tokens)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def _worker_of(agent: int) -> int:
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    return next(int(child) for child in children if b"\0RANK=" in b"\0" + Path(f"/proc/{child}/environ").read_bytes())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")
@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without distribution")
def test_a_worker_of_one_machine_is_killed_and_both_restart_exactly(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", {"trainA": 4, "trainB": 4})
    settings = {**SETTINGS, "training.max_images": 120, "training.epochs": 100, "training.checkpoint_every_images": 10}
    command = ["train", "cyclegan", "--data", data, *arguments(settings), "--resume", "auto", "--out"]
    port, run, straight = _free_port(), tmp_path / "run", tmp_path / "straight"
    agents = [_agent(port, *command, run) for _ in range(2)]
    while not checkpoints_of(run):
        assert all(agent.poll() is None for agent in agents), [agent.communicate()[0] for agent in agents]
        time.sleep(0.01)
    os.kill(_worker_of(agents[1].pid), signal.SIGKILL)
    told = [agent.communicate()[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], told
    resumed = [record for record in read_metrics(run) if record.get("event") == "resumed"]
    assert len(resumed) == 1
    assert 0 < resumed[0]["images"] < 120, "it was killed before its end and went on from a checkpoint"
    done = together(*command, straight)
    assert done.returncode == 0, done.stderr
    for name in ("a2b.safetensors", "b2a.safetensors", "training.safetensors", "process1.safetensors"):
        files = [each / "checkpoints" / "000000120" / name for each in (run, straight)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
