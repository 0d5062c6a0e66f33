"""In which order SWD, the kernel distance of EfficientNet-Lite0 and a classifier put the checkpoints of a training.

unpaired train cyclegan --data horse2zebra --crop-size 64 --out run \\
    --set training.checkpoint_every_images=200 --set training.keep_last=20
python benchmarks/checkpoint_order.py run --data horse2zebra --class zebra --out order

Writes `order/table.md` and `order/order.svg`; docs/evaluation.md shows both.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
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
        self.real = self.measure(real)

    def measure(self, images: torch.Tensor) -> dict[str, Value]:
        """Return the figures of images [N, 3, H, W] in [-1, 1]."""
        distance = sliced_wasserstein(self.patches, _patches(images), projections=128)
        kernel = kernel_distance(self.features, self.network(images).numpy())
        scores = self.network.scores(images).log_softmax(1)
        of_class = scores[:, self.numbers].logsumexp(1)
        hits = torch.isin(scores.argmax(1), torch.tensor(self.numbers)).float()
        spread = of_class.std().item() / len(images) ** 0.5
        return {
            SWD: Value(value=distance.mean),
            KERNEL: Value(value=kernel.value, error=kernel.error),
            SCORE: Value(value=of_class.mean().item(), error=spread),
            HITS: Value(value=100 * hits.mean().item()),
        }


def main() -> None:
    """Measure every checkpoint and compare the orders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--class", dest="name", default="zebra")
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    config: DataConfig = replace(read_data_config(options.run), root=options.data)
    test = open_dataset(config).test
    horses, zebras = (test.of(side) for side in ("a", "b"))
    places = {side: [place for place, _ in test.positions(side, options.images)] for side in ("a", "b")}
    judge = Judge(torch.from_numpy(zebras.signed(places["b"])), options.name)
    inputs = [horses[place] for place in places["a"]]
    rows = {"untranslated": judge.measure(torch.from_numpy(horses.signed(places["a"])))}
    folders = sorted(checkpoints_of(options.run))
    for folder in [folders[place] for place in evenly(len(folders), options.checkpoints)]:
        translations = unpaired.Translator.load(folder, "a2b").translate_images(inputs)
        made = np.stack([one.image for one in translations]).transpose(0, 3, 1, 2)
        rows[f"{int(folder.name):,}"] = judge.measure(torch.from_numpy(made).float() / 127.5 - 1)
        print(folder.name, {name: round(value.value, 4) for name, value in rows[f"{int(folder.name):,}"].items()})
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text(_written({**rows, "real images": judge.real}), encoding="utf-8")
    (options.out / "order.svg").write_text(svg_file(list(_charts(rows))), encoding="utf-8")


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
