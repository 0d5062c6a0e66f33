"""DCLGAN by its equations, and the contract of all methods."""

from __future__ import annotations

import pytest
import torch

import contract
from unpaired.core.errors import UserError
from unpaired.methods import ImageShapes
from unpaired.methods.dclgan import DCLGAN, Config
from unpaired.methods.losses import info_nce
from unpaired.networks import PatchganConfig, ResnetConfig

SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(16, 16))


def tiny(**options: object) -> Config:
    return Config(
        generator=ResnetConfig(width=4, blocks=1, downsampling="blur", upsampling="blur"),
        discriminator=PatchganConfig(width=4, layers=1, downsampling="blur"),
        nce_layers=(4, 8, 12),
        embedding_width=8,
        num_patches=10**6,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("options", [{}, {"identity_weight": 0.0}], ids=["all terms", "without identity"])
def test_contract(options: dict[str, float]) -> None:
    contract.keeps_it(lambda: DCLGAN(tiny(**options), SHAPES), lambda: contract.batches(3, 3, 16, rows=2))


def test_two_ranks_equal_one() -> None:
    contract.two_ranks_equal_one(lambda: DCLGAN(tiny(), SHAPES), lambda: contract.batches(3, 3, 16, rows=2))


def test_the_losses_by_hand() -> None:
    torch.manual_seed(0)
    config = tiny()
    method = DCLGAN(config, SHAPES).double()
    x, y = (image.double() for image in next(contract.batches(3, 3, 16)))
    judged, made = method.step(iter([contract.Batch(x, y)]))

    fake_y, fake_x = method.G(x), method.F(y)
    half = {
        "discriminator_a": ((method.D_X(x) - 1) ** 2).mean() + (method.D_X(fake_x) ** 2).mean(),
        "discriminator_b": ((method.D_Y(y) - 1) ** 2).mean() + (method.D_Y(fake_y) ** 2).mean(),
        "gan_a2b": ((method.D_Y(fake_y) - 1) ** 2).mean(),
        "gan_b2a": ((method.D_X(fake_x) - 1) ** 2).mean(),
        "identity_a": (method.F(x) - x).abs().mean(),
        "identity_b": (method.G(y) - y).abs().mean(),
    }
    for term, image, fake, own, other, h_own, h_other in (
        ("nce_a2b", x, fake_y, method.G, method.F, method.H_X, method.H_Y),
        ("nce_b2a", y, fake_x, method.F, method.G, method.H_Y, method.H_X),
    ):
        keys, queries = own.features(image, config.nce_layers), other.features(fake, config.nce_layers)
        everywhere = [torch.arange(maps.shape[2] * maps.shape[3]) for maps in keys]
        pairs = zip(h_other(queries, everywhere), h_own(keys, everywhere), strict=True)
        half[term] = 2 * torch.stack([info_nce(q, k, 0.07) for q, k in pairs]).mean()
    for name, value in (judged.terms | made.terms).items():
        torch.testing.assert_close(value, half[name] / 2, msg=lambda text, name=name: f"{name}: {text}")
    assert (judged.terms | made.terms).keys() == half.keys() == method.terms().keys()


def test_each_encoder_learns_from_translations_into_its_domain() -> None:
    torch.manual_seed(0)
    method = DCLGAN(tiny(), SHAPES)
    x = next(contract.batches(3, 3, 16)).x
    with torch.no_grad():
        fake_y = method.G(x)
    method.patch_nce(fake_y, x, None, "a2b").backward()
    moved = {name for name, child in method.named_children() if any(p.grad is not None for p in child.parameters())}
    assert moved == {"F", "H_Y"}


def test_different_channels_are_an_error_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r"A has 1 and B has 3.*train cyclegan"):
        DCLGAN(tiny(), ImageShapes(channels_a=1, channels_b=3, size=(16, 16)))
