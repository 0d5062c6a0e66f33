"""The history of generated images (section 4 of Zhu et al. 2017, after Shrivastava et al. 2017).

A pool stores what it is given until it is full. From then on, with probability 1/2, it hands out a stored image and
stores the fresh one in its place, and otherwise hands the fresh one through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from unpaired.core.errors import UserError


def image_pool(size: int, channels: int, image_size: tuple[int, int] | None) -> ImagePool | RaggedImagePool:
    """Return a pool of `size` images of so many channels and (height, width), or of any shapes where it is None."""
    return RaggedImagePool(size) if image_size is None else ImagePool(size, (channels, *image_size))


@final
class ImagePool(nn.Module):
    """A pool of `size` images of one shape (C, H, W), kept in a buffer on the device.

    All that it does are operations on the device, with random numbers of the device's default generator: it can be
    recorded in a CUDA graph. It draws the same amount of them in every call, full or not.
    """

    images: Tensor
    """The stored images, [size, C, H, W] in float32; the first `count` of them are filled."""
    count: Tensor
    """How many images are stored, a scalar of int64."""

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        assert size >= 0, size
        self.size = size
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def clear(self) -> None:
        """Forget all images."""
        self.images.zero_()
        self.count.zero_()

    @torch.no_grad()
    def forward(self, fresh: Tensor) -> Tensor:
        """Exchange fresh images, one after the other: [N, C, H, W] to [N, C, H, W] of the same type, detached."""
        if self.size == 0:
            return fresh.detach()
        assert fresh.shape[1:] == self.images.shape[1:], (fresh.shape, self.images.shape)
        swaps, places = _draw(len(fresh), self.size, fresh.device)
        one_by_one = zip(fresh.unsqueeze(1).unbind(), swaps.unbind(), places.unsqueeze(1).unbind(), strict=True)
        return torch.cat([self._exchange(image, swap, place) for image, swap, place in one_by_one])

    def _exchange(self, fresh: Tensor, swap: Tensor, place: Tensor) -> Tensor:
        full = self.count >= self.size
        place = torch.where(full, place, self.count)
        stored = self.images.index_select(0, place)
        incoming = fresh.to(self.images.dtype)
        self.images.index_copy_(0, place, torch.where(full & ~swap, stored, incoming))
        self.count.add_(~full)
        return torch.where(full & swap, stored.to(fresh.dtype), fresh)


@final
class RaggedImagePool(nn.Module):
    """A pool of `size` images that keep sizes of their own; the same images as `ImagePool` for the same random numbers.

    It decides on the host, so it cannot be recorded in a CUDA graph.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        assert size >= 0, size
        self.size = size
        self.images: list[Tensor] = []
        """The stored images, each [1, C, H, W] in float32."""

    def clear(self) -> None:
        """Forget all images."""
        self.images = []

    @torch.no_grad()
    def forward(self, fresh: Tensor) -> Tensor:
        """Exchange fresh images, one after the other: [N, C, H, W] to [N, C, H', W'] of the same type, detached.

        Raises UserError where the images to return have different sizes, which takes more than one of them.
        """
        if self.size == 0:
            return fresh.detach()
        swaps, places = _draw(len(fresh), self.size, fresh.device)
        decisions = zip(fresh.unsqueeze(1).unbind(), swaps.tolist(), places.tolist(), strict=True)
        chosen = [self._exchange(image, swap, place).to(fresh) for image, swap, place in decisions]
        if any(image.shape != chosen[0].shape for image in chosen):
            raise UserError(
                "The pool holds images of different sizes, which do not fit into one batch of "
                f"{len(fresh)}. Set batch_size to 1, choose a preprocess that gives all images one size, or set "
                "pool_size to 0."
            )
        return torch.cat(chosen)

    def _exchange(self, fresh: Tensor, swap: bool, place: int) -> Tensor:
        kept = fresh.detach().to(torch.float32, copy=True)
        if len(self.images) < self.size:
            self.images.append(kept)
            return fresh
        if not swap:
            return fresh
        stored, self.images[place] = self.images[place], kept
        return stored

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RaggedImagePool:
        self.images = [fn(image) for image in self.images]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination.update({f"{prefix}images.{index}": image for index, image in enumerate(self.images)})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        _, _, missing_keys, unexpected_keys, _ = rest
        keys = {key for key in state_dict if key.startswith(prefix)}
        names = [f"{prefix}images.{index}" for index in range(min(len(keys), self.size))]
        missing_keys.extend(name for name in names if name not in keys)
        unexpected_keys.extend(sorted(keys - set(names)))
        if keys == set(names):
            self.images = [state_dict[name].detach().clone() for name in names]


def _draw(number: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw for each image whether a full pool exchanges it, and in which place: [number] of bool and of int64."""
    swaps = torch.rand(number, device=device) > 0.5
    places = torch.randint(size, (number,), device=device)
    return swaps, places
