"""What a translation on a cluster left in its sink."""

from __future__ import annotations

import json
from pathlib import Path

from unpaired.cluster.manifest import MANIFEST


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder by name, without those that begin with an underscore."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("_")}


def recorded(out: Path) -> list[str]:
    """Return the outputs in the manifest."""
    lines = [line for path in sorted((out / MANIFEST).iterdir()) for line in path.read_text().splitlines()]
    return [entry["output"] for entry in map(json.loads, lines) if "output" in entry]
