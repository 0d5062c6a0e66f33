"""ONNX files, run by ONNX Runtime and many others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

import onnx
import onnx_ir

from unpaired.models.engines.onnx_runtime import OnnxRuntimeEngine
from unpaired.models.export.formats import Exported, Format
from unpaired.models.graph import trace_onnx


@final
class OnnxFile(Exported):
    """An ONNX model in memory."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model

    def save(self, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write one file that holds the weights too; the metadata are its `metadata_props`."""
        del self.model.metadata_props[:]
        onnx.helper.set_model_props(self.model, dict(metadata))
        self.model.producer_name = "unpaired"
        onnx.checker.check_model(self.model)
        path.write_bytes(self.model.SerializeToString())
        return [path]


def _metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}


FORMATS = {
    "onnx": Format(
        label="ONNX",
        convert=lambda network: OnnxFile(onnx_ir.to_proto(trace_onnx(network))),
        quantized=lambda path: OnnxFile(onnx.load(path)),
        open=lambda path: OnnxRuntimeEngine(path, "fp32").compute,
        metadata=_metadata,
    )
}
