from __future__ import annotations

import torch

from unpaired.training.memory import described, peak_memory


def test_a_peak_is_bytes_and_people_read_gibibytes() -> None:
    peak = peak_memory(torch.device("cpu"))
    assert peak is None or peak > 2**20
    assert described(2**29, "cpu") == "0.50 GiB of memory"
    assert described(2**30, "cuda") == "1.00 GiB of GPU memory"
