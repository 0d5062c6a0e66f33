"""What more work costs: more processes, more images, larger images.

    python benchmarks/scale.py [--parts processes images pixels] [--json]

- processes: images per second of one training in 1, 2 and 4 processes under torchrun, each with one processor thread
  (or a GPU of its own with --device cuda), as a multiple of one process. The counts take turns; medians over all
  intervals of the log but the first of each run.
- images: time until the first batch of 100 to 100,000 small JPEG files, when they are first seen and when they were
  seen before, per 1,000 files, and the memory of the process.
- pixels: time of a training step and of a translation at 128 to 1024 pixels, per megapixel, as a multiple of 256; the
  sizes take turns, medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from unpaired.core.device import find_device
from unpaired.data.config import DataConfig
from unpaired.data.loader import UnpairedLoader
from unpaired.data.training import open_training_data
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.cyclegan import Config, CycleGAN
from unpaired.networks import PatchganConfig, ResnetConfig
from unpaired.report.run_log import read_metrics
from unpaired.training.config import TrainingConfig
from unpaired.training.graph import WARM_UP_STEPS
from unpaired.training.trainer import Trainer

PARTS = ("processes", "images", "pixels")
Row = dict[str, Any]


def draw(root: Path, count: int, size: int) -> None:
    """Write `count` JPEG images into trainA and as many into trainB."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(16):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        path = root / "one.jpg"
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(path, quality=90)
        contents.append(path.read_bytes())
        path.unlink()
    for folder in ("trainA", "trainB"):
        (root / folder).mkdir()
        for number in range(count):
            # A trailing byte pattern makes every file another one, so that nothing is found by its content.
            (root / folder / f"{number:06d}.jpg").write_bytes(contents[number % 16] + number.to_bytes(4, "big"))


# --------------------------------------------------------------------------------------------------------- processes


def train_for(data: Path, out: Path, processes: int, arguments: Namespace) -> list[float]:
    """Train in several processes and return the images per second of every interval of the log but the first."""
    settings = {
        "method.generator.width": arguments.width,
        "method.discriminator.width": arguments.width,
        "method.generator.blocks": arguments.blocks,
        "data.crop_size": arguments.size,
        "data.cache": "memory",
        "data.workers": 1,
        "training.num_samples": 0,
        "training.tensorboard": "false",
        "training.log_every_images": arguments.interval * processes,
        "training.max_images": 6 * arguments.interval * processes,
        "training.precision": arguments.precision,
        "training.device": arguments.device,
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "unpaired", "train", "cyclegan", "--quiet", "--data", str(data), "--out", str(out)]
    command += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [record["images_per_second"] for record in read_metrics(out) if "losses" in record][1:]


def measure_processes(arguments: Namespace) -> list[Row]:
    """Return a row for each number of processes."""
    speeds: dict[int, list[float]] = {count: [] for count in arguments.processes}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        draw(data, 64, arguments.size)
        for round_number in range(2):
            for count in speeds:
                speeds[count] += train_for(data, Path(folder) / f"run-{count}-{round_number}", count, arguments)
    medians = {count: statistics.median(values) for count, values in speeds.items()}
    one = medians[arguments.processes[0]] / arguments.processes[0]
    return [
        {
            "processes": count,
            "images per second": median,
            "multiple of one": median / one,
            "efficiency": median / one / count,
        }
        for count, median in medians.items()
    ]


# ------------------------------------------------------------------------------------------------------------ images


def first_batch(root: Path) -> float:
    """Return the seconds until the first batch."""
    started = time.perf_counter()
    data = open_training_data(DataConfig(root=str(root), crop_size=32, load_size=36, cache="none"))
    with UnpairedLoader(data, batch_size=1, seed=0) as loader:
        next(loader)
    return time.perf_counter() - started


def measure_images(arguments: Namespace) -> list[Row]:
    """Return a row for each number of files."""
    rows = []
    for count in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["UNPAIRED_CACHE"] = str(Path(folder) / "cache")  # nothing of earlier rounds is remembered
            root = Path(folder) / "data"
            root.mkdir()
            draw(root, count // 2, 64)
            new = first_batch(root)
            again = statistics.median(first_batch(root) for _ in range(arguments.rounds))
        rows.append(
            {
                "images": count,
                "first time, s": new,
                "again, s": again,
                "first time, ms per image": 1000 * new / count,
                "again, ms per image": 1000 * again / count,
                "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    return rows


# ------------------------------------------------------------------------------------------------------------ pixels


def work_at(size: int, arguments: Namespace, device: torch.device) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a function that takes a training step at a size, and one that translates an image."""
    torch.manual_seed(0)
    config = Config(
        generator=ResnetConfig(width=arguments.width, blocks=arguments.blocks),
        discriminator=PatchganConfig(width=arguments.width),
    )
    method = CycleGAN(config, ImageShapes(channels_a=3, channels_b=3, size=(size, size)))
    trainer = Trainer(method, TrainingConfig(precision=arguments.precision), device)
    images = torch.rand(2, 1, 3, size, size, device=device) * 2 - 1

    def batches() -> Iterator[Batch]:
        while True:
            yield Batch(images[0], images[1])

    stream = batches()

    @torch.inference_mode()
    def translate() -> object:
        with torch.autocast(device.type, trainer.dtype, enabled=trainer.dtype is not None):
            return method.G(images[0])

    return lambda: trainer.step(stream), translate


def measure_pixels(arguments: Namespace) -> list[Row]:
    """Return a row for each size."""
    device = find_device(arguments.device)
    works = {size: work_at(size, arguments, device) for size in arguments.pixels}
    seconds: dict[tuple[int, int], list[float]] = {(size, part): [] for size in works for part in range(2)}
    warm_up = WARM_UP_STEPS + 1 if device.type == "cuda" else 1  # on a GPU the step after the warm-up is recorded
    for round_number in range(-warm_up, arguments.rounds):
        for size, parts in works.items():
            for part, work in enumerate(parts):
                started = time.perf_counter()
                work()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if round_number >= 0:
                    seconds[size, part].append(time.perf_counter() - started)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    per_pixel = {(size, part): median / size**2 for (size, part), median in medians.items()}
    base = 256 if 256 in works else arguments.pixels[0]
    return [
        {
            "pixels": f"{size} x {size}",
            "step, s": medians[size, 0],
            "translation, s": medians[size, 1],
            f"step per pixel, against {base}": per_pixel[size, 0] / per_pixel[base, 0],
            f"translation per pixel, against {base}": per_pixel[size, 1] / per_pixel[base, 1],
        }
        for size in works
    ]


MEASURES: dict[str, Callable[[Namespace], list[Row]]] = {
    "processes": measure_processes,
    "images": measure_images,
    "pixels": measure_pixels,
}


def show(rows: list[Row]) -> None:
    """Print one table."""
    widths = {name: max(len(name), 10) for name in rows[0]}
    print("  ".join(name.rjust(width) for name, width in widths.items()))
    for row in rows:
        cells = {name: f"{value:.4g}" if isinstance(value, float) else f"{value}" for name, value in row.items()}
        print("  ".join(cells[name].rjust(width) for name, width in widths.items()))
    print()


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--images", nargs="+", type=int, default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--pixels", nargs="+", type=int, default=[128, 256, 512, 1024])
    parser.add_argument("--size", type=int, default=128, help="of the images of the part `processes`")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--interval", type=int, default=10, help="images per process between two readings")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    setting = {name: vars(arguments)[name] for name in ("width", "blocks", "precision", "device", "rounds")}
    setting |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    results: dict[str, list[Row]] = {}
    if not arguments.json:
        print(", ".join(f"{name} {value}" for name, value in setting.items()))
    for part in arguments.parts:
        results[part] = MEASURES[part](arguments)
        if not arguments.json:
            show(results[part])
    if arguments.json:
        print(json.dumps({"setting": setting, **results}, indent=2))


if __name__ == "__main__":
    main()
