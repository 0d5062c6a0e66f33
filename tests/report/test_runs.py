from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from report.examples import audit, evaluation, put, write_run
from unpaired.core.errors import UserError
from unpaired.core.text import NONE
from unpaired.report.run_report import command, compare_settings, costs, summary
from unpaired.report.runs import of_checkpoint, read_runs

BEST = {
    "format": "unpaired-best",
    "format_version": 1,
    "measure": "swd",
    "directions": ["a2b", "b2a"],
    "value": 25.5612,
    "better": "lower",
    "images_seen": 6000,
    "why": "lowest SWD (mean of a2b and b2a) of the first 4 evaluations",
    "evaluations": 4,
    "images": {"a": 50, "b": 50},
    "held_out_from": "test",
}


def test_a_run_is_read_whole(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "h2z", records=120, grids=2, evaluations=8)
    put(folder, "evaluation", "best", evaluation())
    (run,) = read_runs([folder])
    assert (run.number, run.name, run.section("method")["name"]) == (1, "h2z", "cyclegan")
    assert run.status.state == "finished"
    assert run.peak_memory == "0.50 GiB of memory"
    assert run.device == "cpu"
    assert run.versions == {"unpaired": "0.1.0", "torch": "2.13.0"}
    assert [moment.images for moment in run.moments] == list(range(1500, 12_001, 1500))
    assert run.best == 6000
    assert len(run.curves.images) == 120, "evaluations are no points of the losses"
    assert not run.damage


def test_speed_is_of_the_whole_training(tmp_path: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "h2z", records=120, grids=0)])
    told = costs(run)
    assert told["images per second"] == "13.3"  # 12000 images in 900 s
    assert told["training time"] == "15:00 min"
    assert told["waiting for data"] == "1.0 %"
    assert told["evaluation's share of the time"] == "3.1 %"


def test_names_are_the_shortest_ends_that_differ(tmp_path: Path) -> None:
    places = [tmp_path / "one" / "h2z", tmp_path / "two" / "h2z", tmp_path / "two" / "z2h"]
    runs = read_runs([write_run(place, records=2, grids=0, evaluations=0) for place in places])
    assert [run.name for run in runs] == ["one/h2z", "two/h2z", "two/z2h"]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "h2z", records=2, grids=0)
    file = tmp_path / "file"
    file.write_text("x")
    for path, told in (
        (tmp_path / "none", "there is no run at"),
        (file, "is a file. A run is a folder"),
        (tmp_path / "runs", f"It holds runs: give {run}"),
    ):
        with pytest.raises(UserError, match=told):
            read_runs([run, path])
    with pytest.raises(UserError, match="is given twice"):
        read_runs([run, tmp_path / "runs" / ".." / "runs" / "h2z"])


def test_damage_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "h2z", records=10, grids=0)
    (folder / "config.json").write_text("{")
    (folder / "checkpoints" / "000001000" / "model.json").write_text("[]")
    (folder / "best").mkdir()
    (folder / "best" / "manifest.json").write_text("{}")
    put(folder, "audit", "best", "no JSON")
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"images": 1100, "torn')
    (run,) = read_runs([folder])
    assert len(run.damage) == 4
    assert [name in line for name, line in zip(["config", "best", "000001000", "audit"], run.damage, strict=True)] == [
        True
    ] * 4
    assert run.status.images == 1000
    assert summary(run).startswith("Unknown method.")


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "h2z", records=0, grids=0, last=None)
    shutil.rmtree(folder / "checkpoints")
    (folder / "metrics.jsonl").unlink()
    (run,) = read_runs([folder])
    assert "Nothing has been logged yet." in summary(run)
    assert run.device is None
    assert costs(run)["training time"] == "–"


def test_the_summary_says_which_checkpoint_to_use_and_why(tmp_path: Path) -> None:
    from unpaired.models.folder import write_folder

    folder = write_run(tmp_path / "h2z")
    best = BEST
    write_folder(folder / "best", {}, {"best.json": best})
    (run,) = read_runs([folder])
    assert (
        f"Use {folder / 'best'}, after 6,000 images: 25.56, the lowest SWD (mean of a2b and b2a) of the first 4 "
        "evaluations; none of the 4 later evaluations was better." in summary(run)
    )
    assert command("audit", run) == f"unpaired audit {folder} --data 'horse & zebra'"
    (folder / "best" / "best.json").write_text(json.dumps(best | {"value": 1}))
    (damaged,) = read_runs([folder])
    assert "checksum differs" in damaged.damage[0] or "bytes in place of" in damaged.damage[0]


def test_what_was_measured_of_an_earlier_best_is_told(tmp_path: Path) -> None:
    from unpaired.models.folder import write_folder

    folder = write_run(tmp_path / "h2z", records=10, grids=0)
    write_folder(folder / "best", {}, {"best.json": BEST})
    for kind, seen in (("evaluation", 6000), ("audit", 4000)):
        put(
            folder,
            kind,
            "best",
            (evaluation if kind == "evaluation" else audit)()
            | {"model": {"path": "h2z", "checkpoint": "best", "images_seen": seen}},
        )
    put(
        folder,
        "audit",
        "000001000",
        audit() | {"model": {"path": "h2z", "checkpoint": "000001000", "images_seen": 1000}},
    )
    (run,) = read_runs([folder])
    assert run.damage == [
        f"{folder / 'audits' / 'best'} is out of date: it was measured after 4,000 images, and "
        f"{folder / 'best'} is now the checkpoint after 6,000. Measure it again."
    ]


def test_a_command_of_a_run_with_two_folders_leaves_them_to_the_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "h2z", records=2, grids=0)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"data": {"a": "horses", "b": "zebras"}}))
    (run,) = read_runs([folder])
    assert command("audit", run) == f"unpaired audit {folder}"


def test_a_training_that_ended_early_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "h2z", records=60)
    text = (folder / "metrics.jsonl").read_text().replace("of 12000 images;", "of 12000 images; 3 without a better;")
    (folder / "metrics.jsonl").write_text(text)
    (run,) = read_runs([folder])
    assert "Ended early: 6,000 images (10 epochs) in 7:30 min of 12,000; 6000 of 12000 images; 3 without a better." in (
        summary(run)
    )


def test_one_checkpoint_can_be_chosen(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "h2z", records=20, grids=0)
    for name in ("best", "000001000", "000002000"):
        put(folder, "evaluation", name, evaluation())
    runs = read_runs([folder])
    chosen = {name: of_checkpoint(runs, name)[0].evaluations for name in ("best", "last", "1000")}
    assert {name: [each.name for each in found] for name, found in chosen.items()} == {
        "best": ["best"],
        "last": ["000002000"],
        "1000": ["000001000"],
    }
    with pytest.raises(UserError, match=r"1500.*000001000.*unpaired evaluate"):
        of_checkpoint(runs, "1500")
    with pytest.raises(UserError, match="best, last or a number"):
        of_checkpoint(runs, "newest")


def test_a_command_can_be_copied(tmp_path: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "a run", records=2, grids=0)])
    assert command("evaluate", run) == f"unpaired evaluate '{tmp_path / 'a run'}' --data 'horse & zebra'"


def test_settings_that_differ_are_told_from_those_that_are_alike(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", records=2, grids=0)
    second = write_run(tmp_path / "b", records=2, grids=0, settings={"batch_size": 4, "precision": "bf16"})
    differing, shared = compare_settings(read_runs([first, second]))
    assert differing == {"training.precision": ["fp32", "bf16"], "training.batch_size": [NONE, "4"]}
    assert shared["method.generator.blocks"] == "9"
    assert "training.precision" not in shared


def test_true_and_one_are_not_alike(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, records=2, grids=0, settings={"compile": value})
        for name, value in (("a", True), ("b", 1))
    ]
    assert compare_settings(read_runs(runs))[0] == {"training.compile": ["true", "1"]}


def test_peak_memory_is_a_field_and_old_logs_are_still_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "h2z", records=3, grids=0, last=None)
    with (folder / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"event": "finished", "images": 300, "text": "300", "peak_memory_bytes": 2**30}) + "\n")
    (run,) = read_runs([folder])
    assert run.peak_memory == "1.00 GiB of memory"
