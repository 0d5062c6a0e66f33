"""A flag is one field: its name, help, default and allowed values are written on the setting alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from cyclopts import App

from unpaired.cli.options import IMAGES, Section, help_of, with_settings
from unpaired.core.errors import UserError
from unpaired.core.given import Given, Joined
from unpaired.core.settings import Flag, Settings, describe


class Mine(Settings):
    """Settings of a package of the user's own."""

    colour: Annotated[Literal["red", "green"], Flag("--colour")] = "red"
    """What everything is painted with."""
    layers: Annotated[int, Flag("--layers")] = 3
    """How many layers of it."""
    name: Annotated[str | None, Flag("--name")] = None
    """What it is called."""
    silent: bool = False
    """No flag."""


def _command(received: list[Given]) -> App:
    app = App(result_action="return_value")

    @app.default
    @with_settings(lambda: [Section(name="mine", kind=Mine, group=IMAGES)])
    def paint(*, given: Any = ()) -> int:
        """Paint."""
        received.extend(given)
        return 0

    return app


def test_one_field_is_an_option_with_help() -> None:
    described = {setting.name: setting for setting in describe(Mine)}
    assert help_of(described["colour"]) == "What everything is painted with. One of: red or green. [default: red]"
    received: list[Given] = []
    _command(received)(["--colour", "green", "--name", "7", "--set", "mine.silent=true"])
    found: Mine = Joined(received).build(Mine, "mine")
    assert found == Mine(colour="green", name="7", silent=True)
    assert found.is_set("colour")
    assert not found.is_set("layers")


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["--colour", "gren"], ["--colour", "'gren'", "red or green", 'Did you mean "green"']),
        (["--layers", "many"], ["--layers", "'many'", "a whole number"]),
    ],
)
def test_a_wrong_value_is_told_by_the_option(tokens: list[str], words: list[str]) -> None:
    received: list[Given] = []
    _command(received)(tokens)
    with pytest.raises(UserError) as caught:
        Joined(received).build(Mine, "mine")
    assert all(word in str(caught.value) for word in words)


def test_help_lists_the_fields() -> None:
    assert "layers: How many layers of it." in (Mine.__doc__ or "")
