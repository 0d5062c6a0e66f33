"""Several processes, as torchrun starts them: equal to one, exact to resume, and no hang when one dies."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from processes import Started, start_together, together
from runs import TINY, arguments, unpaired, write_images
from unpaired.core.errors import ReportedElsewhere, UserError
from unpaired.models.folder import checkpoints_of
from unpaired.report.run_log import read_metrics
from unpaired.training.distributed import ALONE, World, process_group

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without distribution")

WORKER = Path(__file__).with_name("worker.py")


def _worker() -> Any:
    spec = importlib.util.spec_from_file_location("worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _torchrun(*tokens: str | Path) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [*command, *map(str, tokens)]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), {"trainA": 6, "trainB": 7, "testA": 2, "testB": 2})


# ---------------------------------------------------------------------------------------------------------- one world


def test_one_process_is_a_world_of_its_own() -> None:
    values = torch.tensor([1.0, 2.0])
    ALONE.average(values)
    assert values.tolist() == [1.0, 2.0]
    assert ALONE.collect("x") == ["x"]
    assert ALONE.collect_on_first("x") == ["x"]
    assert ALONE.on_all_ranks(lambda: 3) == 3
    assert ALONE.first_on_each_machine(lambda: 3) == 3


class _Scripted(World):
    """A world whose other process answers what it was told to."""

    answers: tuple[Any, ...] = ()

    def collect(self, value: Any) -> list[Any]:
        return [*self.answers, value]


def test_an_error_of_one_is_an_error_of_all_and_told_once() -> None:
    def fail() -> None:
        raise UserError("mine")

    class FirstFailed(_Scripted):
        answers = ("theirs",)

    class FirstFine(_Scripted):
        answers = (None,)

    with pytest.raises(ReportedElsewhere, match="theirs"):
        FirstFailed(1, 2).on_all_ranks(lambda: 3)
    with pytest.raises(ReportedElsewhere, match="theirs"):
        FirstFailed(1, 2).on_all_ranks(fail)
    with pytest.raises(UserError, match="mine") as failed:
        FirstFine(1, 2).on_all_ranks(fail)
    assert not isinstance(failed.value, ReportedElsewhere)


def test_an_incomplete_environment_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match=r"RANK is missing.*torchrun"), process_group("cpu"):
        pass
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(UserError, match=r'RANK is "one"'), process_group("cpu"):
        pass


# -------------------------------------------------------------------------------------------------------- two of them


@pytest.mark.slow
def test_two_processes_with_half_the_batch_each_equal_one(tmp_path: Path) -> None:
    command = _torchrun(WORKER, tmp_path / "out.safetensors")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stderr
    found, wanted = load_file(tmp_path / "out.safetensors"), _worker().expected()
    assert found.keys() == wanted.keys()
    assert len(found) > 60
    for name, value in wanted.items():
        assert value.dtype in (torch.float64, torch.int64)
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
def test_training_in_two_processes_resumes_exactly_and_with_another_number(data: Path, tmp_path: Path) -> None:
    command = ("train", "cyclegan", "--data", data, *arguments(TINY))
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    done = together(*command, "--out", straight)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Finished") == 1
    assert "in 2 processes" in done.stderr
    assert together(*command, "--out", stopped, "--max-images", "14").returncode == 0
    resumed = together("train", "--resume", stopped, "--max-images", "28")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("a2b.safetensors", "b2a.safetensors", "training.safetensors", "process1.safetensors"):
        files = [run / "checkpoints" / "000000028" / name for run in (straight, stopped)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    own = load_file(straight / "checkpoints" / "000000028" / "process1.safetensors")
    first = load_file(straight / "checkpoints" / "000000028" / "training.safetensors")
    assert not torch.equal(own["method.pool_x.images"], first["method.pool_x.images"]), "each has a pool of its own"
    assert not torch.equal(own["random.cpu"], first["random.cpu"])
    assert [record["images"] for record in read_metrics(straight) if "losses" in record][-1] == 28

    alone = unpaired("train", "--resume", stopped, "--max-images", "31", "--epochs", "9")
    assert "trained by 2 processes and goes on with 1: images per domain and update change from 2 to 1" in alone.stderr
    again = together("train", "--resume", stopped, "--max-images", "35", processes=2)
    assert again.returncode == 0, again.stderr
    assert "trained by 1 process and goes on with 2" in again.stderr
    counters = json.loads((checkpoints_of(stopped)[0] / "training.json").read_text())
    assert counters["images_seen"] == 35
    assert counters["processes"] == 2


@pytest.mark.slow
def test_an_error_before_training_is_told_once(tmp_path: Path) -> None:
    done = together("train", "cyclegan", "--data", tmp_path / "nothing", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def _command(data: Path, out: Path) -> tuple[str | Path, ...]:
    settings = {**TINY, "training.epochs": 100_000, "training.checkpoint_every_images": 20, "training.num_samples": 0}
    return ("train", "cyclegan", "--data", data, "--out", out, *arguments(settings))


def _wait_for_checkpoints(out: Path, process: subprocess.Popen[str] | Started) -> None:
    while len(checkpoints_of(out)) < 2:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_run_which_can_be_resumed(data: Path, tmp_path: Path, rank: int) -> None:
    processes = start_together(*_command(data, tmp_path / "run"))
    _wait_for_checkpoints(tmp_path / "run", processes[0])
    processes[rank].kill()
    _, errors = processes[1 - rank].communicate()
    assert processes[1 - rank].returncode != 0
    assert "another process of this training has ended" in errors, errors
    assert "--resume" in errors
    before = int(checkpoints_of(tmp_path / "run")[0].name)
    again = unpaired("train", "--resume", tmp_path / "run", "--max-images", str(before + 3))
    assert "Resuming from" in again.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="signals as on Linux")
def test_control_c_stops_all_processes_at_the_same_step(data: Path, tmp_path: Path) -> None:
    command = _torchrun("-m", "unpaired", *_command(data, tmp_path / "run"))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment(), start_new_session=True
    )
    _wait_for_checkpoints(tmp_path / "run", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to torchrun and to both processes
    _, errors = process.communicate()
    assert errors.count("everything is saved") == 1, errors
    records = read_metrics(tmp_path / "run")
    assert records[-1]["event"] == "interrupted"
    assert int(checkpoints_of(tmp_path / "run")[0].name) == records[-1]["images"]
