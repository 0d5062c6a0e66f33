"""Training from windows of one large tiled image against decoding it whole: crops a second and peak memory.

python benchmarks/windows.py [--side 20000]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from unpaired.data.config import DataConfig
from unpaired.data.decode import decode
from unpaired.data.loader import UnpairedLoader
from unpaired.data.training import open_training_data

TILE = 512


def write(path: Path, side: int, seed: int) -> None:
    """Write a tiled image whose tiles are a few noisy gradients, compressed once each."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 200, TILE)[:, None, None] + rng.integers(0, 40, (8, TILE, TILE, 3))
    tiles = [imagecodecs.zlib_encode(tile.astype(np.uint8).tobytes(), level=6) for tile in slope]
    count = (-(-side // TILE)) ** 2
    options = {"photometric": "rgb", "compression": "zlib", "metadata": None}
    tifffile.imwrite(
        path, (tiles[n % 8] for n in range(count)), shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE), **options
    )


def peak() -> float:
    """Return the largest memory so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--crops", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unpaired-windows-") as folder:
        for seed, name in enumerate(("trainA", "trainB")):
            Path(folder, name).mkdir()
            write(Path(folder, name, "scene.tif"), given.side, seed)
        size = Path(folder, "trainA", "scene.tif").stat().st_size / 2**20
        print(f"{given.side} x {given.side} RGB, {size:.0f} MiB, tiles of {TILE}")
        began = time.perf_counter()
        config = DataConfig(root=folder, preprocess="crop", crop_size=256, sampling="area")
        data = open_training_data(config)
        print(f"opened and checked in {time.perf_counter() - began:.1f} s; an epoch is {len(data.a):,} crops")
        with UnpairedLoader(data, batch_size=1, seed=0) as loader:
            began = time.perf_counter()
            for _ in range(given.crops):
                next(loader)
            rate = 2 * given.crops / (time.perf_counter() - began)
        print(f"by windows: {rate:.0f} crops a second, peak {peak():.0f} MiB")
        began = time.perf_counter()
        decode(Path(folder, "trainA", "scene.tif"), max_pixels=2**40)
        print(f"decoded whole: one crop in {time.perf_counter() - began:.1f} s, peak {peak():.0f} MiB")


if __name__ == "__main__":
    main()
