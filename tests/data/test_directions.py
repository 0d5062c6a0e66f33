from __future__ import annotations

import pytest

from unpaired.core.errors import UserError, named_by_flags
from unpaired.data.directions import check_names, heading, other, parse_direction, reverse, sides
from unpaired.data.values import Domain, domain_to_json

NAMED = {"a": Domain(channels=3, name="horse"), "b": Domain(channels=3, name="zebra")}
NAMELESS = {"a": Domain(channels=3), "b": Domain(channels=3)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a2b", "a2b"),
        ("b2a", "b2a"),
        ("AtoB", "a2b"),
        ("BtoA", "b2a"),
        ("A2B", "a2b"),
        ("horse2zebra", "a2b"),
        ("Zebra2Horse", "b2a"),
    ],
)
def test_a_direction_by_letters_or_names(text: str, expected: str) -> None:
    assert parse_direction(text, NAMED) == expected


def test_one_name_is_enough() -> None:
    assert parse_direction("A2photo", {"a": Domain(channels=3), "b": Domain(channels=3, name="photo")}) == "a2b"


@pytest.mark.parametrize("domains", [None, NAMELESS])
def test_an_unknown_direction_is_answered_with_what_there_is(domains: dict[str, Domain] | None) -> None:
    with named_by_flags({"direction": "--direction"}), pytest.raises(UserError) as told:
        parse_direction("a2c", domains)
    assert "--direction a2c" in str(told.value)
    assert "a2b, b2a" in str(told.value)
    with pytest.raises(UserError):
        parse_direction("horse2zebra", domains)


def test_an_unknown_direction_names_the_domains() -> None:
    with pytest.raises(UserError, match=r'horse2zebra, zebra2horse.*Did you mean "horse2zebra"\?'):
        parse_direction("hors2zebra", NAMED)


def test_headings_and_sides() -> None:
    assert (heading("a2b", NAMED), heading("b2a", NAMED)) == ("horse to zebra", "zebra to horse")
    assert heading("a2b", NAMELESS) == "A to B"
    assert (sides("b2a"), reverse("a2b"), other("a")) == (("b", "a"), "b2a", "b")


@pytest.mark.parametrize(("a", "b"), [("horse", "Horse"), ("b", "a"), ("b", ""), ("", "A"), ("x", "x2x")])
def test_names_that_tell_nothing_apart_are_refused(a: str, b: str) -> None:
    with pytest.raises(UserError, match=r"data\.name_. = .* not tell"):
        check_names(a, b)


@pytest.mark.parametrize(("a", "b"), [("", ""), ("a", "b"), ("horse", "zebra"), ("2015", "2020"), ("horse", "")])
def test_names_that_tell_domains_apart(a: str, b: str) -> None:
    check_names(a, b)


@pytest.mark.parametrize("name", ["<b>", "a/b", " horse", "-x", "x" * 41, "a\nb"])
def test_names_are_plain_words(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Domain(channels=3, name=name)


def test_a_card_names_a_domain_only_where_it_has_a_name() -> None:
    assert domain_to_json(NAMED["a"]) == {"channels": 3, "dtype": "uint8", "range": None, "name": "horse"}
    assert domain_to_json(NAMELESS["a"]) == {"channels": 3, "dtype": "uint8", "range": None}
