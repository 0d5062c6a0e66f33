"""How much memory there is, and how people write an amount of it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from unpaired.core.errors import UserError, option
from unpaired.core.text import printable

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([KMGT]I?)?B?", re.IGNORECASE | re.ASCII)
_GROUP = Path("/sys/fs/cgroup")
_ASSUMED = 4 * 2**30
"""Bytes that are taken to be free where the system does not say."""


def read_memory(given: str | int, name: str = "memory") -> int:
    """Return the bytes that a text such as `4GB`, `500 MB` or `2GiB` names; raises `UserError`."""
    found = _AMOUNT.fullmatch(str(given).strip())
    if isinstance(given, bool) or found is None or not float(found[1]):
        raise UserError(
            f"{option(name, printable(str(given)[:80]))}: an amount of memory is a number with its unit, such as 4GB, "
            "500MB or 2GiB."
        )
    return int(float(found[1]) * _UNITS[(found[2] or "").upper()])


def used_memory() -> int:
    """Return the bytes that this process holds."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(ImportError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return 0


def free_memory() -> int:
    """Return the bytes that a process can still take: of the machine, and within the limit of its container."""
    free = [_ASSUMED]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = [int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024]
    with contextlib.suppress(OSError, ValueError):
        limit, used = ((_GROUP / name).read_text() for name in ("memory.max", "memory.current"))
        free.append(int(limit) - int(used))
    return max(min(free), 0)


def means_out_of_memory(error: Exception) -> bool:
    """Say whether an error of PyTorch or Python means that memory is short."""
    import torch

    by_words = any(words in str(error) for words in ("can't allocate memory", "bad_alloc", "bad allocation"))
    return by_words or isinstance(error, torch.OutOfMemoryError | MemoryError)
