"""The benchmark of scale runs and says what it measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_images_and_pixels() -> None:
    command = [sys.executable, REPOSITORY / "benchmarks" / "scale.py", "--parts", "images", "pixels", "--json"]
    small = ["--images", "10", "20", "--pixels", "32", "64", "--width", "4", "--blocks", "1", "--rounds", "2"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *small], capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [row["images"] for row in result["images"]] == [10, 20]
    assert [row["pixels"] for row in result["pixels"]] == ["32 x 32", "64 x 64"]
    assert result["pixels"][0]["step per pixel, against 32"] == 1
    assert all(
        value > 0 for row in result["images"] + result["pixels"] for value in row.values() if value != row.get("pixels")
    )
