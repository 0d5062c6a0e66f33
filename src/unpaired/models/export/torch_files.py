"""Files for PyTorch alone: TorchScript (also for C++) and torch.export."""

from __future__ import annotations

import io
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
class TorchFile(Exported):
    """A scripted module or a program of torch.export; its metadata are an extra file inside."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def save(self, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write one file."""
        extra = {METADATA: json.dumps(dict(metadata), indent=2, ensure_ascii=True)}
        content = io.BytesIO()  # PyTorch's own writer ends the process on a full disk
        with quiet_exporter():
            if isinstance(self.content, torch.export.ExportedProgram):
                torch.export.save(self.content, content, extra_files=extra)
            else:
                torch.jit.save(self.content, content, _extra_files=extra)
        path.write_bytes(content.getbuffer())
        return [path]


def _script(network: Generator) -> TorchFile:
    """Trace the network, whose operations do not depend on the size, and script the padding around it."""
    size = 2 * max(network.size_multiple, network.minimum_size)
    with quiet_exporter(), torch.no_grad():
        example = torch.zeros(1, network.in_channels, size, size)
        traced = torch.jit.trace(trusting_copy(network), example, check_trace=False)  # type: ignore[no-untyped-call]
        padded = _ScriptedAnySize(traced, network.size_multiple, network.minimum_size).eval()
        return TorchFile(torch.jit.freeze(torch.jit.script(padded)))


def _load_script(path: Path, extra: dict[str, Any] | None = None) -> Any:
    with quiet_exporter():
        return torch.jit.load(str(path), _extra_files=extra)  # type: ignore[no-untyped-call]


def _load_program(path: Path, extra: dict[str, Any] | None = None) -> Any:
    with quiet_exporter():
        return torch.export.load(path, extra_files=extra).module()


def _format(label: str, convert: Any, load: Any) -> Format:
    def open_(path: Path) -> Run:
        module = load(path)

        def run(images: Tensor) -> Tensor:
            with torch.no_grad():
                translation: Tensor = module(images)
                return translation

        return run

    def metadata(path: Path) -> dict[str, str]:
        extra: dict[str, Any] = {METADATA: ""}
        load(path, extra)
        found: dict[str, str] = json.loads(extra[METADATA])
        return found

    return Format(label=label, convert=convert, open=open_, metadata=metadata)


FORMATS = {
    "torchscript": _format("TorchScript", _script, _load_script),
    "torch-export": _format("torch.export", lambda network: TorchFile(trace(network)), _load_program),
}
