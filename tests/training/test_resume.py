"""Stopping and going on: killed, interrupted, damaged, out of disk; the result is the same to the last bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import unpaired as package
from processes import Started, start
from runs import TINY, arguments, unpaired, write_images
from unpaired.core.errors import UserError
from unpaired.models.folder import checkpoints_of
from unpaired.report.run_log import means_among, read_metrics
from unpaired.training.result import Result

EVERYTHING: dict[str, Any] = {
    **TINY,
    "method.generator.dropout": True,  # draws random numbers in every step
    "training.ema": 0.9,
    "training.schedule": "plateau",
    "training.clip_norm": 1.0,
    "training.batch_size": 2,
    "training.log_every_images": 5,
    "training.checkpoint_every_images": 3,
    "training.evaluate_every_images": 4,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), {"trainA": 7, "trainB": 9, "testA": 2, "testB": 2})


def _weights(run: Path) -> dict[str, bytes]:
    """Return the newest checkpoint's tensor files; safetensors files are equal exactly when all tensors are."""
    newest = checkpoints_of(run)[0]
    return {"name": newest.name.encode(), **{p.name: p.read_bytes() for p in newest.glob("*.safetensors")}}


def _counters(run: Path) -> dict[str, Any]:
    counters: dict[str, Any] = json.loads((checkpoints_of(run)[0] / "training.json").read_text())
    del counters["evaluation"]["seconds"]
    return {key: value for key, value in counters.items() if key not in ("seconds", "checkpoints_written")}


def _best(run: Path) -> dict[str, bytes]:
    """Return the tensor files of the best checkpoint, and why it is."""
    return {path.name: path.read_bytes() for path in (run / "best").iterdir() if path.suffix == ".safetensors"} | {
        "best.json": (run / "best" / "best.json").read_bytes()
    }


def _command(data: Path, run: Path, settings: dict[str, Any]) -> list[str]:
    if (run / "config.json").is_file():
        tokens = ["train", "--resume", str(run)]
    else:
        tokens = ["train", "cyclegan", "--data", str(data), "--out", str(run), *arguments(settings)]
    return tokens


def _wait_for_progress(process: Started, run: Path, lines: int) -> None:
    """Wait until the log has this many lines or the process has ended."""
    while process.poll() is None:
        log = run / "metrics.jsonl"
        if log.is_file() and log.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_bit_identical(data: Path, tmp_path: Path) -> None:
    settings = {**EVERYTHING, "training.epochs": 6, "training.decay_epochs": 4}
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    unpaired("train", "cyclegan", "--data", data, "--out", reference, *arguments(settings))
    moments, kills, while_writing = random.Random(0), 0, 0
    while kills < 3:
        process = start(*_command(data, killed, settings))
        lines = len(read_metrics(killed)) if killed.exists() else 0
        _wait_for_progress(process, killed, lines + moments.randint(2, 14))
        if kills % 2:  # every second time: while a checkpoint is being written
            while process.poll() is None and not any((killed / "checkpoints").glob(".*.writing-*")):
                time.sleep(0.0005)
        else:
            time.sleep(moments.random() * 0.05)
        process.kill()
        error = process.communicate()[1]
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, error
        kills += 1
        while_writing += any((killed / "checkpoints").glob(".*.writing-*"))
    assert kills >= 2
    assert while_writing, "no kill fell into the writing of a checkpoint"
    if checkpoints_of(killed)[0].name != checkpoints_of(reference)[0].name:
        unpaired("train", "--resume", killed)
    assert _weights(killed) == _weights(reference)
    assert _counters(killed) == _counters(reference)
    assert _best(killed) == _best(reference)
    assert not list(killed.glob(".best*"))
    assert not list((killed / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    settings = {**EVERYTHING, "training.epochs": 40, "training.checkpoint_every_images": 100_000}
    del settings["training.evaluate_every_images"]  # the best checkpoint would be one more
    settings["training.evaluate_images"] = 0
    run = tmp_path / "my run"
    process = start(*_command(data, run, settings))
    _wait_for_progress(process, run, 5)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == 128 + number
    assert f"unpaired train --resume '{run}'" in error
    assert "Traceback" not in error
    assert len(checkpoints_of(run)) == 1
    last = read_metrics(run)[-1]
    assert last["event"] == "interrupted"
    unpaired("train", "--resume", run, "--max-images", str(last["images"] + 2), check=0)


def _train(data: Path, out: Path, **settings: Any) -> Result:
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    return package.train(data=data, out=out, settings={**EVERYTHING, **dotted}, quiet=True)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run that nothing has stopped."""
    return _train(data, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("own_sizes", [False, True])
def test_resuming_in_one_process_is_exact_and_the_log_has_no_doubles(
    data: Path, whole: Result, tmp_path: Path, own_sizes: bool
) -> None:
    others = {"data__preprocess": "scale_width", "training__batch_size": 1, "training__ema": 0.5} if own_sizes else {}
    if own_sizes:
        whole = _train(data, tmp_path / "whole", **others)
    # An end where an evaluation is due: it would be one more elsewhere.
    part = _train(data, tmp_path / "part", training__max_images=16 if own_sizes else 15, **others)
    assert part.images_seen == 16  # batches of two
    rest = package.train(resume=part.run, settings={"training.max_images": 1_000}, quiet=True)
    assert rest.images_seen == whole.images_seen
    assert _weights(rest.run) == _weights(whole.run)
    assert _best(rest.run) == _best(whole.run)
    images = [record["images"] for record in means_among(read_metrics(rest.run))]
    assert images == sorted(set(images))


def test_a_damaged_checkpoint_is_passed_over_with_a_message(
    data: Path, whole: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _train(data, tmp_path / "run").run
    newest, before = checkpoints_of(run)[:2]
    path = newest / "training.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = package.train(resume=run)
    told = " ".join(capsys.readouterr().err.split())
    assert "training.safetensors" in told
    assert "checkpoint before it" in told
    assert before.name in told
    assert _weights(result.run) == _weights(whole.run)
    assert (newest.parent / f"{newest.name}.damaged").is_dir()


def test_a_run_that_ended_before_its_first_checkpoint_starts_again(data: Path, whole: Result, tmp_path: Path) -> None:
    run = _train(data, tmp_path / "run", training__max_images=4).run
    for checkpoint in checkpoints_of(run):
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    result = package.train(resume=run, settings={"training.max_images": 1_000}, quiet=True)
    assert _weights(result.run) == _weights(whole.run)


def test_the_last_and_every_nth_checkpoint_are_kept(data: Path, tmp_path: Path) -> None:
    # Evaluated where checkpoints are due: one for the best at another moment would count among those written.
    intervals = {"training__evaluate_every_images": 3}
    run = _train(data, tmp_path / "run", training__keep_last=2, training__keep_every=4, **intervals).run
    # Written every three images in batches of two: at 4, 6, 10, 12, 16, 18, 22, 24, 28, 30, 34, 36.
    assert [int(p.name) for p in checkpoints_of(run)] == [36, 34, 24, 12]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(data: Path, tmp_path: Path) -> None:
    good = _train(data, tmp_path / "run", training__max_images=6)
    kept = _weights(good.run)
    with pytest.raises(UserError, match=r"stopped at step \d+: .*learning_rate") as caught:
        package.train(resume=good.run, settings={"training.max_images": 30, "training.learning_rate": 1e38}, quiet=True)
    assert "checkpoint after 6 images is intact" in str(caught.value)
    assert _weights(good.run) == kept
    assert read_metrics(good.run)[-1]["event"] == "failed"


def test_a_full_disk_is_one_message_and_the_last_checkpoint_stays(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    good = _train(data, tmp_path / "run", training__max_images=6)
    kept = _weights(good.run)

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", no_space)
    with pytest.raises(UserError, match="the disk is full"):
        package.train(resume=good.run, settings={"training.max_images": 30}, quiet=True)
    assert _weights(good.run) == kept
    assert not list((good.run / "checkpoints").glob(".*"))


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small file system needs root on Linux"
)
def test_a_really_full_disk(data: Path, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine does not allow a small file system to be mounted")
    try:
        done = unpaired("train", "cyclegan", "--data", data, "--out", place / "run", *arguments(EVERYTHING), check=2)
        assert "full" in done.stderr or "No space" in done.stderr
        assert "Traceback" not in done.stderr
        for checkpoint in checkpoints_of(place / "run"):
            package.models.folder.verify(checkpoint)  # type: ignore[attr-defined]
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_two_processes_cannot_train_into_one_run(data: Path, tmp_path: Path) -> None:
    import filelock

    run = _train(data, tmp_path / "run", training__max_images=4).run
    with filelock.FileLock(run / ".lock"), pytest.raises(UserError, match="another process"):
        package.train(resume=run, quiet=True)


def test_of_two_processes_that_begin_one_run_the_loser_changes_nothing(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    limits = {**EVERYTHING, "training.max_images": 8}
    processes = [start(*_command(data, run, {**limits, "training.seed": seed})) for seed in (1, 2)]
    told = [process.communicate()[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], told
    winner, loser = codes.index(0), codes.index(2)
    assert str(run) in told[loser]
    assert json.loads((run / "config.json").read_text())["training"]["seed"] == winner + 1
    alone = _train(data, tmp_path / "alone", training__max_images=8, training__seed=winner + 1)
    assert _weights(run) == _weights(alone.run)
    assert [record["images"] for record in means_among(read_metrics(run))] == [
        record["images"] for record in means_among(read_metrics(alone.run))
    ]


def test_a_run_killed_before_it_wrote_anything_can_be_started_again(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in (".lock", ".config.writing-17-0a1b2c3d.json"):
        (run / name).touch()
    assert _train(data, run, training__max_images=4).state == "finished"
    assert not list(run.glob(".config*"))


def test_auto_begins_and_then_goes_on(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tokens = ["train", "cyclegan", "--data", data, "--out", run, "--resume", "auto", "--quiet"]
    first = {**EVERYTHING, "training.max_images": 4}
    unpaired(*tokens, *arguments(first))
    assert checkpoints_of(run)[0].name == "000000004"
    unpaired(*tokens, *arguments({**first, "training.max_images": 8}))
    assert checkpoints_of(run)[0].name == "000000008"
    assert _weights(run) == _weights(_train(data, tmp_path / "whole", training__max_images=8).run)
    refused = unpaired(*tokens, *arguments({**first, "training.seed": 9}), check=2)
    assert "seed" in refused.stderr
    result = package.train(data=data, out=run, settings={**EVERYTHING, "training.max_images": 12}, resume="auto")
    assert result.images_seen == 12


def test_what_cannot_change_is_refused(data: Path, tmp_path: Path) -> None:
    run = _train(data, tmp_path / "run", training__max_images=4).run
    with pytest.raises(UserError, match=r"method\.cycle_weight.*cannot be changed"):
        package.train(resume=run, settings={"method.cycle_weight": 3}, quiet=True)
    with pytest.raises(UserError, match="leave out"):
        package.train(resume=run, out=run)
    with pytest.raises(UserError, match="not a run"):
        package.train(resume=tmp_path)
    with pytest.raises(UserError, match="--resume"):
        package.train(data=data, out=run, settings=EVERYTHING)


def test_two_runs_with_one_seed_are_equal_and_another_seed_is_not(data: Path, whole: Result, tmp_path: Path) -> None:
    again, other = _train(data, tmp_path / "again"), _train(data, tmp_path / "other", training__seed=1)
    assert _weights(again.run) == _weights(whole.run)
    assert _weights(other.run) != _weights(whole.run)
