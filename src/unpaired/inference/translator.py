"""A trained model as a function from image to image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, final, get_args, overload

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.checkpoint import CARD, DamagedError, ModelCard, find_model, read_card, read_tensors
from unpaired.device import find_device
from unpaired.errors import UserError, did_you_mean
from unpaired.inference.conversion import (
    Signed,
    accepted_types,
    array_from_signed,
    pil_from_signed,
    signed_from_array,
    signed_from_pil,
)
from unpaired.inference.padding import crop_back, pad_to, padded_size
from unpaired.networks import Generator, generator_from_description

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DIRECTIONS = ("a2b", "b2a")
_PIXELS_PER_BATCH = 1 << 22
"""Images of a list are translated together up to this many pixels; a larger image goes alone."""
_IMAGES_PER_BATCH = 8
_SIGNED_SLACK = 1e-3
"""Tensor values this far outside [-1, 1] are taken for rounding."""


@final
class Translator:
    """Translates images in one direction; made by `Translator.load`.

    Calling it with a PIL image, a numpy array, a tensor or a list of these returns the same kind, of the same size.
    """

    direction: str
    """`a2b` or `b2a`."""
    card: ModelCard
    """What the model says of itself."""
    network: Generator
    """The network in evaluation mode, on `device`."""
    device: torch.device
    """Where the network computes."""
    notices: list[str]
    """What a person should know, such as a damaged checkpoint that was passed over; usually empty."""

    def __init__(
        self,
        network: Generator,
        card: ModelCard,
        direction: str,
        *,
        device: str | torch.device = "auto",
        precision: Precision = "fp32",
        notices: Sequence[str] = (),
    ) -> None:
        """Wrap a network that is at hand; it is moved to `device` and put into evaluation mode."""
        if precision not in get_args(Precision):
            raise UserError(
                f'there is no precision "{precision}"; choose one of {", ".join(get_args(Precision))}.'
                f"{did_you_mean(str(precision), get_args(Precision))}"
            )
        self.direction, self.card, self.notices = direction, card, list(notices)
        self.source, self.target = card.domains_of(direction)
        self.device = find_device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self._reduced = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)

    @classmethod
    def load(
        cls,
        model: str | Path,
        direction: str | None = None,
        *,
        device: str | torch.device = "auto",
        precision: Precision = "fp32",
    ) -> Translator:
        """Return the translator that a run, a checkpoint or a model folder holds.

        `direction` may be left out: `a2b`, or the only one there is. `device` is `auto` (CUDA, else MPS, else CPU) or
        a name that PyTorch knows; `precision` is `fp32`, `bf16`, `fp16` or `auto` (which is fp32 for now). Raises
        `UserError` where there is no such model or direction, `DamagedError` where its files are not intact.
        """
        folder, notices = find_model(model)
        card = read_card(folder)
        chosen = _choose_direction(folder, card, direction)
        network = _load_network(folder, card, chosen)
        return cls(network, card, chosen, device=device, precision=precision, notices=notices)

    @overload
    def __call__(self, image: PIL.Image.Image) -> PIL.Image.Image: ...
    @overload
    def __call__(self, image: NDArray[Any]) -> NDArray[Any]: ...
    @overload
    def __call__(self, image: Tensor) -> Tensor: ...
    @overload
    def __call__(self, image: list[PIL.Image.Image]) -> list[PIL.Image.Image]: ...
    @overload
    def __call__(self, image: list[NDArray[Any]]) -> list[NDArray[Any]]: ...
    @overload
    def __call__(self, image: list[Tensor]) -> list[Tensor]: ...
    @overload
    def __call__(self, image: list[Any]) -> list[Any]: ...

    def __call__(self, image: Any) -> Any:
        """Translate an image, or each image of a list; the result has the kind, the height and the width of the input.

        - PIL image of any mode: decoded like a file (palette, alpha, CMYK, EXIF orientation), see `from_pil`; the
          result is described at `pil_from_signed`.
        - numpy array [H, W, C] or [H, W]: values by the declared range of the source domain, else by dtype; dtype,
          values and dimensions of the result are described at `array_from_signed`.
        - tensor [N, C, H, W] in [-1, 1], floating point: dtype and device are kept, no gradient is recorded.

        Grey becomes RGB where the network wants three channels, and colour becomes grey where it wants one; never for
        tensors. Raises `UserError` for anything else.
        """
        if isinstance(image, list | tuple):
            return self._translate_list(list(image))
        if isinstance(image, Tensor):
            return self.translate_tensor(self._checked(image))
        return self._finish(image, self.translate_signed([self._start(image)])[0])

    def translate_tensor(self, images: Tensor) -> Tensor:
        """Translate [N, C, H, W] in [-1, 1] to [N, C', H, W] in [-1, 1] on the same device, of the same dtype.

        Any size from 1 x 1 up: padded by reflection to what the network accepts, and cropped back. The values are not
        checked.
        """
        with torch.inference_mode(), self._autocast():
            moved = images.to(self.device, torch.float32)
            padded, size = pad_to(moved, self.network.size_multiple, self.network.minimum_size)
            translated = crop_back(self.network(padded), size)
        # A copy made outside of inference mode is an ordinary tensor, which a later computation may differentiate.
        return translated.to(images.device, images.dtype, copy=True, memory_format=torch.contiguous_format)

    def translate_signed(self, images: Sequence[Signed]) -> list[Signed]:
        """Translate arrays [H, W, C] in [-1, 1] in one call; all must have the same `padded_size`."""
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        tensors = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None] for image in images]
        if len(set(sizes)) > 1:
            tensors = [pad_to(t, self.network.size_multiple, self.network.minimum_size)[0] for t in tensors]
        translated = self.translate_tensor(torch.cat(tensors) if len(tensors) > 1 else tensors[0])
        pixels: NDArray[np.float32] = translated.permute(0, 2, 3, 1).numpy()
        return [result[:height, :width] for result, (height, width) in zip(pixels, sizes, strict=True)]

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which the network sees an image of `height` x `width`."""
        return padded_size(height, width, self.network.size_multiple, self.network.minimum_size)

    # ------------------------------------------------------------------------------------------------------- details

    def _autocast(self) -> AbstractContextManager[object]:
        if self._reduced is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._reduced)

    def _start(self, image: Any) -> Signed:
        if isinstance(image, PIL.Image.Image):
            return signed_from_pil(image, self.source)
        if isinstance(image, np.ndarray):
            return signed_from_array(image, self.source)
        raise UserError(f"cannot translate an object of type {type(image).__name__}. {accepted_types()}")

    def _finish(self, image: Any, signed: Signed) -> Any:
        if isinstance(image, PIL.Image.Image):
            return pil_from_signed(signed, self.target, image.mode)
        return array_from_signed(signed, self.target, image)

    def _checked(self, images: Tensor) -> Tensor:
        channels = self.source.channels
        if images.ndim != 4 or images.shape[1] != channels:
            raise UserError(
                f"a tensor for this model has shape [N, {channels}, H, W]; received {list(images.shape)}. "
                "Channels of tensors are not converted."
            )
        if not images.is_floating_point():
            raise UserError(
                f"a tensor holds floating-point values in [-1, 1]; received {images.dtype}. "
                "Scale it (images / 127.5 - 1 for 8 bit), or pass a numpy array H x W x C."
            )
        if images.numel() and not (largest := float(images.detach().abs().amax())) <= 1 + _SIGNED_SLACK:
            raise UserError(
                f"values of a tensor lie in [-1, 1]; received an absolute value of {largest:.6g}. Scale or clamp them."
            )
        return images.detach()

    def _translate_list(self, images: list[Any]) -> list[Any]:
        results: list[Any] = [None] * len(images)
        arrays = [index for index, image in enumerate(images) if not isinstance(image, Tensor)]
        for index, image in enumerate(images):
            if isinstance(image, Tensor):
                results[index] = self.translate_tensor(self._checked(image))
        for group in self._groups([(index, self._start(images[index])) for index in arrays]):
            translated = self.translate_signed([signed for _, signed in group])
            for (index, _), signed in zip(group, translated, strict=True):
                results[index] = self._finish(images[index], signed)
        return results

    def _groups(self, images: list[tuple[int, Signed]]) -> Iterator[list[tuple[int, Signed]]]:
        by_size: dict[tuple[int, int], list[tuple[int, Signed]]] = {}
        for index, signed in images:
            by_size.setdefault(self.padded_size(signed.shape[0], signed.shape[1]), []).append((index, signed))
        for (height, width), members in by_size.items():
            step = images_per_batch(height, width, _IMAGES_PER_BATCH)
            for start in range(0, len(members), step):
                yield members[start : start + step]


def images_per_batch(height: int, width: int, at_most: int) -> int:
    """Return how many images of a (padded) size are translated in one call: large ones go alone."""
    return max(1, min(at_most, _PIXELS_PER_BATCH // (height * width)))


def _choose_direction(folder: Path, card: ModelCard, direction: str | None) -> str:
    there = [name for name in DIRECTIONS if name in card.translators]
    if not there or len(there) != len(card.translators) or not {"a", "b"} <= set(card.domains):
        raise DamagedError(
            f"{folder} is damaged: {CARD} names the directions {sorted(card.translators)} and the domains "
            f"{sorted(card.domains)}; a model has a2b, b2a or both, between the domains a and b."
        )
    if direction is None:
        return there[0]
    if direction not in there:
        raise UserError(
            f'{folder} has no direction "{direction}"; it has {" and ".join(there)}.{did_you_mean(direction, there)}'
        )
    return direction


def _load_network(folder: Path, card: ModelCard, direction: str) -> Generator:
    """Build the network that the card describes and give it the stored weights, every one of them checked."""
    described = card.translators[direction]
    # Built without memory: a description of absurd size costs nothing, no weight is drawn only to be replaced, and the
    # caller's random state stays untouched.
    with torch.device("meta"):
        network = generator_from_description(described.network)
    source, target = card.domains_of(direction)
    if (network.in_channels, network.out_channels) != (source.channels, target.channels):
        raise DamagedError(
            f"{folder} is damaged: the network of {direction} goes from {network.in_channels} to "
            f"{network.out_channels} channels, its domains from {source.channels} to {target.channels}."
        )
    weights = read_tensors(folder, described.weights)
    whole = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    try:
        network.load_state_dict(whole, strict=True, assign=True)
    except RuntimeError as error:
        raise DamagedError(
            f"{folder} is damaged: {described.weights} does not fit the network that {CARD} describes. {error}"
        ) from error
    return network
