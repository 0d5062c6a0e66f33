"""The table and the picture of docs/translation.md: translations at other scales than that of training.

python benchmarks/translation_scale.py runs/h2z64 horse2zebra --out scale_h2z
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import unpaired
from unpaired.data.held_out import evenly
from unpaired.models.translator import Translator
from unpaired.report.image_grid import grid

CANDIDATES = {
    "native": {"size": "native"},
    "trained": {"size": "trained", "detail": False},
    "trained, change added": {"size": "trained", "detail": True},
}


def main() -> None:
    """Translate the test images in each way, measure at both sizes, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4)
    given = parser.parse_args()
    inputs, real = given.data / "testA", given.data / "testB"
    trained = None
    for name, options in CANDIDATES.items():
        translator = Translator.load(given.run, "a2b", **options)
        trained = translator.card.scale
        unpaired.translate(translator, inputs, given.out / name, existing="skip")
    assert trained is not None
    for title, size in (("trained", trained.crop_size), ("full", None)):
        places = {name: given.out / name for name in CANDIDATES}
        for name, place in {**places, "untranslated": inputs}.items():
            found = unpaired.evaluate(real=real, fake=place, size=size, metrics="swd,colour").directions["folders"]
            print(title, name, *(f"{one.name} {one.value:.1f} ± {one.error or 0:.1f}" for one in found.figures))
            halves = found.bounds["real_halves"]
        print(title, "real halves", *(f"{one.name} {one.value:.1f}" for one in halves))
    files = sorted(path for path in inputs.iterdir())
    rows = []
    for path in (files[place] for place in evenly(len(files), given.rows)):
        made = {name: given.out / name / f"{path.stem}.png" for name in CANDIDATES}
        rows.append({name: np.asarray(Image.open(p).convert("RGB")) for name, p in {"input": path, **made}.items()})
    Image.fromarray(grid(rows, list(rows[0]), f"{given.data.name}")).save(given.out / "grid.jpg", quality=88)


if __name__ == "__main__":
    main()
