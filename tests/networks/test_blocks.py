from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as nnf
from torch import nn

from unpaired.networks.blocks import (
    BlurredDownsample,
    InstanceNorm,
    ResidualBlock,
    Stage,
    normalization,
    upsampling_layers,
)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_is_the_library_s_with_both_derivatives(layout: torch.memory_format) -> None:
    features = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    ours = InstanceNorm()(features.contiguous(memory_format=layout))
    theirs = nnf.instance_norm(features, eps=1e-5)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weight = torch.randn_like(features)
    grads = [torch.autograd.grad((out * weight).sum(), features, create_graph=True)[0] for out in (ours, theirs)]
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=1e-12)
    second = [torch.autograd.grad(grad.square().sum(), features, retain_graph=True)[0] for grad in grads]
    assert second[1].abs().max() > 0
    torch.testing.assert_close(second[0], second[1], rtol=1e-9, atol=1e-10)


def test_instance_norm_is_accurate_far_from_zero() -> None:
    features = 1000 + torch.randn(1, 2, 32, 32)
    exact = nnf.instance_norm(features.double())
    assert (InstanceNorm()(features).double() - exact).abs().max() < 1e-3


def test_instance_norm_reads_channels_last_and_keeps_bfloat16_under_autocast() -> None:
    features = torch.randn(2, 4, 6, 6)
    strided = features.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(InstanceNorm()(strided), InstanceNorm()(features), rtol=0, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert InstanceNorm()(features.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_the_gradient_of_instance_norm_in_channels_last(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    features = (3 * torch.randn(2, 8, 16, 16) + 5).to(dtype).contiguous(memory_format=torch.channels_last)
    gradient = torch.randn_like(features)
    strided, exact = features.clone().requires_grad_(), features.double().contiguous().requires_grad_()
    InstanceNorm()(strided).backward(gradient)
    nnf.instance_norm(exact, eps=1e-5).backward(gradient.double().contiguous())
    assert strided.grad is not None
    assert exact.grad is not None
    assert strided.grad.dtype == dtype
    assert strided.grad.is_contiguous(memory_format=torch.channels_last)
    assert (strided.grad - exact.grad).abs().max() < tolerance * exact.grad.abs().max()


def test_instance_norm_has_no_state() -> None:
    assert not InstanceNorm().state_dict()
    assert "eps=1e-05" in repr(InstanceNorm())


def test_norms() -> None:
    batch = normalization("batch", 7)
    assert isinstance(batch, nn.BatchNorm2d)
    assert batch.affine
    assert batch.track_running_stats
    assert isinstance(normalization("none", 7), nn.Identity)
    assert isinstance(normalization("instance", 7), InstanceNorm)


def test_a_stage_works_in_order() -> None:
    stage = Stage(
        nn.Conv2d(1, 1, 3, bias=False), before=nn.ReflectionPad2d(1), norm=InstanceNorm(), activation=nn.ReLU()
    )
    image = torch.randn(1, 1, 5, 5)
    expected = nnf.relu(
        nnf.instance_norm(nnf.conv2d(nnf.pad(image, (1,) * 4, mode="reflect"), stage.convolution.weight))
    )
    torch.testing.assert_close(stage(image), expected)
    assert [type(layer) for layer in stage.layers()] == [nn.ReflectionPad2d, nn.Conv2d, InstanceNorm, nn.ReLU]


def test_a_residual_block_adds_to_its_input_and_leaves_it_alone() -> None:
    block = ResidualBlock(3, "none", dropout=False)
    features = torch.randn(1, 3, 4, 4)
    before = features.clone()
    for weight in block.second.parameters():
        nn.init.zeros_(weight)
    assert torch.equal(block(features), before)
    assert torch.equal(features, before)


def test_dropout_stands_between_the_convolutions_of_a_residual_block() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(4, "instance", dropout=True).train()
    values = block.first(torch.randn(1, 4, 16, 16))
    share = (values == 0).float().mean()  # the ReLU makes half of them zero, dropout half of the rest
    assert 0.7 < share < 0.8
    assert not any(isinstance(layer, nn.Dropout) for layer in block.second.modules())


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_upsampling_doubles_the_size(upsampling: str, kernel: int) -> None:
    before, convolution = upsampling_layers(upsampling, 3, 2, kernel=kernel, bias=False)
    features = torch.randn(1, 3, 5, 7)
    assert convolution(before(features) if before else features).shape == (1, 2, 10, 14)


def test_nearest_upsampling_leaves_no_checkerboard() -> None:
    """A constant image stays constant but at its border; a 3 x 3 transposed convolution makes a pattern of it."""
    torch.manual_seed(0)
    flat = torch.ones(1, 1, 6, 6)
    for upsampling, constant in (("nearest", True), ("transposed", False)):
        before, convolution = upsampling_layers(upsampling, 1, 1, kernel=3, bias=False)
        inner = convolution(before(flat) if before else flat)[..., 2:-2, 2:-2]
        assert bool(inner.std() < 1e-6) is constant


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (31, 30), (2, 3)])
def test_blurred_downsampling_is_the_published_filter(size: tuple[int, int]) -> None:
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    row = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    kernel = (row[:, None] * row[None, :]).expand(3, 1, 3, 3)
    wanted = nnf.conv2d(nnf.pad(image, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=3)
    torch.testing.assert_close(BlurredDownsample()(image), wanted, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="compiling needs a C++ compiler"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the compiler, inside
def test_blurred_downsampling_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # a pool of processes would import PyTorch each
    # No vector instructions: trying them out takes longer than the kernels, and is PyTorch's business.
    monkeypatch.setattr("torch._inductor.cpu_vec_isa.valid_vec_isa_list", list)
    plain, compiled = (torch.nn.Sequential(BlurredDownsample(), BlurredDownsample()) for _ in range(2))
    compiled.compile(dynamic=False)
    image = torch.randn(1, 2, 9, 10, requires_grad=True)
    wanted, given = plain(image), compiled(image)
    torch.testing.assert_close(given, wanted)
    gradients = [torch.autograd.grad(result.square().sum(), image)[0] for result in (wanted, given)]
    torch.testing.assert_close(gradients[1], gradients[0])
