"""The figure names every line, keeps names apart, and needs no colour."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from audits import Affine, Stored, both, copying, hiding, random_images
from unpaired.audit.charts import CHANCE, CLEAN, COPY, error_chart, spectrum_chart
from unpaired.audit.figure import draw
from unpaired.audit.measure import measure
from unpaired.audit.spectrum import spectrum_of
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.report.results import Chart, Line

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(f".//{SVG}text")


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


def test_the_figure_names_its_lines_and_axes() -> None:
    panels = [error_chart(measure(*hiding(), random_images(3), seed=0), title) for title in ("A to B", "B < A")]
    svg = draw(panels)
    words = [element.text for element in texts(svg)]
    for wanted in ("noise", "JPEG", "blur", CHANCE, CLEAN, "A to B", "B < A", "thin: a plain copy"):
        assert wanted in words
    assert sum("levels of 255" in (word or "") for word in words) == 4
    dashes = set(re.findall(r'stroke-width="1.8"(?: stroke-dasharray="([^"]+)")?', svg))
    assert len(dashes) == 3, "the three kinds of disturbances differ without colour"
    colours = set(re.findall(r'(?:fill|stroke)="(#\w+)"', svg))
    assert all(colour[1:3] == colour[3:5] == colour[5:7] for colour in colours), "greys only"


def test_names_do_not_cover_one_another() -> None:
    names = ("noise", "JPEG", "blur", CLEAN, CHANCE)
    for level in (0.0, 10.0):
        flat = Chart(title="t", lines=tuple(Line(name=name, x=(1.0, 2.0), y=(level, level)) for name in names))
        found = sorted(float(each.get("y", 0)) for each in texts(draw([flat])) if each.text in names)
        assert len(found) == 5
        assert all(below - above >= 14 for above, below in itertools.pairwise(found))
        assert 30 < found[0] < found[-1] < 350


def test_everything_lies_on_the_paper() -> None:
    labels = Domain(channels=3, labels=Labels(kind="index", palette=((255, 255, 255), (0, 0, 0))))
    there_and_back = both(Affine(torch.eye(3)), Affine(torch.eye(3)), Domain(channels=3), labels)
    svg = draw([error_chart(measure(*there_and_back, random_images(3), seed=0), "A to B")])
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox") == "0 0 760 400"
    for circle in root.findall(f".//{SVG}circle"):
        assert 62 <= float(circle.get("cx", -1)) <= 564
        assert 46 <= float(circle.get("cy", -1)) <= 342
    assert any(each.text == "snapped to the palette" for each in texts(svg))
    assert root.find(f".//{SVG}title") is not None


def test_images_that_are_all_alike_are_drawn_too() -> None:
    grey = Stored(torch.zeros(2, 3, 8, 8))
    assert texts(draw([error_chart(measure(*copying(), grey, seed=0), "A to B")]))
    assert texts(draw([error_chart(measure(*copying(), random_images(1), seed=0), "A to B")]))


def test_spectra_are_told_against_the_real_ones() -> None:
    real, flat = random_images(2), Stored(torch.zeros(2, 3, 24, 24))
    curve = spectrum_chart(spectrum_of(real), spectrum_of(real), "B")
    translations, images = curve.lines
    assert translations.y == images.y
    assert max(images.y) == pytest.approx(0)
    assert all(y == pytest.approx(-120) for y in spectrum_chart(spectrum_of(flat), spectrum_of(real), "B").lines[0].y)
