"""What an evaluation is asked for, and which measures there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unpaired.core.errors import UserError, did_you_mean
from unpaired.models.engines.choice import EngineChoice, Precision

MEASURES: dict[str, str] = {
    "swd": "sliced Wasserstein distance of patches on Laplacian pyramids",
    "fid": "Fréchet distance of Inception features",
    "kid": "kernel distance of Inception features",
    "precision": "share of translations within the real images, in feature space",
    "recall": "share of real images within the translations, in feature space",
    "frechet": "Fréchet distance of the features of --features",
    "kernel": "kernel distance of the features of --features",
    "structure": "distance of the self-similarity of features of input and translation",
    "structure_edges": "distance of the edges of input and translation",
    "paired": "L1, PSNR, SSIM and MS-SSIM against the true image",
    "lpips": "perceptual distance to the true image",
    "reconstruction": "L1, PSNR and SSIM of there and back against the input",
    "labels": "accuracy and IoU of label maps by the nearest palette colour",
    "fcn": "accuracy and IoU of the labels that a segmenter gives translations",
}
"""Every measure, and what it is in a few words."""

OF_INCEPTION = frozenset({"fid", "kid"})
OF_FEATURES = frozenset({"frechet", "kernel", "structure"})
OF_EITHER = frozenset({"precision", "recall"})
"""Measured on --features where given, else on Inception."""
DISTRIBUTION = ("swd", *sorted(OF_INCEPTION), "frechet", "kernel", "precision", "recall")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is evaluated, and how. Either `model`, or `real` and `fake`, is given."""

    model: str | Path | None = None
    """A run (its newest checkpoint), a checkpoint or a model folder."""
    data: str | Path | None = None
    """Folder with the images of both domains, as for training; by default that of the run."""
    real: str | Path | None = None
    """Folder of real images of the target, or a pattern such as `FOLDER/*_real_B.png`."""
    fake: str | Path | None = None
    """Folder of translations, whoever made them, or a pattern."""
    inputs: str | Path | None = None
    """Folder of the images that the translations were made of, or a pattern."""
    paired: bool = False
    """Every translation has a true image of the same name in `real`."""
    direction: Literal["a2b", "b2a", "both"] = "both"
    measures: tuple[str, ...] | None = None
    """Names of `MEASURES`; by default all that can be measured without a download."""
    features: str | None = None
    """A feature network as `features.open_features` reads it."""
    inception: str | Path | None = None
    """File of Inception's weights."""
    lpips: str | None = None
    """The network of LPIPS: `alex`, `vgg`, `alex:FILE` or `vgg:FILE`."""
    fcn: str | Path | None = None
    """Folder of a segmenter of `unpaired segment train`."""
    size: tuple[int, int] | None = None
    """(height, width) that images are brought to; that of training, or their own, by default."""
    images: int | None = None
    """At most so many images of every set, spread evenly; all by default."""
    seed: int = 0
    device: str = "auto"
    engine: EngineChoice = "torch"
    precision: Precision = "fp32"
    batch_size: int = 8
    on_bad_image: Literal["fail", "skip"] | None = None
    """What to do with files that cannot be used: stop with the list of them, or leave them out; as in the run."""
    bounds: bool = True
    """Measure the untranslated input and two halves of the real images too."""
    out: str | Path | None = None
    """Folder of the results; that of the run by default, nothing is written where there is none."""
    command: str = ""
    """The command line, for the record."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself; raises `UserError`."""
        self._check_what()
        for name, number in (("--images", self.images), ("--batch-size", self.batch_size)):
            if number is not None and number < 1:
                raise UserError(f"{name} {number}: at least 1 is needed.")
        if self.size is not None and min(self.size) < 1:
            raise UserError(f"--size {self.size[0]}x{self.size[1]}: height and width are at least 1.")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: a seed is 0 or more.")
        self._check_measures()

    def _check_what(self) -> None:
        if self.model is None:
            if self.real is None or self.fake is None:
                raise UserError(
                    "nothing to evaluate. Give a model (unpaired evaluate MODEL --data ROOT), or two folders of images "
                    "(unpaired evaluate --real DIR --fake DIR)."
                )
            unused = {"--data": self.data, "--fcn": self.fcn}
            given = [name for name, value in unused.items() if value is not None]
            chosen = {
                "--direction": self.direction != "both",
                "--engine": self.engine != "torch",
                "--precision": self.precision != "fp32",
            }
            given += [name for name, is_chosen in chosen.items() if is_chosen]
            if given:
                raise UserError(f"{', '.join(given)} belongs to a model, and folders of images are compared here.")
            return
        folders = {"--real": self.real, "--fake": self.fake, "--input": self.inputs, "--paired": self.paired or None}
        given = [name for name, value in folders.items() if value is not None]
        if given:
            raise UserError(
                f"{', '.join(given)} belongs to a comparison of folders, and a model is given too. Give the model "
                "and --data, or the folders without a model."
            )

    def _check_measures(self) -> None:
        if self.measures is None:
            return
        if not self.measures:
            raise UserError(f"--measures is empty. Allowed: {', '.join(MEASURES)}.")
        for name in self.measures:
            if name not in MEASURES:
                raise UserError(
                    f'there is no measure "{name}".{did_you_mean(name, MEASURES)} Allowed: {", ".join(MEASURES)}.'
                )
        wanted = set(self.measures)
        if wanted & OF_FEATURES and self.features is None:
            raise UserError(
                f"{_listed(wanted & OF_FEATURES)}: measured on the features of a network, and --features is missing. "
                "Give one, such as --features vgg:FILE; fid and kid are measured on Inception's."
            )
        if "fcn" in wanted and self.fcn is None:
            raise UserError("fcn: --fcn SEGMENTER is missing. Train one with unpaired segment train.")
        if "fcn" not in wanted and self.fcn is not None:
            raise UserError("--fcn is given, and --measures does not name fcn. Add it, or leave --fcn out.")
        if "lpips" not in wanted and self.lpips is not None:
            raise UserError("--lpips is given, and --measures does not name lpips. Add it, or leave --lpips out.")
        if self.paired and not wanted & {"paired", "lpips"}:
            raise UserError(
                "--paired is given, and --measures names nothing of pairs. Add paired or lpips, or leave it out."
            )
        if self.features is not None and not wanted & (OF_FEATURES | OF_EITHER):
            raise UserError(
                "--features is given, and --measures names nothing that is measured on them. Add one of: "
                f"{', '.join(sorted(OF_FEATURES | OF_EITHER))}."
            )
        if self.inception is not None and not self.wants_inception:
            raise UserError(
                "--inception is given, and --measures names nothing that is measured on it. Add fid or kid."
            )

    @property
    def wants_inception(self) -> bool:
        """Whether a measure asked for by name is one of Inception's features."""
        wanted = set(self.measures or ())
        return bool(wanted & OF_INCEPTION) or (self.features is None and bool(wanted & OF_EITHER))

    def asks_for(self, name: str) -> bool:
        """Say whether a measure was asked for by name."""
        return self.measures is not None and name in self.measures

    def allows(self, name: str) -> bool:
        """Say whether a measure is taken where it can be: asked for by name, or nothing was."""
        return self.measures is None or name in self.measures


def read_measures(text: str | None) -> tuple[str, ...] | None:
    """Read `swd,fid`; None stays None."""
    return None if text is None else tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _listed(names: Sequence[str] | set[str]) -> str:
    return " and ".join(sorted(names))
