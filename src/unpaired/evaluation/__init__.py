"""Measuring translations: `evaluate(model, data=...)` returns results, each figure with its protocol."""

from unpaired.evaluation.metrics import METRICS, Metric, Need
from unpaired.evaluation.options import Options
from unpaired.evaluation.start import evaluate, settled

__all__ = ["METRICS", "Metric", "Need", "Options", "evaluate", "settled"]
