"""Charts hold every line that an audit found."""

from __future__ import annotations

import itertools

import pytest
import torch

from audits import Affine, Stored, both, copying, hiding, random_images
from unpaired.audit.charts import CHANCE, CLEAN, COPY, error_chart, spectrum_chart
from unpaired.audit.measure import measure, spectrum_of
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.report.chart import svg_file


def test_lines_of_an_audit() -> None:
    curve = error_chart(measure(*hiding(), random_images(3), seed=0), "A to B")
    lines = {line.name: line for line in curve.lines}
    assert set(lines) == {
        "noise",
        "JPEG",
        "blur",
        *(COPY + name for name in ("noise", "JPEG", "blur")),
        CHANCE,
        CLEAN,
    }
    noise = lines["noise"]
    assert noise.x == tuple(sorted(noise.x))
    assert noise.x == pytest.approx([0.5, 1, 2, 4, 8, 16], rel=0.1)
    assert noise.y[-1] > lines[COPY + "noise"].y[-1]
    assert len(set(lines[CHANCE].y)) == 1


def test_a_plain_copy_is_a_reference_after_its_line() -> None:
    labels = Domain(channels=3, labels=Labels(kind="index", palette=((255, 255, 255), (0, 0, 0))))
    there_and_back = both(Affine(torch.eye(3)), Affine(torch.eye(3)), Domain(channels=3), labels)
    chart = error_chart(measure(*there_and_back, random_images(3), seed=0), "A to B")
    names = [line.name for line in chart.lines]
    assert "snapped to the palette" in names
    for before, line in itertools.pairwise(chart.lines):
        assert line.reference == (line.name in (CHANCE, CLEAN) or line.name == COPY + before.name)
    assert chart.shaded_to == pytest.approx(2.55)


def test_images_that_are_all_alike_are_drawn_too() -> None:
    grey = Stored(torch.zeros(2, 3, 8, 8))
    for images in (grey, random_images(1)):
        assert "undisturbed" in svg_file([error_chart(measure(*copying(), images, seed=0), "A to B")])


def test_spectra_are_told_against_the_real_ones() -> None:
    real, flat = random_images(2), Stored(torch.zeros(2, 3, 24, 24))
    curve = spectrum_chart(spectrum_of(real), spectrum_of(real), "B")
    translations, images = curve.lines
    assert translations.y == images.y
    assert max(images.y) == pytest.approx(0)
    assert all(y == pytest.approx(-120) for y in spectrum_chart(spectrum_of(flat), spectrum_of(real), "B").lines[0].y)
