"""Which device, and what it can do."""

from __future__ import annotations

import pytest

from unpaired.core import device


def test_a_compiler_is_looked_for_by_its_usual_names_and_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    there: set[str] = set()
    monkeypatch.setattr(device.shutil, "which", lambda name: name if name in there else None)
    monkeypatch.delenv("CXX", raising=False)
    assert not device.has_compiler()
    there.add("my-c++")
    assert not device.has_compiler()
    monkeypatch.setenv("CXX", "my-c++")
    assert device.has_compiler()
    monkeypatch.delenv("CXX")
    there.add("clang++")
    assert device.has_compiler()
