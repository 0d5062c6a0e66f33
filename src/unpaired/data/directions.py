"""The two domains, A and B, the two directions between them, and what people call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.settings import option
from unpaired.core.text import listing

if TYPE_CHECKING:
    from unpaired.data.values import Domain

Side = Literal["a", "b"]
Direction = Literal["a2b", "b2a"]
DOMAIN_NAME = r"^(\w[\w \-]*)?$"
"""Pattern of what people call a domain; empty where nobody said."""
DIRECTIONS: tuple[Direction, Direction] = ("a2b", "b2a")


def sides(direction: str) -> tuple[Side, Side]:
    """Return the domains that a direction comes from and leads to."""
    return ("a", "b") if direction == "a2b" else ("b", "a")


def other(side: Side) -> Side:
    """Return the other domain."""
    return "b" if side == "a" else "a"


def reverse(direction: str) -> Direction:
    """Return the opposite direction."""
    return "b2a" if direction == "a2b" else "a2b"


def heading(direction: str, domains: Mapping[str, Domain]) -> str:
    """Return a direction as a heading shows it: `horse to zebra`, or `A to B` where domains have no names."""
    source, target = sides(direction)
    return f"{domains[source].title(source)} to {domains[target].title(target)}"


def parse_direction(text: str, domains: Mapping[str, Domain] | None = None) -> Direction:
    """Return the direction that a person names: a2b, b2a, AtoB, BtoA or, by the domains' names, horse2zebra.

    Upper and lower case are the same. Raises `UserError` for anything else.
    """
    names = {side: domain.name for side, domain in (domains or {}).items()}
    known = _spellings(names.get("a", ""), names.get("b", ""))
    for spelling, direction in known:
        if text.strip().casefold() == spelling.casefold():
            return direction
    listed = [spelling for spelling, _ in known if "to" not in spelling]
    raise UserError(
        f"{option('direction', text)}: there is no such direction. Allowed: {', '.join(listed)}"
        f"{'' if names.get('a') else ' (or AtoB, BtoA)'}.{did_you_mean(text, listed)}"
    )


def check_names(a: str, b: str) -> None:
    """Raise `UserError` where the names of the domains would make a direction ambiguous."""
    by_spelling: dict[str, set[str]] = {}
    for spelling, direction in _spellings(a, b):
        by_spelling.setdefault(spelling.casefold(), set()).add(direction)
    same = bool(a) and a.casefold() == b.casefold()
    if same or a.casefold() == "b" or b.casefold() == "a" or any(len(found) > 1 for found in by_spelling.values()):
        given = [option(f"data.name_{side}", name) for side, name in (("a", a), ("b", b)) if name]
        raise UserError(
            f"{listing(given)} {'does' if len(given) == 1 else 'do'} not tell domain A from domain B, or one direction "
            "from the other. Choose other names."
        )


def _spellings(a: str, b: str) -> list[tuple[str, Direction]]:
    """Return what a direction may be called, with names where there are any."""
    found: list[tuple[str, Direction]] = [("a2b", "a2b"), ("b2a", "b2a"), ("AtoB", "a2b"), ("BtoA", "b2a")]
    if a or b:
        one, two = a or "A", b or "B"
        found += [(f"{one}2{two}", "a2b"), (f"{two}2{one}", "b2a")]
    return found
