"""In which order SWD, the kernel distance of EfficientNet-Lite0 and a classifier put the checkpoints of a training.

unpaired train cyclegan --data horse2zebra --crop-size 64 --out run \\
    --set training.checkpoint_every_images=200 --set training.keep_last=20
python benchmarks/checkpoint_order.py run --data horse2zebra --class zebra --out order

Writes `order/table.md` and `order/order.svg`; docs/evaluation.md shows both.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats

import unpaired
from unpaired.data.config import DataConfig
from unpaired.data.held_out import evenly, open_dataset
from unpaired.metrics import Patches, kernel_distance, sliced_wasserstein
from unpaired.metrics.features import Lite0Features, class_numbers, open_features
from unpaired.models.folder import checkpoints_of
from unpaired.models.loading import read_data_config
from unpaired.report.chart import svg_file
from unpaired.report.results import Chart, Line, Table, Value
from unpaired.report.tables import to_markdown

SWD, KERNEL, SCORE, HITS = "SWD", "kernel distance (Lite0)", "score of the class", "classifier hits, %"


class Judge:
    """Real images of the target, and how far translations are from them."""

    def __init__(self, real: torch.Tensor, name: str) -> None:
        network = open_features("lite0")
        assert isinstance(network, Lite0Features)
        self.network, self.numbers = network, list(class_numbers(name))
        self.features, self.patches = network(real).numpy(), _patches(real)
        self.real = self.see(real).figures()

    def see(self, images: torch.Tensor) -> Seen:
        """Return what is seen of images [N, 3, H, W] in [-1, 1]."""
        scores = self.network.scores(images).log_softmax(1)
        hits = torch.isin(scores.argmax(1), torch.tensor(self.numbers)).float()
        return Seen(self, images, self.network(images).numpy(), scores[:, self.numbers].logsumexp(1), hits)


@dataclass(frozen=True)
class Seen:
    """Images, and what is seen of each, so that they can be resampled."""

    judge: Judge
    images: torch.Tensor
    features: np.ndarray
    scores: torch.Tensor
    hits: torch.Tensor

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
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--class", dest="name", default="zebra")
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--resamples", type=int, default=50, help="of the images; 20 of the checkpoints for each")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    config: DataConfig = replace(read_data_config(options.run), root=options.data)
    test = open_dataset(config).test
    horses, zebras = (test.of(side) for side in ("a", "b"))
    places = {side: [place for place, _ in test.positions(side, options.images)] for side in ("a", "b")}
    judge = Judge(torch.from_numpy(zebras.signed(places["b"])), options.name)
    inputs = [horses[place] for place in places["a"]]
    seen = {"untranslated": judge.see(torch.from_numpy(horses.signed(places["a"])))}
    folders = sorted(checkpoints_of(options.run))
    for folder in [folders[place] for place in evenly(len(folders), options.checkpoints)]:
        translations = unpaired.Translator.load(folder, "a2b").translate_images(inputs)
        made = np.stack([one.image for one in translations]).transpose(0, 3, 1, 2)
        name = f"{int(folder.name):,}"
        seen[name] = judge.see(torch.from_numpy(made).float() / 127.5 - 1)
        print(name, {what: round(value.value, 4) for what, value in seen[name].figures().items()}, flush=True)
    rows = {name: each.figures() for name, each in seen.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    text = _written({**rows, "real images": judge.real})
    (options.out / "table.md").write_text(text, encoding="utf-8")
    (options.out / "table.md").write_text(text + "\n" + differences(seen, options.resamples), encoding="utf-8")
    (options.out / "order.svg").write_text(svg_file(list(_charts(rows))), encoding="utf-8")


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


def _patches(images: torch.Tensor) -> Patches:
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
