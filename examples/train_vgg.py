"""Train the first layers of VGG-16 on labelled photos, where torchvision's weights cannot be had.

    python examples/train_vgg.py --photos camvid/train --labels camvid/trainannot --ignore 11 --out vgg.safetensors
    unpaired train feature_gan --data ROOT --out RUN --set method.vgg_weights=vgg.safetensors

The photos and their label maps (single-channel images of class indices, of the same names) need one size. The layers up
to relu4_2 are followed by one 1 x 1 convolution that names the class of every 8 x 8 pixels; only the layers are kept.
Such features know far less than those of a network trained on ImageNet: they stand in for them, and a comparison that
uses them must say so.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from safetensors.torch import save_file
from torch import Tensor, nn

from unpaired.data.decode import decode
from unpaired.data.transforms import resize
from unpaired.networks.stacks import DEVIATION, LAYERS, MEAN, Convolution

STRIDE = 8
"""Pixels of the photo for each position of relu4_2."""


def read(photos: Path, labels: Path, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return photos [N, 3, H, W] in [0, 1] and the class in the middle of every 8 x 8 pixels [N, H / 8, W / 8]."""
    images, maps = [], []
    for path in sorted(photos.iterdir()):
        images.append(resize(decode(path), (height, width)))
        found = decode(labels / f"{path.stem}.png")[..., 0]
        rows = (np.arange(height // STRIDE) * STRIDE + STRIDE // 2) * found.shape[0] // height
        columns = (np.arange(width // STRIDE) * STRIDE + STRIDE // 2) * found.shape[1] // width
        maps.append(found[rows][:, columns])
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return pixels, torch.from_numpy(np.stack(maps).astype(np.int64))


def build(classes: int) -> tuple[nn.Sequential, nn.Conv2d]:
    """Return the layers up to relu4_2, numbered as torchvision numbers them, and the head."""
    layers: list[nn.Module] = []
    channels = 3
    for layer in LAYERS:
        if isinstance(layer, Convolution):
            layers += [nn.Conv2d(channels, layer.width, layer.kernel, padding=layer.padding), nn.ReLU()]
            channels = layer.width
        else:
            layers.append(nn.MaxPool2d(layer.kernel))
    features = nn.Sequential(*layers)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return features, nn.Conv2d(channels, classes, 1)


def main() -> None:
    """Train, print how well held-out photos are labelled, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--ignore", type=int, default=255, help="index that is no class [255]")
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=1500, help="batches of 4 photos [1500]")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    torch.manual_seed(0)
    photos, maps = read(options.photos, options.labels, options.height, options.width)
    classes = int(maps[maps != options.ignore].max()) + 1
    held_out = len(photos) // 10
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    photos = (photos - mean) / deviation
    features, head = build(classes)
    optimizer = torch.optim.Adam([*features.parameters(), *head.parameters()], 2e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-4, options.steps)
    for step in range(options.steps):
        chosen = torch.randint(held_out, len(photos), (4,))
        x, y = photos[chosen], maps[chosen]
        if step % 2:
            x, y = x.flip(3), y.flip(2)
        with torch.autocast("cpu", torch.bfloat16):
            logits = head(features(x))
        loss = nnf.cross_entropy(logits.float(), y, ignore_index=options.ignore)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)

    with torch.no_grad():
        found = torch.cat([head(features(x)).argmax(1) for x in photos[:held_out].split(8)])
    known = maps[:held_out] != options.ignore
    right = (found == maps[:held_out])[known].float().mean().item()
    commonest = torch.bincount(maps[:held_out][known]).max().item() / int(known.sum())
    print(f"{held_out} held-out photos: {right:.1%} of the positions right (the commonest class: {commonest:.1%})")
    convolutions = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    weights = {}
    keys = [layer.key for layer in LAYERS if isinstance(layer, Convolution)]
    for key, layer in zip(keys, convolutions, strict=True):
        weights[f"features.{key}.weight"] = layer.weight.detach()
        weights[f"features.{key}.bias"] = layer.bias.detach()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
