"""Draw five data sets, each with something that a plan must notice, and print the plan of each.

    python benchmarks/plan_sets.py --out plan_sets

- grey12: 12-bit grey slices of patients in 16-bit files, no test images; left and right differ
- few: 40 photos, 20 of each domain
- panoramas: 3000 x 200
- pairs: files of one name show the same scene, and nobody says so
- overlap: a third of A is in B, too, and some test images are among the training images
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.cli.plan import print_plan
from unpaired.plan.make import make_plan

Picture = NDArray[np.uint8]


def smooth(random: np.random.Generator, height: int, width: int, cell: int, channels: int = 3) -> NDArray[np.float32]:
    """Return coloured clouds in [0, 1], [height, width, channels], with structures of about `cell` pixels."""
    coarse = random.random((height // cell + 2, width // cell + 2, channels)).astype(np.float32)
    layers = [
        Image.fromarray(coarse[:, :, n]).resize((width, height), Image.Resampling.BICUBIC) for n in range(channels)
    ]
    return np.clip(np.stack([np.asarray(layer) for layer in layers], axis=2), 0, 1)


def scene(random: np.random.Generator, size: int = 256) -> NDArray[np.float32]:
    """Return a picture of discs before clouds, in [0, 1]."""
    picture = 0.6 * smooth(random, size, size, 24) + 0.1 * random.random((size, size, 3))
    rows, columns = np.mgrid[:size, :size]
    for _ in range(6):
        y, x, radius = *random.integers(0, size, 2), random.integers(8, 40)
        picture[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = random.random(3)
    return np.clip(picture, 0, 1).astype(np.float32)


def levels(picture: NDArray[np.float32]) -> Picture:
    """Return 8-bit levels."""
    return np.asarray(np.round(picture * 255), np.uint8)


def other(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the same scene as the second domain shows it: other colours, a texture of stripes."""
    stripes = 0.5 + 0.5 * np.cos((np.arange(picture.shape[1]) - picture.shape[1] / 2) * 1.5)[None, :, None]
    return np.asarray(0.75 * picture[:, :, ::-1] + 0.25 * stripes, np.float32)


def save(folder: Path, name: str, picture: Picture) -> None:
    """Write a PNG file."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.squeeze()).save(folder / f"{name}.png")


def grey12(root: Path, random: np.random.Generator, count: int) -> None:
    """Twelve bits in sixteen, slices of patients; an organ lies on the left of every slice."""
    rows, columns = np.mgrid[:160, :160]
    for side in "AB":
        for patient in range(max(4, count // 8)):
            for slice_ in range(8):
                body = ((rows - 80) / 70) ** 2 + ((columns - 80) / 60) ** 2 < 1
                organ = (rows - 70 - slice_) ** 2 + (columns - 50) ** 2 < (18 + patient % 5) ** 2
                values = 600 * body + 1400 * organ + 700 * smooth(random, 160, 160, 8, 1)[:, :, 0] * body
                values = 3600 - values if side == "B" else values
                folder = root / f"train{side}"
                folder.mkdir(parents=True, exist_ok=True)
                content = imagecodecs.png_encode(np.clip(values, 0, 4095).astype(np.uint16))
                (folder / f"patient{patient:03}_slice{slice_:03}.png").write_bytes(content)


def few(root: Path, random: np.random.Generator, count: int) -> None:
    """Twenty photos of each domain."""
    for side in "AB":
        for number in range(20):
            picture = scene(random)
            save(
                root / f"train{side}", f"{side.lower()}{number:02}", levels(other(picture) if side == "B" else picture)
            )


def panoramas(root: Path, random: np.random.Generator, count: int) -> None:
    """Long images."""
    for side in "AB":
        for number in range(max(6, count // 4)):
            picture = smooth(random, 200, 3000, 25) * 0.8 + 0.2 * random.random((200, 3000, 3), np.float32)
            picture = other(picture) if side == "B" else picture
            save(root / f"train{side}", f"{side.lower()}{number:02}", levels(picture))


def pairs(root: Path, random: np.random.Generator, count: int) -> None:
    """Files of one name show one scene."""
    for number in range(count):
        picture = scene(random)
        part = "test" if number % 6 == 0 else "train"
        for side, shown in (("A", picture), ("B", other(picture))):
            save(root / f"{part}{side}", f"{number:03}", levels(shown))


def overlap(root: Path, random: np.random.Generator, count: int) -> None:
    """A third of A is in B, and two test images of A are training images that were compressed again."""
    for number in range(count):
        picture = levels(scene(random))
        save(root / "trainA", f"{number:03}", picture)
        save(root / "trainB", f"{number:03}b", picture if number % 3 == 0 else levels(other(scene(random))))
        if number < 12:
            save(root / "testB", f"t{number:02}", levels(other(scene(random))))
            shown = picture // 4 * 4 if number < 2 else levels(scene(random))
            save(root / "testA", f"t{number:02}", shown)


SETS: dict[str, Callable[[Path, np.random.Generator, int], None]] = {
    "grey12": grey12,
    "few": few,
    "panoramas": panoramas,
    "pairs": pairs,
    "overlap": overlap,
}


def draw(name: str, root: Path, count: int = 96) -> Path:
    """Draw one of the sets, of about `count` images of each domain, and return its folder."""
    SETS[name](root / name, np.random.default_rng(0), count)
    return root / name


def main() -> None:
    """Draw and plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("plan_sets"), help="folder for the sets and their plans")
    parser.add_argument("--only", choices=SETS, nargs="*", default=list(SETS))
    arguments = parser.parse_args()
    for name in arguments.only:
        shutil.rmtree(arguments.out / name, ignore_errors=True)
        plan = make_plan({"data.root": str(draw(name, arguments.out))})
        plan.write(arguments.out / f"{name}.toml")
        print(f"\n{name}\n{'=' * len(name)}")
        print_plan(plan)


if __name__ == "__main__":
    main()
