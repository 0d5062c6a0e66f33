"""How much memory a training has taken at most."""

from __future__ import annotations

import sys

import torch

from unpaired.core.text import memory


def peak_memory(device: torch.device) -> int | None:
    """Return the bytes taken at most: on CUDA by PyTorch on the GPU, else by the process; None where nobody knows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def described(count: int, device: str) -> str:
    """Return bytes as people read them, and of which memory of a device of this type: `1.25 GiB of GPU memory`."""
    return f"{memory(count)} {'of GPU memory' if device == 'cuda' else 'of memory'}"
