"""Settings of a segmenter: its network and its training; what they leave open is decided by `settle`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from unpaired.core.errors import UserError
from unpaired.core.settings import Count, Flag, Place, Settings, Threads, option
from unpaired.networks.fcn import PUBLISHED_FC_WIDTH, PUBLISHED_WIDTH, FcnConfig
from unpaired.networks.segmentation_unet import SegmentationUnetConfig

NetworkConfig = FcnConfig | SegmentationUnetConfig
SMALL_FC_WIDTH = 512
"""Channels of fc6 and fc7 that begin at random: a seventh of the weights, for hundreds of photos in place of 1.2 M."""
EVALUATIONS = 10
"""How often a training is evaluated by default."""


class SegmenterConfig(Settings):
    """How a segmenter is made and trained; None is decided by `settle`."""

    network: Literal["fcn8s", "unet"] = "fcn8s"
    """FCN-8s on VGG-16, the network of the FCN-score, or a small U-Net."""
    images: Annotated[Count, Flag("--images")] = 20_000
    """Training photos that it sees."""
    batch_size: Annotated[int, Field(ge=1, le=65_536), Flag("--batch-size")] = 8
    """Photos per step."""
    weights: Annotated[str, Flag("--weights")] = "auto"
    """VGG-16's weights to begin with: "torchvision", a file, "none", or "auto": torchvision's where they can be had."""
    width: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Channels of the first convolutions; by default 64 (VGG-16), and 16 for the U-Net."""
    fc_width: Annotated[int, Field(gt=0, le=8192)] | None = None
    """Channels of fc6 and fc7; by default 4096 where they begin with torchvision's weights, else 512."""
    norm: Literal["none", "batch"] | None = None
    """Batch norm of the FCN-8s; by default where no weights are taken."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the values behind fc6 and fc7 that training drops."""
    scale_skips: bool = False
    """The authors' factors of pool3 and pool4 in training all strides at once."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam, or SGD with momentum 0.9 as in the paper."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """The first learning rate, which falls to zero along a cosine; by default 1e-4 for Adam (1e-3 with batch norm) and
    1e-3 for SGD (1e-2)."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """By default 0 for Adam and 5e-4, the paper's, for SGD."""
    balance: Literal["none", "median"] = "none"
    """Weights of the classes: all alike as in the paper, or the median of their frequencies over each one's."""
    zoom: Annotated[float, Field(ge=1, le=4)] = 1.25
    """Random crops: windows down to 1 / zoom of the height and width, enlarged to the training size; 1 is none."""
    flip: bool = True
    """Flip every second photo at random."""
    evaluate_every: Count | None = None
    """Images between two evaluations on the held-out photos; by default a tenth of `images`."""
    held_out_images: Count | None = None
    """Held-out photos that are evaluated on during training, spread evenly; by default all."""
    seed: Annotated[int, Flag("--seed"), Field(ge=0, lt=2**63)] = 0
    """Of the first weights, of the order of the photos, of crops and of dropout."""
    device: Annotated[str, Flag("--device")] = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network: bf16 where the hardware has it, or fp32. Weights are fp32 always."""
    threads: Threads = 0
    """CPU threads; 0 leaves the number to PyTorch."""

    def check(self) -> None:
        """Refuse what only an FCN-8s has for a U-Net."""
        super().check()
        named = self.weights not in ("auto", "none")
        for name in ("fc_width", "norm", "dropout", "scale_skips", *(["weights"] if named else [])):
            if self.network == "unet" and self.is_set(name):
                raise UserError(
                    f"{option(f'segmenter.{name}')}: a U-Net has no such setting. Leave it out, or set "
                    "segmenter.network=fcn8s."
                )

    def network_config(self) -> NetworkConfig:
        """Return the network's settings; only of settings that are settled."""
        assert self.width is not None
        if self.network == "unet":
            return SegmentationUnetConfig(width=self.width)
        own = {"fc_width": self.fc_width, "norm": self.norm, "dropout": self.dropout}
        return FcnConfig(width=self.width, scale_skips=self.scale_skips, **own)  # type: ignore[arg-type]


class ScoreOptions(Settings):
    """How `unpaired segment score` measures a segmenter."""

    most: Annotated[Count | None, Flag("--most", "Images")] = None
    """Score this many photos, spread evenly. [default: all]"""
    seed: Annotated[int, Flag("--seed", "Computing"), Field(ge=0, lt=2**63)] = 0
    """Seed of the shuffling, for the lower bound."""
    device: Annotated[str, Flag("--device", "Computing")] = "auto"
    """auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps."""
    out: Annotated[Place | None, Flag("--out")] = None
    """JSON file for all results and how they were measured."""


def settle(config: SegmenterConfig, *, weights: bool = False, fully_connected: bool = False) -> SegmenterConfig:
    """Return the settings with a decision in place of every None.

    `weights` says that the convolutions begin with given weights, `fully_connected` that these hold fc6 and fc7 too.
    """
    if config.network == "unet":
        config = replace(config, width=config.width or SegmentationUnetConfig().width)
    else:
        width = config.width or PUBLISHED_WIDTH
        published = fully_connected and width == PUBLISHED_WIDTH
        config = replace(
            config,
            width=width,
            norm=config.norm or ("none" if weights else "batch"),
            fc_width=config.fc_width or (PUBLISHED_FC_WIDTH if published else SMALL_FC_WIDTH),
        )
    rate = {"adam": 1e-4, "sgd": 1e-3}[config.optimizer] * (1 if config.norm == "none" else 10)
    decay = {"adam": 0.0, "sgd": 5e-4}[config.optimizer]
    return replace(
        config,
        learning_rate=config.learning_rate or rate,
        weight_decay=decay if config.weight_decay is None else config.weight_decay,
        evaluate_every=config.evaluate_every or max(config.images // EVALUATIONS, config.batch_size),
    )
