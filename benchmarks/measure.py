"""Time and memory of the evaluation's measures against the number of images, torchmetrics beside them.

    python benchmarks/measure.py [--images 250 1000 4000] [--measures ssim frechet ...] [--sides ours torchmetrics]
                                 [--size 64] [--dim 512] [--kept 2000] [--json]

Every cell is a process of its own, which draws pairs of images (real, fake) batch by batch and holds no data set.
`ms per image` is the time of adding a pair, without that of drawing it; `finish` the seconds from the last image to the
figure, both in processor time (of all threads), so that other work on the machine does not count; `MiB` what the peak
of the process's memory grew by over what it was with everything imported. Features come from a small random network,
the same on both sides: it is the measures that are compared. Ours keep at most `--kept` rows of features of each set,
and as many patches as are the default. Where torchmetrics is not installed or has no such measure, there is no row.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unpaired.metrics.estimate import frechet_estimate
from unpaired.metrics.frechet import Moments, frechet_distance
from unpaired.metrics.kernel import kernel_distance
from unpaired.metrics.manifold import precision_recall
from unpaired.metrics.paired import MS_SSIM_SMALLEST, ms_ssim, psnr, ssim
from unpaired.metrics.reservoir import Reservoir
from unpaired.metrics.sliced import Patches, sliced_wasserstein

BATCH = 25
Pair = tuple[Tensor, Tensor]
Row = dict[str, Any]


class Network(nn.Module):
    """Features [N, dim] of images, the same in every process."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.Conv2d(16, dim, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Return one row of features per image."""
        with torch.no_grad():
            features: Tensor = self.layers(images).flatten(1)
        return features


class Drawn:
    """Pairs of images in [-1, 1], drawn as they are asked for; remembers how long that took."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Pair]:
        random = torch.Generator().manual_seed(0)
        for start in range(0, self.count, BATCH):
            begun = time.process_time()
            count = min(BATCH, self.count - start)
            coarse = torch.rand(count, 3, 9, 9, generator=random) * 2 - 1
            real = interpolate(coarse, size=(self.size, self.size), mode="bicubic").clamp(-1, 1)
            fake = (real + 0.1 * torch.randn(real.shape, generator=random)).clamp(-1, 1)
            self.seconds += time.process_time() - begun
            yield real, fake


class Ours:
    """A measure of ours: what takes in a pair of batches, and what comes out in the end."""

    def __init__(self, measure: str, arguments: Namespace) -> None:
        self.measure = measure
        self.network = Network(arguments.dim)
        self.total, self.pairs = 0.0, 0
        self.patches = Patches(), Patches()
        self.moments = Moments(arguments.dim), Moments(arguments.dim)
        self.kept = Reservoir(arguments.kept, arguments.dim), Reservoir(arguments.kept, arguments.dim)

    def add(self, pair: Pair) -> None:
        """Take in a batch of pairs."""
        if self.measure in PAIRED:
            self.total += float(PAIRED[self.measure](*pair).sum())
            self.pairs += len(pair[0])
            return
        for side in (0, 1):
            if self.measure == "sliced":
                self.patches[side].add(pair[side])
            elif self.measure == "frechet":
                self.moments[side].add(self.network(pair[side]))
            else:
                self.kept[side].add(self.network(pair[side]))

    def value(self) -> float:
        """Return the figure of everything added."""
        if self.measure in PAIRED:
            return self.total / self.pairs
        if self.measure == "sliced":
            return sliced_wasserstein(*self.patches).mean
        if self.measure == "frechet":
            return frechet_distance(*self.moments)
        real, fake = (kept.rows() for kept in self.kept)
        if self.measure == "frechet with error":
            return frechet_estimate(real, fake).value
        return kernel_distance(real, fake).value if self.measure == "kernel" else precision_recall(real, fake)[0]


class Theirs:
    """The same with torchmetrics."""

    def __init__(self, measure: str, arguments: Namespace) -> None:
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance
        from torchmetrics.image.psnr import PeakSignalNoiseRatio
        from torchmetrics.image.ssim import (
            MultiScaleStructuralSimilarityIndexMeasure,
            StructuralSimilarityIndexMeasure,
        )

        warnings.simplefilter("ignore", UserWarning)  # that memory grows is what is measured
        self.measure = measure
        network, shape = Network(arguments.dim), (3, arguments.size, arguments.size)
        kinds: dict[str, Callable[[], Any]] = {
            "psnr": lambda: PeakSignalNoiseRatio(data_range=2.0, reduction="elementwise_mean", dim=(1, 2, 3)),
            "ssim": lambda: StructuralSimilarityIndexMeasure(data_range=2.0),
            "ms-ssim": lambda: MultiScaleStructuralSimilarityIndexMeasure(data_range=2.0),
            "frechet": lambda: FrechetInceptionDistance(feature=network, normalize=True, input_img_size=shape),
            "kernel": lambda: KernelInceptionDistance(
                feature=network, normalize=True, subset_size=min(1000, arguments.count)
            ),
        }
        self.metric = kinds[measure]()

    def add(self, pair: Pair) -> None:
        """Take in a batch of pairs."""
        if self.measure in PAIRED:
            # Luminance is counted from black, as ours does for images in [-1, 1].
            self.metric.update(*(image + 1 for image in pair))
            return
        self.metric.update(pair[0], real=True)
        self.metric.update(pair[1], real=False)

    def value(self) -> float:
        """Return the figure of everything added."""
        result = self.metric.compute()
        return float(result[0] if isinstance(result, tuple) else result)


PAIRED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"psnr": psnr, "ssim": ssim, "ms-ssim": ms_ssim}
SETS = ("sliced", "frechet", "frechet with error", "kernel", "precision")
SIDES: dict[str, type[Ours] | type[Theirs]] = {"ours": Ours, "torchmetrics": Theirs}
THEIRS = ("psnr", "ssim", "ms-ssim", "frechet", "kernel")
"""What torchmetrics has as well."""


def peak() -> float:
    """Return the highest memory of this process so far, in MiB."""
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return taken / (2**20 if sys.platform == "darwin" else 2**10)


def measure(arguments: Namespace) -> Row:
    """Carry out one measure of one side on one number of images."""
    name, side = arguments.one
    measured = SIDES[side](name, arguments)
    measured.add(next(iter(Drawn(2, arguments.size))))  # chooses kernels and imports what is imported late
    measured = SIDES[side](name, arguments)
    before = peak()
    drawn = Drawn(arguments.count, arguments.size)
    begun = time.process_time()
    for pair in drawn:
        measured.add(pair)
    added = time.process_time()
    value = measured.value()
    return {
        "measure": name,
        "side": side,
        "images": arguments.count,
        "ms per image": 1000 * (added - begun - drawn.seconds) / arguments.count,
        "finish": time.process_time() - added,
        "MiB": peak() - before,
        "value": value,
    }


def in_a_process(name: str, side: str, count: int, arguments: Namespace) -> Row:
    """Return what `measure` returns in a process of its own, whose memory is that of this cell alone."""
    command = [sys.executable, __file__, "--one", name, side, "--count", str(count)]
    command += [f"--{key}={vars(arguments)[key]}" for key in ("size", "dim", "kept", "threads")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    row: Row = json.loads(done.stdout)
    return row


def cells(arguments: Namespace) -> Iterator[tuple[str, str, int]]:
    """Yield what there is to measure."""
    for name in arguments.measures:
        if name == "ms-ssim" and arguments.size < MS_SSIM_SMALLEST:
            continue
        for side in arguments.sides:
            if side == "torchmetrics" and (name not in THEIRS or importlib.util.find_spec("torchmetrics") is None):
                continue
            for count in arguments.images:
                yield name, side, count


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=int, default=[250, 1000, 4000])
    parser.add_argument("--measures", nargs="+", choices=[*PAIRED, *SETS], default=[*PAIRED, *SETS])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--dim", type=int, default=512, help="features of an image")
    parser.add_argument("--kept", type=int, default=2000, help="rows of features that ours keep")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.one:
        print(json.dumps(measure(arguments)))
        return
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(arguments.threads)
    rows = []
    if not arguments.json:
        print(f"{arguments.size} px, {arguments.dim} features, torch {torch.__version__}, threads {arguments.threads}")
        print(f"{'measure':20}{'side':14}{'images':>8}{'ms per image':>14}{'finish':>9}{'MiB':>8}{'value':>12}")
    for cell in cells(arguments):
        row = in_a_process(*cell, arguments)
        rows.append(row)
        if not arguments.json:
            words = f"{row['measure']:20}{row['side']:14}{row['images']:8}{row['ms per image']:14.2f}"
            print(f"{words}{row['finish']:9.2f}{row['MiB']:8.0f}{row['value']:12.4g}", flush=True)
    if arguments.json:
        setting = {key: vars(arguments)[key] for key in ("size", "dim", "kept", "threads")}
        print(json.dumps({"setting": setting | {"torch": torch.__version__}, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
