"""Plans: what is read, and what every mistake is told as."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparisons import PLAN, write_plan
from unpaired.compare.plan import read_plan
from unpaired.core.errors import UserError


def test_it_is_read_with_changes(tmp_path: Path) -> None:
    plan = read_plan(write_plan(tmp_path / "plan.toml"), {"images": 7, "seeds": [3, 4], "segmenter.images": 9})
    assert (plan.title, plan.images, plan.seeds, plan.directions) == ("Two tiny methods", 7, (3, 4), ("a2b", "b2a"))
    assert [entry.slug for entry in plan.entries] == ["cyclegan", "with-identity"]
    assert plan.entries[0].published[0].class_iou == 0.11
    assert (plan.segmenter.width, plan.segmenter.images) == (4, 9)
    assert [entry.label for entry in plan.chosen(["with-identity", "With identity"])] == ["With identity"]
    assert plan.chosen([]) == plan.entries


def test_labels_may_hold_commas(tmp_path: Path) -> None:
    text = PLAN.replace('label = "With identity"', 'label = "CycleGAN, lambda 5"')
    plan = read_plan(write_plan(tmp_path / "plan.toml", text=text))
    assert plan.labels_in("CycleGAN, lambda 5, CycleGAN") == ["CycleGAN, lambda 5", "CycleGAN"]
    assert plan.labels_in("CycleGAN,lambda 5") == ["CycleGAN", "lambda 5"], "told as unknown by its own name"
    assert plan.labels_in("cyclegan-lambda-5, CycleGAN") == ["cyclegan-lambda-5", "CycleGAN"]


@pytest.mark.parametrize("name", ["paper", "paper.toml", "configs/paper.toml"])
def test_shipped_plans_are_found_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_plan(name).title == "The methods of the CycleGAN paper"
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    write_plan(own)
    assert read_plan(name).title == "Two tiny methods", "a file comes before the shipped one"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("images = 12", "imges = 12", ["imges: unknown", 'Did you mean "images"', "seeds"]),
        ("images = 12", "", ["images is missing"]),
        ("images = 12", "images = 0", ["images: received 0", "a whole number from 1 to"]),
        ("images = 12", 'images = "12"', ["images: received '12'", "a whole number from 1 to"]),
        ("pictures = 2", "seeds = []", ["seeds: received []", "not empty"]),
        ("pictures = 2", "seeds = [1, 1]", ["seeds are named more than once: [1, 1]"]),
        ("pictures = 2", 'directions = ["a2c"]', ["directions[1]: received 'a2c'", "a2b or b2a", 'mean "a2b"']),
        ("width = 4\nbatch", "widht = 4\nbatch", ["segmenter.widht: unknown", 'Did you mean "width"']),
        ('label = "CycleGAN"', 'label = "With: identity"', ["With: identity", "is like another one"]),
        ('label = "CycleGAN"', 'label = "ground truth"', ["ground truth", "column of the pictures"]),
        ('label = "CycleGAN"', 'labl = "CycleGAN"', ["entries[1].labl: unknown", 'Did you mean "label"']),
        ('label = "CycleGAN"', "", ["entries[1].label is missing"]),
        ('method = { name = "cyclegan" }', "", ["With identity", "has no method"]),
        ('mark = "second-hand"', 'mark = "sure"', ["entries[1].published[1].mark", "'sure'"]),
        ("class_iou", "clas_iou", ["entries[1].published[1].clas_iou: unknown", 'Did you mean "class_iou"']),
        ("[data]", "[data", ["not valid TOML"]),
    ],
)
def test_mistakes_are_named(old: str, new: str, words: list[str], tmp_path: Path) -> None:
    assert old in PLAN
    path = write_plan(tmp_path / "plan.toml", text=PLAN.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        read_plan(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_what_is_no_plan_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r'papr: there is no such plan.*Did you mean "paper".*ablation, cut, identity'):
        read_plan("papr")
    with pytest.raises(UserError, match=r"it has no \[\[entries\]\]"):
        read_plan("cyclegan-no-pool")
    with pytest.raises(UserError, match=r'--only CycleGANN: there is no such entry. Did you mean "CycleGAN"'):
        read_plan(write_plan(tmp_path / "plan.toml")).chosen(["CycleGANN"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "cyclegan", identity_weight = 0.0', 'name = "evil:Method"'),
        ('family = "resnet", width = 4, blocks = 1', 'family = "evil:Net"'),
        ("crop_size = 32", 'crop_size = 32\nreaders = ["evil:Reader"]'),
        ("crop_size = 32", 'crop_size = 32\nsource_a = "evil:Source"'),
        ("threads = 1", 'threads = 1\nevaluate_features = "evil:features"'),
        ("threads = 1", 'threads = 1\nevaluate_features = "evil.pt2"'),
    ],
)
def test_code_that_only_a_plan_names_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert old in PLAN
    with pytest.raises(UserError, match=r"evil.*not run"):
        read_plan(write_plan(tmp_path / "plan.toml", text=PLAN.replace(old, new)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("entries", ["3", "[3]", '["x"]', "{}"])
def test_entries_that_are_none_are_named(tmp_path: Path, entries: str) -> None:
    text = f"title = 'x'\nimages = 3\nentries = {entries}\n"
    with pytest.raises(UserError, match="entries"):
        read_plan(write_plan(tmp_path / "plan.toml", text=text))
