"""Which device to compute on."""

from __future__ import annotations

import os
import re
import shutil

import torch

from unpaired.core.errors import UserError
from unpaired.core.settings import option


def find_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device that `auto` (CUDA, else MPS, else the CPU), `cpu`, `cuda`, `cuda:1` or `mps` names.

    Raises `UserError` when there is no such device or it cannot be used.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    if not re.fullmatch(r"(cpu|cuda|mps)(:\d{1,4})?", str(name)):
        raise _cannot_use(name, "not a device for computing on")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _cannot_use(name, reason if len(reason) < 200 else "PyTorch has no such device here") from error
    return device


def fast_bf16(device: torch.device) -> bool:
    """Return whether the device computes faster in bfloat16, with instructions for it rather than by emulation.

    CUDA from compute capability 8.0 (Ampere) on, x86 CPUs with AVX512-BF16 (those with AMX have it too).
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def has_compiler() -> bool:
    """Return whether there is a C++ compiler, which torch.compile needs on CPUs; CXX may name one."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++", "cl")
    return any(name and shutil.which(name) for name in names)


def _cannot_use(name: str | torch.device, reason: str) -> UserError:
    return UserError(f"{option('device', name)}: cannot be used ({reason}). Allowed: auto, cpu, cuda, cuda:N, mps.")
