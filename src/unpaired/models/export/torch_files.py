"""Files for PyTorch alone: TorchScript (also for C++) and torch.export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from unpaired.models.exactness import Run
from unpaired.models.export.formats import Exported, Format
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


@final
class TorchScriptFile(Exported):
    """A scripted module."""

    def __init__(self, module: Any) -> None:
        self.module = module

    @classmethod
    def convert(cls, network: Generator) -> TorchScriptFile:
        """Trace the network, whose operations do not depend on the size, and script the padding around it."""
        size = 2 * max(network.size_multiple, network.minimum_size)
        with quiet_exporter(), torch.no_grad():
            example = torch.zeros(1, network.in_channels, size, size)
            traced = torch.jit.trace(trusting_copy(network), example, check_trace=False)  # type: ignore[no-untyped-call]
            padded = _ScriptedAnySize(traced, network.size_multiple, network.minimum_size).eval()
            return cls(torch.jit.freeze(torch.jit.script(padded)))

    def save(self, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write one file with the metadata as an extra file inside."""
        with quiet_exporter():
            torch.jit.save(self.module, str(path), _extra_files={METADATA: _json(metadata)})
        return [path]


@final
class TorchExportFile(Exported):
    """A program of torch.export."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self.program = program

    @classmethod
    def convert(cls, network: Generator) -> TorchExportFile:
        """Trace the network with its padding."""
        return cls(trace(network))

    def save(self, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write one file with the metadata as an extra file inside."""
        with quiet_exporter():
            torch.export.save(self.program, path, extra_files={METADATA: _json(metadata)})
        return [path]


def _json(metadata: Mapping[str, str]) -> str:
    return json.dumps(dict(metadata), indent=2, ensure_ascii=True)


def _open_script(path: Path) -> Run:
    with quiet_exporter():
        module = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return _without_gradients(module)


def _open_program(path: Path) -> Run:
    with quiet_exporter():
        module = torch.export.load(path).module()
    return _without_gradients(module)


def _without_gradients(module: Any) -> Run:
    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            translation: Tensor = module(images)
            return translation

    return run


def _script_metadata(path: Path) -> dict[str, str]:
    files: dict[str, Any] = {METADATA: ""}
    with quiet_exporter():
        torch.jit.load(str(path), _extra_files=files)  # type: ignore[no-untyped-call]
    return _parsed(files)


def _program_metadata(path: Path) -> dict[str, str]:
    files: dict[str, Any] = {METADATA: ""}
    with quiet_exporter():
        torch.export.load(path, extra_files=files)
    return _parsed(files)


def _parsed(files: dict[str, Any]) -> dict[str, str]:
    metadata: dict[str, str] = json.loads(files[METADATA])
    return metadata


TORCHSCRIPT = Format(
    label="TorchScript",
    suffix=".pt",
    convert=TorchScriptFile.convert,
    open=_open_script,
    metadata=_script_metadata,
)
TORCH_EXPORT = Format(
    label="torch.export",
    suffix=".pt2",
    convert=TorchExportFile.convert,
    open=_open_program,
    metadata=_program_metadata,
)
