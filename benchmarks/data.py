"""Images per second of the authors' loader and of ours, on the same files, alternating in one process.

    python benchmarks/data.py --peer CHECKOUT [--images 400] [--data ROOT] [--workers 0] [--rounds 5] [--json]

CHECKOUT is a checkout of the authors' PyTorch code (see train_step.py). The settings are the published ones on both
sides: resize to 286 x 286, crop 256 x 256, mirror, batch 1. An image is one image of one domain, so a pair counts as
two. Without --data, photo-like JPEG files of 256 x 256 are drawn into a temporary folder; ROOT holds trainA and trainB.

Each round measures every side once, over an epoch (ours from a cache: ten epochs), in turns forward and backward; the
figure of a side is the median over the rounds, and its ratios the medians of the ratios within a round. Starting worker
processes and threads is not counted, nor what either side does once for a data set: ours checks every file (and makes
the disk cache), for which the seconds are given. Files are in the system's page cache, which the first reading fills:
"first epoch" begins with an empty cache of ours, and every image is decoded when it is first asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

import torchvision_stand_in
from unpaired.data.config import DataConfig
from unpaired.data.loader import UnpairedLoader
from unpaired.data.parallel import num_threads
from unpaired.data.training import TrainingData, open_training_data

CROP, LOAD, FILE_SIZE = 256, 286, 256
WARM_UP = 32
"""Pairs before the clock starts, which also start the workers."""
CACHED_EPOCHS = 10
Side = Callable[[], float]
"""Measures once and returns images per second."""
PEERS = {"peer_4": 4, "peer_2": 2}
LABELS = {
    "peer_4": "the authors', 4 workers (their default)",
    "peer_2": "the authors', 2 workers",
    "first_epoch": "ours, first epoch",
    "memory": "ours, from the memory cache",
    "disk": "ours, from the disk cache",
}


# ------------------------------------------------------------------------------------------------------------ images


def photo(rng: np.random.Generator) -> Image.Image:
    """Draw an image with a photo's mixture of slopes, edges and fine structure."""
    size = FILE_SIZE
    picture = np.zeros((size, size, 3))
    for cells, strength in ((2, 70), (6, 35), (24, 18), (96, 9)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        picture += strength * (np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 127.5 - 1)
    image = Image.fromarray(np.clip(picture + 128, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top, wide, high = rng.integers(0, size, 4) // (1, 1, 3, 3)
        draw.ellipse((left, top, left + wide, top + high), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image.filter(ImageFilter.GaussianBlur(0.7))


def draw_images(root: Path, images: int) -> None:
    """Write `images` JPEG files into each of ROOT/trainA and ROOT/trainB."""
    rng = np.random.default_rng(0)
    for folder in ("trainA", "trainB"):
        (root / folder).mkdir()
        for number in range(images):
            photo(rng).save(root / folder / f"{number:06d}.jpg", quality=85)


# ------------------------------------------------------------------------------------------------------------- sides


def rate(pairs: Iterator[Any], count: int) -> float:
    """Return the images per second over the next `count` pairs, after a few that are not counted."""
    for _ in itertools.islice(pairs, WARM_UP):
        pass
    started = time.perf_counter()
    counted = sum(1 for _ in itertools.islice(pairs, count))
    seconds = time.perf_counter() - started
    assert counted == count, f"{counted} pairs came where {count} were expected"
    return 2 * count / seconds


def peer_side(checkout: Path, root: Path, workers: int) -> Side:
    """Return a measurement of the authors' loader; an epoch of theirs for each call."""
    # PyTorch finds four workers too many for a small machine; they are the authors' default all the same.
    warnings.filterwarnings("ignore", message="This DataLoader will create 4 worker processes")
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    loading = importlib.import_module("data")
    paths = {"dataroot": str(root), "phase": "train", "dataset_mode": "unaligned", "direction": "AtoB"}
    images = {"preprocess": "resize_and_crop", "load_size": LOAD, "crop_size": CROP, "no_flip": False}
    channels = {"input_nc": 3, "output_nc": 3, "max_dataset_size": float("inf")}
    training = {"isTrain": True, "batch_size": 1, "num_threads": workers, "serial_batches": False, "n_epochs": 100}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it made
        loader = loading.create_dataset(Namespace(**paths, **images, **channels, **training))
    return lambda: rate(iter(loader), len(loader) - WARM_UP)


def opened(root: Path, cache: Literal["memory", "disk"]) -> TrainingData:
    """Open our data; memory caches are empty."""
    return open_training_data(DataConfig(root=str(root), crop_size=CROP, load_size=LOAD, cache=cache))


def our_rate(data: TrainingData, workers: int, pairs: int) -> float:
    """Measure our loader."""
    with UnpairedLoader(data, batch_size=1, seed=0, workers=workers) as loader:
        return rate(loader, pairs)


def our_sides(root: Path, workers: int) -> tuple[dict[str, Side], dict[str, float], int]:
    """Return our measurements, the seconds of what is done once for a data set, and the pairs of an epoch."""
    started = time.perf_counter()
    memory = opened(root, "memory")
    checked = time.perf_counter()
    disk = opened(root, "disk")
    made = time.perf_counter()
    for source in (memory.a, memory.b):
        for index in range(len(source)):
            source[index]
    epoch = max(len(memory.a), len(memory.b))
    sides: dict[str, Side] = {
        "first_epoch": lambda: our_rate(opened(root, "memory"), workers, epoch - WARM_UP),
        "memory": lambda: our_rate(memory, workers, CACHED_EPOCHS * epoch),
        "disk": lambda: our_rate(disk, workers, CACHED_EPOCHS * epoch),
    }
    return sides, {"check": checked - started, "make_disk_cache": made - checked}, epoch


# ----------------------------------------------------------------------------------------------------------- figures


def measure(arguments: Namespace, root: Path, transforms: str) -> dict[str, Any]:
    """Run all rounds and return the figures."""
    sides, once, epoch = our_sides(root, arguments.workers)
    sides = {name: peer_side(arguments.peer, root, workers) for name, workers in PEERS.items()} | sides
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        rounds.append({name: sides[name]() for name in order})
    figures = {
        name: {
            "images_per_second": statistics.median(rates[name] for rates in rounds),
            "slowest_and_fastest": [min(rates[name] for rates in rounds), max(rates[name] for rates in rounds)],
            **{f"to_{peer}": statistics.median(rates[name] / rates[peer] for rates in rounds) for peer in PEERS},
        }
        for name in sides
    }
    setting = {
        "images": "drawn" if arguments.data is None else str(arguments.data),
        "pairs_per_epoch": epoch,
        "rounds": arguments.rounds,
        "threads": num_threads(arguments.workers),
        "cores": os.cpu_count(),
        "transforms": transforms,
        "torch": torch.__version__,
    }
    return {"setting": setting, "seconds_once": once, "figures": figures, "rounds": rounds}


def find_torchvision() -> str:
    """Return which transforms the authors' loader will use: torchvision's, or where it is missing the stand-in's."""
    try:
        import torchvision  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except (ImportError, RuntimeError):  # RuntimeError: built for another PyTorch
        torchvision_stand_in.install()
        return "stand-in"
    return f"torchvision {torchvision.__version__}"


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(", ".join(f"{name} {value}" for name, value in result["setting"].items()))
    if result["setting"]["transforms"] == "stand-in":
        print("torchvision cannot be imported: the authors' loader runs on equal transforms of Pillow and PyTorch")
    once = result["seconds_once"]
    print(
        f"once for the data set: {once['check']:.1f} s to check, {once['make_disk_cache']:.1f} s to make a disk cache"
    )
    print(f"{'':42}{'images/s':>10}{'to their 4 workers':>21}{'to their 2 workers':>21}")
    for name, row in result["figures"].items():
        ratios = "".join(f"{row[f'to_{peer}']:20.2f}x" for peer in PEERS)
        print(f"{LABELS[name]:42}{row['images_per_second']:10,.0f}{ratios}")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="checkout of the authors' PyTorch code")
    parser.add_argument("--images", type=int, default=400, help="images to draw for each domain")
    parser.add_argument("--data", type=Path, help="folder with trainA and trainB, in place of drawn images")
    parser.add_argument("--workers", type=int, default=0, help="our threads; one per core by default, at most 8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not (arguments.peer / "data" / "unaligned_dataset.py").is_file():
        parser.error(f"--peer {arguments.peer}: no data/unaligned_dataset.py there; give the authors' code")
    if arguments.data is not None and not all((arguments.data / name).is_dir() for name in ("trainA", "trainB")):
        parser.error(f"--data {arguments.data}: give a folder with trainA and trainB")
    if arguments.data is None and arguments.images < 2 * WARM_UP:
        parser.error(f"--images {arguments.images}: at least {2 * WARM_UP} are needed for a measurement")
    transforms = find_torchvision()
    with tempfile.TemporaryDirectory() as place:
        os.environ["UNPAIRED_CACHE"] = str(Path(place) / "cache")  # the user's own cache stays as it is
        root = arguments.data or Path(place)
        if arguments.data is None:
            draw_images(root, arguments.images)
        result = measure(arguments, root, transforms)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
