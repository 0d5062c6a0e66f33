"""Translate a picture with an exported OpenVINO file: python run_openvino.py h2z.xml horse.jpg zebra.png"""

import sys

import numpy as np
import openvino
from PIL import Image

model, picture, out = sys.argv[1:]
# Without the hint OpenVINO computes in bfloat16 where the processor can: faster, and less exact.
run = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
pixels = np.asarray(Image.open(picture).convert("RGB"), np.float32)
image = (pixels / 127.5 - 1).transpose(2, 0, 1)[None]  # 0..255 to -1..1, [1, 3, H, W]
translation = run({"image": image})[0][0].transpose(1, 2, 0)
Image.fromarray(((translation + 1) * 127.5).round().clip(0, 255).astype(np.uint8)).save(out)
