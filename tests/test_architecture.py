"""Imports go one way, and the rules of the house hold."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "unpaired"
FILES = sorted(SOURCE.rglob("*.py"))
GROUND = {"errors", "typed", "__init__"}
ALLOWED = {  # room -> rooms that it may import
    "errors": set(),
    "typed": set(),
    "device": {"errors"},
    "losses": set(),
    "pool": {"errors"},
    "data": {"errors", "typed"},
    "networks": {"errors", "typed"},
    "metrics": set(),
    "checkpoint": {"errors", "typed", "data"},
    "methods": {"errors", "typed", "losses", "networks", "pool", "features"},
    "configs": {"errors"},
    "config": {"errors", "configs", "data", "methods", "training"},
    "convert": {"errors", "networks", "checkpoint", "data", "__init__"},
    "inference": {"errors", "device", "data", "networks", "checkpoint", "__init__"},
    "export": {"errors", "data", "networks", "inference", "__init__"},
    "features": {"errors", "device", "data", "networks", "convert"},
    "training": {
        "errors",
        "typed",
        "device",
        "data",
        "networks",
        "pool",
        "methods",
        "checkpoint",
        "config",
        "webpage",
        "metrics",
        "features",
        "__init__",
    },
    "inform": {"errors", "data", "networks", "checkpoint", "training"},
    "terminal": set(),
    "webpage": set(),
    "study": {"errors", "typed", "data"},
    "segment": {
        "errors",
        "typed",
        "device",
        "data",
        "networks",
        "features",
        "metrics",
        "checkpoint",
        "config",
        "training",
        "__init__",
    },
    "compare": {
        "errors",
        "typed",
        "device",
        "data",
        "networks",
        "methods",
        "checkpoint",
        "configs",
        "config",
        "training",
        "inference",
        "metrics",
        "segment",
        "webpage",
        "__init__",
    },
    "evaluate": {
        "errors",
        "device",
        "data",
        "networks",
        "methods",
        "checkpoint",
        "config",
        "training",
        "inference",
        "metrics",
        "features",
        "segment",
        "__init__",
    },
    "audit": {
        "errors",
        "data",
        "networks",
        "checkpoint",
        "training",
        "inference",
        "metrics",
        "evaluate",
        "__init__",
    },
    "report": {"errors", "checkpoint", "training", "webpage", "__init__"},
    "demo": {"errors", "config", "training", "inference", "data", "device", "methods"},
}


def _room(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Return the rooms that a file imports, those for type checking alone left out."""
    rooms = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "unpaired":
            parts = node.module.split(".")
            rooms.add(parts[1] if len(parts) > 1 else "__init__")
        if isinstance(node, ast.Import):
            rooms |= {name.name.split(".")[1] for name in node.names if name.name.startswith("unpaired.")}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    room = _room(path)
    if room in ("cli", "__init__", "__main__"):
        return
    assert room in ALLOWED, f"the new room {room} needs a line in this test and in docs/architecture.md"
    assert _imports(path) <= ALLOWED[room] | {room}


def test_methods_know_nothing_of_training_and_inference_nothing_of_methods() -> None:
    assert not {"training", "inference", "config"} & ALLOWED["methods"]
    assert not {"training", "methods", "config"} & (ALLOWED["inference"] | ALLOWED["export"])


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
