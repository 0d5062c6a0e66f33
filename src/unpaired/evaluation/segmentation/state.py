"""What a segmenter's training remembers to go on as if it had never stopped: weights, optimiser, and a few numbers.

The order of the photos, crops and dropout are functions of the seed and the number of images seen, so there is no state
of random numbers to keep.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unpaired.models.folder import DamagedError, read_document, read_tensors, verify, write_folder

FOLDER, TENSORS, DOCUMENT = "state", "state.safetensors", "state.json"


def save_state(run: Path, network: nn.Module, optimizer: torch.optim.Optimizer, counters: dict[str, Any]) -> None:
    """Write the state of a training, atomically, in place of the one before; `counters` is plain JSON."""
    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items() if isinstance(value, Tensor)}
    write_folder(run / FOLDER, {TENSORS: tensors}, {DOCUMENT: counters})


def load_state(run: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a saved state back in place; return its counters. Raises `DamagedError` where it is not what was written."""
    folder = run / FOLDER
    verify(folder)
    tensors = read_tensors(folder, TENSORS)
    own = {key.removeprefix("network."): value for key, value in tensors.items() if key.startswith("network.")}
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            states.setdefault(int(index), {})[name] = value
    try:
        network.load_state_dict(own)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    except (RuntimeError, ValueError) as error:
        raise DamagedError(f"{folder} is damaged: its tensors do not fit the training ({error}).") from error
    return read_document(folder, DOCUMENT)


def has_state(run: Path) -> bool:
    """Say whether a training has come as far as its first saved state."""
    return (run / FOLDER / DOCUMENT).is_file()
