"""What `auto` becomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from unpaired.core.device import fast_bf16
from unpaired.core.errors import UserError
from unpaired.methods import ImageShapes
from unpaired.methods.cyclegan import Config, CycleGAN
from unpaired.networks import ResnetConfig
from unpaired.training import modes
from unpaired.training.config import TrainingConfig
from unpaired.training.distributed import World
from unpaired.training.modes import explained, peak_memory, settle, widest_layer

SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(16, 16))
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize("fast", [True, False])
def test_auto_on_a_processor(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(modes, "fast_bf16", lambda device: fast)
    settled = settle(TrainingConfig(), CPU, 256)
    assert (settled.precision, settled.compile, settled.graph, settled.memory_format) == (
        "bf16" if fast else "fp32",
        "off",
        "off",
        "contiguous",
    )
    assert ("published arithmetic" in explained(TrainingConfig(), settled, CPU)) == fast


def test_narrow_networks_stay_in_fp32_on_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "fast_bf16", lambda device: True)
    for width, precision in ((8, "fp32"), (16, "bf16"), (64, "bf16")):
        method = CycleGAN(Config(generator=ResnetConfig(width=width, blocks=0)), SHAPES)
        assert widest_layer(method) == 4 * width
        assert settle(TrainingConfig(), CPU, widest_layer(method)).precision == precision
        assert settle(TrainingConfig(), CUDA, widest_layer(method)).precision == "bf16"


def test_auto_on_cuda_records_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "fast_bf16", lambda device: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    settled = settle(TrainingConfig(), CUDA, 256)
    assert (settled.precision, settled.graph) == ("bf16", "on")
    text = explained(TrainingConfig(), settled, CUDA, World(0, 2))
    assert text.startswith("computing on A GPU in bf16, as one CUDA graph")
    assert text.endswith("in 2 processes with batches of 1")


def test_what_was_chosen_stays() -> None:
    ways: dict[str, Any] = {"precision": "fp32", "compile": "on", "memory_format": "channels_last"}
    chosen = TrainingConfig(**ways, graph="off", convolution="direct")
    assert settle(chosen, CPU, 256) == chosen
    assert explained(chosen, chosen, CPU) == "computing on cpu in fp32, compiled, channels last"
    assert settle(settle(TrainingConfig(), CPU, 256), CPU, 256) == settle(TrainingConfig(), CPU, 256)


def test_wide_residual_blocks_are_convolved_by_winograd_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "fast_bf16", lambda device: False)
    fp32 = TrainingConfig(precision="fp32")
    for given, device, residual, convolution in (
        (fp32, CPU, 256, "winograd"),
        (fp32, CPU, 128, "direct"),
        (fp32, CUDA, 256, "direct"),
        (replace(fp32, precision="bf16"), CPU, 256, "direct"),
        (replace(fp32, compile="on"), CPU, 256, "direct"),
        (replace(fp32, memory_format="channels_last"), CPU, 256, "direct"),
        (replace(fp32, convolution="winograd"), CPU, 8, "winograd"),
        (replace(fp32, precision="bf16", convolution="winograd"), CPU, 8, "winograd"),
        (replace(fp32, convolution="direct"), CPU, 256, "direct"),
    ):
        settled = settle(given, device, 256, residual=residual)
        assert settled.convolution == convolution
        assert settle(settled, device, 256, residual=residual) == settled
        if device == CPU:
            assert ("Winograd" in explained(given, settled, device)) == (convolution == "winograd")
    wrongs: tuple[tuple[dict[str, Any], int], ...] = (({"precision": "fp16"}, 256), ({"compile": "on"}, 256), ({}, 0))
    for wrong, residual in wrongs:
        with pytest.raises(UserError, match=r"training\.convolution.*winograd"):
            settle(replace(fp32, convolution="winograd", **wrong), CPU, 256, residual=residual)


def test_a_graph_without_cuda_is_refused() -> None:
    with pytest.raises(UserError, match=r"training\.graph is on.*CUDA"):
        settle(replace(TrainingConfig(), graph="on"), CPU, 256)


def test_images_of_sizes_of_their_own_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "fast_bf16", lambda device: True)
    assert settle(TrainingConfig(), CUDA, 256, fixed_sizes=False).graph == "off"
    with pytest.raises(UserError, match=r"training\.graph is on.*one size"):
        settle(replace(TrainingConfig(), graph="on"), CUDA, 256, fixed_sizes=False)


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "has_compiler", lambda: False)
    with pytest.raises(UserError, match=r"training\.compile is on.*C\+\+ compiler"):
        settle(replace(TrainingConfig(), compile="on"), CPU, 256)
    settle(replace(TrainingConfig(), compile="off"), CPU, 256)


def test_fast_bf16_asks_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert fast_bf16(CPU) is has
    assert not fast_bf16(torch.device("mps"))
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert fast_bf16(CUDA) is (capability[0] >= 8)


def test_a_peak_is_in_bytes() -> None:
    peak = peak_memory(CPU)
    assert peak is None or peak > 2**20
