"""Where weights come from: named, cached, in a package, downloaded; and what is said where they cannot be had."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sites import serving
from unpaired.core import download as downloads
from unpaired.core.cache import user_cache_folder
from unpaired.core.errors import UserError
from unpaired.metrics.features import weights as room
from unpaired.metrics.features.weights import (
    ALEXNET_FILE,
    INCEPTION,
    LPIPS_ALEX,
    LPIPS_VGG,
    VGG16_FILE,
    FoundFile,
    KnownFile,
    find_weights,
)

CONTENT = b"weights " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def known(*urls: str, packages: tuple[tuple[str, str], ...] = ()) -> KnownFile:
    return KnownFile(
        name=f"net-{SHA256[:8]}.pth",
        aliases=(f"weights-net-{SHA256[:8]}.pth",),
        urls=urls or ("https://example.org/net.pth",),
        sha256=SHA256,
        size=len(CONTENT),
        purpose="the example network",
        instead="example:FILE",
        packages=packages,
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(room, "download", downloads.download)
    monkeypatch.setattr(downloads, "PAUSES", ())
    monkeypatch.setenv("no_proxy", "*")
    with serving() as site:
        site.add("/net", CONTENT)
        site.add("/other", b"something else" + CONTENT[14:])
        site.add("/half", CONTENT, cuts=[len(CONTENT) // 2])
        yield site.address


def cache() -> Path:
    folder = user_cache_folder() / "weights"
    folder.mkdir(exist_ok=True)
    return folder


def kept() -> list[str]:
    return [path.name for path in cache().iterdir() if path.suffix != ".lock"]


def test_known_files_bear_their_checksum() -> None:
    for file in (INCEPTION, VGG16_FILE, ALEXNET_FILE, LPIPS_ALEX, LPIPS_VGG):
        assert len(file.sha256) == 64
        for name in (file.name, *file.aliases):
            assert name.removesuffix(".pth").endswith(file.sha256[:8])
        assert all(url.startswith("https://") for url in file.urls)


def test_a_download_is_checked_kept_and_announced(server: str) -> None:
    said: list[str] = []
    found = find_weights(known(f"{server}/net"), notice=said.append)
    assert found == FoundFile(path=cache() / known().name, sha256=SHA256, official=True)
    assert found.path.read_bytes() == CONTENT
    assert said == [f"Downloading {server}/net (0.008 MB, once) to {found.path}."]
    assert kept() == [known().name]
    assert find_weights(known("http://127.0.0.1:9/never")) == found  # from now on without a network


def test_the_next_server_is_asked_where_one_no_longer_has_the_file(server: str) -> None:
    assert find_weights(known(f"{server}/gone", f"{server}/net")).official


@pytest.mark.parametrize(("path", "reason"), [("other", "SHA-256"), ("gone", "404")])
def test_what_came_wrong_is_not_kept(server: str, path: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        find_weights(known(f"{server}/{path}"))
    assert kept() == []


def test_a_download_that_is_cut_goes_on_the_next_time(server: str) -> None:
    with pytest.raises(UserError, match=r"could not be downloaded .*cut after 4 kB of 8 kB"):
        find_weights(known(f"{server}/half"))
    assert not (cache() / known().name).exists()
    assert find_weights(known(f"{server}/half")).path.read_bytes() == CONTENT
    assert kept() == [known().name]


def test_without_a_network_the_message_names_address_file_and_place() -> None:
    with pytest.raises(UserError) as raised:
        find_weights(INCEPTION)
    message = str(raised.value)
    assert "Inception-v3 (the network of FID)" in message
    assert "tests have no network" in message
    assert INCEPTION.urls[0] in message
    assert str(user_cache_folder() / "weights" / "pt_inception-2015-12-05-6726825d.pth") in message
    assert "inception:FILE" in message


@pytest.mark.parametrize("name", [known().name, known().aliases[0]])
@pytest.mark.parametrize("of_pytorch", [False, True])
def test_cached_files_are_found_under_each_name(name: str, of_pytorch: bool, tmp_path: Path) -> None:
    folder = Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints" if of_pytorch else cache()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(CONTENT)
    assert find_weights(known()) == FoundFile(path=folder / name, sha256=SHA256, official=True)


def test_a_damaged_file_in_the_cache_is_named_and_not_used() -> None:
    (cache() / known().name).write_bytes(CONTENT[:-1])
    wrong = hashlib.sha256(CONTENT[:-1]).hexdigest()
    with pytest.raises(UserError, match=rf"expected the SHA-256 {SHA256}, found {wrong}.*not used. Remove it"):
        find_weights(known())


def test_a_given_file_may_be_ones_own_but_not_under_the_published_name(tmp_path: Path) -> None:
    own, false, real = tmp_path / "own.pth", tmp_path / known().name, tmp_path / "renamed.pth"
    own.write_bytes(b"mine")
    false.write_bytes(b"mine")
    real.write_bytes(CONTENT)
    assert not find_weights(known(), own).official
    assert find_weights(known(), real).official
    with pytest.raises(UserError, match="if it is a file of your own, rename it"):
        find_weights(known(), false)
    with pytest.raises(UserError, match=r"There is no file .*nothing.pth. example:FILE needs"):
        find_weights(known(), tmp_path / "nothing.pth")


def test_an_installed_package_that_holds_the_file_is_looked_up_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, content in (("package_of_others", b"other version"), ("package_of_weights", CONTENT)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')")
        (tmp_path / package / "net.pth").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    packages = tuple((name, "net.pth") for name in ("package_not_here", "package_of_others", "package_of_weights"))
    found = find_weights(known(packages=packages))
    assert found.path == tmp_path / "package_of_weights" / "net.pth"
    assert found.official


def test_heads_of_lpips_without_a_network_tell_of_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match="install torchmetrics or lpips, which bring it,"):
        find_weights(LPIPS_ALEX)
