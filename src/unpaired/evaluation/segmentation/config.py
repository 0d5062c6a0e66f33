"""Settings of a segmenter: its network, its training, and what is decided where they leave something open."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from unpaired.core.settings import Settings
from unpaired.networks.fcn import PUBLISHED_FC_WIDTH, PUBLISHED_WIDTH, FcnConfig

Count = Annotated[int, Field(gt=0)]
SMALL_FC_WIDTH = 512
"""Channels of fc6 and fc7 that begin at random: a seventh of the weights, for hundreds of photos in place of 1.2 M."""
EVALUATIONS = 10
"""How often a training is measured by default."""


class SegmenterConfig(Settings):
    """How an FCN-8s is made and trained; None is decided by `settled`."""

    images: Count = 20_000
    """Training photos that it sees."""
    batch_size: Count = 8
    """Photos per step."""
    weights: str = "auto"
    """VGG-16's weights to begin with: "torchvision", a file, "none", or "auto": torchvision's where they can be had."""
    width: Annotated[int, Field(gt=0, le=128)] = PUBLISHED_WIDTH
    """Channels of the first convolutions; 64 is VGG-16."""
    fc_width: Annotated[int, Field(gt=0, le=8192)] | None = None
    """Channels of fc6 and fc7; by default 4096 where they begin with torchvision's weights, else 512."""
    norm: Literal["none", "batch"] | None = None
    """Batch norm; by default where no weights are taken."""
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
    """Mirror every second photo at random."""
    evaluate_every: Count | None = None
    """Images between two measurements on the held-out photos; by default a tenth of `images`."""
    held_out_images: Count | None = None
    """Held-out photos that are measured on during training, spread evenly; by default all."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the first weights, of the order of the photos, of crops and of dropout."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network: bf16 where the hardware has it, or fp32. Weights are fp32 always."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the processor; 0 leaves it to PyTorch."""

    def network(self) -> FcnConfig:
        """Return the network's settings; only of settings that are settled."""
        assert self.fc_width is not None
        assert self.norm is not None
        return FcnConfig(
            width=self.width,
            fc_width=self.fc_width,
            norm=self.norm,
            dropout=self.dropout,
            scale_skips=self.scale_skips,
        )


def settled(config: SegmenterConfig, *, weights: bool, fully_connected: bool) -> SegmenterConfig:
    """Return the settings with a decision in place of every None.

    `weights` says that the convolutions begin with given weights, `fully_connected` that these hold fc6 and fc7 too.
    """
    published = fully_connected and config.width == PUBLISHED_WIDTH
    norm = config.norm or ("none" if weights else "batch")
    rate = {"adam": 1e-4, "sgd": 1e-3}[config.optimizer] * (10 if norm == "batch" else 1)
    decay = {"adam": 0.0, "sgd": 5e-4}[config.optimizer]
    return replace(
        config,
        norm=norm,
        fc_width=config.fc_width or (PUBLISHED_FC_WIDTH if published else SMALL_FC_WIDTH),
        learning_rate=config.learning_rate or rate,
        weight_decay=decay if config.weight_decay is None else config.weight_decay,
        evaluate_every=config.evaluate_every or max(config.images // EVALUATIONS, config.batch_size),
    )
