"""How a setting says which images belong together."""

from __future__ import annotations

from unpaired.core.errors import UserError
from unpaired.core.settings import option

PATIENT = "patient"
PLACE = "{group}"
"""Stands for the group in a pattern of paths."""


def check_rule(rule: str | None) -> None:
    """Raise `UserError` unless a rule is `patient`, or a pattern with one `{group}`."""
    if rule is not None and rule != PATIENT and rule.count(PLACE) != 1:
        raise UserError(
            f"{option('data.group', rule)}: allowed are {PATIENT}, and a pattern of the end of paths in which {PLACE} "
            f'stands for the group and * for anything within a name, such as "{PLACE}_*" or "{PLACE}/*".'
        )
