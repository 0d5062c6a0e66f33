"""Measuring translations: `evaluate(model, data=...)` returns results, each figure with its protocol."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unpaired.evaluation.metrics import METRICS, Metric, Need
    from unpaired.evaluation.options import Options
    from unpaired.evaluation.start import evaluate, settled

__all__ = ["METRICS", "Metric", "Need", "Options", "evaluate", "settled"]
_PLACES = dict.fromkeys(__all__[:3], "metrics") | {"Options": "options", "evaluate": "start", "settled": "start"}


def __getattr__(name: str) -> Any:
    """Import what is used, so that the help of commands need not wait for PyTorch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'unpaired.evaluation' has no attribute {name!r}")
    return vars(import_module(f"unpaired.evaluation.{_PLACES[name]}"))[name]
