"""Metrics of single images: against the true image, against the input, and of reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
from torch import Tensor

from unpaired.data.held_out import displayed
from unpaired.evaluation.dataset import FILTER, NEAREST, Batch
from unpaired.evaluation.metrics.base import Context, End, ImageMetric, Need, Shown, network_facts
from unpaired.metrics.paired import MS_SSIM_SMALLEST, WINDOW, l1, ms_ssim, psnr, ssim
from unpaired.report.results import Fact

MOST_DECIBELS = 100.0
"""What identical images count as in a mean of PSNRs; one level in one value of a 256 x 256 image is 101 dB."""


class _OfPairs(ImageMetric):
    """Compares values in [-1, 1]."""

    group, needs, untranslated = "paired", frozenset({Need.TARGET}), True

    def facts(self) -> Mapping[str, Fact]:
        return {"values": "in [-1, 1], a range of 2"}

    def warnings(self) -> list[str]:
        task = self.context.task
        if Need.TARGET not in self.needs:
            return []
        pairs = zip(task.rows, task.fake_sizes, strict=True)
        resized = sum(row.target is not None and task.real.sizes[row.target] != size for row, size in pairs)
        way = FILTER if task.real.domain.labels is None else NEAREST
        note = f"{resized:,} true images have other sizes than their translations and were resized to them ({way})"
        return [note] if resized else []


class _OfReconstructions(_OfPairs):
    """Compares reconstructions with inputs."""

    group, needs, untranslated = "reconstruction", frozenset({Need.RECONSTRUCTION}), False

    def facts(self) -> Mapping[str, Fact]:
        return {**super().facts(), "in_between": "the translation is not rounded"}


class L1(_OfPairs):
    """Mean absolute difference of translations and true images, in [0, 2]."""

    name, title, better = "l1", "L1 to the true image", "lower"

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        return l1(x, y)

    def of_known(self, values: Tensor, share: Tensor) -> Tensor:
        return values / share


class PSNR(_OfPairs):
    """Peak signal-to-noise ratio of translations against their true images, dB; identical ones count as 100 dB."""

    name, title, unit, better, most = "psnr", "PSNR to the true image", "dB", "higher", MOST_DECIBELS

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        return psnr(x, y)

    def of_known(self, values: Tensor, share: Tensor) -> Tensor:
        return values + 10 * share.log10()


class SSIM(_OfPairs):
    """Structural similarity of translations and true images, in [-1, 1]."""

    name, title, better, smallest = "ssim", "SSIM to the true image", "higher", WINDOW

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        return ssim(x, y)


@final
class MSSSIM(_OfPairs):
    """Multi-scale structural similarity of translations and true images, in [0, 1]."""

    name, title, better, smallest = "ms_ssim", "MS-SSIM to the true image", "higher", MS_SSIM_SMALLEST
    quiet = True  # it is for large images; that it is missing for small ones surprises nobody

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        return ms_ssim(x, y)


@final
class LPIPS(_OfPairs):
    """Perceptual distance of translations and true images; 0 for identical ones."""

    name, title, better = "lpips", "LPIPS to the true image", "lower"
    needs = frozenset({Need.TARGET, Need.LPIPS})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert context.networks.lpips is not None
        self._network = context.networks.lpips
        self.title = f"{self._network.name} to the true image"

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        return self._network(x, y)

    def facts(self) -> Mapping[str, Fact]:
        return {**super().facts(), **network_facts(self._network)}

    @classmethod
    def unavailable(cls, context: Context) -> str | None:
        channels = context.task.target.channels
        return None if channels in (1, 3) else f"images have {channels} channels, and its network sees grey or RGB"


@final
class InputL1(_OfPairs):
    """Mean absolute difference of translations and their inputs, in [0, 2]: how much was changed."""

    name, title, group = "input_l1", "L1 to the input", "content"
    needs, untranslated = frozenset({Need.INPUT}), False

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        return l1(x, y)

    def of_known(self, values: Tensor, share: Tensor) -> Tensor:
        return values / share

    @classmethod
    def unavailable(cls, context: Context) -> str | None:
        source, target = context.task.inputs, context.task.target
        assert source is not None
        if source.domain.channels != target.channels:
            return f"inputs have {source.domain.channels} channels and translations {target.channels}"
        return None


@final
class ReconstructionL1(_OfReconstructions, L1):
    """Mean absolute difference of reconstructions and inputs, in [0, 2]; the worst are shown."""

    name, title = "reconstruction_l1", "L1 of the reconstruction"
    alt = "input, translation, reconstruction, and their difference; the image with the largest difference first"
    ends = (End("worst_reconstruction", "largest", "Worst reconstructions", alt),)

    def cells(self, batch: Batch, index: int) -> dict[str, Shown]:
        assert batch.reconstruction_images is not None
        found = super().cells(batch, index)
        back = displayed(batch.reconstruction_images[index], batch.given[1])
        difference = np.abs(back.astype(np.int16) - found["input"].astype(np.int16)).astype(np.uint8)
        return {**found, "reconstruction": back, "|difference|": difference}


@final
class ReconstructionPSNR(_OfReconstructions, PSNR):
    """Peak signal-to-noise ratio of reconstructions against inputs, dB."""

    name, title = "reconstruction_psnr", "PSNR of the reconstruction"


@final
class ReconstructionSSIM(_OfReconstructions, SSIM):
    """Structural similarity of reconstructions and inputs, in [-1, 1]."""

    name, title = "reconstruction_ssim", "SSIM of the reconstruction"
