"""ONNX files, run by ONNX Runtime and many others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import onnx
import onnx_ir

from unpaired.models.engines.onnx_runtime import OnnxRuntimeEngine
from unpaired.models.exactness import Run
from unpaired.models.export.formats import Format
from unpaired.models.graph import trace_onnx
from unpaired.networks import Generator


@final
class OnnxFormat(Format):
    """One file that holds the weights too; the metadata are its `metadata_props`."""

    label = "ONNX"

    def convert(self, network: Generator) -> Any:
        return onnx_ir.to_proto(trace_onnx(network))

    def quantized(self, path: Path) -> Any:
        return onnx.load(path)

    def save(self, content: Any, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        del content.metadata_props[:]
        onnx.helper.set_model_props(content, dict(metadata))
        content.producer_name = "unpaired"
        onnx.checker.check_model(content)
        path.write_bytes(content.SerializeToString())
        return [path]

    def open(self, path: Path) -> Run:
        return OnnxRuntimeEngine(path, "fp32").compute

    def metadata(self, path: Path) -> dict[str, str]:
        return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
