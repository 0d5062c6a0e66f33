"""`unpaired demo`."""

from __future__ import annotations

from pathlib import Path

from unpaired.cli.app import app
from unpaired.cli.options import Quiet, Whole


@app.command
def demo(
    *,
    out: Path = Path("unpaired-demo"),
    seed: Whole = 0,
    quiet: Quiet = False,
) -> int:
    """Train a small CycleGAN on two drawn domains, in under three minutes; needs no files and no network.

    Parameters
    ----------
    out
        New folder for the images, the run and the picture of the result.
    seed
        Seed of the images and of the training.
    """
    from unpaired.demo import run_demo

    return run_demo(out, seed=seed, quiet=quiet)
