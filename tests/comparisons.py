"""Tiny comparisons: drawn label maps with photos that belong to them, and a plan of two small methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from evaluations import write_data, write_small_model, write_small_run

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)

PLAN = """
title = "Two tiny methods"
images = 12
pictures = 2

[segmenter]
images = 48
width = 4
batch_size = 4

[data]
crop_size = 32
workers = 1
LABELS

[method]
generator = { family = "resnet", width = 4, blocks = 1 }
discriminator = { family = "patchgan", width = 4, layers = 1 }

[training]
device = "cpu"
precision = "fp32"
threads = 1
tensorboard = false
num_samples = 1

[[entries]]
label = "CycleGAN"
method = { name = "cyclegan", identity_weight = 0.0 }
published = [
  { task = "labels_to_photos", pixel_accuracy = 0.52, class_accuracy = 0.17, class_iou = 0.11, mark = "second-hand" },
]

[[entries]]
label = "With identity"
method = { name = "cyclegan" }
"""
LABELS = 'labels_a = { kind = "index", void = [3], names = ["sky", "road", "tree"] }'


def write_plan(path: Path, *, labels: bool = True, text: str = PLAN) -> Path:
    """Write the plan and return its path."""
    path.write_text(text.replace("LABELS", LABELS if labels else ""), encoding="utf-8")
    return path


def write_labelled(root: Path, train: int = 6, test: int = 3, size: int = 32) -> Path:
    """Write label maps of three classes and void, and photos of them, in the layout of CamVid; return ROOT."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for kind in (part, f"{part}annot"):
            (root / kind).mkdir(parents=True)
        for index in range(count):
            labels = np.zeros((size, size), np.uint8)
            row, column = rng.integers(size // 4, 3 * size // 4, 2)
            labels[row:] = 1
            labels[:row, column:] = 2
            Image.fromarray(np.where(rng.random((size, size)) < 0.02, 3, labels).astype(np.uint8)).save(
                root / f"{part}annot" / f"street{index}.png"
            )
            photo = COLOURS[labels].astype(np.int64) + rng.integers(-20, 20, (size, size, 3))
            Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(root / part / f"street{index}.png")
    return root


def write_places(root: Path) -> dict[str, str]:
    """Write something small for every argument of the commands to name."""
    data = write_data(root / "data", test=2, size=32)
    found = {
        "data": data,
        "labelled": write_labelled(root / "labelled"),
        "plan": write_plan(root / "plan.toml"),
        "model": write_small_model(root / "model"),
        "run": write_small_run(root / "run", {"root": str(data), "crop_size": 16}),
    }
    return {name: str(path) for name, path in found.items()}
