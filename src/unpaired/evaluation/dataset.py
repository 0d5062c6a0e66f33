"""The images of one direction of an evaluation, and the batches of translations that metrics see."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unpaired.data.check import ImageInfo
from unpaired.data.labels import Indices, decoded
from unpaired.data.source import ImageSource
from unpaired.data.transforms import resize, resize_nearest
from unpaired.data.values import LOW, Domain, Image, to_signed

if TYPE_CHECKING:
    from unpaired.metrics.features import Features

Split = Literal["test", "train", "folder"]
SPLITS: dict[Split, str] = {"test": "test images", "train": "training images", "folder": "images"}
FILTER = "bicubic, antialiased (Pillow)"
"""How images are resized; Inception resizes once more, and says how."""
NEAREST = "nearest pixel"
"""How label maps are resized."""
Size = tuple[int, int]
"""(height, width)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """One set of images."""

    source: ImageSource
    domain: Domain
    sizes: Sequence[Size]
    """(height, width) of every image of the source."""
    positions: tuple[int, ...]
    """Those that are measured."""
    files: Sequence[ImageInfo] = ()
    """The files, in the order of the source; empty where there are none."""
    prepared: str = ""
    """How the images were prepared."""

    def contents(self) -> str:
        """Return a digest of what the measured files hold, in order, wherever they lie."""
        digest = hashlib.blake2b(digest_size=16)
        for position in self.positions:
            digest.update(self.files[position].digest)
        return digest.hexdigest()

    def formats(self) -> str | None:
        """Return the files' formats, by content: `JPEG (118), PNG (2)`; None without files."""
        if not self.files:
            return None
        counts = Counter(self.files[position].format for position in self.positions)
        if len(counts) == 1:
            return next(iter(counts))
        return ", ".join(f"{name} ({count:,})" for name, count in counts.most_common())

    def name(self, position: int) -> str:
        """Return the file's name."""
        return Path(self.source.name(position)).name

    def only(self, positions: Sequence[int]) -> Images:
        """Return the same set with other images measured."""
        return replace(self, positions=tuple(positions))

    def batches(self, size: Size, batch_size: int) -> Iterator[Tensor]:
        """Yield all images at one size, [N, C, H, W] in [-1, 1]."""
        for start in range(0, len(self.positions), batch_size):
            part = self.positions[start : start + batch_size]
            yield at_size([self.source[position] for position in part], self.domain, size)


class Row(NamedTuple):
    """One translation: positions of its input, of itself in its folder, and of the true image; None where unknown."""

    input: int | None
    fake: int | None
    target: int | None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one direction is measured on."""

    direction: str
    """`a2b`, `b2a` or `folders`."""
    heading: str
    target_name: str
    """What the target domain, or the folder of real images, is called."""
    inputs: Images | None
    fakes: Images | None
    """Translations that lie in a folder; None where a model makes them of the inputs."""
    real: Images
    """Real images of the target domain."""
    rows: tuple[Row, ...]
    split: Split

    @cached_property
    def fake_sizes(self) -> list[Size]:
        """Return the size of every translation, which a model keeps."""
        if self.fakes is not None:
            return [self.fakes.sizes[row.fake] for row in self.rows if row.fake is not None]
        if self.inputs is None:
            return [self.real.sizes[position] for position in self.real.positions]
        return [self.inputs.sizes[row.input] for row in self.rows if row.input is not None]

    @cached_property
    def size(self) -> Size:
        """Return (height, width) at which sets of images are compared: the size that most translations have."""
        return Counter(self.fake_sizes).most_common(1)[0][0]

    @property
    def resized(self) -> bool:
        """Whether some images have to be resized to compare the sets."""
        sizes = {*self.fake_sizes, *(self.real.sizes[position] for position in self.real.positions)}
        return len(sizes) > 1

    @property
    def target(self) -> Domain:
        """The domain of the translations."""
        return self.real.domain if self.fakes is None else self.fakes.domain

    @property
    def has_truth(self) -> bool:
        """Whether the true image of every translation is known."""
        return all(row.target is not None for row in self.rows)

    @property
    def comparable(self) -> bool:
        """Whether an input can stand in for a translation: the same channels, or grey as RGB."""
        source = None if self.inputs is None else self.inputs.domain
        if source is None or (source.labels is not None and source.labels.feed == "one_hot"):
            return False
        return source.channels == self.target.channels or (source.channels, self.target.channels) == (1, 3)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Translations of one size with what belongs to them; what no metric asks for is not read.

    Tensors are [N, C, H, W] in [-1, 1]; images are [H, W, C] as files hold them, in levels of their domain.
    """

    task: Task
    rows: tuple[Row, ...]
    first: int
    """The number of the first row among all of the task."""
    names: tuple[str, ...]
    """File name of each input, or of each translation where there are no inputs."""
    fake_images: tuple[Image, ...]
    fake_domain: Domain
    input_images: tuple[Image, ...] | None = None
    reconstruction_images: tuple[Image, ...] | None = None
    """What the way back makes of the translations, which are not rounded in between."""
    not_finite: str | None = None
    """The image whose reconstruction is not finite, so that there are none."""

    @cached_property
    def fake(self) -> Tensor:
        """The translations; untranslated grey inputs have as many channels as translations."""
        return known(self._fake)

    @cached_property
    def _fake(self) -> Tensor:
        return self._as_fakes(with_gaps(self.fake_images, self.fake_domain))

    def pair(self, other: Literal["target", "input", "reconstruction"]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return translations and true images or inputs, or reconstructions and inputs, to be compared.

        And the share [N] of pixels that have a value in both, where that is not all; elsewhere both are the low end.
        """
        if other == "target":
            x, y = self._fake, with_gaps_at(self.target_images, self.task.real.domain, self.size)
        elif other == "input":
            x, y = self._fake, with_gaps_at(*self.given, self.size)
        else:
            assert self.reconstruction_images is not None
            x, y = with_gaps(self.reconstruction_images, self.given[1]), with_gaps(*self.given)
        gaps = x.isnan().any(1, keepdim=True) | y.isnan().any(1, keepdim=True)
        if not gaps.any():
            return x, y, None
        return x.masked_fill(gaps, LOW), y.masked_fill(gaps, LOW), 1 - gaps.double().mean((1, 2, 3))

    @property
    def size(self) -> Size:
        """(height, width) of the translations."""
        return self.fake_images[0].shape[0], self.fake_images[0].shape[1]

    @property
    def given(self) -> tuple[tuple[Image, ...], Domain]:
        """The inputs and what their values mean, where a metric needs them."""
        assert self.input_images is not None
        assert self.task.inputs is not None
        return self.input_images, self.task.inputs.domain

    @cached_property
    def input(self) -> Tensor:
        """The inputs."""
        return signed(*self.given)

    @cached_property
    def input_at_size(self) -> Tensor:
        """The inputs, resized to the translations' size where they have another."""
        return at_size(*self.given, self.size)

    @cached_property
    def reconstruction(self) -> Tensor:
        """The reconstructions of the inputs."""
        assert self.reconstruction_images is not None
        return signed(self.reconstruction_images, self.given[1])

    @cached_property
    def target_images(self) -> tuple[Image, ...]:
        """The true images, of their own sizes."""
        return tuple(self.task.real.source[row.target] for row in self.rows if row.target is not None)

    @cached_property
    def target(self) -> Tensor:
        """The true images, resized to the translations' size where they have another."""
        return at_size(self.target_images, self.task.real.domain, self.size)

    @cached_property
    def fake_for_sets(self) -> Tensor:
        """The translations at the size at which sets are compared."""
        if self.size == self.task.size:
            return self.fake
        return self._as_fakes(at_size(self.fake_images, self.fake_domain, self.task.size))

    def features(self, network: Features) -> Tensor:
        """Return the features [N, D] of the translations at the size at which sets are compared; computed once."""
        if network.fingerprint not in self._features:
            self._features[network.fingerprint] = network(self.fake_for_sets)
        return self._features[network.fingerprint]

    @cached_property
    def untranslated(self) -> Batch:
        """The same batch with the inputs in place of the translations; `Task.comparable` says where it can."""
        images, domain = self.given
        return replace(self, fake_images=images, fake_domain=domain, reconstruction_images=None)

    @cached_property
    def _features(self) -> dict[str, Tensor]:
        return {}

    def _as_fakes(self, images: Tensor) -> Tensor:
        channels = self.task.target.channels
        return images if images.shape[1] == channels else images.expand(-1, channels, -1, -1)


def signed(images: Sequence[Image], domain: Domain) -> Tensor:
    """Return images [H, W, C] of one size as networks see them, [N, C, H, W] in [-1, 1]."""
    return known(with_gaps(images, domain))


def known(images: Tensor) -> Tensor:
    """Return images with the low end of the range where they have no value, which is NaN."""
    gaps = images.isnan()
    return images.masked_fill(gaps, LOW) if gaps.any() else images


def with_gaps(images: Sequence[Image], domain: Domain) -> Tensor:
    """Return images as `signed` does, with NaN where they have no value."""
    arrays = [to_signed(image, domain.range).transpose(2, 0, 1) for image in images]
    return torch.from_numpy(np.ascontiguousarray(np.stack(arrays)))


def at_size(images: Sequence[Image], domain: Domain, size: Size) -> Tensor:
    """Return images [H, W, C] of any sizes at one size, [N, C, H, W] in [-1, 1]; label maps by the nearest pixel."""
    return known(with_gaps_at(images, domain, size))


def with_gaps_at(images: Sequence[Image], domain: Domain, size: Size) -> Tensor:
    """Return images as `at_size` does, with NaN where they have no value."""
    return with_gaps([resize(image, size, nearest=domain.labels is not None) for image in images], domain)


def truth_at(images: Images, position: int | None, size: Size | None = None) -> Indices:
    """Return the classes [H, W] of one label map, resized to `size` where it is given."""
    assert position is not None
    assert images.domain.labels is not None
    found = decoded(images.source[position], images.domain.labels)
    return found if size is None else resize_nearest(found, size)
