"""The authors' generators: fetched from a local server, converted, described, and translated with by name."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sites import Site, serving
from unpaired import Translator, UserError
from unpaired.core import download as downloads
from unpaired.data.catalogue import catalogue
from unpaired.models import pretrained as room
from unpaired.models.convert.weights import to_official
from unpaired.models.folder import find_model, read_card, verify
from unpaired.models.named import is_model_name, model_path, shipped
from unpaired.models.pretrained import Pretrained, fetch_model, find_pretrained, pretrained
from unpaired.networks import ResnetConfig, UnetConfig, build_generator, initialize
from unpaired.networks.blocks import InitConfig

Serve = Callable[[str], Pretrained]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


def _weights(config: ResnetConfig | UnetConfig) -> bytes:
    torch.manual_seed(3)
    network = build_generator(config, 3, 3)
    initialize(network, InitConfig())
    content = io.BytesIO()
    torch.save(to_official(config, network.state_dict()), content)
    return content.getvalue()


@pytest.fixture
def serve(site: Site, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve a small generator of the right kind in place of a published one."""
    monkeypatch.setattr(downloads, "PAUSES", ())
    known = dict(pretrained())
    monkeypatch.setattr(room, "pretrained", lambda: known)

    def make(name: str) -> Pretrained:
        model = known[name]
        unet = model.method == "pix2pix"
        content = _weights(UnetConfig(width=2, depth=5, norm="batch") if unet else ResnetConfig(width=2, blocks=9))
        if model.member:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as archive:
                for folder, data in ((model.member, content), (f"other/{model.member}.txt", b"x")):
                    info = tarfile.TarInfo(f"checkpoints/{folder}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
            content = packed.getvalue()
        known[name] = replace(model, url=site.add(f"/{name}{Path(model.url).suffix}", content), size=None)
        return known[name]

    return make


def test_all_published_names_are_there() -> None:
    authors = (
        "horse2zebra zebra2horse apple2orange orange2apple summer2winter_yosemite winter2summer_yosemite monet2photo "
        "style_monet style_cezanne style_ukiyoe style_vangogh sat2map map2sat cityscapes_photo2label "
        "cityscapes_label2photo facades_photo2label facades_label2photo iphone2dslr_flower"
    )
    pix2pix = ("edges2shoes", "sat2map", "map2sat", "facades_label2photo", "day2night")
    assert {*authors.split(), *(f"pix2pix_{name}" for name in pix2pix)} <= set(pretrained())
    for model in pretrained().values():
        assert model.data in catalogue()
        assert model.url.startswith("https://")
        assert "{" not in model.url + model.member


def test_a_name_is_a_model_that_translates(
    site: Site, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    serve("zebra2horse")
    assert is_model_name("model/zebra2horse")
    translator = Translator.load("model/zebra2horse", engine="torch")
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    assert translator(image).shape == image.shape
    assert (translator.direction, translator.heading) == ("b2a", "zebra to horse"), "by the domains of its data set"
    card = translator.card
    assert card.scale is not None
    assert card.scale.size(512, 300) == (256, 256)
    assert card.paired is False
    assert "ImageNet" in str(card.licence)
    assert "CycleGAN of its authors" in card.origin
    assert translator.folder is not None
    verify(translator.folder)
    readme = (translator.folder / "README.md").read_text()
    for words in ("license: other", "zebra to horse", "Limits", "horses and zebras from ImageNet"):
        assert words in readme
    said = capsys.readouterr().err
    assert "trained on: horse2zebra" in said
    assert "no checksum is published" in said

    assert Translator.from_pretrained("model/zebra2horse", engine="torch").folder == translator.folder
    assert len(site.requests) == 1
    (tmp_path / "model" / "zebra2horse").mkdir(parents=True)  # what is there comes first
    with pytest.raises(UserError, match="is not a model"):
        find_model("model/zebra2horse")


@pytest.mark.parametrize(
    ("name", "heading", "paired"),
    [("pix2pix_facades_label2photo", "label to photo", True), ("fastcut_cat2dog", "cat to dog", False)],
)
def test_other_families_come_the_same_way(
    name: str, heading: str, paired: bool, site: Site, serve: Serve, tmp_path: Path
) -> None:
    model = serve(name)
    folder = fetch_model(model, out=tmp_path / "out", quiet=True)
    translator = Translator.load(folder, engine="torch")
    assert (translator.heading, translator.card.paired) == (heading, paired)
    fetch_model(model, out=tmp_path / "again", quiet=True)
    assert len(site.requests) == (1 if model.member else 2), "the archive of several models is kept"


def test_a_file_at_hand_is_converted_and_something_else_is_refused(site: Site, serve: Serve, tmp_path: Path) -> None:
    model = serve("style_monet")
    mine = tmp_path / "mine.pth"
    mine.write_bytes(site.pages["/style_monet.pth"].content)
    assert fetch_model(model, out=tmp_path / "a", given=str(mine)).is_dir()
    site.pages["/style_monet.pth"].content = b"<!doctype html><html>gone</html>"
    with pytest.raises(UserError, match="has changed"):
        fetch_model(model, out=tmp_path / "b")
    (tmp_path / "page.pth").write_bytes(b"<html>")
    with pytest.raises(UserError, match="an HTML page"):
        fetch_model(serve("style_cezanne"), out=tmp_path / "b", given=str(tmp_path / "page.pth"))
    assert not (tmp_path / "b").exists()


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match='Did you mean "horse2zebra"'):
        find_pretrained("horse2zebr")
    with pytest.raises(UserError, match=r'Did you mean "fish".*demo/fish'):
        model_path("demo/fich")
    with pytest.raises(UserError, match=r"there is no model at nowhere/x.*demo/NAME"):
        find_model("nowhere/x")


@pytest.mark.parametrize("name", shipped())
def test_what_comes_with_the_package_translates_at_once(name: str) -> None:
    folder = shipped()[name]
    verify(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    card = read_card(folder)
    assert card.licence
    text = (folder / "README.md").read_text()
    assert "## Limits" in text
    assert "## Measures" in text
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for direction in card.translators:
        translator = Translator.load(f"demo/{name}", direction, engine="torch")
        assert all(value.dtype == torch.float32 for value in translator.network.parameters())
        assert translator(image).shape == image.shape
