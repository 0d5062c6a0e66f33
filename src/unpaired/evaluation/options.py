"""What an evaluation is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from unpaired.core.errors import UserError
from unpaired.core.settings import Count, Flag, Place, Settings, option
from unpaired.core.text import listing
from unpaired.data.config import Size
from unpaired.evaluation.protocol import FULL, Protocol
from unpaired.models.engines import EngineChoice, Precision

if TYPE_CHECKING:  # --help must not wait for PyTorch
    from unpaired.evaluation.metrics import Metric

IMAGES, METRICS, COMPUTING, RUN = "Images", "Metrics", "Computing", "Run and results"
Seed = Annotated[int, Field(ge=0, lt=2**63)]
HeldOutPart = Literal["report", "all"]


class Options(Settings):
    """What is evaluated, and how. Either `model`, or `real` and `fake`, is given."""

    model: Place | None = None
    """A run, a checkpoint, a model folder, or a name: demo/NAME, model/NAME, hf:USER/NAME."""
    checkpoint: Annotated[str | int | None, Flag("--checkpoint", RUN)] = None
    """The checkpoint of a run: best, last or a number of images. [default: best where there is one, else last]"""
    last: Annotated[bool, Flag("--last", RUN)] = True
    """Measure the last checkpoint of a run as well, where the best one is measured."""
    data: Annotated[Place | None, Flag("--data", IMAGES)] = None
    """Folder with images of both domains, as for unpaired train; its test images are taken. [default: that of the
    run]"""
    real: Annotated[Place | None, Flag("--real", IMAGES)] = None
    """In place of a model: a folder of real target images, or a pattern in quotes such as 'DIR/*_real_B.png'."""
    fake: Annotated[Place | None, Flag("--fake", IMAGES)] = None
    """With --real: a folder of translations, whoever made them, or a pattern such as 'DIR/*_fake_B.png'."""
    input: Annotated[Place | None, Flag("--input", IMAGES)] = None
    """With --real and --fake: the inputs of the translations, found by name, to measure how much content is kept."""
    paired: Annotated[bool, Flag("--paired", IMAGES)] = False
    """With --real and --fake: every translation has a true image of the same name in --real, for L1, PSNR and SSIM."""
    unit: Annotated[str | None, Flag("--unit", IMAGES), Field(max_length=40)] = None
    """With --real and --fake: the unit of the values, HU, K, or "0.01 K" where 100 is one kelvin. [default: what the
    files say]"""
    direction: Annotated[str, Flag("--direction", IMAGES)] = "both"
    """a2b, b2a, by the domains' names (horse2zebra), or both that the model has."""
    part: Annotated[HeldOutPart, Flag("--part", IMAGES)] = "report"
    """Which held-out images of a run: those that chose no checkpoint, where it has set some apart (report), or all."""
    size: Annotated[Size | None, Flag("--size", IMAGES)] = None
    """Size at which images are measured: 256, or HEIGHTxWIDTH. [default: that of training; for other images their
    own]"""
    translate_size: Annotated[str | int | None, Flag("--translate-size", IMAGES)] = None
    """The size at which the model translates, that of unpaired translate --size. [default: as unpaired translate]"""
    steps: Annotated[Count | None, Flag("--steps", IMAGES)] = None
    """Steps that a model of several takes (unsb), as unpaired translate --steps. [default: all of its training]"""
    images: Annotated[Count | None, Flag("--images", IMAGES)] = None
    """At most so many images of every set, spread evenly. [default: all; 500 where there are training images only]"""
    on_bad_image: Annotated[Literal["fail", "skip"] | None, Flag("--on-bad-image", IMAGES)] = None
    """What to do with files that cannot be used or have no partner. [default: fail, or as in the run]"""
    max_pixels: Annotated[Count | None, Flag("--max-pixels", IMAGES)] = None
    """Larger images are refused as decompression bombs. [default: 178956970, or as in the run]"""
    metrics: Annotated[str | tuple[str, ...] | None, Flag("--metrics", METRICS)] = None
    """Names with commas between them: swd, fid, kid, precision, recall, density, coverage, class_hit, frechet, kernel,
    structure, structure_edges, input_l1, flicker, paired (l1, psnr, ssim and ms_ssim), unit_errors, lpips,
    reconstruction, labels, fcn, or your own as package.module:Name. [default: all that need no download]"""
    features: Annotated[str | None, Flag("--features", METRICS)] = None
    """Network for frechet, kernel, precision, recall, density, coverage, structure: lite0, vgg:FILE, FILE.pt2
    (torch.export), MODULE:CALLABLE. [default: lite0 where the extra `features` is installed]"""
    classes: Annotated[str | None, Flag("--class", METRICS)] = None
    """What translations are to be taken for, a class of ImageNet: zebra, or those of both domains, sorrel,zebra. One
    class is that of B or, with --direction, that of its target; measures the share that a classifier takes for it."""
    inception: Annotated[Place | None, Flag("--inception", METRICS)] = None
    """File of Inception's weights for fid, kid, precision and recall. [default: from the cache, or downloaded once]"""
    lpips: Annotated[str | None, Flag("--lpips", METRICS)] = None
    """alex or vgg: measure LPIPS with this network; alex:FILE and vgg:FILE name its weights."""
    fcn: Annotated[Place | None, Flag("--fcn", METRICS)] = None
    """A segmenter of unpaired segment train: measures the FCN-score of photos made of label maps."""
    bounds: Annotated[bool, Flag("--bounds", METRICS)] = True
    """Measure the untranslated input and two halves of the real images as well, for comparison."""
    seed: Annotated[Seed, Flag("--seed", METRICS)] = 0
    """Seed of patches, projections and samples."""
    device: Annotated[str, Flag("--device", COMPUTING)] = "auto"
    """auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps."""
    engine: Annotated[EngineChoice, Flag("--engine", COMPUTING)] = "torch"
    """What runs the networks; onnxruntime and openvino run on the CPU only."""
    precision: Annotated[Precision, Flag("--precision", COMPUTING)] = "fp32"
    """Arithmetic; auto is bf16 where the hardware has it and it loses little (40 dB)."""
    batch_size: Annotated[int, Field(ge=1, le=65_536), Flag("--batch-size", COMPUTING)] = 8
    """Images of equal size that are translated together."""
    out: Annotated[Place | None, Flag("--out", RUN)] = None
    """Folder for evaluation.json and pictures. [default: evaluations/CHECKPOINT in the run]"""
    command: str = ""
    """The command line, for the record."""

    def check(self) -> None:
        """Refuse what contradicts itself; raises `UserError`."""
        self._check_what()
        if self.named is not None:
            self._check_metrics(self.named)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) that images are resized to; None for that of training, or their own."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @cached_property
    def named(self) -> Mapping[str, tuple[type[Metric], ...]] | None:
        """The metrics that each name asked for means; None where none was named."""
        from unpaired.evaluation.metrics import find_metrics

        if self.metrics is None:
            return None
        names = self.metrics.split(",") if isinstance(self.metrics, str) else self.metrics
        return find_metrics([name.strip() for name in names if name.strip()])

    @property
    def chosen(self) -> tuple[type[Metric], ...]:
        """The metrics to compute where they can be: those that were named, or all."""
        from unpaired.evaluation.metrics import METRICS

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
    def features_used(self) -> str | None:
        """The features that were asked for, or those that are at hand where metrics would look through them."""
        if self.features is not None or not (self.named is None or self._users_of_features):
            return self.features
        from unpaired.metrics.features import has_lite0

        return "lite0" if has_lite0() else None

    @property
    def target_classes(self) -> Mapping[str, str]:
        """The class that translations into each domain are to be taken for, by `a` and `b`."""
        names = [name.strip() for name in (self.classes or "").split(",") if name.strip()]
        if len(names) == 2:
            return {"a": names[0], "b": names[1]}
        if len(names) != 1:
            raise UserError(
                f"{option('classes', self.classes)}: give one class of ImageNet (zebra), or two with a comma between "
                "them, those of A and B (sorrel,zebra)."
            )
        return {"a" if self.direction.lower() in ("b2a", "btoa") else "b": names[0]}

    @property
    def needs_inception(self) -> bool:
        """Whether a metric asked for by name is computed of Inception's features."""
        return self.named is not None and any(self._of_inception(metric) for metric in self.chosen)

    def asks_for(self, name: str) -> bool:
        """Say whether a metric was asked for by name."""
        return self.named is not None and any(metric.name == name for metric in self.chosen)

    def _of_inception(self, metric: type[Metric]) -> bool:
        from unpaired.evaluation.metrics import Need

        own = metric.network == "inception" or (metric.network == "any" and self.features_used is None)
        return own and bool(metric.needs & {Need.FEATURES, Need.MAPS})

    @property
    def _users_of_features(self) -> list[type[Metric]]:
        from unpaired.evaluation.metrics import Need

        seen = {Need.FEATURES, Need.MAPS}
        return [metric for metric in self.chosen if metric.needs & seen and metric.network != "inception"]

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
                "translate_size": self.translate_size is not None,
                "steps": self.steps is not None,
                "direction": self.direction != "both",
                "part": self.part != "report",
                "last": not self.last,
                "engine": self.engine != "torch",
                "precision": self.precision != "fp32",
            }
            if given := [option(name) for name, is_given in unused.items() if is_given]:
                raise UserError(f"{', '.join(given)} belongs to a model, and folders of images are compared here.")
            return
        folders = {"real": self.real, "fake": self.fake, "input": self.input, "paired": self.paired or None}
        folders["unit"] = self.unit
        if given := [option(name) for name, value in folders.items() if value is not None]:
            raise UserError(
                f"{', '.join(given)} belongs to a comparison of folders, and a model is given too. Give the model "
                f"and {option('data')}, or the folders without a model."
            )

    def _check_metrics(self, named: Mapping[str, tuple[type[Metric], ...]]) -> None:
        """Refuse networks that no metric asked for uses, and metrics whose network is not given."""
        from unpaired.evaluation.metrics import Need, metric_names

        if not named:
            raise UserError(f"{option('metrics')} is empty. Allowed: {', '.join(metric_names())}.")
        of_network = Need.FEATURES, Need.MAPS
        users = [metric for metric in self.chosen if metric.needs & {*of_network}]
        without = sorted(metric.name for metric in users if metric.network == "features")
        if without and self.features_used is None:
            raise UserError(
                f"{listing(without)}: computed of the features of a network, and {option('features')} is missing. "
                f"Install the extra that brings one (pip install 'unpaired[features]'), or give one, such as "
                f"{option('features', 'vgg:FILE')}; fid and kid are computed of Inception's."
            )
        if self.asks_for("class_hit") and self.classes is None:
            raise UserError(
                f"class_hit: {option('classes', 'CLASS')} is missing, such as {option('classes', 'zebra')}."
            )
        if self.asks_for("fcn") and self.fcn is None:
            raise UserError(f"fcn: {option('fcn', 'SEGMENTER')} is missing. Train one with unpaired segment train.")
        needs = {need for metric in self.chosen for need in metric.needs}
        unused = {
            "fcn": (self.fcn, Need.SEGMENTER in needs, ["fcn"]),
            "classes": (self.classes, Need.CLASSIFIER in needs, ["class_hit"]),
            "lpips": (self.lpips, Need.LPIPS in needs, ["lpips"]),
            "paired": (self.paired or None, Need.TARGET in needs, ["paired", "lpips"]),
            "features": (
                self.features,
                bool(self._users_of_features),
                ["frechet", "kernel", "precision", "recall", "density", "coverage", "structure"],
            ),
            "inception": (self.inception, self.needs_inception, ["fid", "kid"]),
        }
        for name, (value, is_used, users_of) in unused.items():
            if value is not None and not is_used:
                raise UserError(
                    f"{option(name)} is given, and {option('metrics')} names nothing that uses it. Add "
                    f"{listing(users_of, 'or')}, or leave {option(name)} out."
                )
