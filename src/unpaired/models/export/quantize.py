"""int8 with calibration: a smaller and, on some CPUs, faster file, and what it costs in quality."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.data.bad_image import BadImage
from unpaired.data.folders import list_images
from unpaired.data.values import Domain, filled
from unpaired.models.conversion import open_image
from unpaired.models.graph import INPUT

AT_MOST = 64
"""Images that are read; a quarter of them is kept out of the calibration and measures the loss."""
AT_LEAST = 4
_LARGEST_SIDE = 256
"""Larger images are cropped to their middle: what is calibrated are ranges of values, and time grows with size."""


def calibration_images(folder: Path, source: Domain) -> tuple[list[Tensor], list[Tensor]]:
    """Return (images to calibrate with, images to measure with), each [1, C, H, W] in [-1, 1], from a folder.

    They are taken evenly from the folder in the order of their names. Raises `UserError` where there is no such folder,
    it holds fewer than four images, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder at {folder}. --calibrate takes a folder of images that the model meets.")
    found = list_images(folder)
    if len(found) < AT_LEAST:
        raise UserError(
            f"{folder} holds {len(found)} images. Calibration needs at least {AT_LEAST}, better 50 or more, such as "
            "the training images of the domain that the model translates from."
        )
    count = min(len(found), AT_MOST)
    images = [_read(found[position * len(found) // count], source) for position in range(count)]
    return [x for n, x in enumerate(images) if n % 4 != 3], [x for n, x in enumerate(images) if n % 4 == 3]


def _read(path: Path, source: Domain) -> Tensor:
    try:
        signed = filled(open_image(path, source).values)[0]
    except BadImage as error:
        raise UserError(
            f"cannot calibrate with {path}: {error.reason}. Remove it, or choose another folder."
        ) from error
    top, left = (max(0, (length - _LARGEST_SIDE) // 2) for length in signed.shape[:2])
    middle = signed[top : top + _LARGEST_SIDE, left : left + _LARGEST_SIDE]
    return torch.from_numpy(np.ascontiguousarray(middle.transpose(2, 0, 1)))[None]


def quantize(graph: Path, quantized: Path, images: Sequence[Tensor]) -> None:
    """Write an ONNX file whose inner convolutions compute in int8, with ranges from the images.

    Weights have one scale for each output channel. The first and the last convolution, which meet the image's own
    values, stay in float32: they are a small part of the work and the larger part of the loss.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = quantized.with_name("prepared.onnx")
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises in the root logger
    try:
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        convolutions = [n.name for n in onnx.load(prepared).graph.node if n.op_type in ("Conv", "ConvTranspose")]
        quantize_static(
            str(prepared),
            str(quantized),
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    finally:
        logger.setLevel(level)


class _Reader:
    def __init__(self, images: Sequence[Tensor]) -> None:
        self._images: Iterator[Tensor] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT: image.numpy()}
