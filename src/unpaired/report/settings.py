"""The settings of runs: which differ, and which are alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from unpaired.report.runs import Run

MISSING = object()


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def compare_settings(runs: Sequence[Run]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Return the settings that differ, by name with the value of every run, and those that all share.

    A run that does not have a setting has `MISSING` there. Runs whose settings are not known are compared no further.
    """
    known = [flat(run.config) if run.config else None for run in runs]
    names = dict.fromkeys(name for settings in known if settings for name in settings)
    differing, shared = {}, {}
    for name in names:
        values = [MISSING if settings is None else settings.get(name, MISSING) for settings in known]
        told = [value for value, settings in zip(values, known, strict=True) if settings is not None]
        if all(value == told[0] and type(value) is type(told[0]) for value in told):
            shared[name] = told[0]
        else:
            differing[name] = values
    return differing, shared


def shown(value: Any) -> str:
    """Return a setting as people write it; nothing for one that a run does not have."""
    if value is MISSING:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
