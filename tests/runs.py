"""Tiny data sets and runs for the tests of training."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import unpaired as package
from processes import unpaired

__all__ = ["TINY", "arguments", "train_until", "trained", "unpaired", "write_images"]

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


OPERATIONS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.truncate"}
"""Audit events of file operations."""


def trained(**job: Any) -> list[Any]:
    """Train and return what came of it: for `processes.Asked`."""
    try:
        return ["trained", package.train(quiet=True, **job).images_seen]
    except package.UserError as error:
        return ["refused", str(error)]


def train_until(at: int, run: Path, **job: Any) -> list[Any]:
    """Train in a process that ends at this operation on files of the run; return how many there were otherwise."""
    seen = 0

    def count(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        named = any(str(run) in os.fsdecode(each) for each in args if isinstance(each, str | bytes))
        if event not in OPERATIONS or not named:
            return
        if event == "open" and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    return [*trained(out=run, **job), seen]
