from __future__ import annotations

from xml.etree import ElementTree

import pytest

from unpaired.report.markup import anchor, number, percent, table, text, with_error


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.0, "0"),
        (12.3456, "12.35"),
        (-0.5, "−0.5"),
        (1234.56, "1,235"),
        (1234567.0, "1,235,000"),
        (0.00002, "0.00002"),
        (1.25e-9, "1.25e−09"),
        (3.0e9, "3e+09"),
        (999.99, "1,000"),
        (100.0, "100"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (75.2345, 1.3456, "75.2 ± 1.3"),
        (0.031234, 0.00213, "0.0312 ± 0.0021"),
        (1234.5, 45.2, "1,234 ± 45"),
        (75.2, 0.96, "75.20 ± 0.96"),
        (75.2, 0.0, "75.2"),
        (75.2, None, "75.2"),
        (None, 1.0, "–"),
        (-3.0, 0.12, "−3.00 ± 0.12"),
    ],
)
def test_a_value_has_as_many_decimals_as_its_error_says(value: float | None, error: float | None, shown: str) -> None:
    assert with_error(value, error) == shown


def test_texts_stand_for_themselves_in_html_and_xml() -> None:
    hostile = "</td><script>\x00\x1b\ud800'\"&"
    assert text(hostile) == "&lt;/td&gt;&lt;script&gt;???&#x27;&quot;&amp;"
    ElementTree.fromstring(f'<a b="{text(hostile)}">{text(hostile)}</a>')


def test_ids_are_plain() -> None:
    assert anchor("Audit", 1, "0002/<b>", "a2b") == "audit-1-0002-b-a2b"
    assert anchor("日本") == "part"


def test_a_table_names_its_rows_and_columns() -> None:
    root = ElementTree.fromstring(table("Speed", ["", "1"], [["time", "3 s"]]))
    assert [cell.text for cell in root.iter("th")] == [None, "1", "time"]
    assert [cell.text for cell in root.iter("td")] == ["3 s"]
    assert root.get("tabindex") == "0", "a keyboard must be able to scroll it"


def test_shares_in_per_cent() -> None:
    assert [percent(share) for share in (0.336, 0.0823, 0.004, 0.0, -0.002)] == ["34 %", "8.2 %", "0.4 %", "0 %", "0 %"]
