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
from unpaired.models.exactness import Run
from unpaired.models.export.formats import Format
from unpaired.models.graph import trace_onnx
from unpaired.networks import Generator

_METADATA = ["unpaired", "metadata"]
"""Place in the file's runtime information."""


@final
class OpenVinoFormat(Format):
    """Two files; the weights keep float32. Made of ONNX: OpenVINO's own converter reports its use over the network."""

    label = "OpenVINO"

    def convert(self, network: Generator) -> Any:
        return openvino.Core().read_model(io.BytesIO(onnx_ir.to_proto(trace_onnx(network)).SerializeToString()))

    def quantized(self, path: Path) -> Any:
        return openvino.Core().read_model(path)

    def save(self, content: Any, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        content.set_rt_info(json.dumps(dict(metadata), ensure_ascii=False), _METADATA)
        weights = path.with_suffix(".bin")
        try:
            openvino.serialize(content, str(path), str(weights))
        except RuntimeError as error:  # of C++ streams, which do not say why
            raise OSError(errno.EIO, f"OpenVINO could not write all of it ({error}); the disk may be full") from error
        return [weights, path]

    def open(self, path: Path) -> Run:
        return OpenVinoEngine(path, "fp32").compute

    def metadata(self, path: Path) -> dict[str, str]:
        content: dict[str, str] = json.loads(openvino.Core().read_model(path).get_rt_info(_METADATA).value)
        return content
