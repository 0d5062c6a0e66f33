from __future__ import annotations

from pathlib import Path

from report.examples import write_run
from unpaired.report.run_charts import evaluation_charts, training_charts
from unpaired.report.run_log import METRICS
from unpaired.report.runs import read_runs


def test_one_run_has_its_losses_together_and_labels_that_tell_them_apart(tmp_path: Path) -> None:
    charts = training_charts(read_runs([write_run(tmp_path / "a")]))
    assert [chart.title for chart in charts] == [
        "Generators: adversarial loss",
        "Cycle consistency loss",
        "Discriminators: adversarial loss",
        "Learning rate",
        "Speed",
        "Waiting for data",
    ]
    assert [line.name for line in charts[0].lines] == ["a2b", "b2a"]
    assert charts[0].smooth
    assert "mean" in charts[0].note
    assert [line.name for line in charts[3].lines] == ["generators", "discriminators"]
    assert not charts[3].smooth
    assert (charts[4].x_label, charts[4].y_label) == ("images seen", "images per second")


def test_several_runs_have_one_line_each_and_charts_in_the_same_order(tmp_path: Path) -> None:
    charts = training_charts(read_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b", records=60)]))
    assert [chart.title for chart in charts[:3]] == ["gan_a2b", "gan_b2a", "cycle_a"]
    assert [chart.title for chart in charts[-4:]] == [
        "Learning rate: generators",
        "Learning rate: discriminators",
        "Speed",
        "Waiting for data",
    ]
    for chart in charts:
        assert [(line.label, line.style) for line in chart.lines] == [("1", 0), ("2", 1)]
        assert [line.x[-1] for line in chart.lines] == [12_000, 6000]


def test_evaluations_ring_the_best(tmp_path: Path) -> None:
    swd, reconstruction = evaluation_charts(read_runs([write_run(tmp_path / "a")]))
    assert swd.title == "Sliced Wasserstein distance (lower is better)"
    assert [(line.label, line.best) for line in swd.lines] == [("a2b", 6000), ("b2a", 6000)]
    assert [line.name for line in reconstruction.lines] == ["a2b"]


def test_evaluations_of_several_runs_and_of_a_metric_that_is_not_known(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, records=20, evaluations=4) for name in ("a", "b")]
    log = folders[1] / METRICS
    log.write_text(log.read_text().replace("reconstruction_l1_a2b", "future_metric"))
    titles = [chart.title for chart in evaluation_charts(read_runs(folders))]
    assert titles[0] == "Sliced Wasserstein distance (lower is better), a2b"
    assert titles[-1] == "future_metric"
