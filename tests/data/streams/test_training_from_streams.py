"""The same images from a folder, tar files, Parquet and saved data sets train the same weights, bit for bit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from processes import start
from runs import TINY, arguments, write_images
from shards import in_order, write_parquet, write_tars
from unpaired.models.folder import checkpoints_of
from unpaired.plan.start import train

LAST = "000000028"
FILES = ("a2b.safetensors", "b2a.safetensors", "training.safetensors")
SETTINGS = {**TINY, "training.evaluate_images": 0, "training.num_samples": 0}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), {"trainA": 5, "trainB": 7})


@pytest.fixture(scope="module")
def shards(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    out = tmp_path_factory.mktemp("shards")
    return write_tars(images / "trainA", out, 2, name="a"), write_tars(images / "trainB", out, 3, name="b")


@pytest.fixture(scope="module")
def straight(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the weights of a training from folders."""
    run = tmp_path_factory.mktemp("runs") / "folders"
    train("cyclegan", a=images / "trainA", b=images / "trainB", out=run, settings=SETTINGS, quiet=True)
    return weights(run)


def weights(run: Path) -> dict[str, bytes]:
    return {name: (run / "checkpoints" / LAST / name).read_bytes() for name in FILES}


def test_tar_files_train_as_folders_do(shards: tuple[str, str], straight: dict[str, bytes], tmp_path: Path) -> None:
    train("cyclegan", a=shards[0], b=shards[1], out=tmp_path / "run", settings=SETTINGS, quiet=True)
    assert weights(tmp_path / "run") == straight


def test_parquet_and_a_folder_together_train_as_folders_do(
    images: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    table = write_parquet(images / "trainA", tmp_path / "horses.parquet", rows=2)
    train("cyclegan", a=table, b=images / "trainB", out=tmp_path / "run", settings=SETTINGS, quiet=True)
    assert weights(tmp_path / "run") == straight


def test_a_saved_data_set_trains_as_folders_do(images: Path, straight: dict[str, bytes], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"image": [{"bytes": path.read_bytes(), "path": None} for path in in_order(images / "trainA")]}
    kind = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict(rows, features=kind).save_to_disk(tmp_path / "saved", num_shards=2)
    b = images / "trainB"
    train("cyclegan", a=tmp_path / "saved", b=b, out=tmp_path / "run", settings=SETTINGS, quiet=True)
    assert weights(tmp_path / "run") == straight


def test_webdataset_shards_train_as_folders_do(images: Path, straight: dict[str, bytes], tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(f"{tmp_path}/a-%02d.tar", maxcount=2, verbose=0) as writer:
        for path in in_order(images / "trainA"):
            writer.write({"__key__": path.stem, "png": path.read_bytes(), "cls": b"1"})
    b = images / "trainB"
    train("cyclegan", a=f"{tmp_path}/a-*.tar", b=b, out=tmp_path / "run", settings=SETTINGS, quiet=True)
    assert weights(tmp_path / "run") == straight


@pytest.mark.slow
def test_killed_in_the_middle_of_a_shard_it_resumes_exactly(
    shards: tuple[str, str], straight: dict[str, bytes], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    own = {**SETTINGS, "training.checkpoint_every_images": 4}
    tokens = ["train", "cyclegan", "--a", shards[0], "--b", shards[1], "--out", str(run), *arguments(own)]
    process = start(*tokens)
    while not (run / "checkpoints").is_dir() or not checkpoints_of(run):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert int(checkpoints_of(run)[0].name) < 28, "it was killed before its end"
    train(resume=run, quiet=True)
    assert weights(run) == straight


def test_a_resumed_run_may_find_its_shards_elsewhere_and_notices_other_images(
    images: Path, shards: tuple[str, str], straight: dict[str, bytes], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train("cyclegan", a=shards[0], b=shards[1], out=run, settings=SETTINGS, max_images=14, quiet=True)
    moved = write_tars(images / "trainA", tmp_path / "moved", 2, name="a")
    train(resume=run, a=moved, b=shards[1], max_images=28, quiet=True)
    assert weights(run) == straight
    other = write_tars(images / "trainB", tmp_path / "other", 2, name="a")
    with pytest.raises(ValueError, match="images have changed"):
        train(resume=run, a=other, b=shards[1], max_images=30, quiet=True)
