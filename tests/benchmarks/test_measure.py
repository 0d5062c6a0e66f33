"""The benchmark of measures runs, and both sides measure the same thing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "measure.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_of_measures", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _row(benchmark: ModuleType, measure: str, side: str, size: int = 32) -> dict[str, float]:
    row = benchmark.measure(Namespace(one=(measure, side), count=30, size=size, dim=8, kept=20))
    assert row["images"] == 30
    assert row["ms per image"] > 0
    assert row["MiB"] >= 0
    return row


def test_every_measure_of_ours(benchmark: ModuleType) -> None:
    values = {name: _row(benchmark, name, "ours")["value"] for name in (*benchmark.PAIRED, *benchmark.SETS)[3:]}
    assert values.keys() == {"sliced", "frechet", "frechet with error", "kernel", "precision"}
    assert values["sliced"] > 0
    assert 0 < values["precision"] <= 1


@pytest.mark.parametrize(("measure", "apart"), [("psnr", 1e-4), ("ssim", 0.05), ("frechet", 1e-3), ("ms-ssim", 0.01)])
def test_both_sides_measure_the_same(benchmark: ModuleType, measure: str, apart: float) -> None:
    pytest.importorskip("torchmetrics")
    size = 176 if measure == "ms-ssim" else 32
    ours, theirs = (_row(benchmark, measure, side, size)["value"] for side in ("ours", "torchmetrics"))
    assert ours == pytest.approx(theirs, rel=apart)


@pytest.mark.slow
def test_the_command() -> None:
    command = [sys.executable, FILE, "--json", "--images", "30", "--size", "32", "--dim", "8", "--sides", "ours"]
    environment = {**os.environ, "PYTHONPATH": str(FILE.parents[1] / "src")}
    command += ["--measures", "ms-ssim", "frechet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]  # images of 32 pixels are too small for MS-SSIM
    assert (row["measure"], row["side"], row["images"]) == ("frechet", "ours", 30)
