"""Tiles of every network give what the whole gives: statistics are the whole image's, inner edges are no borders."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unpaired.models.tiling.local import Network, NotLocalError, inside, read_network, take
from unpaired.models.tiling.plan import plans
from unpaired.models.tiling.run import Moments, TiledRun
from unpaired.networks import (
    GENERATORS,
    Generator,
    MaskedResnetConfig,
    ResnetConfig,
    UnetConfig,
    VitUnetConfig,
    build_generator,
)

CPU = torch.device("cpu")
NORMS = ("instance", "batch", "none")
UPSAMPLINGS = ("transposed", "nearest", "blur")
CONFIGS: list[Any] = [
    *(
        ResnetConfig(width=2, blocks=1, norm=norm, upsampling=up, downsampling=down, dropout=norm == "batch")
        for norm in NORMS
        for up in UPSAMPLINGS
        for down in ("strided", "blur")
    ),
    *(MaskedResnetConfig(width=2, blocks=1, norm=norm) for norm in NORMS),
    *(UnetConfig(width=2, depth=3, norm=norm, upsampling=up) for norm in NORMS for up in UPSAMPLINGS),
]


class Own(Generator):
    """Layers of a user's own network, which no family here has."""

    def __init__(self) -> None:
        super().__init__(None, 2, 2, size_multiple=2, minimum_size=8)
        self.first = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=2, dilation=2, groups=2),
            nn.InstanceNorm2d(4, affine=True),
            nn.ELU(),
            nn.ReplicationPad2d((1, 2, 0, 3)),
            nn.Conv2d(4, 4, (3, 4), padding=(1, 0)),
            nn.GroupNorm(2, 4),
            nn.SiLU(),
            nn.ConstantPad2d((0, 0, 0, -3), 0.5),
            nn.MaxPool2d(2),
        )
        self.second = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.PixelShuffle(2), nn.InstanceNorm2d(2), nn.ZeroPad2d(1), nn.AvgPool2d(3, 1)
        )
        self.gain = nn.Parameter(torch.tensor([1.5, 0.5]).view(1, 2, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        made = self.second(self.first(image)) * self.gain + 0.5 * image
        return torch.tanh(made.clamp(-2, 2))


class Averaging(Generator):
    """Sees the mean of the whole image, which is no norm."""

    def __init__(self) -> None:
        super().__init__(None, 3, 3, size_multiple=1, minimum_size=1)

    def forward(self, image: Tensor) -> Tensor:
        return image - image.mean((2, 3), keepdim=True)


def drawn(network: Generator, spread: float = 0.15, shift: float = 0.0) -> Generator:
    torch.manual_seed(3)
    for name, weight in network.named_parameters():
        weight.data.normal_(shift if name.endswith("bias") else 0.0, spread)
    for name, value in network.named_buffers():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if name.endswith("var") else value.normal_(0, 0.2)
    return network.eval().requires_grad_(False)


@cache
def opened(number: int) -> tuple[Generator, Network]:
    network = drawn(build_generator(CONFIGS[number], 2, 3))
    return network, read_network(network, CPU, torch.float32)


def tiled(
    network: Network, image: Tensor, channels: int, tile: tuple[int, int], number: int, **settings: Any
) -> tuple[Tensor, TiledRun]:
    size = image.shape[2], image.shape[3]
    result = torch.full((1, channels, *size), torch.nan)

    def read(spans: Any) -> Tensor:
        return image[:, :, slice(*spans[0]), slice(*spans[1])].clone()

    def write(spans: Any, part: Tensor) -> None:
        result[:, :, slice(*spans[0]), slice(*spans[1])] = part

    plan = plans(network, size)[number]
    run = TiledRun(network, plan, size, tile, device=CPU, dtype=torch.float32, **settings)
    with torch.inference_mode():
        run.translate(read, write)
    return result, run


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    number=st.integers(0, len(CONFIGS) - 1),
    units=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    tile=st.tuples(st.integers(3, 50), st.integers(3, 50)),
    plan=st.integers(0, 28),
)
@example(number=0, units=(1, 1), tile=(3, 3), plan=7)  # a row of tiles holds nothing of the smallest results
def test_tiles_equal_the_whole(number: int, units: tuple[int, int], tile: tuple[int, int], plan: int) -> None:
    network, local = opened(number)
    size = [max(unit * network.size_multiple, 2 * network.minimum_size) for unit in units]
    image = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(units[0])) * 2 - 1
    tile = (max(tile[0], size[0] // 8), max(tile[1], size[1] // 8))  # some dozens of tiles show what hundreds do
    made, _ = tiled(local, image, 3, tile, plan)
    assert (made - network(image)).abs().max() <= 1e-5


def test_every_family_can_be_tiled_or_says_that_it_cannot() -> None:
    tested = {config.family for config in CONFIGS} | {"bridge_resnet"}  # tests/networks/test_bridge_resnet.py
    whole = {name for name, family in GENERATORS.items() if family.is_search or family.sees_whole_image}
    assert set(GENERATORS) - whole == tested
    assert whole == {"latent_search", "vit_unet"}


@pytest.mark.parametrize("tile", [(5, 7), (16, 9), (64, 64)])
def test_layers_of_a_network_of_ones_own(tile: tuple[int, int]) -> None:
    network = drawn(Own(), 0.4)
    image = torch.rand(1, 2, 30, 34) * 2 - 1
    local = read_network(network, CPU, torch.float32)
    made, _ = tiled(local, image, 2, tile, 9)
    assert (made - network(image)).abs().max() <= 1e-5


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    """Biases of 100 before every norm: the sum of squares minus the squared sum would leave nothing of the variance."""
    config = ResnetConfig(width=2, blocks=1)
    network = drawn(build_generator(config, 2, 3), 0.15, 100.0)
    network.head.convolution.bias.data.zero_()  # type: ignore[union-attr, operator]
    image = torch.rand(1, 2, 64, 48) * 2 - 1
    exact = network.double()(image.double()).float()
    network.float()
    made, _ = tiled(read_network(network, CPU, torch.float32), image, 3, (13, 11), 12)
    error, error_of_whole = ((each - exact).abs().max() for each in (made, network(image)))
    assert error <= max(1e-4, 1.5 * error_of_whole)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    values = torch.randn(1, 3, 40, 30, dtype=torch.float64) * torch.tensor([1.0, 1e-2, 10]).view(1, 3, 1, 1) + 1000
    values = values.float()
    moments = Moments.empty(3)
    for rows in values.split(7, 2):
        for part in rows.split(11, 3):
            moments.add(part)
    assert moments.count == 1200
    torch.testing.assert_close(moments.mean, values.double().mean((2, 3))[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.variance, values.double().var((2, 3), correction=0)[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("border", ["constant", "reflect", "replicate"])
def test_parts_beyond_the_border(border: Any) -> None:
    row = torch.arange(6.0).view(1, 1, 1, 6)
    padded = nn.functional.pad(row, (4, 4, 0, 0), mode=border)
    for low, high in ((-3, 2), (4, 9), (-2, 8), (1, 4), (-4, -1), (6, 9)):
        has = inside((low, high), 6, border)
        assert 0 <= has[0] < has[1] <= 6
        expected = padded[..., low + 4 : high + 4]
        assert take(row[..., has[0] : has[1]], 1, has, (low, high), 6, border, 0.0).tolist() == expected.tolist()


def test_what_is_not_local_is_refused() -> None:
    with pytest.raises(NotLocalError, match="mean"):
        read_network(Averaging(), CPU, torch.float32)
    attending = build_generator(VitUnetConfig(width=2, depth=1, tokens=2, heads=1, blocks=1), 3, 3)
    with pytest.raises(NotLocalError, match="depends on the whole image, through attention"):
        read_network(attending, CPU, torch.float32)


class _Killed(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 23, 47, 70])
def test_an_interrupted_run_goes_on(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unpaired.models.tiling.run._SAVED_EVERY", 0.0)
    network, local = opened(0)
    image = torch.rand(1, 2, 48, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = network(image)
    uninterrupted, _ = tiled(local, image, 3, (16, 16), 12)
    seen: list[Any] = []

    def kill(progress: Any) -> None:
        seen.append(progress)
        if len(seen) == stop:
            raise _Killed

    result = torch.zeros_like(expected)
    computed = 0

    def read(spans: Any) -> Tensor:
        return image[:, :, slice(*spans[0]), slice(*spans[1])].clone()

    def write(spans: Any, part: Tensor) -> None:
        result[:, :, slice(*spans[0]), slice(*spans[1])] = part

    def count(progress: Any) -> None:
        nonlocal computed
        computed += 1

    plan = plans(local, (48, 40))[12]
    assert plan.kept
    common: dict[str, Any] = {"device": CPU, "dtype": torch.float32, "folder": tmp_path, "key": "one"}
    with torch.inference_mode():
        with pytest.raises(_Killed):
            TiledRun(local, plan, (48, 40), (16, 16), progress=kill, **common).translate(read, write)
        TiledRun(local, plan, (48, 40), (16, 16), progress=count, **common).translate(read, write)
    everything = len(plan.passes) * 9
    assert computed <= everything - (stop - 1) // 3 * 3  # whole rows of tiles are not computed again
    assert torch.equal(result, uninterrupted)


def test_progress_ends_at_the_whole() -> None:
    _, local = opened(0)
    seen: list[Any] = []
    tiled(local, torch.rand(1, 2, 32, 32), 3, (16, 16), 12, progress=seen.append)
    shares = [each.share for each in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert (seen[-1].tiles, seen[-1].of) == (4, 4)
    assert "pass" in str(seen[0])
