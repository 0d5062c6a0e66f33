"""The candidates of the records: each changes what it says and nothing else."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.methods import Batch, ImageShapes, cyclegan
from unpaired.training.config import TrainingConfig
from unpaired.training.trainer import Trainer

SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(32, 32))
SMALL: dict[str, Any] = {
    "generator": {"family": "unet", "depth": 2, "width": 8},
    "discriminator": {"family": "patchgan", "layers": 2, "width": 8},
    "identity_weight": 2.0,
}


@pytest.fixture(scope="module")
def candidates() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
        module = importlib.import_module("candidates")
        yield module
        del sys.modules["candidates"]


def terms_of(method: cyclegan.CycleGAN, steps: int = 1) -> dict[str, float]:
    torch.manual_seed(1)
    batch = Batch(torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1)
    for _ in range(steps):
        updates = list(method.step(iter([batch])))
    return {name: float(value.detach()) for update in updates for name, value in update.terms.items()}


def build(kind: Any, **own: Any) -> Any:
    torch.manual_seed(0)
    return kind(kind.config_class(**SMALL, **own), SHAPES)


def test_without_a_candidate_it_is_cyclegan(candidates: ModuleType) -> None:
    assert terms_of(build(candidates.Candidate)) == terms_of(build(cyclegan.CycleGAN))


@pytest.mark.parametrize(
    ("own", "changed"),
    [
        ({"r1_weight": 0.1}, {"discriminator_a", "discriminator_b"}),
        ({"r2_weight": 0.1}, {"discriminator_a", "discriminator_b"}),
        ({"relativistic": True}, {"gan_a2b", "gan_b2a", "discriminator_a", "discriminator_b"}),
        ({"spectral_norm": True}, {"gan_a2b", "gan_b2a", "discriminator_a", "discriminator_b"}),
        ({"cycle_features": 0.5}, {"cycle_a", "cycle_b"}),
        ({"identity_every": 3}, {"identity_a", "identity_b"}),
        ({"identity_steps": 0}, {"identity_a", "identity_b"}),
    ],
)
def test_a_candidate_changes_its_terms_alone(candidates: ModuleType, own: dict[str, Any], changed: set[str]) -> None:
    before, after = terms_of(build(cyclegan.CycleGAN)), terms_of(build(candidates.Candidate, **own))
    assert {name for name in before if after.get(name) != before[name]} == changed


def test_a_penalty_is_lazy_and_weighs_what_it_leaves_out(candidates: ModuleType) -> None:
    """D(x) = sum of 3 x: its gradient has the squared length 9 x 3 x 32 x 32, twice the penalty every second step."""

    class Linear(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return 3 * image.sum((1, 2, 3), keepdim=True)

    method, image = build(candidates.Candidate, r1_weight=0.5, penalty_every=2), torch.zeros(2, 3, 32, 32)
    found = []
    for method.steps in range(3):
        found.append(float(method.between(Linear(), image, image).detach()))
    assert found == pytest.approx([0.5 + 2 * 0.5 * 9 * 3 * 32 * 32, 0.5, 0.5 + 2 * 0.5 * 9 * 3 * 32 * 32])


def test_small_images_come_first(candidates: ModuleType) -> None:
    method, seen = build(candidates.Candidate, small_steps=1), []
    method.G.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1]))
    terms_of(method, steps=2)
    assert sorted(set(seen[: len(seen) // 2])) == [16]
    assert sorted(set(seen[len(seen) // 2 :])) == [32]


def test_scales_weigh_the_same(candidates: ModuleType) -> None:
    judge = build(candidates.Candidate, scales=3).D_X
    logits = judge(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 3, 15, 15)
    assert logits[:, 2].unique().numel() <= 2 * judge.patchgan(torch.rand(1, 3, 32, 32)).numel()


def test_muon_moves_along_orthogonal_directions(candidates: ModuleType) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(candidates.orthogonal(torch.randn(16, 64)).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_candidates_need_discriminators(candidates: ModuleType) -> None:
    with pytest.raises(UserError, match="gan_weight is 0"):
        build(candidates.Candidate, gan_weight=0.0)


def test_a_disturbance_of_the_cycle_is_kept(candidates: ModuleType) -> None:
    before, after = (terms_of(build(candidates.Candidate, **own)) for own in ({}, {"cycle_noise": 16.0}))
    assert after["cycle_a"] != before["cycle_a"]


@pytest.mark.parametrize("optimizer", ["muon", "schedulefree"])
def test_an_optimizer_takes_the_place_of_the_trainers(
    candidates: ModuleType, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    if optimizer == "schedulefree":
        pytest.importorskip("schedulefree")
    for name in ("_optimizer", "translators", "_optimize"):
        monkeypatch.setattr(Trainer, name, getattr(Trainer, name))  # so that they are put back
    candidates.replace_optimizer.cache_clear()
    trainer = Trainer(build(candidates.Candidate, optimizer=optimizer), TrainingConfig(), torch.device("cpu"))
    assert all(type(each).__name__ != "Adam" for each in trainer.optimizers.values())
    before = [weight.clone() for weight in trainer.parameters["generators"]]
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    for _ in range(2):
        trainer.step(iter([Batch(image, image)]))
        trainer.translators()
    assert all(
        not torch.equal(a, b) for a, b in zip(before, trainer.parameters["generators"], strict=True) if a.ndim > 1
    )
    candidates.replace_optimizer.cache_clear()
