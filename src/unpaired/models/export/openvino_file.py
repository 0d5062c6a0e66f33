"""OpenVINO files: an .xml with the operations and, beside it, a .bin with the weights."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import onnx_ir
import openvino

from unpaired.models.engines.openvino import OpenVinoEngine
from unpaired.models.export.formats import Exported, Format
from unpaired.models.graph import trace_onnx
from unpaired.networks import Generator

_SECTION = "unpaired"
"""Of the file's runtime information: all metadata stand in it."""


@final
class OpenVinoFile(Exported):
    """An OpenVINO model in memory."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def save(self, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write the .xml and its .bin; the weights keep float32."""
        self.model.set_rt_info(json.dumps(dict(metadata), ensure_ascii=False), [_SECTION, "metadata"])
        weights = path.with_suffix(".bin")
        try:
            openvino.serialize(self.model, str(path), str(weights))
        except RuntimeError as error:  # of C++ streams, which do not say why
            raise OSError(errno.EIO, f"OpenVINO could not write all of it ({error}); the disk may be full") from error
        return [weights, path]


def _convert(network: Generator) -> OpenVinoFile:
    """Trace a network to ONNX and read that: OpenVINO's own converter would report its use over the network."""
    content = onnx_ir.to_proto(trace_onnx(network)).SerializeToString()
    return OpenVinoFile(openvino.Core().read_model(io.BytesIO(content)))


def _metadata(path: Path) -> dict[str, str]:
    content: dict[str, str] = json.loads(openvino.Core().read_model(path).get_rt_info([_SECTION, "metadata"]).value)
    return content


FORMATS = {
    "openvino": Format(
        label="OpenVINO",
        convert=_convert,
        quantized=lambda path: OpenVinoFile(openvino.Core().read_model(path)),
        open=lambda path: OpenVinoEngine(path, "fp32").compute,
        metadata=_metadata,
    )
}
