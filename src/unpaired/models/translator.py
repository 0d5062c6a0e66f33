"""A trained model as a function from image to image."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final, overload

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.core.extensions import allow_extensions
from unpaired.core.memory import means_out_of_memory, read_memory
from unpaired.data.directions import heading
from unpaired.data.values import Image, Signed, filled, to_signed
from unpaired.models.conversion import (
    accepted_types,
    array_from_signed,
    pil_from_signed,
    signed_from_array,
    signed_from_pil,
)
from unpaired.models.engines import EngineChoice, Precision
from unpaired.models.engines.choice import Job, open_engine
from unpaired.models.exactness import Exactness
from unpaired.models.folder import ModelCard, checkpoint_title
from unpaired.models.loading import load_generator
from unpaired.models.named import HUB, is_model_name
from unpaired.models.padding import pad_to, padded_size
from unpaired.models.saving import save_model, save_network
from unpaired.models.sizing import Sizing, TranslationSize, choose_sizing
from unpaired.models.tiling.tiler import Tiler
from unpaired.models.translation import Translation
from unpaired.models.volume import Spacing, translate_volume
from unpaired.networks import Generator, Search, describe_generator

_PIXELS_PER_BATCH = 1 << 22
"""Images of a list are translated together up to this many pixels; a larger image goes alone."""
IMAGES_PER_BATCH = 8
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
    """The network in float32 and evaluation mode, on the CPU."""
    device: torch.device
    """Where the engine computes."""
    sizing: Sizing
    """At which size the network sees an image."""
    folder: Path | None
    """The model folder that was loaded; None for a network that was given."""
    notices: list[str]
    """What a person should know: a damaged checkpoint that was passed over, another precision; usually empty."""

    def __init__(
        self,
        network: Generator,
        card: ModelCard,
        direction: str,
        *,
        device: str | torch.device = "auto",
        engine: EngineChoice = "auto",
        precision: Precision = "fp32",
        images: int | None = None,
        fine: bool | None = None,
        fingerprint: str | None = None,
        notices: Sequence[str] = (),
        folder: Path | None = None,
        size: TranslationSize | str | None = None,
        detail: bool | None = None,
        memory: int | str | None = None,
    ) -> None:
        """Wrap a network that is at hand; it is moved to the CPU and put into evaluation mode.

        The settings are those of `load`; `fingerprint` identifies the network among all others, so that what is
        measured or made of it can be kept.
        """
        self.direction, self.card, self.folder = direction, card, folder
        self._fingerprint = fingerprint
        self.source, self.target = card.domains_of(direction)
        self.network = network.cpu().eval().requires_grad_(False)
        self.sizing = choose_sizing(card, direction, size=size, detail=detail, searches=network.is_search)
        job = Job(
            network=self.network,
            device=device,
            engine=engine,
            precision=precision,
            fine=self.target.dtype != "uint8" if fine is None else fine,
            fingerprint=fingerprint,
            images=images,
        )
        self.engine, self._exactness = open_engine(job)
        self.device = self.engine.device
        self._digest = fingerprint
        self.tiler = Tiler(self.engine, self.network, None if memory is None else read_memory(memory))
        self.notices = self.engine.notices = [*notices, *self.engine.notices]  # one list: the engine may add to it

    @classmethod
    def load(
        cls,
        model: str | Path,
        direction: str | None = None,
        *,
        checkpoint: str | int | None = None,
        device: str | torch.device = "auto",
        engine: EngineChoice = "auto",
        precision: Precision = "fp32",
        images: int | None = None,
        fine: bool | None = None,
        size: TranslationSize | str | None = None,
        detail: bool | None = None,
        memory: int | str | None = None,
        steps: int | None = None,
        seed: int | None = None,
        extensions: Sequence[str] = (),
    ) -> Translator:
        """Return the translator that a run, a checkpoint or a model folder holds.

        - `direction` is `a2b`, `b2a`, `AtoB`, `BtoA` or, by the domains' names, such as `horse2zebra`; it may be left
          out: `a2b`, or the only one there is.
        - `checkpoint` of a run: `best`, `last` or a number of images; by default the best, or else the newest.
        - `device` is `auto` (CUDA, else MPS, else CPU) or a name that PyTorch knows.
        - `engine` is `torch`, `torch-winograd`, `torch-compile`, `auto`, `onnxruntime` or `openvino`. The last two
          compute on the CPU and want a graph, which is made once per model and kept in the user's cache.
        - `precision` is `fp32`, `bf16`, `fp16` or `auto`: bf16 where the device has instructions for it and its results
          for this model are within 40 dB of float32, measured once; else fp32.
        - `images` is how many will be translated, where known: `auto` takes an engine that is slow to start for many
          only.
        - `fine` says that results are kept in more than 8 bits per value; then `auto` computes in float32. By default
          so are those of a target domain of more than 8 bits.
        - `size` is the size at which the network sees an image, whose translation always has the image's own:
          `trained` as in training (the default where the model knows it), `native`, or pixels of the shorter side.
        - `detail` says how the translation returns to the image's own size: the change is resized and added to the
          image, which keeps its detail (the default for pictures of the same channels), or the translation is resized.
        - `memory` is what the process may take, in bytes or such as `4GB`: an image that needs more is translated by
          tiles, with the same result. By default what is free.
        - `steps` is how many steps of its bridge a model of several takes (UNSB), and `seed` that of their noise.
        - `extensions` are the user's own parts that the model needs, `package.module:Name`: what only a model names is
          not imported.

        Raises `UserError` where there is no such model or direction, or the engine cannot do what is asked;
        `DamagedError` where the model's files are not intact.
        """
        allow_extensions(extensions)
        loaded = load_generator(model, direction, checkpoint=checkpoint, steps=steps, seed=seed)
        return cls(
            loaded.network,
            loaded.card,
            loaded.direction,
            device=device,
            engine=engine,
            precision=precision,
            images=images,
            fine=fine,
            fingerprint=loaded.fingerprint,
            notices=loaded.notices,
            folder=loaded.folder,
            size=size,
            detail=detail,
            memory=memory,
        )

    @classmethod
    def from_pretrained(
        cls, name: str | Path, direction: str | None = None, *, revision: str | None = None, **options: Any
    ) -> Translator:
        """Return a translator of the Hugging Face hub (`user/name`), or of any other model that `load` takes.

        `revision` is a branch, a tag or a commit; `options` are those of `load`. The commit is reported. A folder of
        that name comes first; only JSON and safetensors are fetched, and nothing in them is run. Raises `UserError`.
        """
        if Path(name).exists() or is_model_name(name):
            if revision is not None:
                name = f"{name}@{revision}" if str(name).startswith(HUB) else name
            return cls.load(name, direction, **options)
        from unpaired.models.hub import pull

        return cls.load(pull(str(name), revision), direction, **options)

    def save_pretrained(self, folder: str | Path, *, licence: str | None = None) -> Path:
        """Write the model into a new folder with a model card (README.md), as `from_pretrained` and the hub take it.

        All directions of the model that was loaded, this one with its `steps` and `seed`; of a given network this one.
        """
        out = Path(folder)
        if self.folder is not None:
            # Another seed has drawn another noise, which is stored with the weights.
            own = {self.direction: self.network.state_dict()} if "noise" in self.network.takes else {}
            save_model(self.folder, out, licence=licence, card=self.card, states=own)
            return out
        save_network(self.network, self.card, self.direction, out, licence=licence)
        return out

    def __repr__(self) -> str:
        trained = f", {self.card.method}" if self.card.method else ""
        return f"<Translator {self.heading}{trained}; {self.engine} on {self.device}>"

    @property
    def level(self) -> int:
        """Which of the resolutions that files hold the model was trained on, the full one first."""
        return 0 if self.card.scale is None else self.card.scale.level

    @property
    def heading(self) -> str:
        """What it does, in the domains' names: `horse to zebra`, or `A to B`."""
        return heading(self.direction, self.card.domains)

    @property
    def exactness(self) -> Exactness:
        """How far results lie from float32 PyTorch for this model: measured once on fixed pictures and remembered.

        Raises `UserError` for a search on another device than the CPU, which has nothing to be compared with.
        """
        return self._exactness()

    @property
    def digest(self) -> str:
        """What tells this network from all others: a checksum of its description and weights."""
        if self._digest is None:
            digest = hashlib.sha256(json.dumps(describe_generator(self.network), sort_keys=True, default=str).encode())
            for name, value in self.network.state_dict().items():
                digest.update(name.encode() + value.contiguous().numpy().tobytes())
            self._digest = digest.hexdigest()
        return self._digest

    @property
    def search(self) -> Search | None:
        """The search that translates, for models that do so (CoGAN); None for all others.

        After a call its `last_errors` hold what the search left over, one entry for each image of the last batch; a
        list of images of different sizes makes several batches. `progress` may be set to a function that is called
        with how far the search is, and `generate` returns generated pairs.
        """
        return self.engine.search

    @property
    def title(self) -> str:
        """Name the model for people: `best checkpoint (12,000 images)`."""
        return self.card.origin if self.folder is None else checkpoint_title(self.folder, self.card)

    @property
    def made_by(self) -> str:
        """What translations say of their origin: the direction, the checkpoint and a digest of the weights."""
        weights = f", weights {self._fingerprint[:16]}" if self._fingerprint else ""
        return f"{self.heading}, {self.title}{weights}"

    def describe_engine(self) -> str:
        """Return one line: the engine, its arithmetic, and how far its results lie from float32 PyTorch."""
        return f"{self.engine}; {self.exactness if self.search is None else self.search.summary}"

    @overload
    def __call__(self, image: PIL.Image.Image) -> PIL.Image.Image: ...
    @overload
    def __call__(self, image: NDArray[Any], *, spacing: Spacing | None = None) -> NDArray[Any]: ...
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

    def __call__(self, image: Any, *, spacing: Spacing | None = None) -> Any:
        """Translate an image, or each image of a list; the result has the kind, the height and the width of the input.

        - PIL image of any mode: decoded like a file (palette, alpha, CMYK, EXIF orientation), see `from_pil`; the
          result is described at `pil_from_signed`.
        - numpy array [H, W, C] or [H, W]: values by the declared range of the source domain, else by dtype; dtype,
          values and dimensions of the result are described at `array_from_signed`.
        - tensor [N, C, H, W] in [-1, 1], floating point: dtype and device are kept, no gradient is recorded.
        - numpy array [D, H, W] with its `spacing` (between slices, down, across) in millimetres: a volume, whose slices
          are translated in their order, at the spacing of training where that is known and images kept their own size;
          of models that see neighbouring slices the translations of all slabs are averaged.
        - label maps, for models that translate from or into them: see `signed_from_label_array`, `label_array` and
          `label_picture`. Tensors are what the network sees and makes, also then.

        Grey becomes RGB where the network wants three channels, and colour becomes grey where it wants one; never for
        tensors. Raises `UserError` for anything else.
        """
        if spacing is not None:
            return translate_volume(self, np.asarray(image), spacing)
        if isinstance(image, list | tuple):
            return self._translate_list(list(image))
        if isinstance(image, Tensor):
            return self.translate_tensor(self._checked(image))
        return self._finish(image, self.translate_values([self._start(image)])[0])

    def translate_tensor(self, images: Tensor) -> Tensor:
        """Translate [N, C, H, W] in [-1, 1] to [N, C', H, W] in [-1, 1] on the same device, of the same dtype.

        Any size from 1 x 1 up: resized as `size` says, padded by reflection to what the network accepts, and back. The
        values are not checked.
        """
        if images.shape[-1] == 0 or images.shape[-2] == 0:
            raise UserError(f"an image of shape {list(images.shape[-2:])} has no pixels: nothing can be translated.")
        if images.shape[0] == 0:
            return images.new_empty((0, self.target.channels, *images.shape[-2:]))
        height, width = images.shape[-2:]
        if self.sizing.seen(height, width) == (height, width):
            translated = self._compute(images)
        else:
            values = images.detach().float().permute(0, 2, 3, 1).cpu().numpy()
            made = np.stack([one.values for one in self.translate_values([*values])])
            translated = torch.from_numpy(made).permute(0, 3, 1, 2)
        # A copy made outside of inference mode is an ordinary tensor, which a later computation may differentiate.
        return translated.to(images.device, images.dtype, copy=True, memory_format=torch.contiguous_format)

    def translate_images(self, images: Sequence[Image], batch_size: int = IMAGES_PER_BATCH) -> list[Translation]:
        """Translate images as sources give them: [H, W, C] of the source domain, in its own type and of any sizes.

        The one way from an image to what is measured, shown and written; `translate_values` is the other half of it.
        """
        return self.translate_values([to_signed(image, self.source.range) for image in images], batch_size)

    def translate_values(self, values: Sequence[Signed], batch_size: int = IMAGES_PER_BATCH) -> list[Translation]:
        """Translate arrays [H, W, C] in [-1, 1] of any sizes; for reconstructions, of `Translation.values`.

        Those that the network sees at the same size go together, at most `batch_size` at once. Pixels without a value,
        NaN, are the low end of the range for the network; `Translation.missing` says where they are.
        """
        seen_as = [filled(image) for image in values]
        values = [image for image, _ in seen_as]
        results: list[Translation | None] = [None] * len(values)
        for numbers in self._groups(values, batch_size):
            seen = [self.sizing.shrink(values[number]) for number in numbers]
            for number, image, translated in zip(numbers, seen, self._translate(seen), strict=True):
                made = self.sizing.restore(translated, image, values[number])
                results[number] = Translation(made, self.target, seen_as[number][1])
        return [result for result in results if result is not None]

    def at_size(self, size: TranslationSize | str, detail: bool | None = None) -> Translator:
        """Return a translator of the same network that sees images at another size; `size` and `detail` as in `load`.

        Raises `UserError` where that cannot be.
        """
        other = copy.copy(self)
        searches = self.network.is_search
        other.sizing = choose_sizing(self.card, self.direction, size=size, detail=detail, searches=searches)
        return other

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which the network sees an image of `height` x `width`, with its padding."""
        return padded_size(*self.sizing.seen(height, width), self.network.size_multiple, self.network.minimum_size)

    # ------------------------------------------------------------------------------------------------------- details

    def _start(self, image: Any) -> Signed:
        if isinstance(image, PIL.Image.Image):
            return signed_from_pil(image, self.source)
        if isinstance(image, np.ndarray):
            return signed_from_array(image, self.source)
        raise UserError(f"cannot translate an object of type {type(image).__name__}. {accepted_types()}")

    def _finish(self, image: Any, translation: Translation) -> Any:
        if isinstance(image, PIL.Image.Image):
            return pil_from_signed(translation.values, self.target, image)
        return array_from_signed(translation.values, self.target, image, translation.missing)

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
        translations = self.translate_values([self._start(images[index]) for index in arrays])
        for index, translation in zip(arrays, translations, strict=True):
            results[index] = self._finish(images[index], translation)
        return results

    def _groups(self, images: Sequence[Signed], at_most: int) -> Iterator[list[int]]:
        by_size: dict[tuple[int, int], list[int]] = {}
        for number, image in enumerate(images):
            by_size.setdefault(self.padded_size(image.shape[0], image.shape[1]), []).append(number)
        for (height, width), numbers in by_size.items():
            step = images_per_batch(height, width, at_most)
            for start in range(0, len(numbers), step):
                yield numbers[start : start + step]

    def _translate(self, images: Sequence[Signed]) -> list[Signed]:
        """Return what the network makes of arrays [H, W, C] in [-1, 1] that have one size when they are padded."""
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        if len(images) == 1 and self.tiler.is_needed(*self.padded_size(*sizes[0])):
            return [self.tiler.array(images[0])]
        tensors = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None] for image in images]
        if len(set(sizes)) > 1:
            tensors = [pad_to(t, self.network.size_multiple, self.network.minimum_size)[0] for t in tensors]
        translated = self._compute(torch.cat(tensors) if len(tensors) > 1 else tensors[0])
        pixels: Signed = translated.permute(0, 2, 3, 1).cpu().numpy()
        return [result[:height, :width] for result, (height, width) in zip(pixels, sizes, strict=True)]

    def _compute(self, images: Tensor) -> Tensor:
        """Return what the network makes of [N, C, H, W]: by tiles where the memory does not suffice for the whole."""
        count, (height, width) = len(images), images.shape[-2:]
        if not self.tiler.is_needed(*self.padded_size(height, width), count):
            try:
                return self.engine.translate(images)
            except (RuntimeError, MemoryError) as error:
                if not means_out_of_memory(error) or count > 1 or self.search is not None:
                    raise
        arrays = images.detach().float().permute(0, 2, 3, 1).cpu().numpy()
        return torch.from_numpy(np.stack([self.tiler.array(image) for image in arrays])).permute(0, 3, 1, 2)


def images_per_batch(height: int, width: int, at_most: int) -> int:
    """Return how many images of a (padded) size are translated in one call: large ones go alone."""
    return max(1, min(at_most, _PIXELS_PER_BATCH // (height * width)))
