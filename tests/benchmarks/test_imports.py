"""Scripts that no other test runs: they import, so what they use is where they look for it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOUND = (path for folder in ("benchmarks", "examples") for path in ROOT.glob(f"{folder}/**/*.py"))
SCRIPTS = sorted(path.relative_to(ROOT) for path in FOUND if "node_modules" not in path.parts)
RUN = [path for path in SCRIPTS if '__name__ == "__main__"' in (ROOT / path).read_text()]


@pytest.mark.parametrize("script", RUN, ids=str)
def test_a_script_finds_what_it_imports(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str((ROOT / script).parent), *sys.path])
    spec = importlib.util.spec_from_file_location(f"script_{script.stem}", ROOT / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "unpaired":
            raise
        pytest.skip(f"needs {error.name}")
