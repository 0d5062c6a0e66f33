"""What a metric is: a class that says what it is called, what it needs, and how it computes from batches."""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from unpaired.data.held_out import displayed
from unpaired.evaluation.dataset import Batch, Task
from unpaired.evaluation.networks import Networks
from unpaired.evaluation.protocol import Protocol
from unpaired.report.image_grid import LARGEST_CELL, grid, png
from unpaired.report.results import Better, Fact, Figure, Picture, Table

if TYPE_CHECKING:
    from unpaired.evaluation.statistics import Sets, Statistics
    from unpaired.metrics.features import Features, Lpips


EXAMPLES = 4
"""Images shown of each end."""
Shown = NDArray[np.uint8]
"""A picture to look at, [H, W, 3] uint8."""


class Need(Enum):
    """What a metric needs of an evaluation; the engine opens each once for all metrics."""

    INPUT = "input"
    """The images that were translated: `Batch.input`, `Batch.input_at_size`."""
    TARGET = "target"
    """The true image of every translation: `Batch.target`."""
    RECONSTRUCTION = "reconstruction"
    """What the other direction makes of the translations: `Batch.reconstruction`."""
    REAL = "real"
    """All real images of the target domain, which `update_real` is given."""
    PATCHES = "patches"
    """Patches of translations and of real images: a `SetMetric` compares `Statistics.patches`."""
    COLOURS = "colours"
    """Pixels of translations and of real images: a `SetMetric` compares `Statistics.colours`."""
    FEATURES = "features"
    """Features of a network, one vector an image: a `SetMetric` compares `Statistics.features`."""
    MAPS = "maps"
    """A feature network that gives features of every position."""
    LPIPS = "lpips"
    """The network of LPIPS."""
    LABELS = "labels"
    """Translations are label maps."""
    CLASSIFIER = "classifier"
    """A network that recognises classes of ImageNet, and the class that translations are to be taken for."""
    SEGMENTER = "segmenter"
    """Inputs are label maps, and a network that labels photos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a metric is made for: one direction of an evaluation."""

    task: Task
    networks: Networks
    protocol: Protocol
    sets: Sets | None = None
    """The statistics of all sets, where a metric needs PATCHES, COLOURS or FEATURES."""


class Metric(ABC):
    """Measures translations: `update` with every batch, then `compute`.

    A class describes itself by its attributes. The engine makes one object for each direction, adds the protocol to
    its figures, and leaves a metric out where its needs are not met.
    """

    name: ClassVar[str]
    """Short and fixed, such as `psnr`; the figure's name."""
    title: str
    unit: ClassVar[str] = ""
    better: ClassVar[Better | None] = None
    group: ClassVar[str]
    """Key of `report.results.GROUPS`."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    smallest: ClassVar[int] = 1
    """Pixels that the shorter side of every translation must have."""
    network: ClassVar[Literal["features", "inception", "any"]] = "features"
    """Which feature network FEATURES means: that of --features, Inception, or the first of the two that is there."""
    untranslated: ClassVar[bool] = False
    """Whether the untranslated input is a bound: the metric is then computed of it too."""
    quiet: ClassVar[bool] = False
    """Whether nothing is said where images are too small for it and it was not asked for by name."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def unavailable(cls, context: Context) -> str | None:
        """Return why this metric cannot be computed although its needs are met; None where it can."""
        return None

    @abstractmethod
    def update(self, batch: Batch) -> None:
        """Take in a batch of translations."""

    def update_real(self, images: Tensor) -> None:
        """Take in real images [N, C, H, W] in [-1, 1], where REAL is needed; called before all translations."""
        raise NotImplementedError

    @abstractmethod
    def compute(self) -> Figure | Sequence[Figure]:
        """Return what was found; `figure` makes a figure."""

    def bounds(self) -> Mapping[str, Sequence[Figure]]:
        """Return the same figures of other images, by the name of the bound."""
        return {}

    def tables(self) -> Sequence[Table]:
        """Return tables, such as one of the classes."""
        return ()

    def pictures(self) -> Sequence[Picture]:
        """Return pictures, such as the best and the worst images."""
        return ()

    def warnings(self) -> Sequence[str]:
        """Return what a reader of the figures must know, one sentence each without its full stop."""
        return ()

    def figure(
        self,
        value: float | None,
        error: float | None = None,
        *,
        name: str | None = None,
        title: str | None = None,
        note: str | None = None,
        detail: bool = False,
        facts: Mapping[str, Fact] | None = None,
    ) -> Figure:
        """Return a figure of this metric; `facts` are those that it depends on beside the protocol.

        `detail` says that it is a part of another figure, which tables leave out.
        """
        if value is None or not math.isfinite(value):
            note = note or "not a finite number"
        return Figure(
            name=name or self.name,
            title=title or self.title,
            value=value,
            error=error,
            unit=self.unit,
            better=self.better,
            group=self.group,
            protocol=dict(facts or {}),
            note=note,
            detail=detail,
        )


@final
class RunningMean:
    """Mean and standard error of the mean of numbers that are not kept."""

    def __init__(self) -> None:
        self.count = 0
        """Numbers so far."""
        self._mean = self._squares = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Add numbers; raises `ValueError` for one that is not finite."""
        for value in values:
            if not math.isfinite(value):
                raise ValueError("the number of an image is not finite")
            self.count += 1
            before = value - self._mean
            self._mean += before / self.count
            self._squares += before * (value - self._mean)

    def mean(self) -> float | None:
        """Return the mean, None where there is none."""
        return self._mean if self.count else None

    def error(self) -> float | None:
        """Return the standard error of the mean, None for fewer than two numbers."""
        return math.sqrt(self._squares / (self.count - 1) / self.count) if self.count > 1 else None


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a grid of pictures."""

    cells: Mapping[str, Shown]
    caption: str


@final
class Extremes:
    """The few images with the largest (or smallest) number, with their pictures; the rest is forgotten."""

    def __init__(self, most: int, end: Literal["largest", "smallest"]) -> None:
        self._most, self._sign = most, 1.0 if end == "largest" else -1.0
        self._heap: list[tuple[float, int, Example]] = []

    def wants(self, value: float) -> bool:
        """Say whether an image of this number is among them so far, so that its pictures are worth making."""
        return len(self._heap) < self._most or self._sign * value > self._heap[0][0]

    def add(self, value: float, number: int, example: Example) -> None:
        """Consider an image; `number` decides between equals, the earlier stays."""
        cells = {name: _small(picture) for name, picture in example.cells.items()}
        entry = (self._sign * value, -number, Example(cells, example.caption))
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def examples(self) -> list[Example]:
        """Return them, the most extreme first."""
        return [example for _, _, example in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def png_grid(examples: list[Example], title: str) -> bytes:
    """Return examples as a labelled grid, a PNG file."""
    columns = list(dict.fromkeys(name for example in examples for name in example.cells))
    picture = grid([example.cells for example in examples], columns, title, [example.caption for example in examples])
    return png(picture)


def _small(picture: Shown) -> Shown:
    """Return a picture no larger than it will be shown, so that what is kept stays small."""
    longest = max(picture.shape[:2])
    if longest <= LARGEST_CELL:
        return picture
    image = PillowImage.fromarray(picture)
    size = [max(1, round(side * LARGEST_CELL / longest)) for side in image.size]
    return np.asarray(image.resize((size[0], size[1]), PillowImage.Resampling.LANCZOS))


@dataclass(frozen=True, slots=True)
class End:
    """Images that a metric shows: those with its largest or smallest numbers."""

    name: str
    """Beginning of the picture's file."""
    side: Literal["largest", "smallest"]
    title: str
    alt: str
    """What the rows show, for a reader who cannot see them."""


class ImageMetric(Metric):
    """The mean of one number per image, with its standard error over the images; what is compared follows `needs`.

    RECONSTRUCTION compares reconstructions with inputs, TARGET translations with true images, INPUT translations with
    inputs.
    """

    most: ClassVar[float] = math.inf
    """What an infinite number counts as in the mean."""
    ends: ClassVar[tuple[End, ...]] = ()
    """The images that are shown where the protocol asks for pictures; `cells` draws each."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.mean = RunningMean()
        shown = self.ends if context.protocol.pictures and context.task.inputs is not None else ()
        self._shown = {end: Extremes(EXAMPLES, end.side) for end in shown}
        self._infinite, self._gaps = 0, False
        self._not_finite: str | None = None

    @abstractmethod
    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Return one number for each pair of images [N, C, H, W] in [-1, 1], [N]."""

    def of_known(self, values: Tensor, share: Tensor) -> Tensor:
        """Return the numbers [N] of the pixels that have a value, a share [N] of all; elsewhere both images are equal.

        By default the equal pixels count, as a metric of windows or features cannot leave them out.
        """
        return values

    def facts(self) -> Mapping[str, Fact]:
        """Return what the figure depends on beside the protocol."""
        return {}

    @final
    def update(self, batch: Batch) -> None:
        """Compare each image of a batch."""
        if Need.RECONSTRUCTION in self.needs:
            if batch.not_finite is not None:
                self._not_finite = batch.not_finite
                return
            x, y, share = batch.pair("reconstruction")
        else:
            x, y, share = batch.pair("target" if Need.TARGET in self.needs else "input")
        values = self.compare(x, y).double()
        if share is not None:
            values = self.of_known(values, share.clamp(min=1e-9))
            self._gaps = True
        self._infinite += int(values.isinf().sum())
        values = values.clamp(max=self.most)
        self.mean.add(values.tolist())
        for index, value in enumerate(values.tolist()):
            for extremes in self._shown.values():
                if extremes.wants(value):
                    caption = f"{batch.names[index]}: {value:.3g}"
                    extremes.add(value, batch.first + index, Example(self.cells(batch, index), caption))

    def cells(self, batch: Batch, index: int) -> dict[str, Shown]:
        """Return the pictures of one image, by their titles: input and translation."""
        images, domain = batch.given
        return {
            "input": displayed(images[index], domain),
            "translation": displayed(batch.fake_images[index], batch.fake_domain),
        }

    def pictures(self) -> Sequence[Picture]:
        """Return one picture of each end."""
        task, found = self.context.task, list[Picture]()
        for end, extremes in self._shown.items():
            if examples := extremes.examples():
                title = f"{end.title}, {task.heading}"
                alt = f"{len(examples)} rows of {end.alt}."
                file = f"{end.name}_{task.direction}.png"
                found.append(Picture(file=file, title=title, alt=alt, content=png_grid(examples, title)))
        return found

    @final
    def compute(self) -> Figure:
        """Return the mean over all images."""
        facts = {**self.facts(), "error": "standard error over the images"}
        if self._gaps:
            left_out = type(self).of_known is not ImageMetric.of_known
            facts["missing"] = "left out" if left_out else "the low end of the range in both images"
        if self._not_finite is not None:
            return self.figure(None, note=f"the reconstruction of {self._not_finite} is not finite", facts=facts)
        note = None
        if self._infinite:
            every = self.mean.count
            note = f"{self._infinite:,} of {every:,} images are identical and count as {self.most:g} {self.unit}"
        return self.figure(self.mean.mean(), self.mean.error(), note=note, facts=facts)


class SetMetric(Metric):
    """Compares the set of translations with the set of real images; its bounds compare other sets.

    The engine gathers the statistics once for all such metrics.
    """

    @abstractmethod
    def distance(self, real: Statistics, fake: Statistics) -> Sequence[Figure]:
        """Return the figures of two sets."""

    @final
    def update(self, batch: Batch) -> None:
        """Do nothing: the statistics are gathered for all metrics together."""

    @property
    def sets(self) -> Sets:
        """The statistics of all sets."""
        assert self.context.sets is not None
        return self.context.sets

    @final
    def compute(self) -> Sequence[Figure]:
        """Return the figures of translations and real images."""
        return self.distance(self.sets.real, self.sets.fake)

    def bounds(self) -> Mapping[str, Sequence[Figure]]:
        """Return the figures of the untranslated inputs, and of two halves of the real images."""
        found = {}
        for name, (real, fake) in self.sets.bounds().items():
            halves = {"reference_images": real.images, "translations": fake.images}
            figures = [
                one.model_copy(update={"protocol": {**halves, **one.protocol}}) for one in self.distance(real, fake)
            ]
            found[name] = figures
        return found


def feature_network(metric: type[Metric], networks: Networks) -> Features | None:
    """Return the feature network of a metric that needs FEATURES or MAPS; None where it is not open."""
    if metric.network == "any":
        return networks.features.get("features") or networks.features.get("inception")
    return networks.features.get(metric.network)


def network_facts(network: Features | Lpips) -> dict[str, Fact]:
    """Return what a figure says of the network that it was computed with."""
    return {
        "features": network.name,
        "features_fingerprint": network.fingerprint,
        "features_input": network.input,
    }
