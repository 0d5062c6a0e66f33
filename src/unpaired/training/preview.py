"""Sample grids: always the same held-out images, translated, brought back, and left as they are.

Translators that search would take minutes; they show pairs of images that are always generated from the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.core.files import write_atomic
from unpaired.data.held_out import evenly
from unpaired.data.labels import Labels, as_picture
from unpaired.data.source import ImageSource
from unpaired.data.training import TrainingData
from unpaired.data.values import filled, to_signed
from unpaired.methods import Method
from unpaired.models.padding import forward_padded
from unpaired.networks import Generator, Search
from unpaired.report.image_grid import INPUTS, MOST_INPUTS, grid, heading, png, stack
from unpaired.training.health import collapse_warning, translation_warnings

Picture = NDArray[np.uint8]


class Preview:
    """The held-out images of a run and what its translators make of them."""

    def __init__(self, data: TrainingData, count: int, device: torch.device) -> None:
        self.labels = {"a": data.domain_a.labels, "b": data.domain_b.labels}
        self.count, self.paired = count, data.paired
        named = (data.domain_a.name, data.domain_b.name)
        self.names = named if all(named) else None
        self.images = {
            "a": _first(data.held_out_a, count, data.domain_a.range, device),
            "b": _first(data.held_out_b, count, data.domain_b.range, device),
        }

    def keep_inputs(self, run: Path) -> None:
        """Write the held-out images as they are into the run, once: what its pages offer to be tried."""
        for side, images in self.images.items():
            for number, image in enumerate(images[:MOST_INPUTS]):
                path = run / INPUTS / f"{side}-{number}.png"
                if image.shape[1] in (1, 3) and self.labels[side] is None and not path.exists():
                    write_atomic(path, png(_picture(image, None).squeeze()))

    @torch.no_grad()
    def draw(
        self, translators: Mapping[str, Generator], images_seen: int, method: Method
    ) -> tuple[Picture, dict[str, str]]:
        """Return a picture of all directions, [H, W, 3] uint8, and warnings about what it shows.

        `method` is that which trains, for the advice that warnings give.
        """
        modes = {network: network.training for network in translators.values()}
        for network in modes:
            network.eval()
        pictures: list[Picture] = []
        warnings: dict[str, str] = {}
        searches = [network.search for network in translators.values() if network.search is not None]
        if searches:
            picture, warnings = self._generated(searches[0], images_seen)
            pictures.append(picture)
        for direction, network in translators.items():
            if network.is_search:
                continue
            source, target = direction.split("2")
            inputs = self.images[source]
            outputs = [forward_padded(network, image) for image in inputs]
            warnings |= translation_warnings(direction, [x[0] for x in inputs], [y[0] for y in outputs], method)
            back = translators.get(f"{target}2{source}")
            labels = (self.labels[source], self.labels[target])
            rows = [_row(x, y, back, labels) for x, y in zip(inputs, outputs, strict=True)]
            if self.paired:  # what it should have become
                for row, wanted in zip(rows, self.images[target], strict=True):
                    row["target"] = _picture(wanted, labels[1])
            pictures.append(
                grid(rows, list(rows[0]), f"{heading(direction, self.names)}   after {images_seen:,} images")
            )
        for network, mode in modes.items():
            network.train(mode)
        return stack(pictures), warnings

    def _generated(self, search: Search, images_seen: int) -> tuple[Picture, dict[str, str]]:
        """Draw generated pairs, and warn where they are all alike."""
        pairs = search.generate(self.count)
        rows = [
            {"A": _picture(a[None], self.labels["a"]), "B": _picture(b[None], self.labels["b"])}
            for a, b in zip(*pairs, strict=True)
        ]
        title = f"A and B   after {images_seen:,} images"
        warnings: dict[str, str] = {}
        for domain, generated in zip("ab", pairs, strict=True):
            warnings |= collapse_warning(domain, [image[0] for image in self.images[domain]], [*generated])
        return grid(rows, ["A", "B"], title), warnings


def _first(source: ImageSource, count: int, declared: tuple[float, float] | None, device: torch.device) -> list[Tensor]:
    """Return images spread evenly over the source, each [1, C, H, W] in [-1, 1]."""
    arrays = [filled(to_signed(source[place], declared))[0] for place in evenly(len(source), count)]
    return [torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1)))[None].to(device) for a in arrays]


def _row(
    image: Tensor, output: Tensor, back: Generator | None, labels: tuple[Labels | None, Labels | None]
) -> dict[str, Picture]:
    source, target = labels
    row = {"input": _picture(image, source), "translation": _picture(output, target)}
    if back is not None:
        row["reconstruction"] = _picture(forward_padded(back, output), source)
        if image.shape[1] == output.shape[1]:
            row["identity"] = _picture(forward_padded(back, image), source)
    return row


def _picture(image: Tensor, labels: Labels | None) -> Picture:
    levels = ((image[0].float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    picture: Picture = levels.permute(1, 2, 0).cpu().numpy()
    return picture if labels is None else as_picture(picture, labels)
