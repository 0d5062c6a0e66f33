"""What `auto` becomes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unpaired.device import fast_bf16
from unpaired.errors import UserError
from unpaired.training import modes
from unpaired.training.config import TrainingConfig
from unpaired.training.distributed import World
from unpaired.training.modes import explained, settle

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize("fast", [True, False])
def test_auto_on_a_processor(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(modes, "fast_bf16", lambda device: fast)
    settled = settle(TrainingConfig(), CPU)
    assert (settled.precision, settled.compile, settled.graph, settled.memory_format) == (
        "bf16" if fast else "fp32",
        "off",
        "off",
        "contiguous",
    )
    assert ("published arithmetic" in explained(TrainingConfig(), settled, CPU)) == fast


def test_auto_on_cuda_records_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "fast_bf16", lambda device: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    settled = settle(TrainingConfig(), CUDA)
    assert (settled.precision, settled.graph) == ("bf16", "on")
    text = explained(TrainingConfig(), settled, CUDA, World(0, 2))
    assert text.startswith("computing on A GPU in bf16, as one CUDA graph")
    assert text.endswith("in 2 processes with batches of 1")


def test_what_was_chosen_stays() -> None:
    chosen = TrainingConfig(precision="fp32", compile="on", memory_format="channels_last", graph="off")
    assert settle(chosen, CPU) == chosen
    assert explained(chosen, chosen, CPU) == "computing on cpu in fp32, compiled, channels last"
    assert settle(settle(TrainingConfig(), CPU), CPU) == settle(TrainingConfig(), CPU)


def test_a_graph_without_cuda_is_refused() -> None:
    with pytest.raises(UserError, match=r"training\.graph is on.*CUDA"):
        settle(replace(TrainingConfig(), graph="on"), CPU)


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"training\.compile is on.*C\+\+ compiler"):
        settle(replace(TrainingConfig(), compile="on"), CPU)
    settle(replace(TrainingConfig(), compile="off"), CPU)


def test_fast_bf16_asks_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert fast_bf16(CPU) is has
    assert not fast_bf16(torch.device("mps"))
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert fast_bf16(CUDA) is (capability[0] >= 8)
