from __future__ import annotations

import io

from rich.console import Console

from unpaired.report.page import environment
from unpaired.report.results import Table, Value
from unpaired.report.tables import to_markdown, to_terminal

TABLE = Table(
    title="Horse to zebra",
    columns=("method", "class IoU", "mean of the distances", "note"),
    rows=(
        ("How close?",),
        ("cyclegan", Value(value=0.1234, error=0.0021, best=True), 0.2345, "a | b"),
        ("cut", Value(value=0.1, error=0.002, unit="dB"), None, "<b>"),
        ("real photos", 0.9, 12345, ""),
    ),
    references=(-1,),
    notes=("Below it.",),
)


def test_markdown() -> None:
    assert to_markdown(TABLE, level=3).splitlines() == [
        "### Horse to zebra",
        "",
        "| method | class IoU | mean of the distances | note |",
        "| --- | ---: | ---: | --- |",
        "| *How close?* |  |  |  |",
        "| cyclegan | 0.1234 ± 0.0021 | 0.2345 | a \\| b |",
        "| cut | 0.1000 ± 0.0020 dB | – | <b> |",
        "| real photos | 0.9 | 12,345 |  |",
        "",
        "Below it.",
    ]


def test_a_narrow_terminal_wraps_names_and_headings_and_no_number() -> None:
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(to_terminal(TABLE))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 60
    assert any("0.1234 ± 0.0021" in line for line in lines)
    assert not any("mean of the distances" in line for line in lines)
    assert any(line.startswith("   real photos") for line in lines), "references are indented"


def test_html_escapes_and_marks() -> None:
    template = environment().from_string('{% import "kit.html" as kit %}{{ kit.table(table) }}')
    html = template.render(table=TABLE)
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert '<td class="numeric best">0.1234 ± 0.0021</td>' in html
    assert '<tr class="reference"><th scope="row">real photos</th>' in html
    assert html.count('<tr class="group">') == 1
