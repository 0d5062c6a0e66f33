"""Models from and to the Hugging Face hub, against a stand-in of its interface on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants

from hubs import Hub, Repo
from sites import serving
from unpaired import Translator, UserError
from unpaired.core.cache import user_cache_folder
from unpaired.data.values import Domain
from unpaired.models.folder import CARD, DamagedError, read_card, verify
from unpaired.models.hub import parse_name, pull, push, push_model
from unpaired.models.named import model_path
from unpaired.models.saving import save_model

MakeModel = Callable[..., Path]
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
NAME = "some-one/horse2zebra"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving() as site:
        monkeypatch.setattr(constants, "ENDPOINT", site.address)
        template = site.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield Hub(site)


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def published(hub: Hub, make_model: MakeModel, tmp_path: Path) -> str:
    """A model on the hub, with a few files that are none of its own; returns its commit."""
    folder = make_model("source", a=Domain(channels=3, name="horse"), b=Domain(channels=3, name="zebra"))
    save_model(folder, tmp_path / "saved", licence="cc-by-4.0")
    hub.repos[NAME] = Repo()
    others = {"run.py": b"raise SystemExit", "pytorch_model.bin": b"pickle", "deep/a.safetensors": b"x"}
    return hub.repos[NAME].commit({**_content(tmp_path / "saved"), **others})


def test_a_model_of_the_hub_translates_and_its_commit_is_told(
    hub: Hub, published: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    translator = Translator.from_pretrained(NAME, "zebra2horse", engine="torch")
    assert translator(IMAGE).shape == IMAGE.shape
    assert translator.direction == "b2a"
    assert published[:12] in capsys.readouterr().err
    assert translator.folder is not None
    assert {path.name for path in translator.folder.iterdir()} == {
        *("model.json", "manifest.json", "README.md", "a2b.safetensors", "b2a.safetensors")
    }, "nothing else is fetched"

    expected = Translator.load(tmp_path / "source", engine="torch")(IMAGE)
    for name in (f"hf:{NAME}", f"hf:{NAME}@{published}", f"hf:{NAME}@main"):
        np.testing.assert_array_equal(Translator.load(name, engine="torch")(IMAGE), expected)
    assert sum("resolve" in path for _, path, _ in hub.site.requests) <= 2 * 5, "each file is fetched once"


def test_revisions_are_kept_apart_and_pinned(hub: Hub, published: str, make_model: MakeModel) -> None:
    other = hub.repos[NAME].commit(_content(make_model("other", directions=("a2b",))))
    assert pull(NAME, published, quiet=True).name == published
    assert pull(NAME, quiet=True).name == other
    assert pull(f"{NAME}@{published}", quiet=True).name == published
    hub.repos[NAME].refs["v1"] = published
    assert model_path(f"hf:{NAME}@v1").name == published
    assert read_card(pull(NAME, quiet=True)).licence is None
    assert read_card(pull(NAME, "v1", quiet=True)).licence == "cc-by-4.0"


def test_without_a_network_the_cache_answers_at_once(
    hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pull(NAME)
    for name, value in (("HF_HUB_OFFLINE", True), ("ENDPOINT", "http://127.0.0.1:9")):
        with monkeypatch.context() as patched:
            patched.setattr(constants, name, value)
            assert pull(NAME) == pull(NAME, published) == folder
            assert "from the cache" in capsys.readouterr().err
            with pytest.raises(UserError, match=r"cannot be asked.*not fetched before") as caught:
                pull("some-one/else")
            assert ("HF_HUB_OFFLINE is set" in str(caught.value)) == (name == "HF_HUB_OFFLINE")


def test_what_is_not_there_or_not_a_model_is_said(hub: Hub, published: str) -> None:
    hub.repos["some-one/other"] = Repo()
    hub.repos["some-one/other"].commit({"pytorch_model.bin": b"x"})
    hub.repos["some-one/secret"] = Repo(private=True)
    with pytest.raises(UserError, match="there is no model hf:some-one/nothing"):
        pull("some-one/nothing")
    with pytest.raises(UserError, match="has no revision v9"):
        pull(NAME, "v9")
    with pytest.raises(UserError, match="is not a model of unpaired"):
        pull("some-one/other")
    assert not (user_cache_folder() / "hub" / "some-one--other").exists()


def _lost(*_: object, **__: object) -> None:
    raise ConnectionError("the network is gone")


def test_a_damaged_or_hostile_model_is_not_kept(hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = hub.repos[NAME].commits[published]
    hub.repos[NAME].commit({"a2b.safetensors": files["a2b.safetensors"][:-1] + b"x"})
    with pytest.raises(DamagedError, match=r"a2b\.safetensors"):
        pull(NAME)
    card = json.loads(files[CARD])
    card["translators"]["a2b"]["weights"] = "../../../etc/passwd"
    hub.repos[NAME].commit({CARD: json.dumps(card).encode()})
    with pytest.raises(DamagedError):
        pull(NAME)
    repo = hub.repos[NAME]
    repo.commits["../../../out"] = files
    repo.refs["main"] = "../../../out"
    with pytest.raises(UserError, match="which is none"):
        pull(NAME)
    repo.refs["main"] = published
    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.snapshot_download", _lost)
        with pytest.raises(UserError, match="in the middle of the download"):
            pull(NAME)
    place = user_cache_folder() / "hub" / NAME.replace("/", "--")
    assert not [path for path in place.iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["horse2zebra", "a/b/c", "../x/y", "a/..", "a b/c", "a/b@", "a/b@../c", "a/b@x y", ""])
def test_names_that_are_none_are_refused_before_anything_is_asked(hub: Hub, name: str) -> None:
    if name == "a/b@":
        assert parse_name(name) == ("a/b", "main")
        return
    with pytest.raises(UserError, match="give USER/NAME"):
        pull(name)
    assert not hub.site.requests


def test_two_revisions_are_one_too_many() -> None:
    assert parse_name("a/b@v1", "v1") == ("a/b", "v1")
    with pytest.raises(UserError, match="two revisions"):
        parse_name("a/b@v1", "v2")


def test_a_pushed_model_comes_back_as_it_was(hub: Hub, make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model("source", a=Domain(channels=3, name="day"), b=Domain(channels=3, name="dusk"))
    url = push_model(folder, "me/day2dusk", licence="cc-by-4.0", private=True)
    repo = hub.repos["me/day2dusk"]
    assert url.endswith(repo.refs["main"])
    assert repo.private
    sent = repo.commits[repo.refs["main"]]
    assert set(sent) - {".gitattributes"} == {CARD, "manifest.json", "README.md", "a2b.safetensors", "b2a.safetensors"}
    text = sent["README.md"].decode()
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["library_name"] == "unpaired"
    assert 'from_pretrained("hf:me/day2dusk", direction="a2b")' in text
    assert "unpaired translate hf:me/day2dusk photo.png" in text

    translator = Translator.from_pretrained("me/day2dusk", engine="torch")
    np.testing.assert_array_equal(translator(IMAGE), Translator.load(folder, engine="torch")(IMAGE))
    assert translator.heading == "day to dusk"

    push_model(folder, "me/day2dusk", revision="small")
    assert repo.refs["small"] != repo.refs["main"]
    assert Translator.from_pretrained("me/day2dusk", revision="small", engine="torch").card.licence is None


def test_pushing_without_a_right_to_is_said(hub: Hub, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_another"
    with pytest.raises(UserError, match=r"does not let you write to hf:me/x \(401\)"):
        push(make_model(), "me/x")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be asked.*can be pushed again"):
        push(make_model("two"), "me/x")


def test_a_saved_model_is_a_folder_with_a_card(make_model: MakeModel, tmp_path: Path) -> None:
    translator = Translator.load(make_model(), engine="torch")
    folder = translator.save_pretrained(tmp_path / "mine", licence="my own words")
    verify(folder)
    text = (folder / "README.md").read_text()
    metadata = yaml.safe_load(text.split("---")[1])
    assert (metadata["license"], metadata["license_name"]) == ("other", "my own words")
    assert read_card(folder).licence == "my own words"
    (folder / "README.md").write_text(text + "\nMore by hand.\n")
    again = Translator.from_pretrained(folder, engine="torch").save_pretrained(tmp_path / "again")
    assert "More by hand." in (again / "README.md").read_text(), "what a person wrote is kept"
    np.testing.assert_array_equal(Translator.load(again, engine="torch")(IMAGE), translator(IMAGE))
    with pytest.raises(UserError, match="not an empty folder"):
        translator.save_pretrained(folder)
    (tmp_path / "secret").write_text("a secret")
    (again / "README.md").unlink()
    (again / "README.md").symlink_to(tmp_path / "secret")
    third = Translator.load(again, engine="torch").save_pretrained(tmp_path / "third")
    assert "secret" not in (third / "README.md").read_text(), "a link out of the folder is not followed"

    own = Translator(translator.network, translator.card, "a2b", device="cpu")
    assert list(read_card(own.save_pretrained(tmp_path / "own")).translators) == ["a2b"]


def test_half_the_bytes_translate_the_same(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model("whole")
    save_model(folder, tmp_path / "half", directions=["b2a"], half=True)
    whole, half = (folder / "b2a.safetensors").stat().st_size, (tmp_path / "half" / "b2a.safetensors").stat().st_size
    assert half < 0.6 * whole
    small = Translator.load(tmp_path / "half", engine="torch")
    assert small.direction == "b2a"
    assert {value.dtype for value in small.network.parameters()} == {torch.float32}
    difference = small(IMAGE).astype(int) - Translator.load(folder, "b2a", engine="torch")(IMAGE)
    assert abs(difference).max() <= 1
    with pytest.raises(UserError, match="has no direction a2b"):
        save_model(tmp_path / "half", tmp_path / "x", directions=["a2b"])


def test_weights_too_large_for_float16_stay_whole(make_model: MakeModel, tmp_path: Path) -> None:
    from unpaired.models.saving import halved

    with pytest.raises(UserError, match="too large for float16"):
        halved({"weight": torch.tensor([1e6])}, tmp_path)
    assert halved({"count": torch.tensor(3)}, tmp_path)["count"].dtype == torch.int64


def test_the_measures_of_a_run_are_in_its_card(make_model: MakeModel, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    make_model().rename(run / "best")
    config = {"method": {"name": "cyclegan"}, "data": {"root": "/data/horses"}, "training": {}}
    (run / "config.json").write_text(json.dumps(config))
    (run / "evaluations" / "best").mkdir(parents=True)
    figures = [
        {"name": "swd", "title": "Sliced Wasserstein | distance", "value": 12.34, "error": 0.5, "better": "lower"},
        {"name": "level", "title": "A level", "value": 1.0, "detail": True},
        {"name": "kid", "title": "KID", "value": None},
        "damaged",
    ]
    document = {"data": {"root": "/data/horses"}, "directions": {"a2b": {"figures": figures}, "b2a": 5, "x": {}}}
    (run / "evaluations" / "best" / "evaluation.json").write_text(json.dumps(document))
    save_model(run, tmp_path / "saved")
    text = (tmp_path / "saved" / "README.md").read_text()
    assert "| A to B | Sliced Wasserstein \\| distance | 12.34 ± 0.50 | lower |" in text
    assert "| data | horses |" in text
    assert "A level" not in text
    results = yaml.safe_load(text.split("---")[1])["model-index"][0]["results"]
    assert results[0]["metrics"] == [{"type": "swd", "name": "Sliced Wasserstein | distance", "value": 12.34}]
