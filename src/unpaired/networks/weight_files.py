"""Weight files of other programs: read without running anything that is in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unpaired.core.errors import UserError

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which programs keep the weights beside other things."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch file (.pth, .pt; zipped or of PyTorch 0.x) or a .safetensors file, on the CPU.

    Unwraps {"state_dict": ...} and removes the prefixes of DataParallel and torch.compile. Raises UserError for a file
    that is missing, damaged or something else, and for a pickle that wants to run code, which is never done.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file. Give the path of a .pth, .pt or .safetensors file.")
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    return _without_prefixes(_tensors(content, path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as a safetensors file: {error}. It may be damaged.") from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        wanted = re.search(r"(?:GLOBAL|global:?|class|function) +`?([A-Za-z_][\w]*(?:\.[\w.]+)+)", str(error))
        if wanted:
            raise UserError(
                f"{path} is a pickle that wants to run {wanted[1]}; this is refused, since such a file can do "
                "anything. Only plain tensors are read: in the program that wrote it, save network.state_dict() "
                "instead of the whole network."
            ) from error
        first = next(iter(str(error).strip().splitlines()), "no reason given")
        # PyTorch's own words advise to switch safe loading off.
        unsafe = re.search(r"weights.only", str(error), re.IGNORECASE) is not None
        reason = "no plain tensors, which is all that is read" if unsafe else first
        raise UserError(
            f"{path} cannot be read as a PyTorch weight file ({type(error).__name__}: {reason}). It is damaged, or "
            "it is something else; a download that stopped early is a common cause."
        ) from error


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        what = "no weights" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise UserError(f"{path} holds {what}, not a dictionary from names to tensors as network.state_dict() gives.")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout is not torch.strided:
            raise UserError(
                f"{path} holds {name!r}, which is a {type(value).__name__}, not a plain tensor. Give a file with the "
                "weights of one network, as network.state_dict() gives them."
            )
    return {name: value.detach() for name, value in content.items()}


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES * 2:  # either may stand around the other
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights
