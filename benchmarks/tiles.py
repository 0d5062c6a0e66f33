"""Translation by tiles: memory and time by size, and a picture of 100,000 x 100,000 pixels that is made on the fly.

python benchmarks/tiles.py sizes --memory 4GB            # the published generator, each size in a process of its own
python benchmarks/tiles.py model /tmp/small              # a small U-Net of 4 halvings and 4 channels
python benchmarks/tiles.py paint /tmp/large.painted 100000 100000
PYTHONPATH=benchmarks unpaired translate /tmp/small /tmp/large.painted --out /tmp/large --format tiff \\
    --memory 4GB --extension tiles:PaintedReader
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from unpaired.data.formats import Box, Header, Reader
from unpaired.data.values import Domain, Image
from unpaired.models.folder import ModelCard
from unpaired.models.tiling.run import TileProgress
from unpaired.models.translator import Translator
from unpaired.networks import InitConfig, ResnetConfig, ResnetGenerator, UnetConfig, UnetGenerator, initialize

SIZES = ((1024, 1024), (3000, 4000), (9000, 12000))
MARK = b"painted picture "


class PaintedReader(Reader):
    """Pictures of any size that take no room: their file holds height and width alone."""

    suffixes = frozenset({".painted"})

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith(MARK)

    def probe(self, path: Path) -> Header:
        height, width = map(int, path.read_bytes().removeprefix(MARK).split())
        return Header(height, width, 1, "uint8")

    def read(self, path: Path, *, stored: bool = False) -> Image:
        header = self.probe(path)
        return painted(Box(0, 0, header.height, header.width))

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image:
        return painted(box)


def painted(box: Box) -> Image:
    """Return a part of a grey pattern: waves along both axes on a slope, so that no part has the mean of the whole."""
    rows = np.arange(box.top, box.top + box.height)
    columns = np.arange(box.left, box.left + box.width)
    down = 50 + 30 * np.sin(rows * 0.011) + rows * 3e-4
    across = 50 + 30 * np.cos(columns * 0.007) + 20 * (columns >> 9 & 1)
    return np.asarray(down.astype(np.uint8)[:, None] + across.astype(np.uint8)[None, :])[:, :, None]


def write_model(folder: Path) -> None:
    """Write a small grey model with weights drawn by chance."""
    torch.manual_seed(0)
    network = UnetGenerator(UnetConfig(width=4, depth=4), 1, 1)
    initialize(network, InitConfig(scheme="kaiming"))
    domain = Domain(channels=1)
    card = ModelCard(origin="drawn by chance", domains={"a": domain, "b": domain}, translators={})
    Translator(network, card, "a2b").save_pretrained(folder)


def measure(height: int, width: int, memory: str | None) -> dict[str, float]:
    """Translate one array with the published generator in this process; without `memory` as a whole."""
    torch.manual_seed(0)
    network = ResnetGenerator(ResnetConfig(), 3, 3)
    initialize(network, InitConfig())
    card = ModelCard(origin="drawn by chance", domains={side: Domain(channels=3) for side in "ab"}, translators={})
    translator = Translator(network, card, "a2b", engine="torch", memory=memory)
    image = np.tile(painted(Box(0, 0, height, width)), (1, 1, 3))
    told = [0.0]

    def show(tiles: TileProgress) -> None:
        if time.monotonic() > told[0] + 60 or tiles.tiles == tiles.of:
            told[0] = time.monotonic()
            print(f"  {tiles}; {time.process_time():.1f} s of CPU time", file=sys.stderr, flush=True)

    translator.tiler.progress = show
    translator.tiler.require()  # the network is read once for all images
    started, cpu = time.monotonic(), time.process_time()
    if memory is None:
        values = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        translator.engine.translate(values)
    else:
        result = np.empty_like(image)

        def read(box: Box) -> np.ndarray:
            part = image[box.top : box.top + box.height, box.left : box.left + box.width]
            return part.astype(np.float32) / 127.5 - 1

        def write(box: Box, part: np.ndarray) -> None:
            stored = np.rint((part + 1) * 127.5).astype(np.uint8)
            result[box.top : box.top + box.height, box.left : box.left + box.width] = stored

        translator.tiler.translate(read, write, (height, width))
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": seconds,
        "cpu_seconds": (used := time.process_time() - cpu),
        "peak_gb": peak / 1e9,
        "us_per_pixel": seconds / (height * width) * 1e6,
        "cpu_us_per_pixel": used / (height * width) * 1e6,
    }


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    sizes = parts.add_parser("sizes")
    sizes.add_argument("--memory", default="4GB")
    sizes.add_argument("--only", type=int, help="number of the size, from 0; -1 is 1,024 x 1,024 as a whole")
    sizes.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parts.add_parser("model").add_argument("folder", type=Path)
    paint = parts.add_parser("paint")
    paint.add_argument("file", type=Path)
    paint.add_argument("height", type=int)
    paint.add_argument("width", type=int)
    options = parser.parse_args()
    if options.part == "model":
        write_model(options.folder)
    elif options.part == "paint":
        options.file.write_bytes(MARK + f"{options.height} {options.width}".encode())
    elif options.here:
        height, width = SIZES[max(options.only, 0)]
        print(json.dumps(measure(height, width, None if options.only < 0 else options.memory)))
    else:
        for number in [options.only] if options.only is not None else [-1, *range(len(SIZES))]:
            command = [sys.executable, __file__, "sizes", "--here", "--memory", options.memory, f"--only={number}"]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            height, width = SIZES[max(number, 0)]
            how = "as a whole" if number < 0 else f"by tiles, {options.memory}"
            print(f"{width:,} x {height:,}, {how}: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
