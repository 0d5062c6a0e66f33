"""What a sink remembers: reruns, changed inputs and settings, locks, and images that end their worker."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sinks import contents, recorded
from unpaired.cluster import run, store
from unpaired.cluster.manifest import FAILURES, JOB, MANIFEST, read_record
from unpaired.cluster.parts import Input, Part
from unpaired.cluster.run import translate_on_cluster
from unpaired.cluster.store import RemoteStore, open_store
from unpaired.cluster.worker import HOPELESS, BatchSettings, PartTranslator, Shared, Worker
from unpaired.core.errors import UserError
from unpaired.models.loading import load_generator


def settings(**given: Any) -> BatchSettings:
    return BatchSettings(**{"format": "png", "device": "cpu", "engine": "torch", "precision": "fp32", **given})


def test_a_rerun_does_what_is_missing_or_has_changed(
    model: Path, photos: Path, tmp_path: Path, alone: Counter[int]
) -> None:
    out = tmp_path / "out"
    report = translate_on_cluster(model, str(photos), str(out), settings())
    parts = len(alone)
    assert (report.written, report.failed, report.skipped) == (51, 1, 0)
    assert parts == len(list((out / MANIFEST).iterdir())) == 4
    before = contents(out)

    report = translate_on_cluster(model, str(photos), str(out), settings())
    assert (report.written, report.failed, report.skipped) == (0, 1, 51)
    assert report.examples[0][0] == "0/bad.png"
    assert set(alone.values()) == {1}

    (out / "1" / "20.png").unlink()
    (out / MANIFEST / "000000.jsonl").write_text("half a li")
    report = translate_on_cluster(model, str(photos), str(out), settings())
    assert contents(out) == before
    assert alone.total() == parts + 2

    os.utime(photos / "2" / "49.png", (1, 1))
    translate_on_cluster(model, str(photos), str(out), settings())
    assert alone.total() == parts + 3


def test_a_sink_of_something_else_is_left_alone(model: Path, photos: Path, tmp_path: Path, alone: Counter[int]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        translate_on_cluster(model, str(photos), str(out), settings())
    assert not (out / JOB).exists()
    report = translate_on_cluster(model, str(photos), str(out), settings(existing="skip"))
    assert report.written == 51
    with pytest.raises(UserError, match=r"other settings \(format and name\)"):
        translate_on_cluster(model, str(photos), str(out), settings(format="jpg", name="{stem}_x"))
    report = translate_on_cluster(model, str(photos), str(out), settings(format="jpg", existing="overwrite"))
    assert (report.written, report.skipped) == (51, 0)
    assert (out / "mine.txt").read_text() == "mine"


def test_outputs_that_are_there_are_skipped(model: Path, photos: Path, tmp_path: Path, alone: Counter[int]) -> None:
    out = tmp_path / "out"
    (out / "0").mkdir(parents=True)
    (out / "0" / "00.png").write_text("mine")
    report = translate_on_cluster(model, str(photos), str(out), settings(existing="skip"))
    assert (report.written, report.skipped, report.failed) == (50, 1, 1)
    assert (out / "0" / "00.png").read_text() == "mine"
    assert sorted(recorded(out)) == sorted(contents(out))
    with pytest.raises(UserError, match="shards of others"):
        translate_on_cluster(model, str(photos), str(tmp_path / "tar"), settings(existing="skip", sink="tar"))


def part_of(photos: Path, *names: str) -> Part:
    return Part(0, "files", tuple(Input(name, str(photos / name), name, 1, "") for name in names))


@pytest.fixture
def shared(model: Path, tmp_path: Path) -> Shared:
    return Shared(loaded=load_generator(model), settings=settings(), store=open_store(str(tmp_path / "out")), images=1)


def test_an_image_that_ends_its_worker_is_found(shared: Shared, photos: Path, tmp_path: Path) -> None:
    counts = Counter({"0": 4, "0/1": 2})  # four workers ended; in the last two the second image was being decoded

    def begin(what: str, by: int) -> int:
        counts[what] += by
        return counts[what]

    translator = PartTranslator(shared, shared.translator("cpu", "torch", "fp32"), begin)
    names = ["0/00.png", "0/01.png", "0/02.png"]
    outcome = translator.translate(part_of(photos, *names))
    assert (outcome.written, outcome.failed) == (2, 1)
    assert outcome.examples[0][0] == "0/01.png"
    assert list(contents(tmp_path / "out")) == ["0/00.png", "0/02.png"]
    assert counts["0/0"] == counts["0/2"] == 0
    assert not read_record(shared.store, 0).again  # type: ignore[union-attr]

    assert translator.translate(part_of(photos, *names)).written == 2, "finished: nothing is done again"
    counts["0"] = HOPELESS
    outcome = translator.translate(part_of(photos, "0/03.png"))
    assert (outcome.written, outcome.failed) == (0, 1)
    assert read_record(shared.store, 0).again  # type: ignore[union-attr]


def test_a_worker_never_raises(shared: Shared, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    import ray

    row = {"part": part_of(photos, "0/00.png").dump()}
    monkeypatch.setattr(ray, "get", lambda given: given)
    wrong = replace(shared, settings=replace(shared.settings, engine="onnxruntime", precision="bf16"))
    assert "does not compute in bf16" in json.loads(Worker(wrong, None, "cpu")(row)["outcome"])["refused"]

    class Attempts:
        class count:
            remote = staticmethod(lambda what, by: 1)

    (tmp_path / "out").write_text("a file where the folder should be")
    assert json.loads(Worker(shared, Attempts, "cpu")(row)["outcome"])["refused"]
    assert "AttributeError" in json.loads(Worker(None, None, "cpu")(row)["outcome"])["traceback"]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("field", ["refused", "traceback"])
def test_what_a_worker_cannot_do_ends_the_job(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    from unpaired.cluster.worker import Outcome

    monkeypatch.setattr(run, "_outcomes", lambda parts, shared: iter([Outcome(part=0, **{field: "the disk is full"})]))
    with pytest.raises(UserError if field == "refused" else RuntimeError, match="the disk is full"):
        translate_on_cluster(model, str(photos), str(tmp_path / "out"), settings())


@pytest.mark.parametrize("address", ["nowhere", "ray:/x", "ray://", "ray://host", "AUTO", "\x1b[31m"])
def test_wrong_addresses(model: Path, photos: Path, tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match="allowed are local"):
        translate_on_cluster(model, str(photos), str(tmp_path / "out"), settings(), address=address)
    assert not (tmp_path / "out").exists()


def test_wrong_settings(model: Path, photos: Path, tmp_path: Path) -> None:
    for given in ({"device": "mps"}, {"batch_size": 0}, {"max_pixels": 0}, {"name": "{x}"}, {"format": "gif"}):
        with pytest.raises(UserError):
            translate_on_cluster(model, str(photos), str(tmp_path / "out"), BatchSettings(**given))
    with pytest.raises(UserError, match="folder of images that is read"):
        translate_on_cluster(model, str(photos), str(photos / "out"), settings())
    assert not (tmp_path / "out").exists()


def test_without_ray(model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(UserError, match=r"unpaired\[ray\]"):
        translate_on_cluster(model, str(photos), str(tmp_path / "out"), settings())


def test_two_commands_on_one_remote_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BEAT_SECONDS", 0.02)
    place = RemoteStore("memory://locked")
    with place.lock() as lost:
        with pytest.raises(UserError, match="another command is writing"), RemoteStore("memory://locked").lock():
            pass
        assert not lost.is_set()
    assert place.read(f"{store.OWN}/lock") is None
    place.put(f"{store.OWN}/lock", b'{"owner": "one that was killed", "beat": 7}')
    with place.lock() as lost:
        place.put(f"{store.OWN}/lock", b'{"owner": "one that woke up", "beat": 8}')
        assert lost.wait(10)


def test_the_table_of_failures_is_that_of_all_commands(
    model: Path, photos: Path, tmp_path: Path, alone: Counter[int]
) -> None:
    out = tmp_path / "out"
    translate_on_cluster(model, str(photos), str(out), settings())
    (out / FAILURES).unlink()
    report = translate_on_cluster(model, str(photos), str(out), settings())
    assert report.failures == f"{out}/{FAILURES}"
    assert (out / FAILURES).read_text().splitlines()[0] == "input,reason"
    assert "0/bad.png" in (out / FAILURES).read_text()
