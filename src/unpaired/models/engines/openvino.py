"""OpenVINO on the CPU: float32, and bfloat16 where the CPU has instructions for it."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
import openvino
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.models.engines.base import Arithmetic, Engine
from unpaired.models.graph import INPUT

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_KEPT_SHAPES = 16
"""Prepared kernels are kept for about so many layers and sizes; the default of 5000 grows with every new size."""


@final
class OpenVinoEngine(Engine):
    """A compiled model of OpenVINO with as many threads as PyTorch would take."""

    label = "OpenVINO"

    def __init__(self, graph: Path, precision: Arithmetic) -> None:
        """Read the graph, of which nothing is needed afterwards; UserError where it cannot compute in `precision`."""
        super().__init__(precision, torch.device("cpu"))
        self.versions = {"openvino": openvino.__version__}
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "CPU_RUNTIME_CACHE_CAPACITY": _KEPT_SHAPES,
        }
        # Read by the runtime itself: the separate converter would report its use over the network.
        self._model = core.compile_model(core.read_model(graph), "CPU", settings)
        computes = self._model.get_property("INFERENCE_PRECISION_HINT").to_string()
        if computes != _HINTS[precision]:
            raise UserError(
                f"--precision {precision}: OpenVINO computes in {computes} on this CPU, which has no "
                f"instructions for {precision}. Choose --precision fp32 or auto."
            )

    def compute(self, images: Tensor) -> Tensor:
        array = np.ascontiguousarray(images.detach().to("cpu", torch.float32).numpy())
        return torch.from_numpy(self._model({INPUT: array})[0].copy())
