"""What is installed is what is declared, and the repository holds nothing that it should not."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import unpaired

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement.strip())[0].lower()


def test_the_test_requirements_are_those_of_the_package() -> None:
    lines = (ROOT / "requirements" / "test.txt").read_text().splitlines()
    listed = {_name(line) for line in lines if line and not line.startswith(("#", "-"))}
    declared = {_name(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]}
    assert listed == declared | {"hatchling", "editables"}  # the last two build the package


def test_every_pinned_version_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements" / "constraints.txt").read_text()
    assert "://" not in text
    entries = re.findall(r"(?m)^([a-z0-9][^\s=]*)==\S+.*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", text)
    assert len(entries) == len(re.findall(r"(?m)^[a-z0-9]", text))
    pinned = {name for name, _ in entries}
    assert {_name(line) for line in PROJECT["dependencies"]} <= pinned


def test_the_version_is_the_packages() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", unpaired.__version__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = unpaired.trian  # type: ignore[attr-defined]


def test_nothing_large_is_tracked() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    large = [path.name for path in files if path.is_file() and path.stat().st_size > 1_500_000]
    assert not large
