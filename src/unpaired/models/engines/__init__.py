"""What computes: PyTorch, ONNX Runtime or OpenVINO, each behind the same face.

To add an engine: one file with a subclass of `Engine`, one line in `choice.ENGINES`.
"""

from typing import Literal

EngineChoice = Literal["auto", "torch", "torch-winograd", "torch-compile", "onnxruntime", "openvino"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
