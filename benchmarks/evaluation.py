"""Time and memory of an evaluation for different numbers of images: both must not grow with their number.

    python benchmarks/evaluation.py [--images 500 4000] [--size 64] [--features SPEC] [--json]

Folders of that many pictures are compared, each in a process of its own: sliced Wasserstein distance, pairs and edges,
and with `--features` also the distances of features. Seconds are those of measuring, without the start of Python and
after the files were checked once, as they are from the second evaluation on; memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write(folder: Path, count: int, size: int, seed: int) -> None:
    """Write smooth random pictures as PNG files."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for index in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{index:06d}.png", compress_level=1)


def measure(root: Path, features: str | None) -> dict[str, Any]:
    """Evaluate twice in this process, the second time with other patches, and time the second."""
    from unpaired.evaluation import evaluate

    seconds = 0.0
    for seed in (0, 1):
        start = time.perf_counter()
        evaluate(
            real=root / "real",
            fake=root / "fake",
            input=root / "real",
            paired=True,
            features=features,
            device="cpu",
            seed=seed,
        )
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Print one line for every number of images."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[500, 4000])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--features")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure, arguments.features)))
        return
    results = []
    for count in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            for seed, side in enumerate(("real", "fake")):
                write(Path(folder) / side, count, arguments.size, seed)
            command = [sys.executable, __file__, "--measure", folder]
            command += ["--features", arguments.features] if arguments.features else []
            environment = {**os.environ, "UNPAIRED_CACHE": str(Path(folder) / "cache")}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found = json.loads(done.stdout)
        results.append({"images": count, "ms_per_image": 1000 * found["seconds"] / count, **found})
    if arguments.json:
        print(json.dumps(results))
        return
    print("images   ms/image   peak memory")
    for found in results:
        print(f"{found['images']:6d}   {found['ms_per_image']:8.1f}   {found['peak_mib']:7.0f} MiB")


if __name__ == "__main__":
    main()
