"""Domains of known truth, small translators between them, and what the audit finds of them (docs/audit.md).

    python benchmarks/hallucination.py --out invented [--shares 0 15 30 50 65] [--seeds 0 1] [--images 4000]

Domain A is drawn as photos of ground with houses and ponds, domain B as maps of such scenes, and a share of the maps
has a red title at its top. No photo has one: whatever title a translated photo shows is invented (the setting of Cohen
et al. 2018 and of StegoGAN, Wu et al. 2024). What is there is not made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import unpaired

Pixels = NDArray[np.uint8]
SIZE = 24
CLASSES = ("ground", "house", "pond", "title")
TITLE = CLASSES.index("title")
PHOTO = ((92, 108, 70), (160, 148, 140), (40, 62, 104), (150, 60, 50))
MAP = ((190, 208, 150), (244, 226, 190), (110, 160, 226), (222, 40, 60))
"""Colours of the classes in photos and in maps."""
COUNTS = {"train": 200, "test": 60}


def draw_classes(rng: np.random.Generator, *, title: bool) -> Pixels:
    """Return the classes of one scene, [H, W]: one or two houses and one or two ponds, below the place of a title."""
    canvas = Image.new("L", (4 * SIZE, 4 * SIZE), 0)
    draw = ImageDraw.Draw(canvas)

    def box(width: float, height: float) -> tuple[float, float, float, float]:
        x, y = rng.uniform(4, 4 * SIZE - 4 - 4 * width), rng.uniform(24, 4 * SIZE - 4 - 4 * height)
        return x, y, x + 4 * width, y + 4 * height

    for _ in range(rng.integers(1, 3)):
        side = rng.uniform(6, 9)
        draw.ellipse(box(side, side), fill=2)
    for _ in range(rng.integers(1, 3)):
        draw.rectangle(box(*rng.uniform(5, 8, 2)), fill=1)
    if title:
        draw.rectangle((8, 4, 4 * SIZE - 9, 19), fill=TITLE)
    return np.asarray(canvas)[2::4, 2::4].copy()


def render(classes: Pixels, rng: np.random.Generator, *, photo: bool) -> Pixels:
    """Return a scene as a photo (uneven light, grain, shades of its own) or as a map (flat colours), [H, W, 3]."""
    picture = np.array(PHOTO if photo else MAP, np.float64)[classes]
    if photo:
        coarse = Image.fromarray(rng.normal(size=(6, 6)).astype(np.float32))
        light = 1 + 0.08 * np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        picture = picture * light[..., None] * rng.uniform(0.88, 1.12) + rng.normal(0, 7, (SIZE, SIZE, 1))
    picture += rng.normal(0, 2, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def scenes(folder: str, share: int, seed: int = 0) -> Iterator[tuple[Pixels, Pixels]]:
    """Yield (picture, classes) of trainA, trainB, testA or testB; `share` is the percentage of maps with titles."""
    split, photo = folder[:-1], folder[-1] == "A"
    count = COUNTS[split]
    rng = np.random.default_rng([seed, split == "test", photo])
    for number in range(count):
        # Spread evenly, so that every share is exact; the draws are the same for every share.
        title = not photo and (number * share) // 100 != ((number + 1) * share) // 100
        own = np.random.default_rng(rng.integers(2**32, size=4))
        classes = draw_classes(own, title=title)
        yield render(classes, own, photo=photo), classes


def write_domains(root: Path, share: int) -> Path:
    """Write ROOT/trainA/000.png and so on, and the classes of the test photos as ROOT/classesA/000.png."""
    for folder in ("trainA", "trainB", "testA", "testB"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number, (picture, classes) in enumerate(scenes(folder, share)):
            Image.fromarray(picture).save(root / folder / f"{number:03d}.png")
            if folder == "testA":
                (root / "classesA").mkdir(exist_ok=True)
                Image.fromarray(classes).save(root / "classesA" / f"{number:03d}.png")
    return root


SETTINGS: dict[str, Any] = {
    "data.crop_size": SIZE,
    "data.load_size": SIZE,
    "method.generator.width": 16,
    "method.generator.blocks": 1,
    "method.discriminator.width": 16,
    "method.discriminator.layers": 2,
    "method.identity_weight": 0.0,
    "method.cycle_weight": 5.0,
    "training.batch_size": 4,
    "training.learning_rate": 8e-4,
    "training.threads": 1,
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.tensorboard": False,
    "training.evaluate_images": 0,
    "training.num_samples": 2,
}


def train(out: Path, method: str, share: int, seed: int, images: int) -> Path:
    """Train one small model and return its run; what is finished is kept, what was interrupted goes on."""
    run = out / "runs" / f"{method}-{share}-{seed}"
    if not (run / "result.json").exists():
        data = write_domains(out / "data" / str(share), share)
        epochs = images // (2 * COUNTS["train"])
        own = {"training.seed": seed, "training.epochs": epochs, "training.decay_epochs": epochs}
        often = {"training.sample_every_images": images, "training.checkpoint_every_images": images // 2}
        if run.exists():
            unpaired.train(resume=run, quiet=True)
        else:
            unpaired.train(method, data=data, out=run, settings={**SETTINGS, **own, **often}, quiet=True)
    return run
