"""The configurations that come with the package: descriptions of runs and plans of comparisons, found by their name."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from unpaired.core.errors import did_you_mean

Kind = Literal["run", "plan"]
"""A run is for `unpaired train --config`, a plan for `unpaired compare`."""

FOLDER = Path(__file__).parent


@cache
def shipped(kind: Kind) -> tuple[str, ...]:
    """Return the names of the configurations of a kind that come with the package, sorted."""
    files = sorted(FOLDER.glob("*.toml"))
    return tuple(path.stem for path in files if _kind(path) == kind)


def find_config(named: str | Path) -> Path | None:
    """Return the file that is meant by a path or by the name of a shipped configuration; None where there is none.

    A file in the file system comes first. Else `paper`, `paper.toml` and `configs/paper.toml` mean the shipped one.
    """
    path = Path(named)
    if path.is_file():
        return path
    inside = FOLDER / f"{path.name.removesuffix('.toml')}.toml"
    by_name = path.parent in (Path("."), Path("configs")) and not path.is_absolute()
    return inside if by_name and inside.is_file() else None


def suggestion(named: str | Path, kind: Kind) -> str:
    """Return the end of a message about a configuration that was not found: the nearest name, and all of the kind."""
    names = shipped(kind)
    return f"{did_you_mean(Path(named).name.removesuffix('.toml'), names)} Shipped: {', '.join(names)}."


def _kind(path: Path) -> Kind:
    return "plan" if "entries" in tomllib.loads(path.read_text(encoding="utf-8")) else "run"
