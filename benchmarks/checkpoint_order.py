"""In which order SWD, the kernel distance of EfficientNet-Lite0 and a classifier put the checkpoints of a training.

unpaired train cyclegan --data horse2zebra --crop-size 64 --out run \\
    --set training.checkpoint_every_images=200 --set training.keep_last=20
python benchmarks/checkpoint_order.py run --data horse2zebra --class zebra --out order
python benchmarks/checkpoint_order.py --digits DIGITS --out digits

The second command trains a CycleGAN of USPS to MNIST in `digits/run`, and a classifier of MNIST's digits, which knows
of every translation which digit it should show. DIGITS holds usps.npz and MNIST's files of 10,000 images.
Writes `table.md` and `order.svg`; docs/evaluation.md shows both.
"""

from __future__ import annotations

import argparse
import gzip
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn

import unpaired
from unpaired.data.config import DataConfig
from unpaired.data.held_out import evenly, open_dataset
from unpaired.metrics import Patches, kernel_distance, sliced_wasserstein
from unpaired.metrics.features import Lite0Features, class_numbers, open_features
from unpaired.metrics.features.base import as_colour
from unpaired.models.folder import checkpoints_of
from unpaired.models.loading import read_data_config
from unpaired.report.chart import svg_file
from unpaired.report.results import Chart, Line, Table, Value
from unpaired.report.tables import to_markdown

SWD, KERNEL, SCORE, HITS = "SWD", "kernel distance (Lite0)", "score of the class", "classifier hits, %"


Score = Callable[[Tensor, Sequence[str]], tuple[Tensor, Tensor]]
"""Takes images [N, C, H, W] in [-1, 1] and their names, and returns of each the log-probability of the class that it
should show, and whether the classifier takes it for that, [N]."""


class Judge:
    """Real images of the target, and how far translations are from them."""

    def __init__(self, real: Tensor, names: Sequence[str], score: Score) -> None:
        self.network, self.score = open_features("lite0"), score
        self.features, self.patches = self.network(as_colour(real)).numpy(), _patches(real)
        self.real = self.see(real, names).figures()

    def see(self, images: Tensor, names: Sequence[str]) -> Seen:
        """Return what is seen of images [N, C, H, W] in [-1, 1]."""
        return Seen(self, images, self.network(as_colour(images)).numpy(), *self.score(images, names))


def scores_of_class(name: str) -> Score:
    """Return what scores images by a class of ImageNet."""
    network, numbers = open_features("lite0"), list(class_numbers(name))
    assert isinstance(network, Lite0Features)

    def score(images: Tensor, _: Sequence[str]) -> tuple[Tensor, Tensor]:
        found = network.scores(images).log_softmax(1)
        return found[:, numbers].logsumexp(1), torch.isin(found.argmax(1), torch.tensor(numbers)).float()

    return score


@dataclass(frozen=True)
class Seen:
    """Images, and what is seen of each, so that they can be resampled."""

    judge: Judge
    images: Tensor
    features: np.ndarray
    scores: Tensor
    hits: Tensor

    def figures(self, drawn: np.ndarray | None = None) -> dict[str, Value]:
        """Return the figures, of the images of these numbers or of all."""
        drawn = np.arange(len(self.images)) if drawn is None else drawn
        kernel = kernel_distance(self.judge.features, self.features[drawn])
        scores = self.scores[drawn]
        swd = sliced_wasserstein(self.judge.patches, _patches(self.images[drawn]), projections=128)
        return {
            SWD: Value(value=swd.mean),
            KERNEL: Value(value=kernel.value, error=kernel.error),
            SCORE: Value(value=scores.mean().item(), error=scores.std().item() / len(drawn) ** 0.5),
            HITS: Value(value=100 * self.hits[drawn].mean().item()),
        }


def main() -> None:
    """Measure every checkpoint and compare the orders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--data")
    parser.add_argument("--digits", type=Path)
    parser.add_argument("--class", dest="name", default="zebra")
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--resamples", type=int, default=50, help="of the images; 20 of the checkpoints for each")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.digits:
        options.data = write_digits(options.digits, options.out / "data")
        options.run = train_on_digits(options.data, options.out / "run")
    elif not (options.run and options.data):
        parser.error("give RUN and --data, or --digits")
    config: DataConfig = replace(read_data_config(options.run), root=str(options.data))
    dataset = open_dataset(config)
    inputs, targets = (dataset.test.of(side) for side in ("a", "b"))
    taken, real = ([place for place, _ in dataset.test.positions(side, options.images)] for side in ("a", "b"))
    score = scores_of_digits(options.data) if options.digits else scores_of_class(options.name)
    judge = Judge(torch.from_numpy(targets.signed(real)), [targets.name(place) for place in real], score)
    names = [inputs.name(place) for place in taken]
    seen = {"untranslated": judge.see(torch.from_numpy(inputs.signed(taken)), names)}
    folders = sorted(checkpoints_of(options.run))
    for folder in [folders[place] for place in evenly(len(folders), options.checkpoints)]:
        translations = unpaired.Translator.load(folder, "a2b").translate_images([inputs[place] for place in taken])
        made = torch.from_numpy(np.stack([one.image for one in translations])).float() / 127.5 - 1
        name = f"{int(folder.name):,}"
        seen[name] = judge.see(made.movedim(-1, 1) if made.ndim == 4 else made[:, None], names)
        print(name, {what: round(value.value, 4) for what, value in seen[name].figures().items()}, flush=True)
    rows = {name: each.figures() for name, each in seen.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    text = _written({**rows, "real images": judge.real})
    (options.out / "table.md").write_text(text + "\n" + differences(seen, options.resamples), encoding="utf-8")
    (options.out / "order.svg").write_text(svg_file(list(_charts(rows))), encoding="utf-8")


def write_digits(digits: Path, root: Path) -> Path:
    """Write USPS (A) and MNIST (B) at 32 x 32; the names end with the digit."""
    if root.exists():
        return root
    usps, mnist = np.load(digits / "usps.npz"), {}
    for what, offset in (("images", 16), ("labels", 8)):
        packed = next(digits.glob(f"t10k-{what}*.gz")).read_bytes()
        mnist[what] = np.frombuffer(gzip.decompress(packed), np.uint8, offset=offset)
    b, of_b = mnist["images"].reshape(-1, 28, 28), mnist["labels"]
    a = {part: (usps[f"{part}_data"].reshape(-1, 16, 16) * 255).round().astype(np.uint8) for part in ("train", "test")}
    parts = {
        "trainA": (a["train"], usps["train_target"]),
        "trainB": (b[:5000], of_b[:5000]),
        "testA": (a["test"][:400], usps["test_target"]),
        "testB": (b[5000:5400], of_b[5000:]),
    }
    for part, (images, labels) in parts.items():
        (root / part).mkdir(parents=True)
        for number, (image, label) in enumerate(zip(images, labels, strict=False)):
            picture = Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)
            picture.save(root / part / f"{part[-1].lower()}{number:05d}_{label}.png")
    return root


def train_on_digits(data: Path, run: Path) -> Path:
    """Train a small CycleGAN that keeps 20 checkpoints, unless that was done."""
    settings: dict[str, Any] = {
        "data.crop_size": 32,
        "data.flip": False,
        "method.generator": {"family": "resnet", "width": 16, "blocks": 2},
        "method.discriminator": {"family": "patchgan", "width": 16, "layers": 2},
        "training.epochs": 1,
        "training.decay_epochs": 0,
        "training.max_images": 6000,
        "training.checkpoint_every_images": 300,
        "training.keep_last": 20,
        "training.evaluate_images": 0,
        "training.threads": 1,
        "training.precision": "fp32",
        "training.tensorboard": False,
    }
    unpaired.train("cyclegan", data=data, out=run, settings=settings, resume="auto", quiet=True)
    return run


def scores_of_digits(data: Path) -> Score:
    """Return what scores images by the digit that ends their name: a small network, trained on MNIST."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(32 * 8 * 8, 10))
    paths = sorted((data / "trainB").glob("*.png"))
    images = torch.from_numpy(np.stack([np.asarray(Image.open(path)) for path in paths]))[:, None] / 127.5 - 1
    digits = _digits([path.name for path in paths])
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(6):
        for chosen in torch.randperm(len(images)).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[chosen]), digits[chosen]).backward()
            optimizer.step()

    @torch.no_grad()
    def score(images: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        found, digits = network(images).log_softmax(1), _digits(names)
        return found.gather(1, digits[:, None])[:, 0], (found.argmax(1) == digits).float()

    return score


def _digits(names: Sequence[str]) -> Tensor:
    return torch.tensor([int(Path(name).stem.rpartition("_")[2]) for name in names])


def differences(seen: dict[str, Seen], resamples: int) -> str:
    """Return by how much the kernel distance orders checkpoints more as the classifier does than SWD, with 95 %."""
    every, rng = [one for name, one in seen.items() if name[0].isdigit()], np.random.default_rng(0)
    columns, found = (SWD, KERNEL, SCORE, HITS), dict[str, list[float]]()
    for _ in range(resamples):
        drawn = rng.integers(0, len(every[0].images), len(every[0].images))
        figures = [each.figures(drawn) for each in every]
        table = np.array([[float(each[column].value or 0) for column in columns] for each in figures])
        for _ in range(20):
            swd, kernel, *judged = table[rng.integers(0, len(table), len(table))].T
            for name, column in zip((SCORE, HITS), judged, strict=True):
                for how, of in (("Spearman", stats.spearmanr), ("Kendall", stats.kendalltau)):
                    with np.errstate(all="ignore"), warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # resamples without any difference have no correlation
                        value = of(kernel, -column).statistic - of(swd, -column).statistic
                    found.setdefault(f"{how} with {name}", []).append(float(value))
    rows = []
    for name, each in found.items():
        low, middle, high = np.nanquantile(each, (0.025, 0.5, 0.975))
        rows.append((name, f"{middle:+.2f}", f"{low:+.2f} to {high:+.2f}"))
    return to_markdown(Table(columns=("kernel distance less SWD", "median", "95 % of resamples"), rows=tuple(rows)))


def _patches(images: Tensor) -> Patches:
    patches = Patches(per_image=64)
    patches.add(images)
    return patches


def _written(rows: dict[str, dict[str, Value]]) -> str:
    columns = (SWD, KERNEL, SCORE, HITS)
    cells = tuple((name, *(found[column] for column in columns)) for name, found in rows.items())
    measured = [found for name, found in rows.items() if name[0].isdigit()]
    signs = {SWD: 1, KERNEL: 1, SCORE: -1, HITS: -1}
    ranked = {
        name: np.array([sign * float(found[name].value or 0) for found in measured]) for name, sign in signs.items()
    }
    pairs = [(SWD, SCORE), (KERNEL, SCORE), (SWD, HITS), (KERNEL, HITS), (SWD, KERNEL)]
    found = tuple(
        (
            f"{one} and {other}",
            *(_correlation(of, ranked[one], ranked[other]) for of in (stats.spearmanr, stats.kendalltau)),
        )
        for one, other in pairs
    )
    return "\n".join(
        [
            to_markdown(Table(columns=("images", *columns), rows=cells)),
            to_markdown(Table(columns=("order of the checkpoints by", "Spearman", "Kendall"), rows=found)),
        ]
    )


def _correlation(of: object, one: np.ndarray, other: np.ndarray) -> str:
    """Return a rank correlation; 1 is the same order, the best first by both."""
    if len({*one}) < 2 or len({*other}) < 2:
        return "–"
    found = of(one, other)  # type: ignore[operator]
    return f"{found.statistic:+.2f} (p = {found.pvalue:.2g})"


def _charts(rows: dict[str, dict[str, Value]]) -> list[Chart]:
    images = tuple(int(name.replace(",", "")) for name in rows if name[0].isdigit())
    charts = []
    for column, better in ((SWD, min), (KERNEL, min), (SCORE, max)):
        values = tuple(found[column].value for name, found in rows.items() if name[0].isdigit())
        best = images[values.index(better(values))]
        line = Line(name=column, label="", x=images, y=values, best=best)
        charts.append(Chart(title=column, x_label="images", lines=(line,), note="Ringed: what it would choose."))
    return charts


if __name__ == "__main__":
    main()
