"""Published data sets by name: brought from a local server, kept, checked, and read as `--data NAME`."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sites import Site, serving
from unpaired.core import download as downloads
from unpaired.core.errors import UserError
from unpaired.data import catalogue as room
from unpaired.data.catalogue import Dataset, catalogue, dataset_folder, fetch_dataset, find_dataset
from unpaired.data.config import DataConfig
from unpaired.data.folders import find_folders

Serve = Callable[..., Dataset]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture
def serve(site: Site, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve an archive in place of a published one, which is then in the catalogue."""
    monkeypatch.setattr(downloads, "PAUSES", ())
    entries = dict(catalogue())
    monkeypatch.setattr(room, "catalogue", lambda: entries)

    def make(name: str, folders: tuple[str, ...], *, checked: bool = True, colour: int = 0, **more: object) -> Dataset:
        content = archive({f"{folder}/{n}.png": b"%d" % colour for folder in folders for n in range(2)})
        digest = hashlib.sha256(content).hexdigest() if checked else None
        url = site.add(f"/{name}.tar.gz", content)
        facts = {"urls": (url,), "size": None, "sha256": digest, "md5": None, **more}
        entries[name] = replace(entries[name], **facts)  # type: ignore[arg-type]
        return entries[name]

    return make


def archive(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    # Equal contents give equal bytes: gzip would write the time.
    with gzip.GzipFile(fileobj=content, mode="w", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as packed:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return content.getvalue()


H2Z = ("horse2zebra/trainA", "horse2zebra/trainB", "horse2zebra/testA", "horse2zebra/testB")


def test_every_entry_says_where_it_is_and_under_which_licence() -> None:
    names = {"horse2zebra", "apple2orange", "summer2winter_yosemite", "monet2photo", "cezanne2photo", "ukiyoe2photo"}
    names |= {"vangogh2photo", "iphone2dslr_flower", "maps", "facades", "cityscapes", "edges2shoes", "edges2handbags"}
    assert names | {"night2day", "ae_photos", "grumpifycat", "cat2dog"} <= set(catalogue())
    for dataset in catalogue().values():
        assert dataset.licence
        assert dataset.source.startswith("https://")
        assert bool(dataset.urls) != bool(dataset.instructions)
        assert bool(dataset.checksum_from) == (dataset.checksum != "none"), "a checksum has a source"
        for url in dataset.urls:
            parts = urlsplit(url)
            assert parts.hostname
            assert parts.scheme == "https" or dataset.sha256, "without encryption a checksum is needed"


def test_a_name_stands_for_a_folder_that_is_fetched_once(
    site: Site, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = serve("horse2zebra", H2Z)
    monkeypatch.chdir(tmp_path)
    found = find_folders(DataConfig(root="horse2zebra"))
    assert isinstance(found.train_a, Path)
    assert sorted(path.name for path in found.train_a.iterdir()) == ["0.png", "1.png"]
    assert found.test_b == found.train_a.parent / "testB"
    said = capsys.readouterr().err
    for word in (dataset.licence, dataset.source, dataset.urls[0], str(dataset.sha256), "SHA-256"):
        assert word in said
    assert find_folders(DataConfig(root="horse2zebra")) == found
    assert len(site.requests) == 1
    assert not [path for path in (found.train_a.parents[2] / "downloads").iterdir() if "tar" in path.suffixes]

    (tmp_path / "horse2zebra" / "trainA").mkdir(parents=True)  # a folder of the user's comes first
    with pytest.raises(UserError, match="no known layout"):
        find_folders(DataConfig(root="horse2zebra"))


def test_side_by_side_files_have_an_archive_of_their_own(serve: Serve) -> None:
    serve("facades_pairs", ("facades/train", "facades/val"))
    found = find_folders(DataConfig(root="facades", side_by_side="ab"))
    assert found.train_a == found.train_b == dataset_folder("facades_pairs") / "train"
    assert isinstance(found.test_a, Path)
    assert found.test_a.name == "val"


def test_folders_of_another_name_become_those_that_are_read(serve: Serve) -> None:
    serve("cat2dog", ("afhq/train/cat", "afhq/train/dog", "afhq/train/wild", "afhq/val/cat", "afhq/val/dog"))
    folder = dataset_folder("cat2dog")
    assert {path.name for path in folder.iterdir()} == {"trainA", "trainB", "testA", "testB"}


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r'no such folder\. Did you mean "horse2zebra"\? That is a published data set'):
        find_folders(DataConfig(root="horse2zebr"))
    with pytest.raises(UserError, match='Did you mean "maps"'):
        find_dataset("map")
    with pytest.raises(UserError) as caught:
        find_folders(DataConfig(root="deep/horse2zebr"))
    assert "published" not in str(caught.value)


def test_what_needs_an_account_is_explained() -> None:
    with pytest.raises(UserError, match=r"cannot be downloaded by a program.*cityscapes-dataset\.com"):
        dataset_folder("cityscapes")


def test_a_wrong_checksum_or_layout_leaves_nothing(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its SHA-256 is [0-9a-f]{64}, expected 0000"):
        fetch_dataset(serve("horse2zebra", H2Z, sha256="0" * 64), out=tmp_path / "out")
    with pytest.raises(UserError, match="no folder trainB, but trainA"):
        fetch_dataset(serve("horse2zebra", H2Z[:1]), out=tmp_path / "out")
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        fetch_dataset(serve("horse2zebra", H2Z), out=tmp_path / "mine")


def test_without_a_published_checksum_the_first_one_counts(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_dataset(serve("edges2shoes", ("edges2shoes/train",), checked=False), out=tmp_path / "one")
    assert "no checksum is published" in capsys.readouterr().err
    fetch_dataset(serve("edges2shoes", ("edges2shoes/train",), checked=False), out=tmp_path / "same", quiet=True)
    changed = serve("edges2shoes", ("edges2shoes/train",), checked=False, colour=1)
    with pytest.raises(UserError, match=r"has changed: its SHA-256 is .* remove (.*\.json)") as caught:
        fetch_dataset(changed, out=tmp_path / "two")
    assert not (tmp_path / "two").exists()
    Path(str(caught.value).partition("remove ")[2].partition(", and")[0]).unlink()
    assert fetch_dataset(changed, out=tmp_path / "two").is_dir()


def test_a_file_at_hand_or_another_address_is_taken_and_checked(site: Site, serve: Serve, tmp_path: Path) -> None:
    dataset = serve("horse2zebra", H2Z)
    mine = tmp_path / "mine.tar.gz"
    mine.write_bytes(site.pages["/horse2zebra.tar.gz"].content)
    mirror = site.add("/mirror", mine.read_bytes())
    site.pages["/horse2zebra.tar.gz"].statuses = [404] * 9
    for number, given in enumerate((str(mine), mine.as_uri(), mirror)):
        assert (fetch_dataset(dataset, out=tmp_path / str(number), given=given) / "trainA").is_dir()
    assert mine.is_file()
    mine.write_bytes(archive({"horse2zebra/trainA/0.png": b""}))
    with pytest.raises(UserError, match="is not the published file"):
        fetch_dataset(dataset, out=tmp_path / "x", given=str(mine))
    with pytest.raises(UserError, match="https://"):
        fetch_dataset(dataset, out=tmp_path / "x", given="s3://bucket/a.zip")
