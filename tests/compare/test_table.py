"""Tables, page and their words, of results made by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from comparisons import PLAN, write_labelled, write_plan
from unpaired.compare.page import Pictures, page_of
from unpaired.compare.plan import Plan, read_plan
from unpaired.compare.results import Line, Results, Seeded, summary
from unpaired.compare.score import Measured
from unpaired.compare.table import as_csv, as_json, markdown, tables_of
from unpaired.compare.train import Cost
from unpaired.compare.trainings import trainings_of
from unpaired.core.given import Given
from unpaired.data.config import DataConfig
from unpaired.data.held_out import open_material
from unpaired.data.labels_config import LabelsConfig


def _scores(value: float) -> dict[str, object]:
    each = {"pixels": 10, "predicted": 8, "accuracy": value, "iou": value}
    absent = {"pixels": 0, "predicted": 0, "accuracy": None, "iou": None}
    return {
        "pixel_accuracy": value,
        "class_accuracy": value / 2,
        "class_iou": value / 4,
        "classes": [each, each, absent],
    }


def _results(tmp_path: Path, text: str = PLAN) -> Results:
    plan: Plan = read_plan(write_plan(tmp_path / "plan.toml", labels=False, text=text), {"seeds": [0, 1]})
    root = write_labelled(tmp_path / "data")
    labels = LabelsConfig(kind="index", void=(3,), names=("sky", "ro|ad", "tree"))
    material = open_material(DataConfig(root=str(root), crop_size=32, labels_a=labels, workers=1), paired=False)
    trainings = trainings_of(plan, {"data.root": str(root)}, Given({}, "{name}"), {False: 6, True: 6})
    cost = Cost(seconds=90.0, images_per_second=2.5, peak_memory="1.00 GiB of memory", device="cpu", parameters=1500000)
    lines = []
    for entry in plan.entries:
        for direction in plan.directions:
            members = [training for training in trainings if training.entry == entry]
            seeds = tuple(
                Seeded(
                    training=training,
                    measured=Measured(
                        images=3, l1=None, reconstruction_l1=0.5, scores=_scores(0.4 + 0.2 * training.seed)
                    ),
                    cost=cost,
                )
                for training in members
            )
            lines.append(Line(entry=entry, direction=direction, seeds=seeds, missing=()))
    lines[-1] = dataclasses.replace(lines[-1], seeds=lines[-1].seeds[:1], missing=("seed 1 is not trained yet",))
    return Results(
        plan=plan,
        material=material,
        lines=tuple(lines),
        bounds={"a2b": {"real photos": _scores(0.9), "shuffled": _scores(0.1)}, "b2a": {"shuffled": _scores(0.2)}},
        not_shared={"With identity": ("generator",)},
        protocol=(("Budget", "12 images & more"),),
    )


def test_means_and_deviations_by_hand() -> None:
    found = summary([0.4, 0.6])
    assert found is not None
    assert (found.mean, found.count) == (pytest.approx(0.5), 2)
    assert found.deviation == pytest.approx(0.02**0.5)
    one = summary([0.4])
    assert one is not None
    assert one.deviation is None
    assert summary([]) is None
    assert summary([0.4, None]) is None, "a mean of some is no mean of all"
    assert summary([math.nan]) is None


def test_the_table_by_hand(tmp_path: Path) -> None:
    results = _results(tmp_path)
    text = markdown(results)
    expected = (
        "| CycleGAN | 0.500 ± 0.141 | 0.250 ± 0.071 | 0.125 ± 0.035 | – | 0.500 ± 0.000 | 2 "
        "| 0.52 / 0.17 / 0.11 (second-hand) |"
    )
    assert expected in text
    assert "| With identity¹ | 0.400 | 0.200 | 0.100 | – | 0.500 | 1 |" in text
    assert "With identity: seed 1 is not trained yet." in text
    assert "¹ With identity does not share generator: its networks are its own." in text
    assert "| of other images (lower bound) | 0.100 | 0.050 | 0.025 | – | – | – | – |" in text
    assert "| CycleGAN | 1:30 min | 2.5 | 1.50 M | 1.00 GiB of memory | cpu | 1 |" in text
    assert "| ro\\|ad | 50.0% | 0.500 | 0.500 |" in text
    assert "tree" not in text, "it is nowhere"
    assert "- Budget: 12 images & more" in text
    for table in tables_of(results):
        assert all(len(row) == len(table.header) for row in table.rows), table.title


def test_csv_and_json_hold_every_seed(tmp_path: Path) -> None:
    results = _results(tmp_path)
    rows = as_csv(results).splitlines()
    assert rows[0] == "label,method,direction,seed,measure,value"
    assert "CycleGAN,cyclegan,a2b,1,pixel_accuracy,0.6000000000000001" in rows
    assert "CycleGAN,cyclegan,b2a,0,iou of sky,0.4" in rows
    assert "real photos,,a2b,,class_iou,0.225" in rows
    assert not any("iou of tree" in row or ",l1," in row for row in rows)
    document = json.loads(as_json(results))
    assert document["lines"][0]["mean"]["l1"] is None
    assert document["lines"][0]["published"][0]["mark"] == "second-hand"
    assert document["not_shared"] == {"With identity": ["generator"]}
    assert document["bounds"]["b2a"]["shuffled"]["pixel_accuracy"] == 0.2


def test_what_a_label_is_called_cannot_run_in_the_page(tmp_path: Path) -> None:
    text = PLAN.replace('label = "CycleGAN"', 'label = "<script>alert(1)</script>"')
    results = _results(tmp_path, text)
    picture = np.zeros((4, 4, 3), np.uint8)
    name = "<script>alert(1)</script>"
    grid = Pictures(direction="a2b", title="A to B", columns=("input", name), rows=({"input": picture},))
    page = page_of(results, [grid])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert '<span class="empty">–</span>' in page, "a picture that is missing leaves its place empty"
    assert "12 images &amp; more" in page


def test_a_class_that_only_a_later_seed_predicts_is_not_left_out(tmp_path: Path) -> None:
    results = _results(tmp_path)
    line = results.lines[0]
    scores = _scores(0.6)
    scores["classes"][2] = {"pixels": 0, "predicted": 3, "accuracy": None, "iou": 0.0}
    second = dataclasses.replace(line.seeds[1], measured=dataclasses.replace(line.seeds[1].measured, scores=scores))
    line = dataclasses.replace(line, seeds=(line.seeds[0], second))
    assert "| tree | 0.0% | – |" in markdown(dataclasses.replace(results, lines=(line, *results.lines[1:])))
