"""`unpaired download` and `push`: what is printed, where things go, and what is refused."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from hubs import Hub
from sites import Site, serving
from unpaired import cli
from unpaired.core import download as downloads
from unpaired.data import catalogue as room
from unpaired.data.catalogue import catalogue
from unpaired.models.named import shipped
from unpaired.models.pretrained import pretrained


def _run(*tokens: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(tokens)
    return int(stopped.value.code or 0)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture
def horses(site: Site, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Serve a small archive in place of horse2zebra; returns it."""
    monkeypatch.setattr(downloads, "PAUSES", ())
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for folder in ("trainA", "trainB"):
            picture = io.BytesIO()
            Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)).save(picture, "PNG")
            packed.writestr(f"horse2zebra/{folder}/0.png", picture.getvalue())
    url = site.add("/horse2zebra.zip", content.getvalue())
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    known = dict(catalogue())
    known["horse2zebra"] = replace(known["horse2zebra"], urls=(url,), size=None, sha256=sha256)
    monkeypatch.setattr(room, "catalogue", lambda: known)
    return content.getvalue()


def test_everything_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("download") == 0
    listed = capsys.readouterr().out
    for name in (*catalogue(), *shipped()):
        assert name in listed
    assert "model/style_" in listed
    assert len(pretrained()) >= 29


def test_a_data_set_comes_into_a_folder(horses: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("download", "horse2zebra", "--out", str(tmp_path / "h2z")) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == str(tmp_path / "h2z")
    assert "licence: none stated" in shown.err
    assert (tmp_path / "h2z" / "trainA" / "0.png").is_file()
    assert _run("download", "horse2zebra", "--out", str(tmp_path / "h2z")) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert _run("download", "horse2zebra", "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_a_name_in_place_of_a_folder(
    horses: bytes, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("train", "cyclegan", "--data", "horse2zebra", "--out", "run", "--crop-size", "16", "--device", "cpu")
    quick = ("--max-images", "1", "--set", "method.generator.width=2", "--set", "method.generator.blocks=1")
    small = ("--set", "method.discriminator.width=2", "--set", "method.discriminator.layers=1", "--quiet")
    assert _run(*command, *quick, *small) == 0
    assert '"root": "horse2zebra"' in (tmp_path / "run" / "config.json").read_text()
    assert len(site.requests) == 1
    assert _run("train", "cyclegan", "--data", "horse2zebr", "--out", "other") == 2
    assert 'Did you mean "horse2zebra"? That is a published data set' in capsys.readouterr().err


def test_ctrl_c_says_that_nothing_is_lost(
    horses: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "download", stop)
    assert _run("download", "horse2zebra") == 130
    assert "goes on where it stopped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["horse2zebr"], 'Did you mean "horse2zebra"'),
        (["model/horse2zebr"], 'Did you mean "horse2zebra"'),
        (["demo/nothing"], "comes with the package"),
        (["hf:a/b", "--from", "x"], "--from has no meaning"),
        (["--from", "x"], "belong to a NAME"),
        (["cityscapes"], "cityscapes-dataset.com"),
        (["horse2zebra", "--from", "nowhere.zip"], "cannot be read"),
        (["horse2zebra", "--from", "ftp://host/x"], "https://"),
    ],
)
def test_what_cannot_be_is_said(tokens: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("download", *tokens) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_a_shipped_model_is_used_copied_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / "photo.png")
    arguments = ("--out", str(tmp_path / "out"), "--engine", "torch", "--device", "cpu")
    assert _run("translate", "demo/fish", str(tmp_path / "photo.png"), *arguments) == 0
    with Image.open(tmp_path / "out" / "photo.png") as made:
        assert made.size == (30, 20)
    assert "model fish" in capsys.readouterr().out
    assert _run("download", "demo/fish", "--out", str(tmp_path / "mine")) == 0
    assert (tmp_path / "mine" / "README.md").read_text() == (shipped()["fish"] / "README.md").read_text()
    assert _run("info", "demo/fish") == 0
    assert "plain: 3 channels" in capsys.readouterr().out


def test_a_model_is_pushed_and_translated_with(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", site.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", site.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    hub = Hub(site)
    assert _run("push", "demo/fish", "me/fish", "--revision", "v1", "--private") == 0
    repo = hub.repos["me/fish"]
    assert repo.refs["v1"] in capsys.readouterr().out
    assert repo.commits[repo.refs["v1"]]["README.md"] == (shipped()["fish"] / "README.md").read_bytes()
    assert _run("info", "hf:me/fish@v1") == 0
    shown = capsys.readouterr()
    assert repo.refs["v1"][:12] in shown.err
    assert "intact" in shown.out
