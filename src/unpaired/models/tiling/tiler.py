"""Which images are translated by tiles, and how: the memory there is decides."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from unpaired.core.errors import UserError, option
from unpaired.core.memory import free_memory, used_memory
from unpaired.core.text import megabytes
from unpaired.data.formats import Box
from unpaired.data.values import Signed
from unpaired.models.engines.base import Engine, not_finite
from unpaired.models.engines.pytorch import TorchEngine
from unpaired.models.padding import padded_size
from unpaired.models.tiling.local import Network, NotLocalError, Size, Spans, read_network
from unpaired.models.tiling.plan import Plan, plans, whole_numbers
from unpaired.models.tiling.run import NotFiniteStatistics, TiledRun, TileProgress
from unpaired.networks import Generator

ReadWindow = Callable[[Box], Signed]
"""Returns a part of an image, [h, w, C] in [-1, 1]."""
WriteWindow = Callable[[Box, Signed], None]
"""Takes a part of a translation, [h, w, C] in [-1, 1]: each part once, and again after an interruption."""

_SMALL = 1 << 20
"""Pixels up to which nobody asks whether the memory suffices."""
_SHARE = 0.7
"""Of the memory that is free, where no budget was given."""
_TILES = (32, 64, 96, 128, 192, 256, 512, 1024)
"""Heights and widths of tiles."""
_ITEM = 4
"""Bytes of a number while it is computed: norms are computed in float32."""
_FIXED = 48 << 20
"""Bytes that reading, writing and libraries take beside the numbers of a tile."""
_ROUNDED = 50_000_000
"""Bytes to which the least memory is rounded up."""


class Layout(NamedTuple):
    """How an image is translated."""

    plan: Plan
    tile: int
    """Height and width of a tile."""
    on_disk: bool
    """Whether what is kept between passes lies in files."""
    memory: int
    """Bytes that are needed."""
    seconds: list[float]
    """Of each pass, for each pixel, roughly."""


@final
class Tiler:
    """Translates images by tiles in a budget of memory; the statistics of norms are those of the whole image."""

    def __init__(self, engine: Engine, network: Generator, budget: int | None) -> None:
        """Take the engine and its network; `budget` is for the whole process, None takes of what is free."""
        self._engine, self._original, self.budget = engine, network, budget
        self._read: tuple[TorchEngine, Network | NotLocalError, object] | None = None
        self.progress: Callable[[TileProgress], None] | None = None
        """Called with how far the translation of an image is."""

    @property
    def available(self) -> int:
        """Bytes that a translation may take now; below 0 where the process holds more than its budget."""
        if self.budget is not None:
            return self.budget - used_memory()
        return int(free_memory() * _SHARE)

    def is_needed(self, height: int, width: int, count: int = 1) -> bool:
        """Return whether a batch of images of this (padded) size needs tiles, and can be cut into them.

        Raises `UserError` where a budget was given and tiles, which alone would keep to it, are not possible.
        """
        pixels = height * width * count
        if self._original.is_search or pixels <= (_SMALL if self.budget is None else _SMALL >> 3):
            return False
        device = self._engine.device
        network = self._network()
        if isinstance(network, NotLocalError):
            if self.budget is not None:
                raise UserError(
                    f"{option('memory')} is kept to by tiles, by which this model's network cannot be computed: "
                    f"{network}. Leave it out, or translate smaller images."
                )
            return False
        needed = whole_numbers(network, (height, width)) * count * _ITEM
        return needed > (self.available if device.type == "cpu" else _free_on(device))

    def require(self) -> None:
        """Raise `UserError` where the model cannot be computed by tiles."""
        reason = "it translates by a search" if self._original.is_search else None
        network = None if reason else self._network()
        reason = str(network) if isinstance(network, NotLocalError) else reason
        if reason is not None:
            raise UserError(
                f"this model's network cannot be computed by tiles: {reason}. Translate smaller images, or give more "
                "memory."
            )

    def translate(
        self,
        read: ReadWindow,
        write: WriteWindow,
        size: Size,
        *,
        folder: Path | None = None,
        key: str = "",
        reserved: int = 0,
    ) -> None:
        """Translate an image of (height, width) that is read and written by parts.

        In an existing `folder` a translation that was interrupted resumes where it was, if `key` is the same; what is
        kept between passes lies there. `reserved` bytes will be taken by whoever calls. Raises
        `UserError` where the memory or the disk does not suffice, or a result is not finite.
        """
        self.require()
        while True:
            engine, network, _ = self._opened()
            assert isinstance(network, Network)
            try:
                self._run(engine, network, read, write, size, folder, key, reserved)
                return
            except NotFiniteStatistics as error:
                if not engine.fall_back():
                    raise not_finite(str(engine)) from error

    def array(self, image: Signed) -> Signed:
        """Translate an image [H, W, C] in memory."""
        height, width = image.shape[:2]
        result = np.empty((height, width, self._original.out_channels), np.float32)

        def read(box: Box) -> Signed:
            return image[box.top : box.top + box.height, box.left : box.left + box.width]

        def write(box: Box, part: Signed) -> None:
            result[box.top : box.top + box.height, box.left : box.left + box.width] = part

        self.translate(read, write, (height, width), reserved=result.nbytes)
        return result

    # ------------------------------------------------------------------------------------------------------- details

    def _opened(self) -> tuple[TorchEngine, Network | NotLocalError, object]:
        engine = self._engine if isinstance(self._engine, TorchEngine) else None
        if self._read is None or (engine is not None and self._read[2] is not engine.network):
            if engine is None:
                engine = TorchEngine(self._original, "fp32", torch.device("cpu"))
                self._engine.notices.append(
                    f"images that need more memory than there is are computed by tiles, with PyTorch in float32 and "
                    f"not with {self._engine.label}."
                )
            try:
                network: Network | NotLocalError = read_network(engine.network, engine.device, engine.dtype)
            except NotLocalError as error:
                network = error
                self._engine.notices.append(f"large images are not computed by tiles: {error}.")
            self._read = engine, network, engine.network
        return self._read

    def _network(self) -> Network | NotLocalError:
        return self._opened()[1]

    def _run(
        self,
        engine: TorchEngine,
        network: Network,
        read: ReadWindow,
        write: WriteWindow,
        size: Size,
        folder: Path | None,
        key: str,
        reserved: int,
    ) -> None:
        padded = padded_size(*size, network.multiple, network.minimum)
        room = self.available - reserved if engine.device.type == "cpu" else _free_on(engine.device)
        layout = choose_layout(layouts(network, padded, engine, folder), padded, room, self.budget)
        with tempfile.TemporaryDirectory(prefix="unpaired-") as own:
            place = folder or (Path(own) if layout.on_disk else None)
            run = TiledRun(
                network,
                layout.plan,
                padded,
                (layout.tile, layout.tile),
                seconds=layout.seconds,
                device=engine.device,
                dtype=engine.dtype,
                folder=place,
                key=key,
                progress=self.progress,
            )
            with torch.inference_mode():
                part = _padded(read, size, engine.dtype)
                run.translate(_with_fields(part, engine), _cut(write, size))


def layouts(network: Network, size: Size, engine: TorchEngine, folder: Path | None) -> list[Layout]:
    """Return the ways to translate an image of (height, width), the fastest first.

    What is kept lies in memory, or in files of `folder` or of the system's own.
    """
    item = engine.dtype.itemsize
    disk = shutil.disk_usage(folder or tempfile.gettempdir()).free * 0.6
    ways: list[tuple[float, Layout]] = []
    for plan in {str(plan.passes): plan for plan in plans(network, size)}.values():
        for tile in _TILES:
            numbers, seconds = plan.demand(network, size, tile)
            kept = int(plan.kept_numbers(size, tile) * item)
            for on_disk in (False, True) if folder is None else (True,):  # or nothing could go on later
                if not on_disk or kept < disk:
                    needed = int(numbers * _ITEM) + _FIXED + (0 if on_disk else kept)
                    cost = sum(seconds) + plan.traffic_seconds(item, on_disk=on_disk)
                    ways.append((cost, Layout(plan, tile, on_disk and kept > 0, needed, seconds)))
            if tile >= max(size):
                break
    return [layout for _, layout in sorted(ways, key=lambda way: way[0])]


def choose_layout(ways: list[Layout], size: Size, available: int, budget: int | None) -> Layout:
    """Return the fastest way that fits; raises `UserError`, which names the least memory that does, where none does."""
    for layout in ways:
        if layout.memory <= available:
            return layout
    least = min(layout.memory for layout in ways)
    if budget is None:
        rest = f"{megabytes(max(available, 0))} are left. Free some."
    else:
        taken = budget - available
        enough = -(-(least + taken) // _ROUNDED) * _ROUNDED
        rest = (
            f"the program and the image take {megabytes(taken)}. Give at least {option('memory', megabytes(enough))}."
        )
    raise UserError(
        f"there is not enough memory to translate {size[0]} x {size[1]} pixels (height x width) by tiles: they need "
        f"{megabytes(least)}, and {rest}"
    )


def _free_on(device: torch.device) -> int:
    if device.type != "cuda":
        return free_memory()
    free: int = torch.cuda.mem_get_info(device)[0]
    return int(free * _SHARE)


def _padded(read: ReadWindow, size: Size, dtype: torch.dtype) -> Callable[[Spans], Tensor]:
    """Return what reads a part of the image padded by reflection at the bottom and on the right, as `pad_to` does."""

    def positions(span: tuple[int, int], length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        wave = np.arange(*span) % max(2 * (length - 1), 1)
        return np.where(wave < length, wave, 2 * (length - 1) - wave)

    def part(spans: Spans) -> Tensor:
        rows, columns = (positions(span, length) for span, length in zip(spans, size, strict=True))
        top, left = int(rows.min()), int(columns.min())
        image = read(Box(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1))
        if any(span[1] > length for span, length in zip(spans, size, strict=True)):
            image = image[rows - top][:, columns - left]
        # A copy, since operations may work in place.
        return torch.from_numpy(np.array(image, np.float32, order="C")).permute(2, 0, 1)[None].to(dtype)

    return part


def _with_fields(read: Callable[[Spans], Tensor], engine: TorchEngine) -> Callable[[Spans], Tensor]:
    """Return what reads a part of the image with what the network sees beside it, see `Generator.fields`."""

    def part(spans: Spans) -> Tensor:
        image = read(spans)
        fields = engine.network.fields(*(torch.arange(*span, device=engine.device) for span in spans))
        return torch.cat([image, fields[None].to(image)], 1) if len(fields) else image

    return part


def _cut(write: WriteWindow, size: Size) -> Callable[[Spans, Tensor], None]:
    def part(spans: Spans, made: Tensor) -> None:
        height, width = (min(span[1], length) - span[0] for span, length in zip(spans, size, strict=True))
        if not bool(made.isfinite().all()):
            raise NotFiniteStatistics
        if height > 0 and width > 0:
            values = made[0, :, :height, :width].permute(1, 2, 0).float().cpu().numpy()
            write(Box(spans[0][0], spans[1][0], height, width), values)

    return part
