"""Amounts of memory: as people write them, and as the system says."""

from __future__ import annotations

from pathlib import Path

import pytest

from unpaired.core import memory
from unpaired.core.errors import UserError
from unpaired.core.memory import free_memory, read_memory, used_memory


@pytest.mark.parametrize(
    ("given", "expected"),
    [("4GB", 4 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("2T", 2 * 10**12), ("7", 7), (10**9, 10**9)],
)
def test_amounts(given: str | int, expected: int) -> None:
    assert read_memory(given) == expected


@pytest.mark.parametrize("given", ["", "0", "GB", "-4GB", "4 lots", "nan", "1e3GB", "4GBB", True, "9" * 40])
def test_what_is_no_amount(given: str) -> None:
    with pytest.raises(UserError, match="4GB"):
        read_memory(given)


def test_what_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 10**6 < used_memory() < 10**13
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    outside = free_memory()
    assert outside > 0
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    assert free_memory() == min(2000, outside)
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > 2000
