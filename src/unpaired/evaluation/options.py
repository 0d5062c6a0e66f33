"""What an evaluation is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import listing
from unpaired.evaluation.metrics import METRICS, Metric, Need, find_metrics, metric_names
from unpaired.evaluation.protocol import FULL, Protocol
from unpaired.models.engines.choice import EngineChoice, Precision


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is evaluated, and how. Either `model`, or `real` and `fake`, is given."""

    model: str | Path | None = None
    """A run, a checkpoint or a model folder."""
    checkpoint: str | int | None = None
    """Which checkpoint of a run: best, last or a number of images. By default the best, or else the newest."""
    data: str | Path | None = None
    """Folder with the images of both domains, as for training; by default that of the run."""
    real: str | Path | None = None
    """Folder of real images of the target, or a pattern such as `FOLDER/*_real_B.png`."""
    fake: str | Path | None = None
    """Folder of translations, whoever made them, or a pattern."""
    input: str | Path | None = None
    """Folder of the images that the translations were made of, or a pattern."""
    paired: bool = False
    """Every translation has a true image of the same name in `real`."""
    direction: str = "both"
    """`a2b`, `b2a`, by the domains' names (`horse2zebra`), or `both` that the model has."""
    metrics: str | Sequence[str] | None = None
    """Names of `METRICS` or `FAMILIES`, or `package.module:Name`; by default all that need no download."""
    features: str | None = None
    """A feature network as `metrics.features.open_features` reads it."""
    inception: str | Path | None = None
    """File of Inception's weights."""
    lpips: str | None = None
    """The network of LPIPS: `alex`, `vgg`, `alex:FILE` or `vgg:FILE`."""
    fcn: str | Path | None = None
    """Folder of a segmenter of `unpaired segment train`."""
    size: tuple[int, int] | None = None
    """(height, width) that images are resized to; that of training, or their own, by default."""
    images: int | None = None
    """At most so many images of every set, spread evenly; all by default."""
    seed: int = 0
    """Seed of patches, projections and samples."""
    device: str = "auto"
    engine: EngineChoice = "torch"
    precision: Precision = "fp32"
    batch_size: int = 8
    """Images of equal size that are handled together."""
    on_bad_image: Literal["fail", "skip"] | None = None
    """What to do with files that cannot be used: stop with the list of them, or leave them out; as in the run."""
    bounds: bool = True
    """Measure the untranslated inputs and two halves of the real images too."""
    out: str | Path | None = None
    """Folder of the results; that of the run by default."""
    command: str = ""
    """The command line, for the record."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself; raises `UserError`."""
        self._check_what()
        for name, number in (("images", self.images), ("batch_size", self.batch_size)):
            if number is not None and number < 1:
                raise UserError(f"{option(name, number)}: at least 1 is needed.")
        if self.size is not None and min(self.size) < 1:
            raise UserError(f"{option('size', f'{self.size[0]}x{self.size[1]}')}: height and width are at least 1.")
        if self.seed < 0:
            raise UserError(f"{option('seed', self.seed)}: a seed is 0 or more.")
        if self.named is not None:
            self._check_metrics(self.named)

    @cached_property
    def named(self) -> Mapping[str, tuple[type[Metric], ...]] | None:
        """The metrics that each name asked for means; None where none was named."""
        if self.metrics is None:
            return None
        names = self.metrics.split(",") if isinstance(self.metrics, str) else self.metrics
        return find_metrics([name.strip() for name in names if name.strip()])

    @property
    def chosen(self) -> tuple[type[Metric], ...]:
        """The metrics to compute where they can be: those that were named, or all."""
        if self.named is None:
            return tuple(METRICS.values())
        found = [metric for metrics in self.named.values() for metric in metrics]
        known = {name: place for place, name in enumerate(METRICS)}
        return tuple(sorted(dict.fromkeys(found), key=lambda metric: known.get(metric.name, len(known))))

    @property
    def protocol(self) -> Protocol:
        """How the metrics are computed."""
        return Protocol(name=FULL.name, bounds=self.bounds, seed=self.seed, batch_size=self.batch_size)

    @property
    def needs_inception(self) -> bool:
        """Whether a metric asked for by name is computed of Inception's features."""
        return self.named is not None and any(self._of_inception(metric) for metric in self.chosen)

    def asks_for(self, name: str) -> bool:
        """Say whether a metric was asked for by name."""
        return self.named is not None and any(metric.name == name for metric in self.chosen)

    def _of_inception(self, metric: type[Metric]) -> bool:
        own = metric.network == "inception" or (metric.network == "any" and self.features is None)
        return own and bool(metric.needs & {Need.FEATURES, Need.MAPS})

    def _check_what(self) -> None:
        if self.model is None:
            if self.real is None or self.fake is None:
                raise UserError(
                    "nothing to evaluate. Give a model (unpaired evaluate MODEL --data ROOT), or two folders of images "
                    "(unpaired evaluate --real DIR --fake DIR)."
                )
            unused = {
                "data": self.data is not None,
                "checkpoint": self.checkpoint is not None,
                "fcn": self.fcn is not None,
                "direction": self.direction != "both",
                "engine": self.engine != "torch",
                "precision": self.precision != "fp32",
            }
            if given := [option(name) for name, is_given in unused.items() if is_given]:
                raise UserError(f"{', '.join(given)} belongs to a model, and folders of images are compared here.")
            return
        folders = {"real": self.real, "fake": self.fake, "input": self.input, "paired": self.paired or None}
        if given := [option(name) for name, value in folders.items() if value is not None]:
            raise UserError(
                f"{', '.join(given)} belongs to a comparison of folders, and a model is given too. Give the model "
                f"and {option('data')}, or the folders without a model."
            )

    def _check_metrics(self, named: Mapping[str, tuple[type[Metric], ...]]) -> None:
        """Refuse networks that no metric asked for uses, and metrics whose network is not given."""
        if not named:
            raise UserError(f"{option('metrics')} is empty. Allowed: {', '.join(metric_names())}.")
        of_network = Need.FEATURES, Need.MAPS
        users = [metric for metric in self.chosen if metric.needs & {*of_network}]
        without = sorted(metric.name for metric in users if metric.network == "features")
        if without and self.features is None:
            raise UserError(
                f"{listing(without)}: computed of the features of a network, and {option('features')} is missing. "
                f"Give one, such as {option('features', 'vgg:FILE')}; fid and kid are computed of Inception's."
            )
        if self.asks_for("fcn") and self.fcn is None:
            raise UserError(f"fcn: {option('fcn', 'SEGMENTER')} is missing. Train one with unpaired segment train.")
        needs = {need for metric in self.chosen for need in metric.needs}
        unused = {
            "fcn": (self.fcn, Need.SEGMENTER in needs, ["fcn"]),
            "lpips": (self.lpips, Need.LPIPS in needs, ["lpips"]),
            "paired": (self.paired or None, Need.TARGET in needs, ["paired", "lpips"]),
            "features": (
                self.features,
                any(metric.network != "inception" for metric in users),
                ["frechet", "kernel", "precision", "recall", "structure"],
            ),
            "inception": (self.inception, self.needs_inception, ["fid", "kid"]),
        }
        for name, (value, is_used, users_of) in unused.items():
            if value is not None and not is_used:
                raise UserError(
                    f"{option(name)} is given, and {option('metrics')} names nothing that uses it. Add "
                    f"{listing(users_of, 'or')}, or leave {option(name)} out."
                )
