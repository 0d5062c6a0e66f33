"""The first layers of VGG-16 (Simonyan & Zisserman 2015), whose features compare images by content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import final
from urllib.error import URLError

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from unpaired.errors import UserError

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512))
"""Channels of the convolutions up to relu4_2; the size is halved between the groups."""
KEYS = (0, 2, 5, 7, 10, 12, 14, 17, 19)
"""Their numbers in torchvision's `features`."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], by which torchvision's weights expect images to be normalised."""
MINIMUM_SIZE = 8
"""Pixels; three halvings leave one."""
TORCHVISION = "https://download.pytorch.org/models/vgg16-397923af.pth"
"""torchvision's weights (IMAGENET1K_V1); the name ends with the beginning of their SHA-256."""


@final
class VggFeatures(nn.Module):
    """The fixed features of relu4_2: images [N, 1 or 3, H, W] in [-1, 1] to [N, 512, H / 8, W / 8].

    Its weights are no parameters, so that nothing trains them, and stand in no state dict: they come from their file
    each time. A network without weights (`load` was not called) refuses to work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False
        channels = 3
        for number, width in enumerate(width for group in WIDTHS for width in group):
            self.register_buffer(f"weight{number}", torch.zeros(width, channels, 3, 3), persistent=False)
            self.register_buffer(f"bias{number}", torch.zeros(width), persistent=False)
            channels = width

    def load(self, weights: Mapping[str, Tensor], origin: str) -> None:
        """Take weights named as torchvision names them; UserError, with `origin`, where they are not VGG-16's."""
        layers = dict(self.named_buffers())
        for number, key in enumerate(KEYS):
            for kind in ("weight", "bias"):
                name, own = f"features.{key}.{kind}", layers[f"{kind}{number}"]
                if name not in weights or weights[name].shape != own.shape:
                    found = list(weights[name].shape) if name in weights else "nothing"
                    raise UserError(
                        f"{origin} does not hold the weights of VGG-16: {name} should be {list(own.shape)}, found "
                        f"{found}. Give torchvision's file vgg16-397923af.pth, or one with the same names."
                    )
                own.copy_(weights[name])
        self.loaded = True

    def forward(self, image: Tensor) -> Tensor:
        """Return the features; grey images are seen as colour ones."""
        assert self.loaded or image.is_meta, "VGG-16 has no weights"
        if image.shape[1] not in (1, 3) or min(image.shape[2:]) < MINIMUM_SIZE:
            raise UserError(
                f"VGG-16 takes images of 1 or 3 channels and at least {MINIMUM_SIZE} x {MINIMUM_SIZE} pixels; received "
                f"{list(image.shape)}. Choose other channels or a larger crop_size."
            )
        mean, deviation = (_planes(values, image) for values in (MEAN, DEVIATION))
        features = ((image + 1) / 2 - mean) / deviation
        layers, number = dict(self.named_buffers()), 0
        for depth, group in enumerate(WIDTHS):
            if depth:
                features = nnf.max_pool2d(features, 2)
            for _ in group:
                features = nnf.conv2d(features, layers[f"weight{number}"], layers[f"bias{number}"], padding=1)
                features = nnf.relu_(features)
                number += 1
        return features


def read_vgg(path: str | Path | None) -> tuple[dict[str, Tensor], str]:
    """Return VGG-16's weights and where they come from: a .pth or .safetensors file, or torchvision's where None.

    torchvision's are taken from PyTorch's cache of models, or downloaded once, with their checksum. Raises UserError
    that names the file to place where neither is possible.
    """
    if path is None:
        return _from_torchvision(), "torchvision's VGG-16"
    path = Path(path).expanduser()
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path), str(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True)), str(path)
    except FileNotFoundError as error:
        raise UserError(f"there is no file of VGG-16 weights at {path}. Check method.vgg_weights.") from error
    except Exception as error:  # a file that is no checkpoint, or a damaged one, raises anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read as weights of VGG-16: {reason}.") from error


def checksum(path: str | Path) -> str:
    """Return a file's SHA-256; UserError where it cannot be read."""
    try:
        with Path(path).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"there is no file of VGG-16 weights at {path} ({error.strerror}). Check method.vgg_weights."
        ) from error


def _from_torchvision() -> dict[str, Tensor]:
    place = Path(torch.hub.get_dir()) / "checkpoints" / TORCHVISION.rpartition("/")[2]
    try:
        return dict(
            torch.hub.load_state_dict_from_url(TORCHVISION, map_location="cpu", check_hash=True, progress=False)
        )
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"VGG-16's weights are needed and could not be downloaded ({error}). Random weights would make the "
            f"comparison worthless, so nothing was trained. Download {TORCHVISION} elsewhere and place it at {place}, "
            "or name a file with method.vgg_weights."
        ) from error


def _planes(values: tuple[float, float, float], like: Tensor) -> Tensor:
    """Return one value per channel, made on the device so that a CUDA graph can hold it."""
    return torch.stack([like.new_full((), value) for value in values]).view(1, 3, 1, 1)
