"""ONNX Runtime on the CPU: float32."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from unpaired.models.engines.base import Arithmetic, Engine
from unpaired.models.graph import INPUT


@final
class OnnxRuntimeEngine(Engine):
    """A session of ONNX Runtime with as many threads as PyTorch would take."""

    label = "ONNX Runtime"

    def __init__(self, graph: Path, precision: Arithmetic) -> None:
        super().__init__(precision, torch.device("cpu"))
        self.versions = {"onnxruntime": onnxruntime.__version__}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        # The memory of one size would be kept beside that of the next.
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def compute(self, images: Tensor) -> Tensor:
        array = np.ascontiguousarray(images.detach().to("cpu", torch.float32).numpy())
        try:
            return torch.from_numpy(self._session.run(None, {INPUT: array})[0])
        except Exception as error:  # its exceptions have no other base
            if "allocate" in str(error):
                raise MemoryError(str(error)) from error
            raise
