"""Features: networks that turn images into numbers to compare them by, and where their weights come from."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from unpaired.core.device import find_device
from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.extensions import is_spec
from unpaired.metrics.features.base import Features
from unpaired.metrics.features.lpips import Lpips, open_lpips
from unpaired.metrics.features.own import CallableFeatures, ProgramFeatures
from unpaired.metrics.features.published import (
    InceptionFeatures,
    Lite0Features,
    VggFeatures,
    class_names,
    class_numbers,
)
from unpaired.metrics.features.weights import INCEPTION, LITE0, VGG16_FILE, Notice, find_weights, is_at_hand

__all__ = [
    "Features",
    "Lite0Features",
    "Lpips",
    "class_names",
    "class_numbers",
    "has_lite0",
    "is_code",
    "open_features",
    "open_lpips",
    "with_absolute_path",
]

ALLOWED = "lite0, lite0:FILE, inception, inception:FILE, vgg, vgg:FILE, FILE.pt2, MODULE:CALLABLE"
_KNOWN = {
    "lite0": (LITE0, Lite0Features),
    "inception": (INCEPTION, InceptionFeatures),
    "vgg": (VGG16_FILE, VggFeatures),
}


def open_features(spec: str, *, device: str | torch.device = "cpu", notice: Notice | None = None) -> Features:
    """Return the source of features that `spec` names.

    `lite0` takes the published weights from an installed package, `inception` and `vgg` from the cache, or downloaded
    once (`notice` is called first); `lite0:FILE` and the like those of a file. `FILE.pt2` is a program of torch.export,
    `MODULE:CALLABLE` a Python function that returns a torch module or a function of images. Both run code of whoever
    wrote them.
    Raises UserError for other words and where files are missing, damaged or something else.
    """
    kind, colon, rest = spec.partition(":")
    if kind in _KNOWN and bool(colon) == bool(rest):
        known, opened = _KNOWN[kind]
        chosen = find_device(device)
        return opened(find_weights(known, rest or None, notice=notice), chosen)
    if spec.lower().endswith(".pt2"):
        return ProgramFeatures(Path(os.path.expanduser(spec)), find_device(device))
    if kind not in _KNOWN and is_spec(spec):
        return CallableFeatures(spec, find_device(device))
    raise UserError(f'"{spec}" names no features. Allowed: {ALLOWED}.{_hint(spec, kind)}')


def has_lite0() -> bool:
    """Say whether the weights of EfficientNet-Lite0 are installed (the extra `features`)."""
    return is_at_hand(LITE0)


def is_code(spec: str) -> bool:
    """Whether to open these features is to run code of whoever wrote them."""
    return spec.lower().endswith(".pt2") or (spec.partition(":")[0] not in _KNOWN and is_spec(spec))


def with_absolute_path(spec: str) -> str:
    """Return what names the same features from any folder; a Python module is found by its name and stays as it is."""
    kind, colon, rest = spec.partition(":")
    if kind in _KNOWN and colon and rest:
        return f"{kind}:{os.path.abspath(os.path.expanduser(rest))}"
    return os.path.abspath(os.path.expanduser(spec)) if spec.lower().endswith(".pt2") else spec


def _hint(spec: str, kind: str) -> str:
    if Path(spec).suffix.lower() in (".pth", ".pt", ".safetensors"):
        return (
            f" A file of weights alone does not tell the network; for these write inception:{spec}, vgg:{spec} or "
            f"lite0:{spec}."
        )
    return did_you_mean(kind, _KNOWN)
