from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runs import write_images
from shards import add, in_order, write_parquet, write_tars
from unpaired.core.errors import UserError
from unpaired.data.bad_image import BadImage
from unpaired.data.streams.remote import find_files, shard_cache
from unpaired.data.streams.shards import open_shards
from unpaired.data.streams.stream import Stream, is_stream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path, {"images": 7}) / "images"


def contents(stream: Stream) -> list[bytes]:
    return [image.load().content for image in stream.images]


def test_images_come_in_the_order_of_shards_and_members(folder: Path, tmp_path: Path) -> None:
    stream = Stream(write_tars(folder, tmp_path / "tars", 3))
    assert contents(stream) == [path.read_bytes() for path in in_order(folder)]
    assert [image.short for image in stream.images][:3] == [
        "part-000.tar/0.png",
        "part-000.tar/1.png",
        "part-001.tar/2.png",
    ]
    assert [len(shard) for shard in stream.shards] == [2, 2, 3]
    assert Stream(f"{tmp_path}/tars/*.tar").images[0].key == "0"


def test_row_groups_are_shards_and_rows_are_found_by_number(folder: Path, tmp_path: Path) -> None:
    stream = Stream(str(write_parquet(folder, tmp_path / "x.parquet", rows=3)))
    assert [len(shard) for shard in stream.shards] == [3, 3, 1]
    assert contents(stream) == [path.read_bytes() for path in in_order(folder)]
    assert stream.images[4].short == "x.parquet/row 4"
    assert [contents(stream)[k] for k in (6, 0, 3)] == [in_order(folder)[k].read_bytes() for k in (6, 0, 3)]


def test_plain_bytes_nothing_and_paths_alone(tmp_path: Path) -> None:
    pq.write_table(pa.table({"photo": pa.array([b"one", None, b""], pa.large_binary())}), tmp_path / "x.parquet")
    images = Stream(f"{tmp_path}/x.parquet").images
    assert images[0].load().content == b"one"
    for image in images[1:]:
        with pytest.raises(BadImage, match="holds no bytes"):
            image.load()


def test_columns_are_chosen_and_a_wrong_one_is_told_with_those_there_are(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array([b"x"]), "b": pa.array([b"y"]), "n": [1]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert contents(Stream(f"{tmp_path}/x.parquet#b")) == [b"y"]
    for place, told in (
        ("x.parquet", "several columns"),
        ("x.parquet#c", "is not there"),
        ("x.parquet#n", "no images"),
    ):
        with pytest.raises(UserError, match=rf"{told}.*a \(binary\), b \(binary\), n \(int64\)"):
            _ = Stream(f"{tmp_path}/{place}").images


def test_members_are_chosen_by_their_ending(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for key in ("p.1", "q"):
            for ending in ("in.png", "out.png"):
                add(archive, f"{key.split('.')[0]}.{ending}", f"{key}{ending}".encode())
    assert contents(Stream(f"{tmp_path}/x.tar#out.png")) == [b"p.1out.png", b"qout.png"]
    with pytest.raises(UserError, match=r"2 images of every sample: in.png, out.png"):
        _ = Stream(f"{tmp_path}/x.tar").images
    with pytest.raises(UserError, match=r"no members that end with .jpg.*\.in\.png, \.out\.png"):
        _ = Stream(f"{tmp_path}/x.tar#jpg").images


def test_links_hidden_files_and_folders_are_no_images(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "d/one.png", b"1")
        add(archive, "d/._one.png", b"2")
        add(archive, "__MACOSX/d/one.png", b"3")
        link = tarfile.TarInfo("d/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert contents(Stream(f"{tmp_path}/x.tar")) == [b"1"]


@pytest.mark.parametrize("cut", [1, 512, 700, 1024, 5000])
def test_a_shard_that_is_cut_short_is_told(folder: Path, tmp_path: Path, cut: int) -> None:
    write_tars(folder, tmp_path / "tars", 1)
    path = tmp_path / "tars" / "part-000.tar"
    with tarfile.open(path) as archive:
        end = max(member.offset_data + -(-member.size // 512) * 512 for member in archive)
    content = path.read_bytes()[:end]
    path.write_bytes(content[: len(content) - cut] if cut != 1024 else content)
    with pytest.raises(UserError, match=r"part-000.tar\" is damaged"):
        _ = Stream(str(path)).images


def test_a_member_of_a_negative_size_is_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"size": "-512"}
        archive.addfile(member)
    with pytest.raises(UserError, match="is damaged"):
        _ = Stream(str(tmp_path / "x.tar")).images


def test_damage_inside_and_after_a_shard_is_told(folder: Path, tmp_path: Path) -> None:
    write_tars(folder, tmp_path / "tars", 1)
    path = tmp_path / "tars" / "part-000.tar"
    with tarfile.open(path) as archive:
        third = archive.getmembers()[2].offset
    content = bytearray(path.read_bytes())
    path.write_bytes(bytes(content) + bytes(content))
    with pytest.raises(UserError, match="follows its end"):
        _ = Stream(str(path)).images
    content[third : third + 100] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"header at byte {third} makes no sense"):
        _ = Stream(str(path)).images
    path.write_bytes(b"not an archive" * 100)
    with pytest.raises(UserError, match="is damaged"):
        _ = Stream(str(path)).images


def test_a_damaged_table_is_told(folder: Path, tmp_path: Path) -> None:
    path = write_parquet(folder, tmp_path / "x.parquet")
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-5])
    with pytest.raises(UserError, match=r"x.parquet\" is damaged: no Parquet file"):
        _ = Stream(str(path)).images
    content[4:200] = np.random.default_rng(0).bytes(196)
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged: row group 0"):
        contents(Stream(str(path)))
    (tmp_path / "x.arrow").write_bytes(b"no table")
    with pytest.raises(UserError, match="no Arrow file"):
        _ = Stream(f"{tmp_path}/x.arrow").images


def test_a_shard_that_changes_while_it_is_read_is_told(folder: Path, tmp_path: Path) -> None:
    stream = Stream(write_tars(folder, tmp_path / "tars", 1))
    image = stream.images[0]
    (tmp_path / "tars" / "part-000.tar").write_bytes(b"another one")
    with pytest.raises(UserError, match="has changed since it was listed"):
        image.load()
    (tmp_path / "tars" / "part-000.tar").unlink()
    with pytest.raises(UserError, match="has been deleted"):
        image.load()


def test_unpacked_row_groups_are_bounded_and_made_again(folder: Path, tmp_path: Path) -> None:
    path = write_parquet(folder, tmp_path / "x.parquet", rows=1)
    largest = max(file.stat().st_size for file in in_order(folder)) + 16
    stream = Stream(str(path), cache_gib=2.5 * largest / 2**30)
    for _ in range(2):
        assert contents(stream) == [file.read_bytes() for file in in_order(folder)]
        kept = list(shard_cache().path("x").parent.glob("*.shard"))
        assert 1 <= len(kept) <= 2


def test_patterns(folder: Path, tmp_path: Path) -> None:
    write_tars(folder, tmp_path, 4, name="p")
    (tmp_path / "p [1].tar").write_bytes((tmp_path / "p-001.tar").read_bytes())

    def names(pattern: str) -> list[str]:
        return [file.name for file in find_files(f"{tmp_path}/{pattern}", (".tar",))]

    assert names("p-{002..003}.tar") == ["p-002.tar", "p-003.tar"]
    assert names("p-00{3,0}.tar") == ["p-003.tar", "p-000.tar"]
    assert names("{p,p}-{000..001}.tar") == ["p-000.tar", "p-001.tar"] * 2
    assert names("p-*.tar") == [f"p-00{k}.tar" for k in range(4)]
    assert names("p [1].tar") == ["p [1].tar"]
    for pattern, told in (
        ("q-*.tar", "no file fits"),
        ("p-{3..1}.tar", "lower to a higher"),
        ("p-{4..5}.tar", "No such"),
    ):
        with pytest.raises(UserError, match=told):
            names(pattern)
    with pytest.raises(UserError, match="stands for more than"):
        names("{0..999}{0..999}{0..9}.tar")


def test_what_is_a_stream(tmp_path: Path) -> None:
    (tmp_path / "x.tar").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    yes = (
        "s3://b/x",
        "hf:user/name",
        "https://host/x.tar",
        "a.tar",
        "a.parquet#photo",
        "x/*.tar",
        f"{tmp_path}/saved#image",
    )
    assert all(map(is_stream, yes))
    assert not any(map(is_stream, ("horses", str(tmp_path / "x.tar"), str(tmp_path), "a.zip", "a#b")))


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    for name, told in (("x.tar.gz", "compressed"), ("y.tgz", "compressed")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UserError, match=told):
            _ = Stream(f"{tmp_path}/{name}").images
    for place, told in (("hf:nothing", "hf:USER/NAME"), ("nowhere://x/y.tar", "Protocol not known")):
        with pytest.raises(UserError, match=told):
            _ = Stream(place).images
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_dict.json").write_text("{}")
    (tmp_path / "saved" / "train").mkdir()
    (tmp_path / "saved" / "train" / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}')
    with pytest.raises(UserError, match=r"several splits: train"):
        _ = Stream(f"{tmp_path}/saved").images
    with pytest.raises(UserError, match="names no Arrow files of this folder"):
        _ = Stream(f"{tmp_path}/saved/train").images


def test_an_index_is_made_once_and_anew_when_it_is_damaged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unpaired.data.streams import shards

    place, listed = write_tars(folder, tmp_path / "tars", 2), list[str]()
    original = shards.list_members
    monkeypatch.setattr(shards, "list_members", lambda file: listed.append(file.name) or original(file))
    files = find_files(place, (".tar",))
    before = [shard.read(0) for shard in open_shards(files)]
    assert sorted(listed) == ["part-000.tar", "part-001.tar"]
    assert [shard.read(0) for shard in open_shards(files)] == before
    assert len(listed) == 2
    for index in shards.INDEXES.path("x").parent.glob("*.json"):
        index.write_text("[]")
    assert [shard.read(0) for shard in open_shards(files)] == before
    assert len(listed) == 4
