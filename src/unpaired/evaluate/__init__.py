"""Measuring translations: `evaluate(Options(model=..., data=...))` returns figures, each with its protocol."""

from unpaired.evaluate.figures import DirectionResult, Evaluation, Figure, Picture, Table
from unpaired.evaluate.options import MEASURES, Options
from unpaired.evaluate.start import evaluate, keep, place_of, settled

__all__ = [
    "MEASURES",
    "DirectionResult",
    "Evaluation",
    "Figure",
    "Options",
    "Picture",
    "Table",
    "evaluate",
    "keep",
    "place_of",
    "settled",
]
