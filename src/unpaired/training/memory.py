"""How much memory a training has taken at most."""

from __future__ import annotations

import sys

import torch


def peak_memory(device: torch.device) -> int | None:
    """Return the bytes taken at most: on CUDA by PyTorch on the GPU, else by the process; None where nobody knows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def described(count: int, device: torch.device) -> str:
    """Return a peak in words."""
    where = "of GPU memory" if device.type == "cuda" else "of memory"
    return f"{count / 2**30:.2f} GiB {where}"


MENTION = "; at most "
"""What stands between an ending and its peak of memory in the text of a log's last event."""


def mentioned(text: str) -> str | None:
    """Return the peak, in words, that the text of an ending tells of; None where it tells of none."""
    return text.rpartition(MENTION)[2] if MENTION in text else None
