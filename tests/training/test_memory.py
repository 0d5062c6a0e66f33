from __future__ import annotations

import torch

from unpaired.training.memory import MENTION, described, mentioned


def test_the_peak_that_an_ending_tells_of() -> None:
    peak = described(2**29, torch.device("cpu"))
    assert peak == "0.50 GiB of memory"
    assert mentioned(f"6000 of 6000 images; 3 without a better SWD{MENTION}{peak}") == peak
    assert mentioned("6000 of 6000 images") is None
