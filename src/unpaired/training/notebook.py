"""What a training shows in a notebook: one line that changes, above the latest samples."""

from __future__ import annotations

import base64
import html
import importlib
import sys
from pathlib import Path
from typing import Any, final


@final
class NotebookCell:
    """An output of the running cell that is replaced whenever something is to be shown."""

    def __init__(self, display: Any) -> None:
        self._display, self._handle = display, None
        self._line, self._picture = "", ""

    def show(self, *, line: str | None = None, picture: Path | None = None) -> None:
        """Replace the line, or the picture, which is a PNG file; the other stays."""
        if line is not None:
            self._line = line
        if picture is not None:
            self._picture = base64.b64encode(picture.read_bytes()).decode()
        image = f'<img alt="samples" style="max-width: 100%" src="data:image/png;base64,{self._picture}">'
        content = {
            "text/plain": self._line,
            "text/html": f"<pre>{html.escape(self._line)}</pre>{image if self._picture else ''}",
        }
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def open_cell() -> NotebookCell | None:
    """Return the running cell's output, None outside of a notebook; IPython is asked only where it runs already."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return NotebookCell(importlib.import_module("IPython.display").display)
