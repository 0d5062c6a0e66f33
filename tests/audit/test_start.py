"""An audit from a run to its files, and what cannot be audited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from runs import write_images
from unpaired.audit.inputs import Request
from unpaired.audit.start import audit
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic


def without_time(document: Any) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "created"}


def test_a_run_is_audited_both_ways_and_everything_lies_beside(run: Path) -> None:
    told: list[str] = []
    result = audit(Request(model=run, command="unpaired audit run"), progress=lambda stage, *_: told.append(stage))
    assert result.folder == run / "audits" / "000000100"
    names = {path.name for path in result.folder.iterdir()}
    assert names == {"audit.json", "audit.svg", "hidden_a2b.png", "hidden_b2a.png"}
    document = json.loads((result.folder / "audit.json").read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(result.document))
    assert (document["format"], document["version"]) == ("unpaired-audit", 1)
    assert document["command"] == "unpaired audit run"
    assert document["model"]["checkpoint"] == "000000100"
    assert {len(value) for value in document["model"]["fingerprints"].values()} == {64}
    assert document["data"]["split"] == "test"
    assert document["data"]["images"] == {"a": 4, "b": 3}
    assert {"auditing A to B", "auditing B to A"} <= set(told)
    for direction in ("a2b", "b2a"):
        found = document["directions"][direction]
        assert found["summary"]
        assert found["hidden_share"] == found["figures"][0]["value"]
        assert len(found["curves"]) == 2
        for curve in found["curves"]:
            assert curve["x_label"]
            assert all(len(line["x"]) == len(line["y"]) for line in curve["lines"])
        with Image.open(result.folder / found["pictures"][0]["file"]) as picture:
            assert picture.width > 500
        assert all(figure["protocol"]["size"] == "16 x 16" for figure in found["figures"])
    assert document["directions"]["a2b"]["figures"][0]["protocol"]["images"] == 4


def test_it_says_the_same_again_and_leaves_no_pictures_of_before(run: Path) -> None:
    first = audit(Request(model=run, images=2))
    again = audit(Request(model=run, images=2))
    assert without_time(first.document) == without_time(again.document)
    only = audit(Request(model=run, images=2, direction="b2a"))
    assert set(only.document["directions"]) == {"b2a"}
    assert {path.name for path in only.folder.iterdir()} == {"audit.json", "audit.svg", "hidden_b2a.png"}
    other = audit(Request(model=run, images=2, direction="b2a", seed=1))
    figures = [result.document["directions"]["b2a"]["figures"][0] for result in (only, other)]
    assert figures[0] != figures[1]


def test_one_image_is_told_not_computed(run: Path) -> None:
    result = audit(Request(model=run, images=1, direction="a2b"))
    found = result.directions[0]
    assert found.hidden_share is None
    assert any("one image alone" in warning for warning in found.warnings)
    assert "NaN" not in (result.folder / "audit.json").read_text(encoding="utf-8")


def test_a_model_without_a_run_needs_a_size_and_a_place(make_model: Any, images: Path, tmp_path: Path) -> None:
    model, out = make_model(), tmp_path / "out"
    with pytest.raises(UserError, match="--out FOLDER"):
        audit(Request(model=model, data=images))
    with pytest.raises(UserError, match="--data is missing"):
        audit(Request(model=model, out=out))
    with pytest.raises(UserError, match="Give a size: --size"):
        audit(Request(model=model, data=images, out=out))
    with pytest.raises(UserError, match="--size of at least 8"):
        audit(Request(model=model, data=images, out=out, size=(4, 16)))
    assert not out.exists()
    result = audit(Request(model=model, data=images, out=out, size=(12, 16), images=2, direction="a2b"))
    assert result.directions[0].figures[0].protocol["size"] == "12 x 16"


def test_training_images_are_told_where_there_are_no_others(run: Path, tmp_path: Path) -> None:
    data = write_images(tmp_path / "untested", {"trainA": 2, "trainB": 2})
    found = audit(Request(model=run, data=data, direction="a2b")).directions[0]
    assert found.figures[0].protocol["split"] == "training images"
    assert any("measured on training images" in warning for warning in found.warnings)


def test_what_cannot_be_brought_back_cannot_be_audited(make_model: Any, images: Path, tmp_path: Path) -> None:
    for model, said in (
        (make_model("one", directions=("a2b",)), r"it has no b2a \(cyclegan\)"),
        (make_model("search", family="latent_search"), "it translates by a search"),
    ):
        with pytest.raises(UserError, match=said):
            audit(Request(model=model, data=images, out=tmp_path / "out"))
        assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(run: Path, images: Path) -> None:
    with pytest.raises(UserError, match="this is a file"):
        audit(Request(model=run, out=run / "config.json"))
    with pytest.raises(UserError, match=f"{run / 'config.json'} is a file. Give another place"):
        audit(Request(model=run, out=run / "config.json" / "in" / "it"))
    shutil.rmtree(images / "testA")
    with pytest.raises(UserError):
        audit(Request(model=run))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"direction": "b2b"}, 'Did you mean "b2a"'),
        ({"images": 0}, "--images 0: at least 1"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 2**44}, "a number from 0 to 4294967295"),
    ],
)
def test_impossible_requests(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Request(model="anywhere", **settings)


def test_the_largest_seed_works(run: Path) -> None:
    assert audit(Request(model=run, images=2, direction="a2b", seed=2**32 - 1)).directions[0].figures[0].value is None


def test_a_place_that_fails_later_tells_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="then run the audit again"):
        write_atomic(tmp_path / "file" / "audit.json", b"", then="run the audit again")
