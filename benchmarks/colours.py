"""Zebras in other colours, of which docs/evaluation.md and docs/training.md say what each metric sees.

python benchmarks/colours.py horse2zebra/testB --out zebras
unpaired evaluate --real zebras/real --fake zebras/dark --size 64 --metrics swd,colour --no-bounds --out dark
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageEnhance


def blue(image: Image.Image) -> Image.Image:
    """Return the image with 70 % of its red and 85 % of its green."""
    bands = zip(image.split(), (0.7, 0.85, 1.0), strict=True)
    return Image.merge("RGB", [band.point([round(value * factor) for value in range(256)]) for band, factor in bands])


CHANGES = {
    "same": lambda image: image,
    "dark": lambda image: ImageEnhance.Brightness(image).enhance(0.25),
    "blue": blue,
    "flat": lambda image: ImageEnhance.Contrast(image).enhance(1 / 3),
}


def main() -> None:
    """Write every other image unchanged as real ones, and the rest with each change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    files = sorted(options.images.iterdir())
    for name, change in {"real": CHANGES["same"], **CHANGES}.items():
        (options.out / name).mkdir(parents=True, exist_ok=True)
        for file in files[name == "real" :: 2]:
            with Image.open(file) as image:
                change(image.convert("RGB")).save(options.out / name / f"{file.stem}.png")


if __name__ == "__main__":
    main()
