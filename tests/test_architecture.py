"""Imports go one way, and the rules of the house hold."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "unpaired"
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = (
    "core",
    "configs",
    "data",
    "networks",
    "metrics",
    "methods",
    "models",
    "report",
    "evaluation",
    "training",
    "audit",
    "compare",
    "plan",
    "web",
    "study",
    "serve",
    "demo",
    "cluster",
    "cli",
)
"""A room imports rooms before it, never one behind it."""
FORBIDDEN = {
    "models": {"methods"},  # a translator loads without the training code
    "report": {"methods", "metrics", "networks"},  # pages are drawn from documents
    "study": {"methods", "training", "evaluation", "networks"},  # a study needs pictures alone
}
"""What a room must not import although it stands before it."""
FACADE = ("__init__", "__main__")


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Return the rooms that a file imports, in whatever form; those for type checking alone are left out."""
    rooms = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    package = ("unpaired", *path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = [*base, *(node.module.split(".") if node.module else ())]
            if parts == ["unpaired"]:  # from unpaired import report: a room, or a name of the package itself
                rooms |= {name.name for name in node.names if name.name in ROOMS}
            elif parts[:1] == ["unpaired"]:
                rooms.add(parts[1])
        if isinstance(node, ast.Import):
            rooms |= {name.name.split(".")[1] for name in node.names if name.name.startswith("unpaired.")}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    room = _room(path)
    if room in FACADE:
        return
    assert room in ROOMS, f"the new room {room} needs a place in ROOMS and in docs/architecture.md"
    allowed = {*ROOMS[: ROOMS.index(room) + 1]} - FORBIDDEN.get(room, set())
    assert _imports(path) <= allowed


def test_every_form_of_import_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    file = tmp_path / "data" / "check.py"
    file.parent.mkdir()
    file.write_text(
        "import unpaired.cli.app\nfrom unpaired import report, __version__\nfrom unpaired.models.folder import CARD\n"
        "from ..training import run\nfrom .. import audit\n"
    )
    assert _imports(file) == {"cli", "report", "models", "training", "audit"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rules_of_the_house(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.name not in {"utils.py", "helpers.py", "common.py", "misc.py"}
    assert text.count("\n") <= 450, "a file has one subject and about 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            dynamic = node.func.id in {"getattr", "setattr", "hasattr"} and len(node.args) > 1
            assert not (dynamic and not isinstance(node.args[1], ast.Constant)), f"computed name in line {node.lineno}"
        if isinstance(node, ast.FunctionDef):
            body = range(node.lineno, (node.end_lineno or 0) + 1)
            doc = ast.get_docstring(node, clean=False) or ""
            assert len(body) - doc.count("\n") <= 70, f"{node.name} is long"
