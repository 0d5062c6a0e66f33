"""Translate a picture with an exported ONNX file: python run_onnx.py h2z.onnx horse.jpg zebra.png"""

import sys

import numpy as np
import onnxruntime
from PIL import Image

model, picture, out = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
pixels = np.asarray(Image.open(picture).convert("RGB"), np.float32)
image = (pixels / 127.5 - 1).transpose(2, 0, 1)[None]  # 0..255 to -1..1, [1, 3, H, W]
translation = session.run(None, {"image": image})[0][0].transpose(1, 2, 0)
Image.fromarray(((translation + 1) * 127.5).round().clip(0, 255).astype(np.uint8)).save(out)
