"""The command line: one function per command; parse, call, print.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

from unpaired.cli import (
    compare,
    demo,
    evaluate,
    export,
    models,
    segment,
    study,
    train,
    translate,
)  # importing a command adds it to the application
from unpaired.cli.app import app, main

__all__ = ["app", "compare", "demo", "evaluate", "export", "main", "models", "segment", "study", "train", "translate"]
