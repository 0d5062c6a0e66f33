from __future__ import annotations

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unpaired.report.chart import (
    HEIGHT,
    LABEL_HEIGHT,
    MOST_POINTS,
    SMOOTHED,
    WIDTH,
    description,
    legend,
    numbers,
    svg,
    svg_file,
    ticks,
)
from unpaired.report.results import Chart, Line, Mark

SVG = "{http://www.w3.org/2000/svg}"


def chart(*lines: Line, title: str = "Loss", **more: Any) -> Chart:
    return Chart(title=title, x_label="images seen", y_label="loss", lines=lines, **more)


def line(*points: tuple[float, float], name: str = "gan", style: int = 0) -> Line:
    return Line(name=name, label=name, x=tuple(x for x, _ in points), y=tuple(y for _, y in points), style=style)


def points_of(drawn: str, kind: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(drawn)
    found = [each for each in root.iter(f"{SVG}polyline") if kind in (each.get("class") or "").split()]
    return [[tuple(map(float, pair.split(","))) for pair in (each.get("points") or "").split()] for each in found]  # type: ignore[misc]


def test_points_stand_where_the_axes_say() -> None:
    drawn = svg(chart(line((0, 0), (50, 5), (100, 10))), "c")
    root = ElementTree.fromstring(drawn)
    labels = {each.text: each for each in root.iter(f"{SVG}text")}
    ((left, low), (middle_x, middle_y), (right, high)) = points_of(drawn, "curve")[0]
    assert float(labels["100"].get("x") or 0) == pytest.approx(right)
    assert float(labels["10"].get("y") or 0) == pytest.approx(high + 4)
    assert (middle_x, middle_y) == pytest.approx(((left + right) / 2, (low + high) / 2))
    assert low > high
    assert {"images seen", "loss"} <= labels.keys()


@pytest.mark.parametrize(
    "points",
    [[(100.0, 3.0)], [(0.0, 0.0)], [(1.0, 2.0), (5.0, 2.0)], [(1.0, -2.0), (2.0, -2.0)], [(1.0, 1e-12), (2.0, 1e12)]],
)
def test_degenerate_lines_are_drawn_inside_the_frame(points: list[tuple[float, float]]) -> None:
    for x, y in points_of(svg(chart(line(*points)), "c"), "curve")[0]:
        assert 0 < x < WIDTH
        assert 20 < y < HEIGHT


def test_every_doubling_takes_the_same_room_on_a_logarithmic_axis() -> None:
    points = line((0, 1), (0.5, 1), (1, 1), (2, 1), (16, 1))
    drawn = svg(Chart(title="Error", x_label="levels", y_label="error", lines=(points,), x_scale="log"), "c")
    zero, *xs = (x for x, _ in points_of(drawn, "curve")[0])
    room = xs[1] - xs[0]
    assert room > 20
    assert [zero, *xs] == pytest.approx([xs[0], xs[0], xs[0] + room, xs[0] + 2 * room, xs[0] + 5 * room], abs=0.2)
    labels = {each.text: float(each.get("x") or 0) for each in ElementTree.fromstring(drawn).iter(f"{SVG}text")}
    assert [labels[name] for name in ("0.5", "1", "2", "16")] == pytest.approx(xs)


@pytest.mark.parametrize("xs", [(3.0,), (4.0, 4.0), (0.0,), (-1.0, 0.0), (1e-300, 1e300), (1e-9, 1e9), (1.0, 1.001)])
def test_degenerate_lines_on_a_logarithmic_axis_are_drawn_inside(xs: tuple[float, ...]) -> None:
    lines = [line(*((x, 1.0) for x in xs))]
    drawn = svg(Chart(title="Error", x_label="levels", y_label="error", lines=tuple(lines), x_scale="log"), "c")
    assert all(0 < x < WIDTH for x, _ in points_of(drawn, "curve")[0])
    assert sum(each.get("text-anchor") == "middle" for each in ElementTree.fromstring(drawn).iter(f"{SVG}text")) <= 11


def test_a_chart_without_points_is_still_well_formed() -> None:
    ElementTree.fromstring(svg(chart(line()), "c"))
    ElementTree.fromstring(svg(chart(), "c"))


def test_names_are_escaped_and_told_to_a_screen_reader() -> None:
    hostile = "</title><script>alert(1)</script>\x07"
    drawn = svg(chart(line((0, 1), (10, 3), name=hostile), title=hostile), "c")
    root = ElementTree.fromstring(drawn)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "c-title c-desc"
    assert root.findtext(f"{SVG}title") == hostile.replace("\x07", "?")
    assert "<script" not in drawn
    told = root.findtext(f"{SVG}desc") or ""
    assert "from 1 at 0 to 3 at 10; lowest 1 at 0, highest 3 at 10" in told


def test_the_description_names_every_line_that_has_points() -> None:
    told = description(chart(line((0, 1), name="first"), line(name="second")))
    assert "first" in told
    assert "second" not in told


def test_lines_differ_without_colour() -> None:
    many = chart(*(line((0, 1), (1, place), name=f"a long name of line {place}", style=place) for place in range(24)))
    styles = [tuple(re.findall(r'(?:stroke-dasharray|d)="([^"]+)"', sample)) for sample, _ in legend(many)]
    assert len(set(styles)) == 24


def test_short_labels_need_no_legend_and_long_names_are_numbered() -> None:
    assert not legend(chart(line((0, 1), (1, 2), name="a2b"), line((0, 1), (1, 3), name="b2a")))
    long = chart(*(Line(name=name, x=(0, 1), y=(0, 1)) for name in ("noise", "an honest copy with noise")))
    assert [name for _, name in legend(long)] == ["noise", "an honest copy with noise"]


def test_a_noisy_line_is_drawn_as_its_running_mean_over_what_was_logged() -> None:
    values = tuple(float(place % 2) for place in range(200))
    drawn = svg(chart(Line(name="gan", x=tuple(range(200)), y=values), smooth=True), "c")
    (mean,) = points_of(drawn, "curve")
    (faint,) = points_of(drawn, "faint")
    assert len(faint) == 200
    inner = [y for _, y in mean[SMOOTHED:-SMOOTHED]]
    assert max(inner) - min(inner) < 0.4 * (max(y for _, y in faint) - min(y for _, y in faint))


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    many = range(5000)
    (points,) = points_of(svg(chart(Line(name="gan", x=tuple(many), y=tuple(map(float, many)))), "c"), "curve")
    assert len(points) == MOST_POINTS
    table = numbers([chart(Line(name="gan", x=tuple(many), y=tuple(map(float, many))))])
    assert table.rows[0][2:] == (0, 0, 4999, 4999)


def test_marks_and_a_file_of_several_charts() -> None:
    marked = chart(line((0, 1), (10, 2)), marks=(Mark(x=5, kind="resumed", text="resumed <here>"),))
    assert "resumed &lt;here&gt;" in svg(marked, "c")
    root = ElementTree.fromstring(svg_file([marked, chart(line((0, 1), (10, 2)), title="Second", note="A note.")]))
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert {"Loss", "Second", "A note."} <= set(texts)


def test_labels_at_the_ends_do_not_cover_each_other() -> None:
    drawn = svg(chart(*(line((0, 5), (10, 1 + place / 1000), name=f"n{place}") for place in range(8))), "c")
    root = ElementTree.fromstring(drawn)
    places = sorted(float(t.get("y") or 0) for t in root.iter(f"{SVG}text") if t.get("class") == "direct")
    assert len(places) == 8
    assert min(b - a for a, b in itertools.pairwise(places)) >= LABEL_HEIGHT - 0.11


def test_the_best_is_ringed_at_its_place() -> None:
    ringed = Line(name="swd", label="", x=(0, 10, 20), y=(4, 2, 3), best=10)
    drawn = svg(chart(ringed), "c")
    ring = next(ElementTree.fromstring(drawn).iter(f"{SVG}circle"))
    assert (float(ring.get("cx") or 0), float(ring.get("cy") or 0)) == points_of(drawn, "curve")[0][1]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 5, 10]),
        (0.2, 0.9, [0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3, 4, [-4, -2, 0, 2, 4]),
        (0, 0.0002, [0, 0.00005, 0.0001, 0.00015, 0.0002]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@example(0.0, 5e-324)
@example(-5e-324, 0.0)
@example(-5e-324, 1e-323)
@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_ticks_enclose_what_they_are_for(low: float, span: float) -> None:
    found = ticks(low, low + span)
    slack = 1e-8 * max(abs(low), span, 1e-300)
    assert found[0] <= low + slack
    assert found[-1] >= low + span - slack
    assert 2 <= len(found) <= 12
    assert all(a < b for a, b in itertools.pairwise(found))


def test_a_label_stands_at_the_end_of_its_line() -> None:
    drawn = svg(chart(line((0, 0), (100, 10), name="long"), line((0, 0), (40, 3), name="short")), "c")
    root = ElementTree.fromstring(drawn)
    labels = {each.text: each for each in root.iter(f"{SVG}text") if each.get("class") == "direct"}
    for name, points in zip(("long", "short"), points_of(drawn, "curve"), strict=True):
        x, y = points[-1]
        assert float(labels[name].get("x") or 0) == pytest.approx(x + 6, abs=0.11)
        assert float(labels[name].get("y") or 0) == pytest.approx(y + 4, abs=0.11)
