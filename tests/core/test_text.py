from __future__ import annotations

import pytest

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
