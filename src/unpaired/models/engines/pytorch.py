"""PyTorch, eager or compiled, on any device; on the CPU also with Winograd's algorithm in residual blocks."""

from __future__ import annotations

import copy
from typing import final

import torch
from torch import Tensor, nn

from unpaired.core.device import has_compiler
from unpaired.core.errors import UserError
from unpaired.models.engines.base import Arithmetic, Engine
from unpaired.models.graph import quiet_exporter
from unpaired.models.padding import crop_back, pad_to
from unpaired.networks import Generator, ResnetGenerator

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@final
class TorchEngine(Engine):
    """The network itself; in bf16 and fp16 a copy whose convolutions hold weights of that type.

    Everything between the convolutions then computes in that type too; norms accumulate their statistics in float32
    and keep float32 parameters. Reduced types run in channels_last, which is faster for them on CPUs and GPUs.
    """

    label = "PyTorch"

    def __init__(
        self,
        network: Generator,
        precision: Arithmetic,
        device: torch.device,
        *,
        compiled: bool = False,
        winograd: bool = False,
    ) -> None:
        """Take a network on the CPU to `device`; UserError where it is to be compiled and that cannot be done.

        `winograd` takes a ResNet with residual blocks, and the CPU.
        """
        super().__init__(precision, device)
        self.versions = {"torch": torch.__version__}
        self._winograd = winograd
        self.is_reference = precision == "fp32" and device.type == "cpu" and not compiled and not winograd
        self._padding = network.size_multiple, network.minimum_size
        self._original, self._compiled = network, compiled
        if winograd:
            self.label = "PyTorch with Winograd's convolutions"
        if compiled:
            self.label = "PyTorch compiled"
            if device.type == "mps" or (device.type == "cpu" and not has_compiler()):
                raise UserError(
                    "--engine torch-compile needs a C++ compiler on the CPU, or CUDA; there is none for "
                    f"{device.type}. Install one (g++, clang++), or choose another engine."
                )
        self._prepare()
        self.search = self._network.search

    @property
    def network(self) -> Generator:
        """The network that computes, on the device; another one after `fall_back`."""
        return self._network

    @property
    def dtype(self) -> torch.dtype:
        """The type in which images go through it."""
        return self._dtype

    def _prepare(self) -> None:
        self._dtype = _DTYPES[self.precision]
        self._layout = torch.contiguous_format if self.precision == "fp32" else torch.channels_last
        # A copy wherever something changes, since the caller's network shall stay as it is.
        self._network: Generator = (
            self._original if self.is_reference else copy.deepcopy(self._original).to(self.device)
        )
        by_winograd: set[nn.Module] = set()  # their weights are transformed in float32
        if self._winograd and isinstance(self._network, ResnetGenerator):
            self._network.use_winograd()
            by_winograd = set(self._network.residual.modules())
        for module in self._network.modules() if self.precision != "fp32" else ():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module not in by_winograd:
                module.to(dtype=self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self._compiled:
            # Dynamic: an image of another size would otherwise mean another compilation.
            with quiet_exporter():
                self._network.compile(dynamic=True)

    def compute(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            moved = images.to(self.device, torch.float32)
            padded, size = pad_to(moved, *self._padding)
            prepared = padded.to(dtype=self._dtype, memory_format=self._layout)
            translated: Tensor = crop_back(self._network(prepared), size)
            return translated.float()

    def fall_back(self) -> bool:
        if self.precision != "fp16":
            return False
        self.precision = "fp32"
        self._prepare()
        self.notices.append("values of this model exceed 65,504, the largest number of fp16: fp32 is used instead.")
        return True
