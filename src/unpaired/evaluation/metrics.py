"""Measures of single images: against the true image, against the input, and there and back.

A gauge is given every batch of translations and answers with its figures at the end; it keeps numbers, no images but
the few at both ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

import numpy as np
from torch import Tensor

from unpaired.data.held_out import shown
from unpaired.data.values import Domain, from_signed
from unpaired.evaluation.dataset import FILTER, NEAREST, Pictures
from unpaired.evaluation.figures import Better, Figure, Group, Picture, Protocol, Table
from unpaired.evaluation.running_mean import Example, Extremes, Shown, Tally, png_grid
from unpaired.evaluation.translations import Batch, at_size
from unpaired.metrics.paired import MS_SSIM_SMALLEST, WINDOW, l1, ms_ssim, psnr, ssim
from unpaired.metrics.structure import edge_distance

if TYPE_CHECKING:
    from unpaired.metrics.features import Lpips

EXAMPLES = 6
"""Images shown of each end."""


class Gauge(ABC):
    """Something that translations are measured with."""

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Measure a batch."""

    @abstractmethod
    def figures(self, protocol: Protocol) -> list[Figure]:
        """Return what was found; `protocol` holds what all figures of a direction share."""

    def bounds(self, protocol: Protocol) -> dict[str, list[Figure]]:
        """Return the same figures of other images, by what those are; none by default."""
        return {}

    def tables(self) -> list[Table]:
        """Return tables, such as one of the classes; none by default."""
        return []

    def pictures(self, direction: str) -> list[Picture]:
        """Return the images at the ends; none by default."""
        return []

    def warnings(self) -> list[str]:
        """Return what a reader of the figures must know, one sentence each; nothing by default."""
        return []


class _Numbers:
    """L1, PSNR, SSIM and, on request, MS-SSIM of pairs of batches; what images are too small for is left out."""

    def __init__(self, *, scales: bool) -> None:
        self.scales = scales
        self.tallies: dict[str, Tally] = {}
        self.too_small: dict[str, tuple[int, int]] = {}
        """Measures that some images are too small for, and the least size."""

    def add(self, x: Tensor, y: Tensor) -> dict[str, list[float]]:
        """Measure pairs [N, C, H, W]; return the numbers of each image by the measure."""
        side = min(x.shape[-2:])
        found = {"l1": l1(x, y).tolist(), "psnr": psnr(x, y).tolist()}
        wanted = {"ssim": (ssim, WINDOW)} | ({"ms_ssim": (ms_ssim, MS_SSIM_SMALLEST)} if self.scales else {})
        for name, (measure, least) in wanted.items():
            if side >= least:
                found[name] = measure(x, y).tolist()
            else:
                self.too_small[name] = (least, side)
        for name, values in found.items():
            self.tallies.setdefault(name, Tally()).add(values)
        return found

    def figures(self, group: Group, prefix: str, of: str, protocol: Protocol) -> list[Figure]:
        return [
            self.tallies[name].figure(
                f"{prefix}{name}", f"{title}{of}", group=group, better=better, protocol=protocol, unit=unit
            )
            for name, (title, better, unit) in _OF_PAIRS.items()
            if name in self.tallies and name not in self.too_small
        ]

    def warnings(self, asked: bool) -> list[str]:
        return [
            f"{_OF_PAIRS[name][0]} is left out: it needs {least} pixels on the shorter side, and an image has {side}"
            for name, (least, side) in self.too_small.items()
            # MS-SSIM is for large images; that it is missing for small ones surprises nobody who did not ask.
            if asked or name != "ms_ssim"
        ]


_OF_PAIRS: dict[str, tuple[str, Better, str]] = {
    "l1": ("L1", "lower", ""),
    "psnr": ("PSNR", "higher", "dB"),
    "ssim": ("SSIM", "higher", ""),
    "ms_ssim": ("MS-SSIM", "higher", ""),
}
VALUES = "in [-1, 1], a range of 2"


@final
class Paired(Gauge):
    """Translations against the true images of the same names."""

    def __init__(self, real: Pictures, lpips: Lpips | None, plain: bool) -> None:
        """Measure with LPIPS where it is given, and L1 and the others where `plain` says so."""
        self._real, self._lpips, self._plain = real, lpips, plain
        self._numbers, self._perceptual = _Numbers(scales=True), Tally()
        self._resized = 0

    def add(self, batch: Batch) -> None:
        """Measure a batch; true images of other sizes are brought to those of the translations."""
        positions = [row.true for row in batch.rows if row.true is not None]
        size = (batch.made.shape[-2], batch.made.shape[-1])
        self._resized += sum(self._real.sizes[position] != size for position in positions)
        truth = at_size([self._real.image(position) for position in positions], self._real.domain, size)
        if self._plain:
            self._numbers.add(batch.made, truth)
        if self._lpips is not None:
            self._perceptual.add(self._lpips(batch.made, truth).tolist())

    def figures(self, protocol: Protocol) -> list[Figure]:
        """Return L1, PSNR, SSIM, MS-SSIM and LPIPS."""
        facts = {**protocol, "values": VALUES, "error": "standard error over the images"}
        found = self._numbers.figures("paired", "", " to the true image", facts)
        if self._lpips is not None:
            facts = {
                **facts,
                "features": self._lpips.name,
                "features_fingerprint": self._lpips.fingerprint,
                "features_input": self._lpips.input,
            }
            title = f"{self._lpips.name} to the true image"
            found.append(self._perceptual.figure("lpips", title, group="paired", better="lower", protocol=facts))
        return found

    def warnings(self) -> list[str]:
        """Say what was left out and what was resized."""
        told = self._numbers.warnings(asked=False)
        if self._resized:
            told.append(
                f"{self._resized:,} true images have other sizes than their translations and were brought to them "
                f"({FILTER if self._real.domain.labels is None else NEAREST})"
            )
        return told


@final
class Reconstruction(Gauge):
    """There and back against the input; the images that come back worst are shown."""

    def __init__(self, source: Domain, target: Domain, heading: str) -> None:
        self._source, self._target, self._heading = source, target, heading
        self._numbers, self._worst, self._done = _Numbers(scales=False), Extremes(EXAMPLES, "largest"), 0

    def add(self, batch: Batch) -> None:
        """Measure a batch."""
        assert batch.inputs is not None
        assert batch.input_images is not None
        assert batch.returned is not None
        found = self._numbers.add(batch.returned, batch.inputs)
        for index, value in enumerate(found["l1"]):
            if self._worst.wants(value):
                numbers = ", ".join(f"{_OF_PAIRS[name][0]} {values[index]:.3g}" for name, values in found.items())
                back = looked_at(batch.returned[index], self._source)
                first = shown(batch.input_images[index], self._source)
                cells = {
                    "input": first,
                    "translation": shown(batch.images[index], self._target),
                    "there and back": back,
                    "|difference|": np.abs(back.astype(np.int16) - first.astype(np.int16)).astype(np.uint8),
                }
                self._worst.add(value, self._done + index, Example(cells, f"{batch.names[index]}: {numbers}"))
        self._done += len(batch.rows)

    def figures(self, protocol: Protocol) -> list[Figure]:
        """Return L1, PSNR and SSIM."""
        facts = {
            **protocol,
            "values": VALUES,
            "in_between": "the translation is not rounded",
            "error": "standard error over the images",
        }
        return self._numbers.figures("reconstruction", "reconstruction_", " of there and back", facts)

    def pictures(self, direction: str) -> list[Picture]:
        """Return the worst reconstructions as one picture."""
        examples = self._worst.examples()
        title = f"Worst reconstructions, {self._heading}"
        return [
            Picture(
                file=f"worst_reconstruction_{direction}.png",
                title=title,
                alt=f"{len(examples)} rows of input, translation, what comes back, and the difference; the image with "
                "the largest difference first.",
                content=png_grid(examples, title),
            )
        ]

    def warnings(self) -> list[str]:
        """Say what was left out."""
        return self._numbers.warnings(asked=False)


Distance = Callable[[Tensor, Tensor], Tensor]
"""From inputs and translations [N, C, H, W] to one number per image, [N]."""


@final
class Content(Gauge):
    """How far the structure of a translation is from that of its input; the nearest and the farthest are shown."""

    def __init__(
        self,
        name: str,
        title: str,
        distance: Distance,
        features: Protocol,
        domains: tuple[Domain, Domain],
        heading: str,
    ) -> None:
        self._name, self._title, self._distance, self._features = name, title, distance, features
        self._domains, self._heading = domains, heading
        self._tally, self._done = Tally(), 0
        self._ends = {"best": Extremes(EXAMPLES, "smallest"), "worst": Extremes(EXAMPLES, "largest")}

    def add(self, batch: Batch) -> None:
        """Measure a batch; inputs of other sizes are brought to those of the translations."""
        assert batch.inputs is not None
        assert batch.input_images is not None
        size = (batch.made.shape[-2], batch.made.shape[-1])
        x = batch.inputs
        if (x.shape[-2], x.shape[-1]) != size:
            x = at_size(batch.input_images, self._domains[0], size)
        values = self._distance(_three(x), _three(batch.made)).tolist()
        self._tally.add(values)
        for index, value in enumerate(values):
            for end in self._ends.values():
                if end.wants(value):
                    cells: dict[str, Shown] = {
                        "input": shown(batch.input_images[index], self._domains[0]),
                        "translation": shown(batch.images[index], self._domains[1]),
                    }
                    caption = f"{batch.names[index]}: distance {value:.3g}"
                    end.add(value, self._done + index, Example(cells, caption))
        self._done += len(batch.rows)

    def figures(self, protocol: Protocol) -> list[Figure]:
        """Return the mean distance."""
        facts = {**protocol, **self._features, "error": "standard error over the images"}
        return [self._tally.figure(self._name, self._title, group="content", better="lower", protocol=facts)]

    def pictures(self, direction: str) -> list[Picture]:
        """Return the translations that keep most and least of their inputs' structure."""
        told = {"best": "most", "worst": "least"}
        return [
            Picture(
                file=f"{which}_{self._name}_{direction}.png",
                title=f"Content kept {told[which]}, {self._heading}",
                alt=f"{len(end.examples())} rows of input and translation, those whose structure is kept {told[which]} "
                f"first, by {self._title}.",
                content=png_grid(end.examples(), f"Content kept {told[which]}, {self._heading}"),
            )
            for which, end in self._ends.items()
        ]


def edges(domains: tuple[Domain, Domain], heading: str) -> Content:
    """Return the gauge of edges, which needs no weights."""
    facts = {"method": "gradients of luminance (Sobel); 1 - correlation of their magnitudes, in [0, 2]"}
    return Content("structure_edges", "Structure distance (edges)", edge_distance, facts, domains, heading)


def looked_at(values: Tensor, domain: Domain) -> Shown:
    """Return an image [C, H, W] in [-1, 1] as a person looks at it."""
    return shown(from_signed(values.permute(1, 2, 0).numpy(), domain), domain)


def can_be_seen(domains: Sequence[Domain]) -> bool:
    """Say whether images of all these domains are grey or RGB, so that their content can be compared."""
    return all(domain.channels in (1, 3) for domain in domains)


def _three(images: Tensor) -> Tensor:
    """Return grey images as RGB."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
