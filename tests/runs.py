"""Tiny data sets and runs for the tests of training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TINY = {
    "data.crop_size": 16,
    "data.load_size": 18,
    "data.workers": 1,
    "method.generator.width": 4,
    "method.generator.blocks": 1,
    "method.discriminator.width": 4,
    "method.discriminator.layers": 1,
    "method.pool_size": 5,
    "training.epochs": 2,
    "training.decay_epochs": 2,
    "training.num_samples": 2,
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.threads": 1,
    "training.evaluate_images": 2,
    "training.tensorboard": False,
}
"""Settings of a run that takes about a second."""


def write_images(root: Path, counts: dict[str, int], size: int = 20, seed: int = 0) -> Path:
    """Write random smooth PNG images into ROOT/<folder> and return ROOT."""
    rng = np.random.default_rng(seed)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(root / folder / f"{index}.png")
    return root


def arguments(settings: dict[str, Any]) -> list[str]:
    """Return settings as `--set` options."""
    return [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]


def unpaired(*tokens: str | Path, check: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "unpaired", *map(str, tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if check is not None:
        assert done.returncode == check, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
