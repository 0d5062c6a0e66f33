"""Verdict, tables and page of a comparison, of documents made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unpaired.compare.document import as_csv, cost_table, markdown, page, verdict, with_tables
from unpaired.core.files import write_atomic
from unpaired.report.image_grid import png
from unpaired.report.results import (
    ComparedDirection,
    ComparedMethod,
    Comparison,
    Cost,
    Figure,
    MeasuredTraining,
    Picture,
    Published,
    Table,
)

COST = Cost(seconds=90.0, images_per_second=2.5, peak_memory_bytes=2**30, device="cpu", parameters=1_500_000)


def figure(name: str, value: float, error: float | None = None, *, better: str = "higher") -> Figure:
    return Figure(name=name, title=name, value=value, error=error, better=better, group="labels")  # type: ignore[arg-type]


def training(seed: int, value: float, error: float | None = None, **changes: object) -> MeasuredTraining:
    table = Table(columns=("class", "share of pixels", "accuracy", "IoU"), rows=(("ro|ad", 0.5, value, value),))
    return MeasuredTraining(
        name=f"run-seed{seed}",
        seed=seed,
        checkpoint="000000012",
        figures=(figure("class_iou", value, error), figure("reconstruction_l1", 0.5, better="lower")),
        tables=(table,),
        cost=COST,
    ).model_copy(update=changes)


def method(label: str, *values: float, error: float | None = None, **facts: object) -> ComparedMethod:
    trainings = tuple(training(seed, value, error) for seed, value in enumerate(values))
    return ComparedMethod(label=label, method="cyclegan", trainings=trainings, **facts)  # type: ignore[arg-type]


def direction(*methods: ComparedMethod, bounds: dict[str, float] | None = None) -> ComparedDirection:
    found = {name: (figure("class_iou", value),) for name, value in (bounds or {"shuffled_labels": 0.1}).items()}
    return ComparedDirection(heading="A to B: photos to labels", task="photos_to_labels", methods=methods, bounds=found)


def document(*methods: ComparedMethod) -> Comparison:
    found = with_tables(direction(*methods), source="a paper")
    return Comparison(
        title="Two methods",
        directions={"a2b": found},
        protocol={"Budget": "12 images & more"},
        tables=(cost_table([found]),),
    )


def test_means_and_errors_by_hand() -> None:
    mean = method("one", 0.4, 0.6).mean("class_iou")
    assert mean is not None
    assert mean.value == pytest.approx(0.5)
    assert mean.error == pytest.approx(0.02**0.5 / 2**0.5)
    single = method("one", 0.4, error=0.03).mean("class_iou")
    assert single is not None
    assert single.error == 0.03
    assert method("one").mean("class_iou") is None
    lacking = method("one", 0.4, 0.6)
    lacking = lacking.model_copy(update={"trainings": (lacking.trainings[0], training(1, 0.6, figures=()))})
    assert lacking.mean("class_iou") is None, "a mean of some is no mean of all"


def test_the_verdict_goes_by_the_error() -> None:
    clear = verdict(direction(method("one", 0.5, error=0.01), method("two", 0.3, error=0.01)))
    assert clear.startswith(
        "One has the best class IoU (0.5), by more than the error; one and two are better than chance"
    )
    close = verdict(direction(method("one", 0.5, error=0.2), method("two", 0.4, error=0.2)))
    assert "not distinguishable from two" in close
    assert "no method is better than chance" in close
    assert "errors of these figures are not known" in verdict(direction(method("one", 0.5), method("two", 0.4)))
    assert verdict(direction(method("one"))) == ""


def test_few_images_tell_nothing() -> None:
    few = training(0, 0.5, figures=(figure("class_iou", 0.5).model_copy(update={"protocol": {"translations": 3}}),))
    found = direction(ComparedMethod(label="one", method="cyclegan", trainings=(few,)))
    assert "Too few test images" in verdict(found)


def test_the_tables_by_hand() -> None:
    published = Published(values={"a": 0.52, "b": 0.17, "c": 0.11}, mark="second-hand")
    text = markdown(
        document(
            method("CycleGAN", 0.4, 0.6, published=published),
            method("pix2pix", 0.3, paired=True, not_shared=("generator",), missing=("seed 1 is not trained yet",)),
        )
    )
    assert "| CycleGAN | 0.50 ± 0.14 | 0.5 | 2 | 0.52 / 0.17 / 0.11 (second-hand) |" in text
    assert "| pix2pix* (with pairs) | 0.3 | 0.5 | 1 | – |" in text
    assert "pix2pix: seed 1 is not trained yet." in text
    assert "* pix2pix does not share generator" in text
    assert "| shuffled labels | 0.1 | – | – | – |" in text
    assert "| CycleGAN | 1:30 min | 2.5 | 1.50 M | 1.00 GiB | cpu | 1 |" in text
    assert "| ro\\|ad | 50.0% | 0.500 | 0.300 |" in text
    assert "- Budget: 12 images & more" in text
    for table in (*document(method("one", 0.4)).directions["a2b"].tables,):
        assert all(len(row) == len(table.columns) for row in table.rows), table.title


def test_csv_holds_every_seed() -> None:
    rows = as_csv(document(method("CycleGAN", 0.4, 0.6))).splitlines()
    assert rows[0] == "label,method,direction,seed,measure,value"
    assert "CycleGAN,cyclegan,a2b,1,class_iou,0.6" in rows
    assert "CycleGAN,cyclegan,a2b,0,iou of ro|ad,0.4" in rows
    assert "CycleGAN,cyclegan,a2b,0,peak_memory_bytes,1073741824" in rows
    assert "shuffled_labels,,a2b,,class_iou,0.1" in rows


def test_the_document_is_written_and_read_back(tmp_path: Path) -> None:
    made = document(method("CycleGAN", 0.4))
    made.write(tmp_path)
    assert Comparison.read(tmp_path) == made


def test_what_a_label_is_called_cannot_run_in_the_page(tmp_path: Path) -> None:
    write_atomic(tmp_path / "results" / "000.png", png(np.zeros((4, 4, 3), np.uint8)))
    made = document(method("<script>alert(1)</script>", 0.4))
    found = made.directions["a2b"].model_copy(update={"inputs": (Picture(file="results/000.png"),)})
    text = page(made.model_copy(update={"directions": {"a2b": found}}), tmp_path)
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    assert "default-src 'none'" in text
    assert "12 images &amp; more" in text
