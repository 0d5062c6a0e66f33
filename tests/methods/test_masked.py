"""Masked images: what is covered, its loss by hand, the contract, and a training that begins from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import contract
import unpaired
from runs import TINY, write_images
from unpaired.core.errors import UserError
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.masked import Config, Masked
from unpaired.models.folder import checkpoints_of, read_tensors
from unpaired.networks import UnetConfig, VitUnetConfig
from unpaired.training.settings import resolve

SHAPES = ImageShapes(channels_a=2, channels_b=2, size=(16, 16))
VIT = VitUnetConfig(width=4, depth=2, tokens=12, heads=3, blocks=1)


@pytest.mark.parametrize("generator", [VIT, UnetConfig(width=4, depth=3, norm="batch")])
def test_contract(generator: Any) -> None:
    config = Config(generator=generator, patch=4)
    contract.keeps_it(lambda: Masked(config, SHAPES), lambda: contract.batches(2, 2, 16, rows=2))


def test_defaults_are_published() -> None:
    config = resolve([unpaired.core.given.Given({"method.name": "masked"}, "{name}")])
    assert config.settings == Config(patch=32, covered=0.4, generator=VitUnetConfig())
    assert config.training.learning_rate == pytest.approx(3.125e-4)
    assert (config.training.batch_size, config.training.betas) == (16, (0.9, 0.99))


@pytest.mark.parametrize("size", [(32, 32), (21, 30)])
def test_squares_are_black_or_as_they_were(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    method = Masked(Config(generator=VIT, patch=8, covered=0.4), SHAPES)
    image = torch.rand(200, 2, *size)
    covered = method.cover(image)
    shares = []
    for top in range(0, size[0], 8):
        for left in range(0, size[1], 8):
            old, new = (each[..., top : top + 8, left : left + 8].flatten(1) for each in (image, covered))
            black = (new == -1).all(1)
            assert torch.equal(new[~black], old[~black])
            shares.append(black.float().mean().item())
    assert sum(shares) / len(shares) == pytest.approx(0.4, abs=0.03)
    assert min(shares) > 0.25, "every square may be covered"
    assert torch.equal((covered[:, 0] == -1), (covered[:, 1] == -1)), "in all channels"


class _Seen(nn.Module):
    """Gives back what it sees, and remembers it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.image = image
        return image


def test_the_loss_by_hand() -> None:
    """What is left as it was costs nothing, and a covered value its distance from -1, over the whole image."""
    method = Masked(Config(generator=VIT, patch=8), SHAPES)
    method.G = _Seen()  # type: ignore[assignment]
    x, y = torch.full((2, 2, 16, 16), 0.5), torch.full((2, 2, 16, 16), -0.25)
    (update,) = method.step(iter([Batch(x, y)]))
    assert update.player == "generator"
    shares = [(half == -1).float().mean().item() for half in method.G.image.chunk(2)]  # type: ignore[union-attr, operator]
    assert update.terms["reconstruction_a"].item() == pytest.approx(1.5 * shares[0])
    assert update.terms["reconstruction_b"].item() == pytest.approx(0.75 * shares[1])


def test_domains_of_different_channels_are_an_error_with_its_remedy() -> None:
    with pytest.raises(UserError, match=r"A has 1 and B has 3\. Set data\.channels_a"):
        Masked(Config(generator=VIT), ImageShapes(channels_a=1, channels_b=3, size=(16, 16)))


def test_a_cyclegan_begins_from_it(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", {"trainA": 4, "trainB": 4, "testA": 2, "testB": 2})
    shared = {name: value for name, value in TINY.items() if name.split(".")[0] != "method"}
    vit = {"family": "vit_unet", "width": 4, "depth": 2, "tokens": 12, "heads": 3, "blocks": 1}
    settings = {**shared, "training.max_images": 4, "training.batch_size": 2, "training.evaluate_images": 0}
    masked = unpaired.train(
        "masked", data=data, out=tmp_path / "masked", settings={**settings, "method.generator": vit}, quiet=True
    )
    assert not masked.translates
    learned = read_tensors(checkpoints_of(masked.run)[0], "a2b.safetensors")
    judges = {name: value for name, value in TINY.items() if name.startswith("method.discriminator")}
    settings |= judges | {"training.init_from": str(masked.run), "training.freeze": ["generators"]}
    result = unpaired.train("cyclegan", data=data, out=tmp_path / "cyclegan", settings=settings, quiet=True)
    fits = {fit.network: fit for fit in result.initialized}
    for direction in ("a2b", "b2a"):
        assert fits[direction].taken == fits[direction].count == len(learned)
        begun = read_tensors(checkpoints_of(result.run)[0], f"{direction}.safetensors")
        assert all(torch.equal(value, begun[name]) for name, value in learned.items())
    settings |= {"method.generator.family": "vit_unet", "method.generator.width": 5, "method.generator.tokens": 30}
    with pytest.raises(UserError, match=r"none of its weights fits.*Leave method\.generator out"):
        unpaired.train("cyclegan", data=data, out=tmp_path / "other", settings=settings, quiet=True)
