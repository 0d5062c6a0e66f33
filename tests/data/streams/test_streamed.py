"""Streams among the other settings of the data: windows of shards, pairs, label maps, bad images, ranks."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs import TINY, unpaired, write_images
from shards import add, in_order, records, write_tars
from unpaired.core.errors import UserError
from unpaired.data.bad_image import BadImage
from unpaired.data.check import BadFiles, check_images
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.data.decode import decode
from unpaired.data.formats import ImageBytes, Reader, base
from unpaired.data.held_out import open_dataset
from unpaired.data.loader import UnpairedLoader
from unpaired.data.order import Windowed, Windows
from unpaired.data.streams.stream import Stream
from unpaired.data.training import Part, open_training_data

DATA = {name.removeprefix("data."): value for name, value in TINY.items() if name.startswith("data.")}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", {"a": 6, "b": 8})


def sizes(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@given(a=COUNTS, b=COUNTS, window=st.integers(1, 4), seed=st.integers(0, 2**62), paired=st.booleans())
@settings(max_examples=60)
def test_an_epoch_goes_through_few_shards_at_a_time(
    a: list[int], b: list[int], window: int, seed: int, paired: bool
) -> None:
    order = Windowed(Windows(sizes(a), sizes(a if paired else b), window), seed, paired=paired)
    count = order.epoch_images
    assert count == (sum(a) if paired else max(sum(a), sum(b)))
    rows = [order.sample(k) for k in range(2 * count)]
    again = Windowed(Windows(sizes(a), sizes(a if paired else b), window), seed, paired=paired)
    assert again.sample(count + count // 2) == rows[count + count // 2], "a function of seed and position"
    first = rows[: sum(a)]
    assert sorted(row.index_a for row in first) == list(range(sum(a))), "every image once before any comes again"
    shards = [int(sizes(a)[row.index_a]) for row in first]
    seen = list(dict.fromkeys(shards))
    for start in range(0, len(seen), window):
        together = seen[start : start + window]
        at = [k for k, shard in enumerate(shards) if shard in together]
        assert at == list(range(at[0], at[-1] + 1)), "a window is left for good before the next begins"
    if paired:
        assert all(row.index_a == row.index_b and row.u_a == row.u_b for row in rows)
    else:
        of_b = list(dict.fromkeys(int(sizes(b)[row.index_b]) for row in rows[:count]))
        assert all(0 <= row.index_b < sum(b) for row in rows)
        assert len(of_b) <= len(b)


def test_b_is_drawn_from_windows_in_turn() -> None:
    order = Windowed(Windows(sizes([100] * 4), sizes([50] * 8), 2), 3)
    rows = [order.sample(k) for k in range(400)]
    windows = [{row.index_b // 50 for row in rows[start : start + 100]} for start in range(0, 400, 100)]
    assert all(len(window) == 2 for window in windows)
    assert set.union(*windows) == set(range(8))


def test_a_window_is_set_and_two_ranks_read_what_one_would(images: Path, tmp_path: Path) -> None:
    a, b = write_tars(images / "a", tmp_path, 3, name="a"), write_tars(images / "b", tmp_path, 4, name="b")
    data = open_training_data(DataConfig(a=a, b=b, window=1, **DATA))
    assert data.windows is not None
    assert data.windows.shards_a.tolist() == [0, 0, 1, 1, 2, 2]

    def taken(rank: int, world: int, start: int = 0) -> list[bytes]:
        with UnpairedLoader(
            data, batch_size=1, seed=5, rank=rank, world_size=world, start_images=start, workers=1
        ) as loader:
            return [b"".join(part.numpy().tobytes() for part in next(loader)) for _ in range(16 // world)]

    alone, (first, second) = taken(0, 1), (taken(0, 2), taken(1, 2))
    assert [row for pair in zip(first, second, strict=True) for row in pair] == alone
    assert taken(0, 1, start=5)[:11] == alone[5:], "begun in the middle of a shard"
    with pytest.raises(UserError, match="window"):
        open_training_data(DataConfig(a=str(images / "a"), b=str(images / "b"), window=1, **DATA))


def test_checking_remembers_and_reports_members(images: Path, tmp_path: Path) -> None:
    place = write_tars(images / "a", tmp_path, 2)
    with tarfile.open(tmp_path / "part-000.tar", "a") as archive:
        add(archive, "z.png", b"\x89PNG\r\n\x1a\n broken")
    config = DataConfig(a=place, b=str(images / "b"), **DATA)
    with pytest.raises(BadFiles, match=r"part-000.tar/z.png: ") as told:
        open_training_data(config)
    assert len(told.value.bad_files) == 1
    skipped = DataConfig(a=place, b=str(images / "b"), on_bad_image="skip", **DATA)
    data = open_training_data(skipped)
    assert len(data.a) == 6
    assert [info.digest for info in data.files[Part(False, "a")]] == [
        info.digest for info in check_images(in_order(images / "a")).good
    ], "the same contents are the same images, wherever they lie"
    reads = list[str]()
    stream = Stream(place)
    for shard in stream.shards:
        read = shard.read
        object.__setattr__(shard, "read", lambda index, read=read: reads.append("read") or read(index))
    found = check_images(stream.images)
    assert len(found.good) == 6
    assert len(reads) == 1, "only the bad one is looked at again"


def test_pairs_are_matched_by_key_or_row(images: Path, tmp_path: Path) -> None:
    files = in_order(images / "a")
    for name, order in (("in", files), ("out", files[::-1])):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for path in order:
                add(archive, f"{path.stem}.{name}.png", path.read_bytes())
    data = open_training_data(DataConfig(a=f"{tmp_path}/in.tar", b=f"{tmp_path}/out.tar", **DATA), paired=True)
    assert [data.a[k].tobytes() for k in range(6)] == [data.b[k].tobytes() for k in range(6)]
    held_out = open_dataset(DataConfig(a=f"{tmp_path}/in.tar", b=f"{tmp_path}/out.tar", **DATA), paired=True)
    assert held_out.test.pairs == tuple((k, 5 - k) for k in range(6))
    table = pa.table({"photo": records(files), "map": records(files)})
    pq.write_table(table, tmp_path / "pairs.parquet", row_group_size=4)
    config = DataConfig(a=f"{tmp_path}/pairs.parquet#photo", b=f"{tmp_path}/pairs.parquet#map", **DATA)
    assert "6 pairs, matched by position" in open_training_data(config, paired=True).notices
    with pytest.raises(UserError, match="two streams"):
        open_training_data(DataConfig(a=f"{tmp_path}/in.tar", b=str(images / "a"), **DATA), paired=True)


def test_the_same_stream_twice_and_label_maps_are_refused(images: Path, tmp_path: Path) -> None:
    place = write_tars(images / "a", tmp_path, 1)
    with pytest.raises(UserError, match="are the same"):
        open_training_data(DataConfig(a=place, b=place, **DATA))
    labels = LabelsConfig(kind="colour")
    with pytest.raises(UserError, match="label maps are read from folders"):
        open_training_data(DataConfig(a=place, b=str(images / "b"), labels_a=labels, **DATA))


def test_a_damaged_shard_on_the_command_line_is_one_message(images: Path, tmp_path: Path) -> None:
    write_tars(images / "a", tmp_path, 1)
    shard = tmp_path / "part-000.tar"
    shard.write_bytes(shard.read_bytes()[:3000])
    done = unpaired("train", "cyclegan", "--a", shard, "--b", images / "b", "--out", tmp_path / "run", check=2)
    assert done.stderr.count("error:") == 1
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


class Halved(Reader):
    """A reader of its own that needs a file."""

    suffixes = frozenset({".half"})

    def probe(self, path: Path) -> base.Header:
        return base.Header(1, path.stat().st_size, 1, "uint8")

    def read(self, path: Path, *, stored: bool = False) -> np.ndarray:
        return np.fromfile(path, np.uint8)[None, :, None] // 2


def test_readers_that_need_a_file_are_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from unpaired.data import decode as module

    monkeypatch.setattr(module, "find_reader", lambda *_: Halved())
    assert decode(ImageBytes(b"\x08\x0a", "x.tar/one.half")).tolist() == [[[4], [5]]]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy", ".webp", ".gif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_reader_reads_from_memory_what_it_reads_from_files(tmp_path: Path, suffix: str, dtype: str) -> None:
    import imagecodecs
    import tifffile
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype(dtype) * (257 if dtype == "uint16" else 1)
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, image)
    elif suffix == ".tif":
        tifffile.imwrite(path, image, photometric="rgb")
    elif suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(image))
    else:
        Image.fromarray(image.astype(np.uint8)).save(path)
    found = decode(ImageBytes(path.read_bytes(), str(path)))
    np.testing.assert_array_equal(found, decode(path))
    assert found.dtype == decode(path).dtype
    for cut in (0, 20, path.stat().st_size * 2 // 3):
        (tmp_path / f"cut{suffix}").write_bytes(path.read_bytes()[:cut])
        reasons = []
        for source in (tmp_path / f"cut{suffix}", ImageBytes(path.read_bytes()[:cut], f"cut{suffix}")):
            with pytest.raises(BadImage) as told:
                decode(source)
            reasons.append(told.value.reason)
        assert reasons[0] == reasons[1]
