"""Which images are translated by tiles, and how: the memory there is decides."""

from __future__ import annotations

import math
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
from unpaired.models.tiling.plan import Plan, plans, working_numbers
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
_LARGEST_TILE, _SMALLEST_TILE, _COMFORTABLE_TILE = 1024, 32, 192
_ITEM = 4
"""Bytes of a number while it is computed: norms are computed in float32."""
_BORDER = 32
"""Pixels around a tile that are computed for its neighbours too, about."""


class Layout(NamedTuple):
    """How an image is translated."""

    plan: Plan
    tile: int
    """Height and width of a tile."""
    on_disk: bool
    """Whether what is kept between passes lies in files."""
    kept_bytes: int


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
        """Bytes that a translation may take now."""
        if self.budget is not None:
            return max(self.budget - used_memory(), 0)
        return int(free_memory() * _SHARE)

    def is_needed(self, height: int, width: int, count: int = 1) -> bool:
        """Return whether a batch of images of this (padded) size needs tiles, and can be cut into them."""
        pixels = height * width * count
        if self._original.is_search or pixels <= (_SMALL if self.budget is None else _SMALL >> 3):
            return False
        device = self._engine.device
        network = self._network()
        if isinstance(network, NotLocalError):
            return False
        needed = working_numbers(network, (height, width)) * pixels * _ITEM
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
        self, read: ReadWindow, write: WriteWindow, size: Size, *, folder: Path | None = None, key: str = ""
    ) -> None:
        """Translate an image of (height, width) that is read and written by parts.

        In an existing `folder` a translation that was interrupted resumes where it was, if `key` is the same; what is
        kept between passes lies there. Raises `UserError` where the memory or the disk does not suffice, or a result
        is not finite.
        """
        self.require()
        while True:
            engine, network, _ = self._opened()
            assert isinstance(network, Network)
            try:
                self._run(engine, network, read, write, size, folder, key)
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

        self.translate(read, write, (height, width))
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
    ) -> None:
        padded = padded_size(*size, network.multiple, network.minimum)
        layout = choose_layout(network, padded, self.available, engine, folder)
        with tempfile.TemporaryDirectory(prefix="unpaired-") as own:
            place = folder or (Path(own) if layout.on_disk else None)
            run = TiledRun(
                network,
                layout.plan,
                padded,
                (layout.tile, layout.tile),
                device=engine.device,
                dtype=engine.dtype,
                folder=place,
                key=key,
                progress=self.progress,
            )
            with torch.inference_mode():
                run.translate(_padded(read, size, engine.dtype), _cut(write, size))


def choose_layout(network: Network, size: Size, available: int, engine: TorchEngine, folder: Path | None) -> Layout:
    """Return the fastest way that fits: what is kept lies in memory, or in files of `folder` or of the system's own.

    Raises `UserError` where none does.
    """
    pixels = size[0] * size[1]
    disk = shutil.disk_usage(folder or tempfile.gettempdir()).free * 0.6
    ways: list[tuple[float, Layout]] = []
    for plan in plans(network, size):
        kept = int(plan.kept * pixels * engine.dtype.itemsize)
        for on_disk in (False, True) if folder is None else (True,):  # or nothing could go on later
            room = available - (0 if on_disk else 2 * kept)  # what is new is there before the old is forgotten
            tile = _tile(plan, room if engine.device.type == "cpu" else min(room, _free_on(engine.device)))
            if tile >= _SMALLEST_TILE and (not on_disk or kept < disk):
                cost = plan.cost(engine.dtype.itemsize, on_disk=on_disk) * (1 if tile >= _COMFORTABLE_TILE else 3)
                ways.append((cost, Layout(plan, tile, on_disk and kept > 0, kept)))
    if not ways:
        least = min(plan.working for plan in plans(network, size)) * (_SMALLEST_TILE + _BORDER) ** 2 * _ITEM
        raise UserError(
            f"there is not enough memory to translate {size[0]} x {size[1]} pixels (height x width) by tiles: "
            f"{megabytes(available)} are left and {megabytes(int(1.3 * least))} are needed. Give more with "
            f"{option('memory')}."
        )
    return min(ways, key=lambda way: way[0])[1]


def _tile(plan: Plan, room: int) -> int:
    """Return the side of the largest tile that fits into so many bytes; 0 where none does."""
    side = math.isqrt(max(int(0.8 * room / (plan.working * _ITEM)), 0)) - _BORDER
    return min(side // 32 * 32, _LARGEST_TILE) if side > 0 else 0


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


def _cut(write: WriteWindow, size: Size) -> Callable[[Spans, Tensor], None]:
    def part(spans: Spans, made: Tensor) -> None:
        height, width = (min(span[1], length) - span[0] for span, length in zip(spans, size, strict=True))
        if not bool(made.isfinite().all()):
            raise NotFiniteStatistics
        if height > 0 and width > 0:
            values = made[0, :, :height, :width].permute(1, 2, 0).float().cpu().numpy()
            write(Box(spans[0][0], spans[1][0], height, width), values)

    return part
