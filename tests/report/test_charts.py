from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from report.examples import write_run
from unpaired.report.charts_old import MOST_POINTS, evaluation_charts, measured_chart, training_charts
from unpaired.report.measured import MeasuredChart, MeasuredLine
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
    first = charts[0]
    assert [(line.name, line.label) for line in first.lines] == [("gan_a2b", "a2b"), ("gan_b2a", "b2a")]
    assert first.note == "Mean over 5 logged values; faint: as logged."
    assert [line.label for line in charts[3].lines] == ["generators", "discriminators"]
    assert charts[4].lines[0].label == ""
    assert (charts[4].x_label, charts[4].y_label) == ("images seen", "images per second")


def test_a_smoothed_line_is_the_running_mean(tmp_path: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "a")])
    logged = np.array(run.curves.charts[0].lines["gan_a2b"], np.float64)
    line = training_charts([run])[0].lines[0]
    values = [y for _, y in line.points]
    assert len(values) == 120
    assert values[0] == logged[0]
    assert values[1] == pytest.approx(logged[:3].mean())
    assert values[60] == pytest.approx(logged[58:63].mean())
    assert values[-1] == pytest.approx(logged[-1])
    assert [y for _, y in line.faint] == logged.tolist()


def test_several_runs_have_one_line_each_and_charts_in_the_same_order(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b", records=60)])
    charts = training_charts(runs)
    assert [chart.title for chart in charts[:3]] == ["gan_a2b", "gan_b2a", "cycle_a"]
    assert [chart.title for chart in charts[-4:]] == [
        "Learning rate: generators",
        "Learning rate: discriminators",
        "Speed",
        "Waiting for data",
    ]
    for chart in charts:
        assert [(line.label, line.style) for line in chart.lines] == [("1", 0), ("2", 1)]
        assert [line.points[-1][0] for line in chart.lines] == [12_000, 6000]


def test_evaluations_ring_the_best(tmp_path: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "a")])
    swd, reconstruction = evaluation_charts([run])
    assert swd.title == "Sliced Wasserstein distance (lower is better)"
    assert [line.label for line in swd.lines] == ["a2b", "b2a"]
    assert all(line.best is not None and line.best[0] == 6000 for line in swd.lines)
    assert swd.lines[0].best in swd.lines[0].points
    assert [line.name for line in reconstruction.lines] == ["reconstruction_l1_a2b"]


def test_evaluations_of_several_runs_and_of_a_measure_that_is_not_known(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, records=20, evaluations=4) for name in ("a", "b")]
    log = folders[1] / METRICS
    log.write_text(log.read_text().replace("reconstruction_l1_a2b", "future_measure"))
    titles = [chart.title for chart in evaluation_charts(read_runs(folders))]
    assert titles[0] == "Sliced Wasserstein distance (lower is better), a2b"
    assert titles[-1] == "future_measure"


def test_long_logs_are_thinned_and_keep_their_ends(tmp_path: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "a", records=1000, grids=0)])
    for chart in training_charts([run]):
        for line in chart.lines:
            assert len(line.points) == MOST_POINTS
            assert (line.points[0][0], line.points[-1][0]) == (100, 100_000)


def test_a_measured_chart_leaves_out_what_is_not_known() -> None:
    line = MeasuredLine(name="model", x=[0, 1, None, 3], y=[1.0, None, 2.0, 4.0])
    chart = measured_chart(MeasuredChart(title="t", x_label="noise", y_label="L1", lines=[line]))
    assert chart.lines[0].points == [(0.0, 1.0), (3.0, 4.0)]


def test_a_measured_chart_keeps_its_scale_and_its_note() -> None:
    lines = [MeasuredLine(name="noise", x=[1.0], y=[2.0])]
    drawn = measured_chart(MeasuredChart(title="Error", x_scale="log", note="Up to 2.6 is invisible.", lines=lines))
    assert (drawn.log_x, drawn.note) == (True, "Up to 2.6 is invisible.")
    assert not measured_chart(MeasuredChart(title="Error", lines=lines)).log_x


def test_long_names_are_numbered_beside_the_plot() -> None:
    lines = [MeasuredLine(name=name, x=[0, 1], y=[0, 1]) for name in ("noise", "an honest copy, noise")]
    chart = measured_chart(MeasuredChart(title="t", lines=lines))
    assert [(line.label, line.name) for line in chart.lines] == [("1", "1 noise"), ("2", "2 an honest copy, noise")]
