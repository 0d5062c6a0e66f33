from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unpaired.core import text
from unpaired.core.text import NONE, duration, listing, memory, number, percent, plural, with_error


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.12345, "0.1235"),
        (0.0, "0"),
        (12.0, "12"),
        (1234.56, "1,235"),
        (-0.5, "-0.5"),
        (None, NONE),
        (float("nan"), NONE),
        (float("inf"), NONE),
    ],
)
def test_numbers_have_four_significant_digits(value: float | None, shown: str) -> None:
    assert number(value).replace("\N{MINUS SIGN}", "-") == shown


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (75.2345, 1.3456, "75.2 ± 1.3"),
        (0.031234, 0.00213, "0.0312 ± 0.0021"),
        (75.2, 0.0, "75.2"),
        (75.2, None, "75.2"),
        (None, 1.0, NONE),
    ],
)
def test_a_value_has_as_many_decimals_as_its_error(value: float | None, error: float | None, shown: str) -> None:
    assert with_error(value, error) == shown


def test_plurals_agree() -> None:
    assert [plural(count, "image") for count in (0, 1, 2, 2000)] == ["0 images", "1 image", "2 images", "2,000 images"]
    assert plural(2, "epoch", "epochs") == "2 epochs"


def test_listings() -> None:
    assert [listing(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert listing(["a", "b"], "or") == "a or b"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(45, "45 s"), (725, "12:05 min"), (11_220, "3:07 h"), (400_000, "4 d 15 h")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_shares_and_memory() -> None:
    assert percent(0.336) == "34 %"
    assert percent(None) == NONE
    assert memory(3 * 2**29) == "1.50 GiB"


WILD = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\x07\r\n\t\x9b\u202e\u2066\u200f\u2028\udcff\0")))


@given(WILD)
def test_no_name_reaches_a_terminal_raw(name: str) -> None:
    raw = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
    for made in (text.safe(name), text.printable(name), text.json_text({name: [name]})):
        made.encode()
        assert not raw.search(made)
    assert not set("\n\t") & set(text.printable(name))
    assert text.safe(text.safe(name)) == text.safe(name)
    assert json.loads(text.json_text([name])) == [name]
    assert not re.search("[\x00-\x08\x1b\u202e\u2066\udcff]", text.plain(name))


@given(WILD)
def test_lines_and_tables_are_shown_safely(name: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from unpaired.core import terminal

    shown = io.StringIO()
    table = Table(name.replace("[", "("))
    table.add_row(Text(name))
    terminal.console(shown, force_terminal=False, width=60).print(Text(name), table, highlight=False)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown.getvalue())
