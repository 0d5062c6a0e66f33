"""Make the folder of a model that ships with the package, or of any small model that is passed on.

    python benchmarks/ship_model.py runs/fish src/unpaired/models/shipped/fish --directions a2b \
        --data "fish drawn by unpaired demo" --licence Apache-2.0 --limits "Knows drawn fish at 64 pixels alone."

It takes the run's best checkpoint, keeps the named directions, stores the weights in float16, writes a model card with
the figures of the run's evaluation, says how far its results lie from those of the run, and refuses more than 1 MB.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

from unpaired import Translator
from unpaired.models.folder import find_model
from unpaired.models.model_card import LIMITS, About
from unpaired.models.saving import describe, save_model

LARGEST = 1_000_000
"""Bytes of the whole folder."""


def main() -> None:
    """Write the folder and print what it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--directions", nargs="+", default=None)
    parser.add_argument("--data", required=True, help="what it was trained on, in a few words")
    parser.add_argument("--licence", required=True)
    parser.add_argument("--limits", default="")
    given = parser.parse_args()
    known = describe(find_model(given.run, given.checkpoint)[0], given.out.name)
    about = About(
        name=f"demo/{given.out.name}",
        data=given.data,
        limits=f"{given.limits} {LIMITS}".strip(),
        measures=known.measures,
        measured_on=given.data,
    )
    card = save_model(
        given.run,
        given.out,
        checkpoint=given.checkpoint,
        directions=given.directions,
        half=True,
        licence=given.licence,
        about=about,
    )
    size = sum(path.stat().st_size for path in given.out.iterdir())
    if size > LARGEST:
        shutil.rmtree(given.out)
        raise SystemExit(
            f"{size:,} bytes are more than {LARGEST:,}: keep fewer --directions, or train a smaller network."
        )
    print(f"{given.out}: {size:,} bytes, {', '.join(card.translators)}")
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, card.domains["a"].channels), np.uint8)
    for direction in card.translators:
        full = Translator.load(given.run, direction, checkpoint=given.checkpoint)(picture).astype(int)
        change = abs(full - Translator.load(given.out, direction)(picture)).max()
        print(f"{direction}: float16 changes a picture of noise by at most {change} of 255 levels")


if __name__ == "__main__":
    main()
