from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from unpaired.study.page import Bar, draw

ROWS = [
    [Bar("ours & <theirs>", 0.25, 0.2, 0.3, "kept"), Bar("everybody", 0.5, None, None, "everybody")],
    [Bar("published", 0.0, -0.1, 0.1, "published")],
]


def test_marks_stand_where_the_axis_says() -> None:
    root = ET.fromstring(draw(ROWS, 'said "aloud"'))
    ticks = {text.text: float(text.attrib["x"]) for text in root if (text.text or "").endswith("0 %")}
    zero, half = ticks["0 %"], ticks["50 %"]
    kept, everybody = [float(node.attrib["cx"]) for node in root if node.tag == "circle"]
    assert kept == pytest.approx((zero + half) / 2, abs=0.2)
    assert everybody == pytest.approx(half, abs=0.2)
    (square,) = [node for node in root if node.tag == "rect"]
    assert float(square.attrib["x"]) + 4 == pytest.approx(zero, abs=0.2)
    interval = next(node for node in root if node.attrib.get("class") == "interval kept")
    assert float(interval.attrib["x1"]) == pytest.approx(zero + 0.4 * (half - zero), abs=0.2)
    assert float(interval.attrib["x2"]) == pytest.approx(zero + 0.6 * (half - zero), abs=0.2)
    assert root.attrib["aria-label"] == 'said "aloud"'
    assert "ours & <theirs>" in [text.text for text in root]


def test_marks_differ_in_shape_and_nothing_leaves_the_picture() -> None:
    text = draw([[Bar("all", 1.0, 0.98, 1.0, "kept")]], "")
    assert "100 %" in text
    width = 760
    assert all(0 <= float(x) <= width for x in re.findall(r'x[12]?="([-\d.]+)"', text))
    assert {node.tag for node in ET.fromstring(draw(ROWS, ""))} == {"line", "text", "circle", "rect"}
