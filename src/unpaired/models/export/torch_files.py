"""Files for PyTorch alone: TorchScript (also for C++) and torch.export."""

from __future__ import annotations

import io
import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from unpaired.models.exactness import Run
from unpaired.models.export.formats import Format
from unpaired.models.graph import quiet_exporter, trace, trusting_copy
from unpaired.networks import Generator

METADATA = "unpaired.json"
"""Name of the extra file with the metadata inside the exported one."""


@final
class _ScriptedAnySize(nn.Module):
    """What `AnySize` does, written for TorchScript; the network inside is traced."""

    def __init__(self, network: nn.Module, multiple: int, minimum: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple
        self.minimum = minimum

    def forward(self, image: Tensor) -> Tensor:
        height, width = int(image.shape[2]), int(image.shape[3])
        rows, columns = self.padding(height, image.device), self.padding(width, image.device)
        translated: Tensor = self.network(image.index_select(2, rows).index_select(3, columns))
        return translated[:, :, :height, :width]

    def padding(self, length: int, device: torch.device) -> Tensor:
        padded = (max(length, self.minimum) + self.multiple - 1) // self.multiple * self.multiple
        period = max(2 * (length - 1), 1)
        position = torch.arange(padded, device=device).remainder(period)
        return torch.where(position < length, position, period - position)


class _TorchFormat(Format):
    """A file of PyTorch; its metadata are an extra file inside."""

    @abstractmethod
    def write(self, content: Any, file: io.BytesIO, extra: dict[str, Any]) -> None:
        """Write with extra files."""

    @abstractmethod
    def read(self, path: Path, extra: dict[str, Any]) -> Any:
        """Return the module in a file, and fill `extra`."""

    def save(self, content: Any, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        file = io.BytesIO()  # PyTorch's own writer ends the process on a full disk
        with quiet_exporter():
            self.write(content, file, {METADATA: json.dumps(dict(metadata), indent=2, ensure_ascii=True)})
        path.write_bytes(file.getbuffer())
        return [path]

    def open(self, path: Path) -> Run:
        with quiet_exporter():
            module = self.read(path, {})

        def run(images: Tensor) -> Tensor:
            with torch.no_grad():
                translation: Tensor = module(images)
                return translation

        return run

    def metadata(self, path: Path) -> dict[str, str]:
        extra: dict[str, Any] = {METADATA: ""}
        with quiet_exporter():
            self.read(path, extra)
        found: dict[str, str] = json.loads(extra[METADATA])
        return found


@final
class ScriptFormat(_TorchFormat):
    """The network traced, since its operations do not depend on the size, and the padding around it scripted."""

    label = "TorchScript"

    def convert(self, network: Generator) -> Any:
        size = 2 * max(network.size_multiple, network.minimum_size)
        with quiet_exporter(), torch.no_grad():
            example = torch.zeros(1, network.in_channels, size, size)
            traced = torch.jit.trace(trusting_copy(network), example, check_trace=False)  # type: ignore[no-untyped-call]
            padded = _ScriptedAnySize(traced, network.size_multiple, network.minimum_size).eval()
            return torch.jit.freeze(torch.jit.script(padded))

    def write(self, content: Any, file: io.BytesIO, extra: dict[str, Any]) -> None:
        torch.jit.save(content, file, _extra_files=extra)

    def read(self, path: Path, extra: dict[str, Any]) -> Any:
        return torch.jit.load(str(path), _extra_files=extra)  # type: ignore[no-untyped-call]


@final
class ProgramFormat(_TorchFormat):
    """A program of torch.export."""

    label = "torch.export"

    def convert(self, network: Generator) -> Any:
        return trace(network)

    def write(self, content: Any, file: io.BytesIO, extra: dict[str, Any]) -> None:
        torch.export.save(content, file, extra_files=extra)

    def read(self, path: Path, extra: dict[str, Any]) -> Any:
        return torch.export.load(path, extra_files=extra).module()
