"""Sources and sinks of every kind, translated by one translator in this process."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from buckets import s3_on_loopback
from sinks import contents, recorded
from unpaired.cluster import store
from unpaired.cluster.manifest import FAILURES, JOB, MANIFEST
from unpaired.cluster.run import translate_on_cluster
from unpaired.cluster.worker import BatchSettings
from unpaired.core.errors import UserError
from unpaired.models.translator import Translator

Write = dict[str, bytes]
pytestmark = pytest.mark.usefixtures("alone")


def settings(**given: Any) -> BatchSettings:
    return BatchSettings(device="cpu", engine="torch", precision="fp32", **given)


def png(seed: int, shape: tuple[int, int, int] = (9, 12, 3)) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(content, "PNG")
    return content.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def read_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def pixels(content: bytes) -> list[Any]:
    return np.asarray(Image.open(io.BytesIO(content))).tolist()


def translated(model: Path, content: bytes) -> list[Any]:
    """Return what the model makes of one image alone."""
    made = Translator.load(model, device="cpu", engine="torch")(Image.open(io.BytesIO(content)))
    return np.asarray(made).tolist()


def near(one: list[Any], other: list[Any]) -> bool:
    """Whether images are equal but for the rounding of the last bit of floats."""
    return bool(np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1)


def test_tar_files_keep_keys_order_and_everything_else(model: Path, tmp_path: Path) -> None:
    members = {
        "a/0.json": b"{}",
        "a/0.png": png(0),
        "a/1.png": png(1, (16, 8, 3)),
        "a/1.cls": b"7",
        "b.png": b"not an image",
        "c.jpeg": png(2),
        "z.txt": b"end",
    }
    write_tar(tmp_path / "in" / "x" / "0.tar", members)
    write_tar(tmp_path / "in" / "1.tar", {"only.png": png(3)})
    report = translate_on_cluster(model, str(tmp_path / "in"), str(tmp_path / "out"), settings())
    assert (report.written, report.failed) == (4, 1)
    made = read_tar(tmp_path / "out" / "x" / "0.tar")
    assert list(made) == ["a/0.json", "a/0.png", "a/1.png", "a/1.cls", "c.png", "z.txt"]
    assert (made["a/1.cls"], made["z.txt"]) == (b"7", b"end")
    assert near(pixels(made["a/1.png"]), translated(model, members["a/1.png"]))
    assert list(read_tar(tmp_path / "out" / "1.tar")) == ["only.png"]
    rows = list(csv.reader((tmp_path / "out" / FAILURES).read_text().splitlines()))
    assert rows[1][0] == "x/0.tar/b.png"
    assert recorded(tmp_path / "out")[1] == "x/0.tar/a/0.png"

    again = translate_on_cluster(model, str(tmp_path / "in"), str(tmp_path / "again"), settings())
    assert again.written == 4
    assert contents(tmp_path / "again") == contents(tmp_path / "out"), "equal inputs give equal bytes"


def test_names_in_a_tar_file_do_not_lead_out_of_the_folder(model: Path, tmp_path: Path) -> None:
    members = {"../up.png": png(0), "/tmp/root.png": png(1), "same.png": png(2), "same.jpg": png(3), "ok.png": png(4)}
    write_tar(tmp_path / "in.tar", members)
    report = translate_on_cluster(model, str(tmp_path / "in.tar"), str(tmp_path / "out"), settings(sink="files"))
    assert list(contents(tmp_path / "out")) == ["in/ok.png", "in/same.png"]
    assert {reason.split()[0] for _, reason in report.examples} == {"its", "another"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tar", "out"]


@pytest.mark.parametrize(("sink", "written"), [("files", 2), ("tar", 3), ("parquet", 3)])
def test_no_name_in_a_shard_ends_the_job(model: Path, tmp_path: Path, sink: Any, written: int) -> None:
    deep, long = "d/" * 2000 + "a.png", "x" * 300 + ".png"
    names = ["a.png", "caf\udce9.png", deep, long]
    write_tar(tmp_path / "in.tar", {name: png(number) for number, name in enumerate(names)})
    report = translate_on_cluster(model, str(tmp_path / "in.tar"), str(tmp_path / "out"), settings(sink=sink))
    assert (report.written, report.failed) == (written, 4 - written)


@pytest.mark.parametrize("record", [True, False])
def test_parquet_keeps_the_other_columns(model: Path, tmp_path: Path, record: bool) -> None:
    images = [png(0), png(1), b"broken", png(3, (16, 8, 3)), None]
    cells: list[Any] = [{"bytes": each, "path": f"{n}.jpg"} for n, each in enumerate(images)] if record else images
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}) if record else pyarrow.binary()
    table = pyarrow.table({"label": [1, 2, 3, 4, 5], "photo": pyarrow.array(cells, kind)})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    report = translate_on_cluster(model, f"{tmp_path}/in.parquet#photo", str(tmp_path / "out"), settings())
    assert (report.written, report.failed) == (3, 2)
    made = pyarrow.parquet.read_table(tmp_path / "out" / "in.parquet")
    assert made.schema == table.schema
    assert made["label"].to_pylist() == [1, 2, 3, 4, 5]
    photos = made["photo"].to_pylist()
    assert photos[2] is None
    assert photos[4] is None
    content = photos[3]["bytes"] if record else photos[3]
    assert near(pixels(content), translated(model, images[3] or b""))
    if record:
        assert photos[3]["path"] == "00000003.png"


def test_a_saved_data_set_and_folders_become_shards(model: Path, photos: Path, tmp_path: Path) -> None:
    import datasets

    made = datasets.Dataset.from_dict({"image": [{"bytes": png(n), "path": None} for n in range(3)], "n": [1, 2, 3]})
    made.cast_column("image", datasets.Image(decode=False)).save_to_disk(tmp_path / "saved")
    report = translate_on_cluster(model, f"{tmp_path}/saved#image", str(tmp_path / "one"), settings())
    assert (report.written, report.failed) == (3, 0)
    (shard,) = (tmp_path / "one").glob("*.parquet")
    assert pyarrow.parquet.read_table(shard)["n"].to_pylist() == [1, 2, 3]

    for sink in ("tar", "parquet"):
        report = translate_on_cluster(model, str(photos), str(tmp_path / sink), settings(sink=sink))
        assert (report.written, report.failed) == (51, 1)
        assert list(contents(tmp_path / sink)) == [f"000000.{sink}"]
    assert len(read_tar(tmp_path / "tar" / "000000.tar")) == 51
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "parquet" / "000000.parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert sum(row["image"] is not None for row in loaded["train"]) == 51


def test_remote_storage(model: Path, tmp_path: Path, alone: Counter[int]) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(3):
        memory.pipe_file(f"/in/{number}/{number}.png", png(number))
    report = translate_on_cluster(model, "memory://in", "memory://out", settings())
    assert (report.written, report.failed) == (3, 0)
    assert [path for path in memory.find("/out") if "_unpaired" not in path] == [f"/out/{n}/{n}.png" for n in range(3)]
    entries = [json.loads(line) for line in memory.cat_file(f"/out/{MANIFEST}/000000.jsonl").splitlines()[1:]]
    assert [entry["input"] for entry in entries] == [f"memory:///in/{n}/{n}.png" for n in range(3)]
    memory.rm_file("/out/1/1.png")
    again = translate_on_cluster(model, "memory://in", "memory://out", settings())
    assert (again.written, again.skipped) == (3, 0)
    assert alone == {0: 2}

    memory.pipe_file("/shards/a.tar", write_tar(tmp_path / "a.tar", {"0.png": png(0)}).read_bytes())
    report = translate_on_cluster(model, "memory://shards/*.tar", "memory://tars", settings())
    assert report.written == 1
    assert memory.isfile("/tars/a.tar")


def test_a_bucket(model: Path, tmp_path: Path, alone: Counter[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BEAT_SECONDS", 0.05)
    with s3_on_loopback() as bucket:
        bucket.mkdir("bucket")
        for number in range(3):
            bucket.pipe_file(f"bucket/in/{number}.png", png(number))
        bucket.pipe_file("bucket/in/bad.png", b"nothing")
        for sink, outputs in (("files", [f"{number}.png" for number in range(3)]), ("tar", ["000000.tar"])):
            out = f"s3://bucket/{sink}"
            report = translate_on_cluster(model, "s3://bucket/in", out, settings(sink=sink))
            assert (report.written, report.failed) == (3, 1)
            assert report.failures == f"{out}/{FAILURES}"
            found = {path.removeprefix(f"bucket/{sink}/") for path in bucket.find(f"bucket/{sink}")}
            assert found == {*outputs, JOB, FAILURES, f"{MANIFEST}/000000.jsonl"}
            assert translate_on_cluster(model, "s3://bucket/in", out, settings(sink=sink)).skipped == 3
        assert alone == {0: 2}
        with pytest.raises(UserError, match="cannot"):
            translate_on_cluster(model, "s3://bucket/in", "s3://nowhere/out", settings())


def test_a_damaged_shard_is_a_failure_among_others(model: Path, tmp_path: Path, alone: Counter[int]) -> None:
    write_tar(tmp_path / "in" / "0.tar", {"0.png": png(0)})
    (tmp_path / "in" / "1.tar").write_bytes(b"x" * 700)
    report = translate_on_cluster(model, f"{tmp_path}/in/*.tar", str(tmp_path / "out"), settings())
    assert (report.written, report.failed) == (1, 1)
    assert report.examples[0][0] == "1.tar"
    write_tar(tmp_path / "in" / "1.tar", {"1.png": png(1)})
    report = translate_on_cluster(model, f"{tmp_path}/in/*.tar", str(tmp_path / "out"), settings())
    assert (report.written, report.skipped, report.failed) == (1, 1, 0)
    assert alone == {0: 1, 1: 2}
    assert not (tmp_path / "out" / FAILURES).exists()


def test_mixtures_and_nothing_are_refused(model: Path, photos: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "in.tar", {"0.png": png(0)})
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match="different kinds"):
        translate_on_cluster(model, [str(photos), str(tmp_path / "in.tar")], out, settings())
    with pytest.raises(UserError, match="no file fits"):
        translate_on_cluster(model, f"{photos}/*.nothing", out, settings())
    pyarrow.parquet.write_table(pyarrow.table({"n": [1]}), tmp_path / "in.parquet")
    with pytest.raises(UserError, match="no column of images"):
        translate_on_cluster(model, str(tmp_path / "in.parquet"), out, settings())
    Image.new("RGB", (4, 4)).save(photos / "grey.png")
    with pytest.raises(UserError, match="more than one input"):
        translate_on_cluster(model, str(photos), out, settings())
    assert not Path(out).exists()


def test_patterns_of_files(model: Path, photos: Path, tmp_path: Path) -> None:
    report = translate_on_cluster(model, f"{photos}/*/0*.png", str(tmp_path / "out"), settings(format=".JPG"))
    assert report.written == 10
    assert next(iter(contents(tmp_path / "out"))) == "0/00.jpg"
    assert json.loads((tmp_path / "out" / JOB).read_text())["settings"]["format"] == "jpg"
