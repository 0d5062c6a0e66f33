"""A user's own parts: found where they are named or installed, and never imported because a folder names them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unpaired.core import extensions
from unpaired.core.errors import UserError
from unpaired.core.extensions import allow_extensions, as_subclass, find_extension, installed, is_spec, load_extension


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's, on the path and not yet imported."""
    (tmp_path / "own_parts.py").write_text("class Thing:\n    class Inner:\n        pass\n")
    (tmp_path / "failing_parts.py").write_text("raise RuntimeError('boom')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(extensions, "_allowed", set())
    for name in ("own_parts", "failing_parts"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "own_parts"


def install(folder: Path, group: str, name: str, value: str) -> None:
    """Write what pip leaves of a package that declares an entry point."""
    info = folder / "own_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")


def test_the_form_of_a_spec() -> None:
    assert is_spec("a.b:C")
    assert is_spec("a:C.D")
    for other in ("resnet", "a.b", ":C", "a:", "a b:C", "/tmp/a:C", "C:\\x", 3, None):
        assert not is_spec(other)


def test_what_the_user_names_is_imported(module: str) -> None:
    assert load_extension("own_parts:Thing", "generator") is sys.modules[module].Thing
    assert load_extension("own_parts:Thing.Inner", "generator") is sys.modules[module].Thing.Inner
    assert find_extension("own_parts:Thing", "generator") is sys.modules[module].Thing


def test_what_only_a_folder_names_is_not_imported(module: str) -> None:
    with pytest.raises(UserError, match=r"--extension own_parts:Thing.*extensions=\[") as caught:
        find_extension("own_parts:Thing", "generator", "runs/a")
    assert module not in sys.modules
    assert str(caught.value).startswith("runs/a needs the generator own_parts:Thing")
    allow_extensions(["own_parts:Thing"])
    assert find_extension("own_parts:Thing", "generator") is sys.modules[module].Thing


def test_installed_extensions_have_plain_names(module: str, tmp_path: Path) -> None:
    install(tmp_path, "unpaired.generators", "mine", "own_parts:Thing")
    assert installed("generator") == ["mine"]
    assert installed("discriminator") == []
    thing = find_extension("mine", "generator")
    assert thing is sys.modules[module].Thing
    assert find_extension("own_parts:Thing", "generator") is thing
    with pytest.raises(UserError, match=r"needs the generator 'mina'.*Did you mean .mine."):
        find_extension("mina", "generator")
    with pytest.raises(UserError, match="None is installed"):
        find_extension("mine", "discriminator")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("own_parts:Think", 'has no Think.*Did you mean "Thing"'),
        ("no_such_parts:Thing", "no Python module"),
        ("failing_parts:Thing", "RuntimeError: boom"),
        ("own_parts", r"package\.module:Name"),
    ],
)
def test_what_cannot_be_imported_is_told(module: str, spec: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        allow_extensions([spec])


def test_the_base_class_is_required() -> None:
    assert as_subclass(bool, int, "a:B") is bool
    for other in (str, 3):
        with pytest.raises(UserError, match=r"a:B must be a class derived from builtins\.int"):
            as_subclass(other, int, "a:B")
