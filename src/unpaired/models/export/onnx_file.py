"""ONNX files, run by ONNX Runtime and many others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import torch
from torch import Tensor

from unpaired.models.exactness import Run
from unpaired.models.export.formats import Exported, Format
from unpaired.models.graph import INPUT, trace_onnx
from unpaired.networks import Generator


@final
class OnnxFile(Exported):
    """An ONNX model in memory."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model

    @classmethod
    def convert(cls, network: Generator) -> OnnxFile:
        """Trace a network."""
        return cls(onnx_ir.to_proto(trace_onnx(network)))

    def save(self, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write one file that holds the weights too; the metadata are its `metadata_props`."""
        del self.model.metadata_props[:]
        onnx.helper.set_model_props(self.model, dict(metadata))
        self.model.producer_name = "unpaired"
        onnx.checker.check_model(self.model)
        onnx.save_model(self.model, path)
        return [path]


def _open(path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: np.ascontiguousarray(images.numpy())})[0])

    return run


def _metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}


FORMAT = Format(
    label="ONNX",
    suffix=".onnx",
    convert=OnnxFile.convert,
    quantized=lambda path: OnnxFile(onnx.load(path)),
    open=_open,
    metadata=_metadata,
)
