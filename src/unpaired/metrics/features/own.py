"""Features of networks that the user brings: a program of torch.export, or something that Python code returns."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.core.extensions import import_name
from unpaired.metrics.features.base import Features
from unpaired.metrics.features.weights import file_checksum

PROBES = (256, 224, 128, 64, 32)
"""Pixels of the squares that are tried, in this order, to learn what a network returns."""
EXPECTED = "images [N, channels, H, W] in [-1, 1] and returns features [N, D], or [N, D, h, w] for every position"
"""What a user's network must do, as messages say it."""

Network = Callable[[Tensor], Any]


class OwnFeatures(Features):
    """Features of any function from images to [N, D] or [N, D, h, w]; positions are averaged to vectors.

    What it returns is learned from one image, always the same, when it is opened. `fixed` is the (height, width) that
    images are resized to, where the network takes one size only, and `batch` the only number of images that it takes.
    """

    def __init__(
        self,
        network: Network,
        *,
        name: str,
        fingerprint: str,
        device: torch.device,
        channels: int | None = None,
        fixed: tuple[int, int] | None = None,
        batch: int | None = None,
    ) -> None:
        super().__init__(device)
        self.name, self.fingerprint = name, fingerprint
        self._network, self._fixed, self._batch = network, fixed, batch
        self.input = "as they are in [-1, 1], any size"
        if fixed is not None:
            self.input = (
                f"in [-1, 1], resized to {fixed[0]} x {fixed[1]} (height x width) by antialiased bicubic, clipped"
            )
        self.channels, found = self._probe((3, 1) if channels is None else (channels,))
        self.dim, self.gives_maps = found.shape[1], found.ndim == 4
        self._answer = found.flatten().double().cpu()
        """What it made of that image."""

    def _probe(self, channels: tuple[int, ...]) -> tuple[int, Tensor]:
        """Return for how many channels the network works, and what it then returns of one image."""
        sizes = [(size, size) for size in PROBES] if self._fixed is None else [self._fixed]
        reason: UserError | None = None
        for several in channels:
            for size in sizes:
                try:
                    with torch.inference_mode():
                        return several, self._compute(_pattern(several, *size).to(self.device))
                except UserError as error:
                    reason = reason or error
        raise reason or AssertionError("nothing was tried")

    def _vectors(self, images: Tensor) -> Tensor:
        found = self._checked(images)
        return found.mean((2, 3)) if found.ndim == 4 else found

    def _positions(self, images: Tensor) -> Tensor:
        return self._checked(images)

    def _pixels(self, height: int, width: int) -> int:
        return height * width if self._fixed is None else max(height * width, self._fixed[0] * self._fixed[1])

    def _checked(self, images: Tensor) -> Tensor:
        found = self._compute(images)
        if found.shape[1] != self.dim or (found.ndim == 4) != self.gives_maps:
            kind = "[N, D, h, w]" if self.gives_maps else "[N, D]"
            raise UserError(
                f"{self.name} returned {list(found.shape)} for images {list(images.shape)}; it returned {kind} with "
                f"D = {self.dim} before. The length of features must not depend on the images."
            )
        return found

    def _compute(self, images: Tensor) -> Tensor:
        if self._fixed is not None and tuple(images.shape[2:]) != self._fixed:
            images = nnf.interpolate(images, self._fixed, mode="bicubic", antialias=True).clamp(-1, 1)
        several = self._batch or len(images)
        found = [self._run(images[start : start + several]) for start in range(0, len(images), several)]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _run(self, images: Tensor) -> Tensor:
        lacking = (self._batch or 0) - len(images)
        padded = torch.cat([images, images[-1:].expand(lacking, -1, -1, -1)]) if lacking > 0 else images
        try:
            found = self._network(padded)
        except Exception as error:  # somebody else's code can raise anything
            reason = (str(error).strip().splitlines() or [""])[0]
            raise UserError(
                f"{self.name} failed on images {list(padded.shape)}: {type(error).__name__}: {reason}. It takes "
                f"{EXPECTED}."
            ) from error
        if not isinstance(found, Tensor) or found.ndim not in (2, 4) or len(found) != len(padded) or not found.numel():
            what = f"a tensor {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise UserError(
                f"{self.name} returned {what} for images {list(padded.shape)}. It takes {EXPECTED}, one row per image."
            )
        return found[: len(images)]


@final
class ProgramFeatures(OwnFeatures):
    """Features of a file that `torch.export.save` wrote."""

    def __init__(self, path: Path, device: torch.device) -> None:
        if not path.is_file():
            raise UserError(f"There is no file {path}. Give a program that torch.export.save wrote.")
        program = _read_program(path)
        batch, channels, height, width = _input_shape(program, path)
        if channels not in (None, 1, 3):
            raise UserError(f"{path} takes images of {channels} channels; features are taken of images of 1 or 3.")
        if (height is None) != (width is None):
            raise UserError(f"{path} fixes one side of its images and leaves the other open. Export it with both.")
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        super().__init__(
            program.module(),
            name=path.name,
            fingerprint=file_checksum(path),
            device=device,
            channels=channels,
            fixed=None if height is None or width is None else (height, width),
            batch=batch,
        )


@final
class CallableFeatures(OwnFeatures):
    """Features of what a function of the user's Python code returns: a module or a function of images.

    The function is called without arguments. What it returns receives images on the chosen device; a torch module is
    moved there. The Python module is imported, and the current folder is searched too.
    """

    def __init__(self, spec: str, device: torch.device) -> None:
        made = _call(spec)
        if isinstance(made, nn.Module):
            made = made.to(device).eval()
        elif not callable(made):
            raise UserError(
                f"{spec}() returned a {type(made).__name__}. It must return a torch module or a function that takes "
                f"{EXPECTED}."
            )
        super().__init__(made, name=spec, fingerprint="", device=device)
        self.fingerprint = _fingerprint(spec, made, self._answer)


def _pattern(channels: int, height: int, width: int) -> Tensor:
    """Return an image [1, channels, height, width] in [-1, 1] that looks like noise and is always the same."""
    number = torch.arange(channels * height * width, dtype=torch.float64)
    return torch.sin(number * number * 0.37).float().reshape(1, channels, height, width)


def _read_program(path: Path) -> torch.export.ExportedProgram:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the reader about its own parts; none is about the file
            return torch.export.load(path)
    except Exception as error:  # a damaged file can fail in any way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} cannot be read as a program of torch.export: {reason}. Write it with "
            "torch.export.save(torch.export.export(network, (images,)), FILE)."
        ) from error


def _input_shape(program: torch.export.ExportedProgram, path: Path) -> list[int | None]:
    """Return batch, channels, height and width of the one input; None for what the program leaves open."""
    names = program.graph_signature.user_inputs
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    examples = [nodes[name].meta.get("val") if isinstance(name, str) else None for name in names]
    if len(examples) != 1 or not isinstance(examples[0], Tensor) or examples[0].ndim != 4:
        described = [list(one.shape) if isinstance(one, Tensor) else type(one).__name__ for one in examples]
        raise UserError(
            f"{path} takes {len(examples)} inputs {described}. A program for features takes one tensor: {EXPECTED}."
        )
    return [length if isinstance(length, int) else None for length in examples[0].shape]


def _call(spec: str) -> Any:
    found = import_name(spec)
    if not callable(found):
        raise UserError(f"{spec} is a {type(found).__name__}; it must be a function that returns a network.")
    try:
        return found()
    except Exception as error:  # the user's function can raise anything
        raise UserError(
            f"{spec}() failed: {type(error).__name__}: {error}. It is called without arguments and returns a torch "
            f"module or a function that takes {EXPECTED}."
        ) from error


def _fingerprint(spec: str, made: Any, answer: Tensor) -> str:
    """Return a checksum of the module's source and of the network's weights.

    What is no torch module shows no weights; in their place stands its `answer` to one image, in so few digits that
    another device or number of threads changes nothing.
    """
    digest = hashlib.sha256(spec.encode())
    source = getattr(sys.modules[spec.partition(":")[0]], "__file__", None)
    if source is not None:
        digest.update(bytes.fromhex(file_checksum(Path(source))))
    if isinstance(made, nn.Module):
        for name, value in made.state_dict().items():
            if isinstance(value, Tensor):
                plain = value.detach().cpu().contiguous()
                digest.update(f"{name} {plain.dtype} {list(plain.shape)} ".encode())
                digest.update(plain.view(-1).view(torch.uint8).numpy().tobytes())
    elif source is None:
        raise UserError(f"The module of {spec} lies in no file, so that its features could not be identified.")
    else:
        length = float(answer.norm())
        digest.update(f"{length:.3g} ".encode())
        number = torch.arange(len(answer), dtype=torch.float64)
        for direction in range(8):
            along = float(answer @ torch.cos(number * (direction + 0.5)))
            digest.update(f"{along / (length or 1):.3f} ".encode())
    return digest.hexdigest()
