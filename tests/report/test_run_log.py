from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.report.run_log import METRICS, MetricsLog, event, means_among, read_metrics, truncate


def record(images: int, loss: float = 0.5) -> dict[str, Any]:
    return {
        "images": images,
        "epoch": images / 100,
        "step": images,
        "seconds": images / 10,
        "images_per_second": 10.0,
        "waiting_share": 0.1,
        "learning_rates": {"generators": 2e-4},
        "losses": {"gan_a2b": loss, "cycle_a": 1.0},
    }


def refuse(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


def lines_of(run: Path) -> list[str]:
    return (run / METRICS).read_text(encoding="utf-8").splitlines()


def test_writes_one_json_line_per_record_at_once(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "new" / "run", tensorboard=False)
    log.write(record(100))
    log.write(event("checkpoint", 100, "000000100"))
    # Not closed: what was written must already be there.
    first, second = read_metrics(tmp_path / "new" / "run")
    log.close()
    log.close()
    assert first == record(100)
    assert second["event"] == "checkpoint"
    assert second["text"] == "000000100"
    assert "T" in second["time"]
    assert "+" in second["time"] or "-" in second["time"][10:] or second["time"].endswith("Z")


def test_every_line_is_one_write_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write

    def spy(descriptor: int, data: bytes) -> int:
        written.append(bytes(data))
        return write(descriptor, data)

    log = MetricsLog(tmp_path, tensorboard=False)
    monkeypatch.setattr(os, "write", spy)
    log.write(record(100))
    log.close()
    assert written == [(lines_of(tmp_path)[0] + "\n").encode()]


def test_a_write_that_is_cut_short_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    log = MetricsLog(tmp_path, tensorboard=False)
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    log.write(record(100))
    log.close()
    assert read_metrics(tmp_path) == [record(100)]


def test_numbers_that_json_cannot_hold_become_null(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    losses = {"a": math.nan, "b": math.inf, "c": np.float32("-inf"), "d": np.float32(0.25), "e": np.int64(3)}
    log.write({**record(100), "losses": losses, "list": [math.nan, (1, np.float64(2.0))]})
    log.close()
    read = json.loads(lines_of(tmp_path)[0], parse_constant=refuse)
    assert read["losses"] == {"a": None, "b": None, "c": None, "d": 0.25, "e": 3}
    assert read["list"] == [None, [1, 2.0]]


@given(
    text=st.text(st.characters(), max_size=40),
    value=st.floats(allow_nan=True, allow_infinity=True),
    name=st.text(max_size=10),
)
def test_any_text_and_number_comes_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, value: float, name: str
) -> None:
    run = tmp_path_factory.mktemp("run")
    log = MetricsLog(run, tensorboard=False)
    log.write({"images": 1, "losses": {name: value}, "text": text})
    log.close()
    content = (run / METRICS).read_bytes()
    assert content.count(b"\n") == 1
    json.loads(content, parse_constant=refuse)
    assert read_metrics(run) == [{"images": 1, "losses": {name: value if math.isfinite(value) else None}, "text": text}]


def test_a_file_name_that_is_not_unicode_comes_back(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(event("warning", 5, os.fsdecode(b"caf\xe9.png")))
    log.close()
    assert os.fsencode(read_metrics(tmp_path)[0]["text"]) == b"caf\xe9.png"


def test_a_torn_last_line_is_passed_over_and_cut_off(tmp_path: Path) -> None:
    whole = json.dumps(record(100)) + "\n"
    torn = json.dumps(record(200))
    for length in range(len(torn)):
        (tmp_path / METRICS).write_text(whole + torn[:length])
        assert read_metrics(tmp_path) == [record(100)]
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(record(300))
    log.close()
    assert read_metrics(tmp_path) == [record(100), record(300)]


def test_lines_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    good = json.dumps(record(100)).encode()
    (tmp_path / METRICS).write_bytes(b"\x00\x00\x00\n[1]\n3\n\n\xff\xfe\n" + good + b"\n" + b"[" * 200_000 + b"\n")
    assert read_metrics(tmp_path) == [record(100)]


def test_no_log_reads_as_no_records(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    truncate(tmp_path, 100)
    assert list(tmp_path.iterdir()) == []


def test_three_kinds_of_records_are_told_apart() -> None:
    means, evaluation = record(100, loss=1.0), {"images": 100, "evaluation": {"swd_a2b": 1.0}}
    assert means_among([means, event("warning", 100, "careful"), evaluation]) == [means]


def test_truncate_drops_what_is_beyond_and_what_is_torn(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    for images in (100, 200, 300):
        log.write(record(images))
        log.write(event("checkpoint", images, "saved"))
    log.close()
    with (tmp_path / METRICS).open("ab") as file:
        file.write(b'{"images": 3')
    before = lines_of(tmp_path)
    truncate(tmp_path, 200)
    assert lines_of(tmp_path) == before[:4]
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]


def test_truncate_leaves_an_unchanged_file_alone(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(record(100))
    log.close()
    before = (tmp_path / METRICS).stat()
    truncate(tmp_path, 100)
    after = (tmp_path / METRICS).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_hundred_thousand_records(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text("".join(json.dumps(record(n)) + "\n" for n in range(1, 100_001)))
    truncate(tmp_path, 60_000)
    records = read_metrics(tmp_path)
    assert len(records) == 60_000
    assert records[-1]["images"] == 60_000


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(record(100))
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(UserError, match=r"metrics\.jsonl: No space left on device"):
        log.write(record(200))
    monkeypatch.undo()
    log.close()
    assert read_metrics(tmp_path) == [record(100)]


def test_write_whole_keeps_the_old_content_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "page"
    write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["page"]


def test_a_run_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        MetricsLog(tmp_path / "run", tensorboard=False)


def test_tensorboard_curves_do_not_double_after_a_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(tmp_path)
    for images in (100, 200, 300):
        log.write(record(images, loss=1.0))
    log.image("samples", np.zeros((4, 6, 3), np.uint8), 100)
    log.write(event("warning", 150, "careful"))
    log.close()

    log = MetricsLog(tmp_path, resumed_at=200)
    assert [entry["images"] for entry in read_metrics(tmp_path)] == [100, 200, 150]
    for images in (300, 400):
        log.write(record(images, loss=2.0))
    log.write({"images": 400, "evaluation": {"swd_a2b": 3.0}, "seconds": 1.0, "best": True})
    log.close()

    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    points = [(point.step, point.value) for point in board.Scalars("losses/gan_a2b")]
    assert points == [(100, 1.0), (200, 1.0), (300, 2.0), (400, 2.0)]
    scalars = {"losses/gan_a2b", "losses/cycle_a", "learning_rates/generators"}
    scalars |= {"speed/images_per_second", "speed/waiting_share", "evaluation/swd_a2b"}
    assert set(board.Tags()["scalars"]) == scalars
    assert [(point.step, point.value) for point in board.Scalars("evaluation/swd_a2b")] == [(400, 3.0)]
    picture = board.Images("samples")[0]
    assert (picture.step, picture.width, picture.height) == (100, 6, 4)


def test_without_tensorboard_nothing_but_the_log_is_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    log.image("samples", np.zeros((4, 6, 3), np.uint8), 100)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]
