"""The command line: one function per command; parse, call, print.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

from unpaired.cli import (
    audit,
    compare,
    demo,
    evaluate,
    export,
    models,
    report,
    segment,
    settings,
    study,
    train,
    translate,
)  # importing a command adds it to the application
from unpaired.cli.app import ORDER, app, main
from unpaired.cli.options import WithSettings

WithSettings.registered = True
for place, name in enumerate(ORDER):
    app[name].sort_key = place

__all__ = [
    "app",
    "audit",
    "compare",
    "demo",
    "evaluate",
    "export",
    "main",
    "models",
    "report",
    "segment",
    "settings",
    "study",
    "train",
    "translate",
]
