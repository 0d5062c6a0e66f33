from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as nnf
from safetensors.torch import load_file
from torch import nn

from unpaired.methods.losses import fake_loss, generator_loss, gradient_penalty, info_nce, l1, real_loss
from unpaired.networks import PatchganConfig, build_discriminator

LOGITS = torch.tensor([2.0, -1.0, 0.5]).reshape(1, 1, 1, 3)


def _cross_entropy(*logits: float) -> float:
    return sum(math.log1p(math.exp(logit)) for logit in logits) / len(logits)


@pytest.mark.parametrize(
    ("objective", "real", "fake", "generator"),
    [
        ("lsgan", (1 + 4 + 0.25) / 3, (4 + 1 + 0.25) / 3, (1 + 4 + 0.25) / 3),
        ("vanilla", _cross_entropy(-2, 1, -0.5), _cross_entropy(2, -1, 0.5), _cross_entropy(-2, 1, -0.5)),
        ("hinge", (0 + 2 + 0.5) / 3, (3 + 0 + 1.5) / 3, -0.5),
        ("wgangp", -0.5, 0.5, -0.5),
    ],
)
def test_objectives_by_hand(objective: str, real: float, fake: float, generator: float) -> None:
    assert real_loss(objective, LOGITS).item() == pytest.approx(real, abs=1e-6)
    assert fake_loss(objective, LOGITS).item() == pytest.approx(fake, abs=1e-6)
    assert generator_loss(objective, LOGITS).item() == pytest.approx(generator, abs=1e-6)
    assert real_loss(objective, LOGITS).shape == ()


@pytest.mark.parametrize("objective", ["lsgan", "vanilla"])
def test_the_authors_numbers(shared: Path, objective: str) -> None:
    numbers = load_file(shared / "golden" / "gan_losses.safetensors")
    prediction = numbers["prediction"]
    torch.testing.assert_close(real_loss(objective, prediction), numbers[f"{objective}.real"][0], rtol=0, atol=1e-6)
    torch.testing.assert_close(fake_loss(objective, prediction), numbers[f"{objective}.fake"][0], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        generator_loss(objective, prediction), numbers[f"{objective}.real"][0], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("objective", ["lsgan", "vanilla", "hinge", "wgangp"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_averaged_in_float32(objective: str, dtype: torch.dtype) -> None:
    logits = (100 * torch.randn(1, 1, 64, 64)).to(dtype)
    for loss in (real_loss, fake_loss, generator_loss):
        assert loss(objective, logits).dtype == torch.float32
        assert loss(objective, logits) == loss(objective, logits.float())


def test_autocast_leaves_the_contrastive_loss_in_float32() -> None:
    """Half precision would round products of nearly equal patches by more than what tells them apart."""
    torch.manual_seed(0)
    base = torch.randn(1, 1, 32)
    queries, keys = (nnf.normalize(base + 0.1 * torch.randn(1, 64, 32), dim=-1) for _ in range(2))
    exact = info_nce(queries, keys, 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        assert info_nce(queries, keys, 0.07) == exact
        assert info_nce(queries.bfloat16(), keys.bfloat16(), 0.07).dtype == torch.float32


def test_vanilla_survives_extreme_logits() -> None:
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = real_loss("vanilla", logits)
    loss.backward()
    assert loss.item() == pytest.approx(5000)
    torch.testing.assert_close(logits.grad, torch.tensor([-0.5, 0.0]))


def test_l1() -> None:
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])
    assert l1(one, other).item() == 1.5
    assert l1(one.bfloat16(), other.bfloat16()).dtype == torch.float32
    with pytest.raises(AssertionError):
        l1(torch.zeros(2, 1), torch.zeros(1, 2))


class Linear(nn.Module):
    def __init__(self, weight: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight).reshape(1, -1, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.weight * image  # a map of logits, which the penalty sums


def test_the_penalty_of_a_linear_critic_by_hand() -> None:
    """Its gradient is its weight everywhere: |(3, 4)| = 5, so 10 (5 - 1)^2 = 160, with slope 20 (5 - 1) w / |w|."""
    critic = Linear([3.0, 4.0])
    real, fake = torch.randn(3, 2, 1, 1, requires_grad=True), torch.randn(3, 2, 1, 1, requires_grad=True)
    penalty = gradient_penalty(critic, real, fake)
    assert penalty.item() == pytest.approx(160, rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(critic.weight.grad.flatten(), torch.tensor([48.0, 64.0]))
    assert real.grad is None
    assert fake.grad is None
    assert gradient_penalty(critic, real, fake, weight=0.5).item() == pytest.approx(8, rel=1e-5)


def test_the_penalty_looks_between_real_and_fake() -> None:
    """The gradient of |x|^2 / 2 is x, so with fake = 0 and |real| = 1 it is the share: 10 E(1 - u)^2 = 10 / 3."""
    torch.manual_seed(0)
    real = torch.ones(20000, 1, 1, 1)
    penalty = gradient_penalty(lambda image: image.square() / 2, real, torch.zeros_like(real))
    assert penalty.item() == pytest.approx(10 / 3, rel=0.03)


def test_the_penalty_is_finite_for_a_flat_critic() -> None:
    critic = Linear([0.0, 0.0])
    penalty = gradient_penalty(critic, torch.ones(2, 2, 1, 1), torch.zeros(2, 2, 1, 1))
    penalty.backward()
    assert penalty.item() == 10
    assert critic.weight.grad.isfinite().all()


def test_the_penalty_trains_a_patchgan() -> None:
    torch.manual_seed(0)
    critic = build_discriminator(PatchganConfig(width=2, layers=1), 3)
    gradient_penalty(critic, torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)).backward()
    weights = [value for name, value in critic.named_parameters() if name.endswith("weight")]
    assert all(value.grad is not None and value.grad.isfinite().all() and value.grad.any() for value in weights)


def test_the_penalty_takes_half_precision_fakes() -> None:
    """Under autocast fakes are bfloat16 beside float32 images; the point between them is float32."""
    real, fake = torch.ones(2, 2, 1, 1), torch.zeros(2, 2, 1, 1, dtype=torch.bfloat16)
    penalty = gradient_penalty(Linear([3.0, 4.0]), real, fake)
    assert penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx(160, rel=1e-5)
