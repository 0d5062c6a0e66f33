"""The command line: one function per command; parse, call, print.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

from importlib import import_module

from unpaired.cli.app import ORDER, app, main
from unpaired.cli.options import WithSettings

for name in (
    *("compare", "download", "evaluate", "formats", "models", "plan", "segment", "serve", "settings", "study"),
    *("train", "translate", "watch"),
):
    import_module(f"unpaired.cli.{name}")  # importing a command adds it to the application
WithSettings.registered = True
for place, name in enumerate(ORDER):
    app[name].sort_key = place

__all__ = ["app", "main"]
