"""Figures say what they are, and JSON can hold them."""

from __future__ import annotations

import math

import pytest

from unpaired.evaluation.figures import DirectionResult, Figure


def test_a_figure_is_never_silently_no_number() -> None:
    with pytest.raises(ValueError, match="is nan"):
        Figure(name="swd", title="SWD", value=math.nan, group="distribution")
    with pytest.raises(ValueError, match="is inf"):
        Figure(name="swd", title="SWD", value=1.0, error=math.inf, group="distribution")
    with pytest.raises(ValueError, match="no note"):
        Figure(name="swd", title="SWD", value=None, group="distribution")


def test_figures_are_found_by_name() -> None:
    figure = Figure(name="swd", title="SWD", value=1.0, group="distribution")
    found = DirectionResult(heading="A to B", figures=(figure,), bounds={})
    assert found.figure("swd") is figure
    with pytest.raises(KeyError, match="there are swd"):
        found.figure("fid")
