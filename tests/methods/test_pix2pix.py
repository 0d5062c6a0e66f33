"""pix2pix against the published code, against its equations by hand, and the contract of all methods."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import contract
from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.methods import METHODS, Batch, ImageShapes
from unpaired.methods.pix2pix import Config, Pix2pix
from unpaired.models.convert.weights import official_discriminator, official_generator
from unpaired.networks import PatchganConfig, ResnetConfig, UnetConfig
from unpaired.training.config import TrainingConfig
from unpaired.training.settings import resolve
from unpaired.training.trainer import Trainer

SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(32, 32))
SMALL = Config(
    generator=UnetConfig(width=4, depth=3, norm="batch"),
    discriminator=PatchganConfig(width=4, layers=1, norm="batch"),
)
TOLERANCES = (1e-5, 1e-5, 1e-4, 1e-3)
"""Relative; rounding grows from step to step."""


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def test_four_steps_give_the_losses_and_weights_of_the_published_code(shared: Path) -> None:
    with safe_open(shared / "golden" / "pix2pix_steps.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        names = file.metadata()["losses"].split(",")
    generator, _, _, g = official_generator(_part(tensors, "initial.G."))
    discriminator, _, d = official_discriminator(_part(tensors, "initial.D."))
    config = Config(generator=generator, discriminator=discriminator)  # type: ignore[arg-type]
    method = Pix2pix(config, ImageShapes(channels_a=3, channels_b=3, size=(128, 128)))
    method.G.load_state_dict(g)
    method.D.load_state_dict(d)
    method.double()  # the same on every machine, see test_cyclegan
    trainer = Trainer(method, TrainingConfig(precision="fp32", batch_size=2), torch.device("cpu"))
    pairs = zip(tensors["batches_A"].double(), tensors["batches_B"].double(), strict=True)
    stream = iter([Batch(x, y) for x, y in pairs])
    for step, tolerance in enumerate(TOLERANCES):
        losses = trainer.step(stream)
        theirs = dict(zip(names, tensors["losses"][step].tolist(), strict=True))
        assert losses["gan"].item() == pytest.approx(theirs["G_GAN"], rel=tolerance)
        assert losses["l1"].item() == pytest.approx(theirs["G_L1"], rel=tolerance)
        halves = (theirs["D_real"] + theirs["D_fake"]) / 2
        assert losses["discriminator"].item() == pytest.approx(halves, rel=tolerance)
    final = official_generator(_part(tensors, "final.G."))[3]
    for name, weight in method.G.state_dict().items():
        if name.endswith("convolution.weight"):
            assert (weight - final[name]).norm() < 0.02 * final[name].norm(), name


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_contract(direction: str, norm: str) -> None:
    config = Config(
        direction=direction,  # type: ignore[arg-type]
        generator=UnetConfig(width=4, depth=3, norm=norm),  # type: ignore[arg-type]
        discriminator=PatchganConfig(width=4, layers=1, norm=norm),  # type: ignore[arg-type]
    )
    shapes = ImageShapes(channels_a=1, channels_b=3, size=(32, 32))
    contract.keeps_it(lambda: Pix2pix(config, shapes), lambda: contract.batches(1, 3, 32, rows=2))


def test_two_ranks_equal_one() -> None:
    config = Config(generator=UnetConfig(width=4, depth=3), discriminator=PatchganConfig(width=4, layers=1))
    contract.two_ranks_equal_one(lambda: Pix2pix(config, SHAPES), lambda: contract.batches(3, 3, 32, rows=2))


class _Sum(nn.Module):
    """Answers with a value plus the mean of the first and of the last image channel it sees, times one half each."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, pair: Tensor) -> Tensor:
        return self.scale * (pair[:, :1] + pair[:, -1:]) / 2


def test_losses_by_hand() -> None:
    """The discriminator sees both images of a pair; with lsgan its logits here are the mean of two of their values."""
    config = Config(objective="lsgan", generator=SMALL.generator, discriminator=SMALL.discriminator)
    method = Pix2pix(config, SHAPES)
    method.G, method.D = contract.Constant(0.5), _Sum()
    x, y = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), -0.6)
    discriminator, generator = method.step(iter([Batch(x, y)]))
    on_real, on_fake = (0.2 - 0.6) / 2, (0.2 + 0.5) / 2
    assert discriminator.player == "discriminator"
    assert discriminator.terms["discriminator"].item() == pytest.approx(((on_real - 1) ** 2 + on_fake**2) / 2)
    assert generator.terms["gan"].item() == pytest.approx((on_fake - 1) ** 2)
    assert generator.terms["l1"].item() == pytest.approx(100 * abs(0.5 + 0.6))


def test_the_other_direction_exchanges_the_domains() -> None:
    torch.manual_seed(0)
    shapes = ImageShapes(channels_a=1, channels_b=2, size=(32, 32))
    method = Pix2pix(Config(direction="b2a", generator=SMALL.generator, discriminator=SMALL.discriminator), shapes)
    assert set(method.translators()) == {"b2a"}
    assert (method.G.in_channels, method.G.out_channels, method.D.in_channels) == (2, 1, 3)
    assert method.D.groups == (2, 1)


@pytest.mark.parametrize(("size", "depth"), [((64, 64), 6), ((96, 160), 5), ((256, 256), 8), ((512, 256), 8)])
def test_the_default_network_fits_the_images(size: tuple[int, int], depth: int) -> None:
    config, notices = Pix2pix.adapt(Config(), ImageShapes(channels_a=3, channels_b=3, size=size), frozenset())
    assert isinstance(config.generator, UnetConfig)
    assert config.generator.depth == depth
    assert config.generator.dropout == (depth >= 6)
    assert len(notices) == (depth != 8)
    assert ("no dropout" in "".join(notices)) == (depth < 6)


def test_what_was_chosen_is_not_changed() -> None:
    chosen = Config(generator=UnetConfig())
    assert Pix2pix.adapt(chosen, SHAPES, frozenset({"generator", "generator.depth"})) == (chosen, [])
    resnet = Config(generator=ResnetConfig())
    assert Pix2pix.adapt(resnet, SHAPES, frozenset()) == (resnet, [])


@pytest.mark.parametrize("given", [{"method.generator.width": 4}, {"method.generator": {"width": 4}}])
def test_the_depth_fits_the_images_whatever_else_was_chosen(given: dict[str, object]) -> None:
    config = resolve([Given({"method.name": "pix2pix", **given}, "{name}")])
    fitting, _ = Pix2pix.adapt(config.settings, SHAPES, config.chosen_settings())
    assert fitting.generator == UnetConfig(width=4, depth=5, norm="batch")
    deep = resolve([Given({"method.name": "pix2pix", "method.generator": {"depth": 8}}, "{name}")])
    assert Pix2pix.adapt(deep.settings, SHAPES, deep.chosen_settings()) == (deep.settings, [])


def test_what_does_not_fit_is_told_before_training() -> None:
    with pytest.raises(UserError, match=r"generator\.dropout is on and has no place in a U-Net of depth 5"):
        Pix2pix.adapt(Config(), SHAPES, frozenset({"generator", "generator.dropout"}))
    with pytest.raises(UserError, match=r"30 x 30 .*crop_size to multiples of 4"):
        Pix2pix.adapt(Config(), ImageShapes(channels_a=3, channels_b=3, size=(30, 30)), frozenset())


def test_it_learns_from_pairs_and_says_so() -> None:
    assert METHODS["pix2pix"].paired
    assert not METHODS["cyclegan"].paired


def test_a_penalty_without_wgangp_is_an_error() -> None:
    with pytest.raises(ValueError, match="gradient_penalty_weight"):
        Config(gradient_penalty_weight=3.0)
