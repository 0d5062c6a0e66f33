"""`unpaired demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unpaired.cli.app import app


@app.command
def demo(
    *,
    out: Path = Path("unpaired-demo"),
    seed: int = 0,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Train a small CycleGAN on two drawn domains, in under three minutes; needs no files and no network.

    Parameters
    ----------
    out
        New folder for the images, the run and the picture of the result.
    seed
        Seed of the images and of the training.
    quiet
        Print nothing but the scores.
    """
    from unpaired.demo import run_demo

    return run_demo(out, seed=seed, quiet=quiet)
