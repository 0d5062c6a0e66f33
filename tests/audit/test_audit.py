"""An audit from a run to its files, and what cannot be audited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from runs import write_images
from unpaired.audit.audit import audit
from unpaired.audit.options import AuditOptions
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.report.results import Audit


def without_time(document: Audit) -> Audit:
    return document.model_copy(update={"created": ""})


def test_a_run_is_audited_both_ways_and_everything_lies_beside(run: Path) -> None:
    told: list[str] = []
    result = audit(AuditOptions(model=run, command="unpaired audit run"), progress=lambda stage, *_: told.append(stage))
    assert result.folder == run / "audits" / "000000100"
    names = {path.name for path in result.folder.iterdir()}
    assert names == {"audit.json", "audit.svg", "hidden_a2b.png", "hidden_b2a.png"}
    document = json.loads((result.folder / "audit.json").read_text(encoding="utf-8"))
    assert Audit.read(result.folder).to_json() == result.document.to_json()
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
        assert found["verdict"]
        assert found["figures"][0]["name"] == "hidden_share"
        assert len(found["charts"]) == 2
        for curve in found["charts"]:
            assert curve["x_label"]
            assert all(len(line["x"]) == len(line["y"]) for line in curve["lines"])
        with Image.open(result.folder / found["pictures"][0]["file"]) as picture:
            assert picture.width > 500
        assert all(figure["protocol"]["size"] == "16 x 16" for figure in found["figures"])
    assert document["directions"]["a2b"]["figures"][0]["protocol"]["images"] == 4


def test_audits_of_earlier_versions_are_read(tmp_path: Path) -> None:
    chart = {"title": "t", "x_label": "x", "y_label": "y", "x_scale": "log", "note": "", "lines": []}
    line = {"name": "an honest copy, noise", "x": [1, 2], "y": [0.5, 1.5]}
    direction = {
        "heading": "A to B",
        "summary": "A to B, 4 images.",
        "hidden_share": 0.3,
        "figures": [{"name": "hidden_share", "title": "Share", "value": 0.3, "error": 0.1, "group": "audit"}],
        "tables": [{"title": "t", "columns": ["disturbance", "error"], "rows": [["none", 1.5]]}],
        "curves": [{**chart, "lines": [line]}],
        "pictures": [{"file": "hidden_a2b.png", "title": "t", "alt": "a"}],
        "warnings": [],
    }
    old = {"format": "unpaired-audit", "version": 1, "drawing": "audit.svg", "directions": {"a2b": direction}}
    (tmp_path / "audit.json").write_text(json.dumps(old), encoding="utf-8")
    found = Audit.read(tmp_path).directions["a2b"]
    assert found.figures[0].value == 0.3
    assert found.charts[0].lines[0].y == (0.5, 1.5)


def test_it_says_the_same_again_and_leaves_no_pictures_of_before(run: Path) -> None:
    first = audit(AuditOptions(model=run, images=2))
    again = audit(AuditOptions(model=run, images=2))
    assert without_time(first.document) == without_time(again.document)
    only = audit(AuditOptions(model=run, images=2, direction="b2a"))
    assert set(only.document.directions) == {"b2a"}
    assert {path.name for path in only.folder.iterdir()} == {"audit.json", "audit.svg", "hidden_b2a.png"}
    other = audit(AuditOptions(model=run, images=2, direction="b2a", seed=1))
    figures = [result.document.directions["b2a"].figures[0] for result in (only, other)]
    assert figures[0] != figures[1]


def test_one_image_is_told_not_computed(run: Path) -> None:
    result = audit(AuditOptions(model=run, images=1, direction="a2b"))
    found = result.document.directions["a2b"]
    assert found.figures[0].value is None
    assert "one image alone" in found.verdict
    assert "NaN" not in (result.folder / "audit.json").read_text(encoding="utf-8")


def test_a_model_without_a_run_needs_a_size_and_a_place(make_model: Any, images: Path, tmp_path: Path) -> None:
    model, out = make_model(), tmp_path / "out"
    with pytest.raises(UserError, match="out = FOLDER"):
        audit(AuditOptions(model=model, data=images))
    with pytest.raises(UserError, match="data is missing"):
        audit(AuditOptions(model=model, out=out))
    with pytest.raises(UserError, match="Give a size"):
        audit(AuditOptions(model=model, data=images, out=out))
    with pytest.raises(UserError, match="at least 8"):
        audit(AuditOptions(model=model, data=images, out=out, size=(4, 16)))
    assert not out.exists()
    result = audit(AuditOptions(model=model, data=images, out=out, size=(12, 16), images=2, direction="a2b"))
    assert result.document.directions["a2b"].figures[0].protocol["size"] == "12 x 16"


def test_training_images_are_told_where_there_are_no_others(run: Path, tmp_path: Path) -> None:
    data = write_images(tmp_path / "untested", {"trainA": 2, "trainB": 2})
    found = audit(AuditOptions(model=run, data=data, direction="a2b")).document.directions["a2b"]
    assert found.figures[0].protocol["split"] == "training images"
    assert any("training images were measured" in warning for warning in found.warnings)


def test_what_cannot_be_brought_back_cannot_be_asked_what_it_hides(
    make_model: Any, images: Path, tmp_path: Path
) -> None:
    for model, said in (
        (make_model("one", directions=("a2b",)), "hidden: the model has no b2a"),
        (make_model("search", family="latent_search"), "it translates by a search"),
    ):
        with pytest.raises(UserError, match=said):
            audit(AuditOptions(model=model, data=images, out=tmp_path / "out", checks="hidden", size=16))
        assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(run: Path, images: Path) -> None:
    with pytest.raises(UserError, match="is a file"):
        audit(AuditOptions(model=run, out=run / "config.json"))
    with pytest.raises(UserError, match="cannot write into"):
        audit(AuditOptions(model=run, out=run / "config.json" / "in" / "it"))
    shutil.rmtree(images)
    with pytest.raises(UserError):
        audit(AuditOptions(model=run))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"images": 0}, "received 0; allowed: a whole number"),
        ({"seed": -1}, "received -1"),
        ({"seed": 2**44}, "a whole number from 0 to 4,294,967,295"),
    ],
)
def test_impossible_requests(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        AuditOptions(model="anywhere", **settings)


def test_a_direction_that_does_not_exist(run: Path) -> None:
    with pytest.raises(UserError, match="direction = b2b"):
        audit(AuditOptions(model=run, direction="b2b"))
    assert not (run / "audits").exists()


def test_the_largest_seed_works(run: Path) -> None:
    assert (
        audit(AuditOptions(model=run, images=2, direction="a2b", seed=2**32 - 1))
        .document.directions["a2b"]
        .figures[0]
        .note
    )


def test_a_place_that_fails_later_tells_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="then run the audit again"):
        write_atomic(tmp_path / "file" / "audit.json", b"", then="run the audit again")
