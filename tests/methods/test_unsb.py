"""UNSB by its equations, in the authors' way of computing them, and the contract of all methods."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor

import contract
from unpaired.core.errors import UserError
from unpaired.methods import ImageShapes
from unpaired.methods.losses import info_nce
from unpaired.methods.unsb import UNSB, Config
from unpaired.networks import BridgeResnetConfig, PatchganConfig

SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(16, 16))


def tiny(steps: int = 5, **options: object) -> Config:
    return Config(
        generator=BridgeResnetConfig(width=4, blocks=1, downsampling="blur", upsampling="blur", steps=steps),
        discriminator=PatchganConfig(width=4, layers=1, downsampling="blur"),
        nce_layers=(4, 8, 12),
        embedding_width=8,
        num_patches=10**6,
        **options,  # type: ignore[arg-type]
    )


def test_contract() -> None:
    contract.keeps_it(lambda: UNSB(tiny(), SHAPES), lambda: contract.batches(3, 3, 16, rows=2))
    changed = UNSB(tiny(identity=False, objective="wgangp"), SHAPES)
    contract.each_update_moves_its_player_alone(changed, contract.batches(3, 3, 16))


def test_two_ranks_equal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one step and fixed noise nothing is drawn but the order of the patches, which are all taken."""
    monkeypatch.setattr(UNSB, "noise", lambda self, images: images.new_ones(len(images), 16))
    contract.two_ranks_equal_one(lambda: UNSB(tiny(steps=1), SHAPES), lambda: contract.batches(3, 3, 16, rows=2))


def test_losses_and_gradients_are_those_of_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = tiny(sb_weight=0.7, nce_weight=1.0)
    method = UNSB(config, SHAPES).double()
    (x, y), (x2, _) = ([image.double() for image in each] for each in islice(contract.batches(3, 3, 16), 2))
    x_t, x2_t, y_t = (torch.rand_like(x) * 2 - 1 for _ in range(3))
    z, time = torch.randn(1, 16, dtype=torch.float64), torch.tensor([3])
    monkeypatch.setattr(method, "sample", lambda image, time: torch.cat([x_t, x2_t, y_t]))
    monkeypatch.setattr(method, "noise", lambda images: z.expand(len(images), -1))
    monkeypatch.setattr(torch, "randint", lambda *_, **__: time)
    judged, measured, made = method.step(iter([contract.Batch(x, y), contract.Batch(x2, y)]))

    # As in their code: each stream by itself, all logits of a call in one sum, step 3 of 5, tau 0.01.
    fake, fake2, same = (method.G.predict(image, time, z) for image in (x_t, x2_t, y_t))
    pair, pair2 = torch.cat([x_t, fake], 1), torch.cat([x2_t, fake2], 1)

    def energy(one: Tensor, other: Tensor) -> Tensor:
        return method.E(torch.cat([one, other], 1), time)

    def nce(source: Tensor, translated: Tensor) -> Tensor:
        keys, queries = (method.G.features(image, config.nce_layers, z) for image in (source, translated))
        everywhere = [torch.arange(maps.shape[2] * maps.shape[3]) for maps in keys]
        pairs = zip(method.H(queries, everywhere), method.H(keys, everywhere), strict=True)
        return torch.stack([info_nce(q, k.detach(), 0.07) for q, k in pairs]).mean()

    temp = torch.logsumexp(energy(pair.detach(), pair2.detach()).reshape(-1), 0)
    loss_e = -energy(pair.detach(), pair.detach()).mean() + temp + temp**2
    loss_d = ((method.D(fake.detach(), time) ** 2).mean() + ((method.D(y, time) - 1) ** 2).mean()) / 2
    information = energy(pair, pair).mean() - torch.logsumexp(energy(pair, pair2).reshape(-1), 0)
    loss_sb = -(5 - 3) / 5 * 0.01 * information + 0.01 * ((x_t - fake) ** 2).mean()
    gan = ((method.D(fake, time) - 1) ** 2).mean()
    loss_g = gan + 0.7 * loss_sb + (nce(x, fake) + nce(y, same)) * 0.5
    for update, loss in ((judged, loss_d), (measured, loss_e), (made, loss_g)):
        weights = method.players()[update.player].parameters()
        ours = torch.stack([*update.terms.values()]).sum()
        torch.testing.assert_close(ours, loss)
        gradients = (torch.autograd.grad(each, weights, retain_graph=True) for each in (ours, loss))
        for mine, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-10)
    assert made.terms["transport"].item() == pytest.approx(0.7 * 0.01 * ((x_t - fake) ** 2).mean().item())


def test_x_t_is_reached_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = tiny()
    method = UNSB(replace(config, generator=replace(config.generator, tau=0.0)), SHAPES)
    monkeypatch.setattr(method.G, "predict", lambda image, time, noise: torch.full_like(image, 0.1 * (1 + int(time))))
    image = torch.full((1, 3, 16, 16), -0.5)
    # Times 0, 0.5, 0.74: half of the way to the first prediction, then 0.24 / 0.5 of the rest to the second.
    expected = [-0.5, 0.5 * -0.5 + 0.5 * 0.1]
    expected.append(0.52 * expected[1] + 0.48 * 0.2)
    for step, value in enumerate(expected):
        torch.testing.assert_close(method.sample(image, torch.tensor([step])), torch.full_like(image, value))


def test_a_recorded_step_computes_all_and_takes_the_right_one() -> None:
    """On a device whose values the host does not ask for: here one that has none."""
    method = UNSB(tiny(), SHAPES).to("meta")
    for update in method.step(contract.Batch(x.to("meta"), y.to("meta")) for x, y in contract.batches(3, 3, 16)):
        assert all(term.is_meta and term.shape == () for term in update.terms.values())


def test_images_of_their_own_sizes_and_other_channels_are_refused() -> None:
    with pytest.raises(UserError, match=r"one size.*data\.preprocess"):
        UNSB(tiny(), ImageShapes(channels_a=3, channels_b=3, size=None))
    with pytest.raises(UserError, match=r"source has 1 and the target has 3.*train cyclegan"):
        UNSB(tiny(), ImageShapes(channels_a=1, channels_b=3, size=(16, 16)))
