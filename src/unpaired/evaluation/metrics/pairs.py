"""Metrics of single images: against the true image, against the input, and of reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
from torch import Tensor

from unpaired.data.held_out import displayed
from unpaired.evaluation.dataset import FILTER, NEAREST, Batch
from unpaired.evaluation.metrics.base import Context, ImageMetric, Need, network_facts
from unpaired.evaluation.running_mean import Example, Extremes, png_grid
from unpaired.metrics.paired import MS_SSIM_SMALLEST, WINDOW, l1, ms_ssim, psnr, ssim
from unpaired.report.results import Fact, Picture

EXAMPLES = 6
"""Images shown of each end."""
MOST_DECIBELS = 100.0
"""What identical images count as in a mean of PSNRs; one level in one value of a 256 x 256 image is 101 dB."""


class _OfPairs(ImageMetric):
    """Compares values in [-1, 1]."""

    group, needs, untranslated = "paired", frozenset({Need.TARGET}), True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._resized = 0

    def facts(self) -> Mapping[str, Fact]:
        return {"values": "in [-1, 1], a range of 2"}

    def observe(self, batch: Batch, values: Tensor) -> None:
        if Need.TARGET in self.needs:
            self._resized += sum(image.shape[:2] != batch.size for image in batch.target_images)

    def warnings(self) -> list[str]:
        if not self._resized:
            return []
        way = FILTER if self.context.task.real.domain.labels is None else NEAREST
        return [
            f"{self._resized:,} true images have other sizes than their translations and were resized to them ({way})"
        ]


class L1(_OfPairs):
    """Mean absolute difference of translations and true images, in [0, 2]."""

    name, title, better = "l1", "L1 to the true image", "lower"

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean absolute difference of each pair."""
        return l1(x, y)


class PSNR(_OfPairs):
    """Peak signal-to-noise ratio of translations against their true images, dB; identical ones count as 100 dB."""

    name, title, unit, better, most = "psnr", "PSNR to the true image", "dB", "higher", MOST_DECIBELS

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the ratio of each pair; infinite where they are identical."""
        return psnr(x, y)


class SSIM(_OfPairs):
    """Structural similarity of translations and true images, in [-1, 1]."""

    name, title, better, smallest = "ssim", "SSIM to the true image", "higher", WINDOW

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the similarity of each pair."""
        return ssim(x, y)


@final
class MSSSIM(_OfPairs):
    """Multi-scale structural similarity of translations and true images, in [0, 1]."""

    name, title, better, smallest = "ms_ssim", "MS-SSIM to the true image", "higher", MS_SSIM_SMALLEST
    quiet = True  # it is for large images; that it is missing for small ones surprises nobody

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the similarity of each pair."""
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
        """Return the distance of each pair."""
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
        """Return the mean absolute difference of each pair."""
        return l1(x, y)

    @classmethod
    def unavailable(cls, context: Context) -> str | None:
        source, target = context.task.inputs, context.task.target
        assert source is not None
        if source.domain.channels != target.channels:
            return f"inputs have {source.domain.channels} channels and translations {target.channels}"
        return None


@final
class ReconstructionL1(L1):
    """Mean absolute difference of reconstructions and inputs, in [0, 2]; the worst are shown."""

    name, title, group = "reconstruction_l1", "L1 of the reconstruction", "reconstruction"
    needs, untranslated = frozenset({Need.RECONSTRUCTION}), False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._worst = Extremes(EXAMPLES, "largest")

    def facts(self) -> Mapping[str, Fact]:
        return {**super().facts(), **_NOT_ROUNDED}

    def observe(self, batch: Batch, values: Tensor) -> None:
        task = self.context.task
        if not self.context.protocol.pictures or task.inputs is None:
            return
        assert batch.input_images is not None
        assert batch.reconstruction_images is not None
        for index, value in enumerate(values.tolist()):
            if self._worst.wants(value):
                first = displayed(batch.input_images[index], task.inputs.domain)
                back = displayed(batch.reconstruction_images[index], task.inputs.domain)
                cells = {
                    "input": first,
                    "translation": displayed(batch.fake_images[index], batch.fake_domain),
                    "reconstruction": back,
                    "|difference|": np.abs(back.astype(np.int16) - first.astype(np.int16)).astype(np.uint8),
                }
                self._worst.add(value, batch.first + index, Example(cells, f"{batch.names[index]}: L1 {value:.3g}"))

    def pictures(self) -> list[Picture]:
        """Return the worst reconstructions as one picture."""
        examples = self._worst.examples()
        if not examples:
            return []
        title = f"Worst reconstructions, {self.context.task.heading}"
        return [
            Picture(
                file=f"worst_reconstruction_{self.context.task.direction}.png",
                title=title,
                alt=f"{len(examples)} rows of input, translation, reconstruction, and their difference; the image with "
                "the largest difference first.",
                content=png_grid(examples, title),
            )
        ]


@final
class ReconstructionPSNR(PSNR):
    """Peak signal-to-noise ratio of reconstructions against inputs, dB."""

    name, title, group = "reconstruction_psnr", "PSNR of the reconstruction", "reconstruction"
    needs, untranslated = frozenset({Need.RECONSTRUCTION}), False

    def facts(self) -> Mapping[str, Fact]:
        return {**super().facts(), **_NOT_ROUNDED}


@final
class ReconstructionSSIM(SSIM):
    """Structural similarity of reconstructions and inputs, in [-1, 1]."""

    name, title, group = "reconstruction_ssim", "SSIM of the reconstruction", "reconstruction"
    needs, untranslated = frozenset({Need.RECONSTRUCTION}), False

    def facts(self) -> Mapping[str, Fact]:
        return {**super().facts(), **_NOT_ROUNDED}


_NOT_ROUNDED: dict[str, Fact] = {"in_between": "the translation is not rounded"}
