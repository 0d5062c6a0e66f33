"""The benchmark of loading measures what it says, here against a make-believe checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PEER = """
import sys
import torchvision.transforms

class Loader:
    def __init__(self, options):
        assert (options.load_size, options.crop_size, options.batch_size, options.isTrain) == (286, 256, 1, True)
        self.workers = options.num_threads
    def __len__(self):
        return 64
    def __iter__(self):
        print("epoch with", self.workers, file=sys.stderr)
        return iter([{"A": None, "B": None}] * 64)

def create_dataset(options):
    print("dataset was created")
    return Loader(options)
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / "benchmarks" / "data.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.mark.slow
def test_every_side_is_measured_in_every_round(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/__init__.py").write_text(PEER)
    (tmp_path / "data/unaligned_dataset.py").write_text("")
    outcome = run("--peer", tmp_path, "--images", "64", "--rounds", "2", "--workers", "1", "--json")
    assert outcome.returncode == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert [result["setting"][name] for name in ("images", "pairs_per_epoch", "threads")] == ["drawn", 64, 1]
    assert list(result["figures"]) == ["peer_4", "peer_2", "first_epoch", "memory", "disk"]
    assert len(result["rounds"]) == 2
    for name, row in result["figures"].items():
        rates = [each[name] for each in result["rounds"]]
        assert row["images_per_second"] == pytest.approx(sum(rates) / 2)
        ratios = [each[name] / each["peer_4"] for each in result["rounds"]]
        assert row["to_peer_4"] == pytest.approx(sum(ratios) / 2)
    epochs = [line for line in outcome.stderr.splitlines() if line.startswith("epoch with")]
    assert epochs == ["epoch with 4", "epoch with 2", "epoch with 2", "epoch with 4"], "forward, then backward"


def test_a_wrong_checkout_is_named(tmp_path: Path) -> None:
    outcome = run("--peer", tmp_path)
    assert outcome.returncode == 2
    assert "no data/unaligned_dataset.py there" in outcome.stderr
