"""Measuring translations: `evaluate(Options(model=..., data=...))` returns figures, each with its protocol."""

from unpaired.evaluation.figures import DirectionResult, Evaluation, Figure, Picture, Table
from unpaired.evaluation.options import MEASURES, Options
from unpaired.evaluation.start import evaluate, keep, place_of, settled

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
