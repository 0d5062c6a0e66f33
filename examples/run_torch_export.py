"""Translate a picture with an exported torch.export file: python run_torch_export.py h2z.pt2 horse.jpg zebra.png"""

import sys

import numpy as np
import torch
from PIL import Image

model, picture, out = sys.argv[1:]
run = torch.export.load(model).module()
pixels = np.asarray(Image.open(picture).convert("RGB"), np.float32)
image = torch.from_numpy((pixels / 127.5 - 1).transpose(2, 0, 1)[None])  # 0..255 to -1..1, [1, 3, H, W]
with torch.no_grad():
    translation = run(image)[0].numpy().transpose(1, 2, 0)
Image.fromarray(((translation + 1) * 127.5).round().clip(0, 255).astype(np.uint8)).save(out)
