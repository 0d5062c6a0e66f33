"""The bridge by hand, and that a translation can be repeated."""

from __future__ import annotations

import pytest
import torch

from unpaired.core.errors import UserError
from unpaired.models.tiling.local import read_network
from unpaired.models.tiling.plan import plans
from unpaired.models.tiling.run import TiledRun
from unpaired.networks import (
    BridgeResnetConfig,
    BridgeResnetGenerator,
    InitConfig,
    PatchganConfig,
    TimedPatchgan,
    describe_generator,
    generator_from_description,
    initialize,
)
from unpaired.networks.bridge_resnet import PERIOD, TimeEmbedding, bridge_times


def made(**settings: object) -> BridgeResnetGenerator:
    torch.manual_seed(0)
    network = BridgeResnetGenerator(BridgeResnetConfig(width=4, blocks=1, **settings), 2, 2)  # type: ignore[arg-type]
    initialize(network, InitConfig(gain=0.3))
    return network.eval().requires_grad_(False)


def test_the_published_times() -> None:
    assert bridge_times(5) == pytest.approx([0, 0.5, 0.74, 0.86, 0.94, 1])
    assert bridge_times(2) == [0, 0.5, 1]
    assert bridge_times(1) == [0, 1]


def test_the_move_has_the_mean_and_variance_of_a_brownian_bridge() -> None:
    network = made(tau=0.01)
    x, predicted, noise = torch.tensor(-0.4), torch.tensor(0.6), torch.tensor(2.0)
    # t = 0 -> 0.5 of 1: s = 0.5, variance 0.5 * 0.5 * 0.01; t = 0.5 -> 0.74: s = 0.48, 0.48 * 0.52 * 0.01 * 0.5
    for step, s, variance in ((0, 0.5, 0.0025), (1, 0.48, 0.001248)):
        mean = (1 - s) * x + s * predicted
        torch.testing.assert_close(network.move(x, predicted, step, torch.zeros(())), mean)
        torch.testing.assert_close(network.move(x, predicted, step, noise), mean + 2 * variance**0.5)


def test_a_translation_is_its_steps() -> None:
    network, image = made(steps=3), torch.rand(1, 2, 12, 16) * 2 - 1
    rows, columns = torch.arange(12), torch.arange(16)
    noise = network.fields(rows, columns)[None].split(2, 1)
    state = image
    for step in range(2):
        x_1 = network.predict(state, torch.tensor([step]), network.vectors[step : step + 1])
        state = network.move(state, x_1, step, noise[step])
    torch.testing.assert_close(network(image), network.predict(state, torch.tensor([2]), network.vectors[2:]))
    first = made(steps=3, stop_after=1)(image)
    torch.testing.assert_close(first, network.predict(image, torch.tensor([0]), network.vectors[:1]))
    assert not torch.allclose(first, network(image))


def test_time_and_noise_change_a_prediction() -> None:
    network, image = made(), torch.rand(2, 2, 8, 8) * 2 - 1
    noise = torch.randn(2, 16)
    usual = network.predict(image, torch.tensor([0]), noise)
    assert not torch.allclose(usual, network.predict(image, torch.tensor([3]), noise))
    assert not torch.allclose(usual, network.predict(image, torch.tensor([0]), -noise))
    each = network.predict(image, torch.tensor([0, 3]), noise)  # one time for each image
    torch.testing.assert_close(each[:1], usual[:1])
    judge = TimedPatchgan(PatchganConfig(width=4, layers=1), 2)
    assert not torch.allclose(judge(image, torch.tensor([0])), judge(image, torch.tensor([3])))
    torch.testing.assert_close(judge(image), judge(image, torch.tensor([0])))


def test_the_same_image_has_the_same_translation_beside_others_and_by_its_seed_alone() -> None:
    again, before = generator_from_description(describe_generator(made())), torch.get_rng_state()
    assert torch.equal(again.field, made().field)  # type: ignore[arg-type]
    torch.set_rng_state(before)
    again.draw()
    assert torch.equal(torch.get_rng_state(), before)
    network, images = made().double(), torch.rand(3, 2, 12, 8, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))
    network = made()
    other = made(seed=1)
    assert not torch.equal(other.field, network.field)
    assert not torch.equal(other.vectors, network.vectors)


def test_noise_belongs_to_positions() -> None:
    network = made()
    whole = network.fields(torch.arange(40), torch.arange(30))
    assert whole.shape == (8, 40, 30)  # 4 moves of 2 channels
    torch.testing.assert_close(network.fields(torch.arange(7, 20), torch.arange(9, 30)), whole[:, 7:20, 9:])
    torch.testing.assert_close(network.fields(torch.arange(7) + PERIOD, torch.arange(5)), whole[:, :7, :5])
    assert not torch.equal(whole[:2], whole[2:4])
    assert abs(float(network.field.mean())) < 0.01
    assert float(network.field.std()) == pytest.approx(1, abs=0.01)


def test_tiles_equal_the_whole() -> None:
    network, size = made(steps=2, downsampling="blur", upsampling="blur"), (44, 36)
    image = torch.rand(1, 2, *size) * 2 - 1
    seen = torch.cat([image, network.fields(*map(torch.arange, size))[None]], 1)
    result = torch.full_like(image, torch.nan)

    def write(spans: tuple[tuple[int, int], tuple[int, int]], part: torch.Tensor) -> None:
        result[:, :, slice(*spans[0]), slice(*spans[1])] = part

    local = read_network(network, torch.device("cpu"), torch.float32)
    run = TiledRun(local, plans(local, size)[9], size, (13, 17), device=torch.device("cpu"), dtype=torch.float32)
    with torch.inference_mode():
        run.translate(lambda spans: seen[:, :, slice(*spans[0]), slice(*spans[1])].clone(), write)
    torch.testing.assert_close(result, network(image), rtol=0, atol=1e-4)


def test_sines_of_the_time_by_hand() -> None:
    embedding = TimeEmbedding(4, 4)
    for layer in (embedding.first, embedding.second):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    # rates 1 and 1 / 10,000 of step 2, then the leaky ReLU twice: sin and cos of 2 and 0.0002, cos(2) is negative
    sines = torch.tensor([2.0, 2e-4]).sin(), torch.tensor([2.0, 2e-4]).cos() * torch.tensor([0.04, 1.0])
    torch.testing.assert_close(embedding(torch.tensor([2])), torch.cat(sines)[None])


@pytest.mark.parametrize("width", [1, 2, 3])
def test_narrow_networks_have_a_time_too(width: int) -> None:
    network = BridgeResnetGenerator(BridgeResnetConfig(width=width, blocks=1, steps=1), 3, 3)
    assert network(torch.rand(1, 3, 8, 8)).isfinite().all()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UserError, match=r"stop_after = 6.*from 1 to 5"):
        BridgeResnetConfig(stop_after=6)
    with pytest.raises(UserError, match="source has 1 and the target has 3"):
        BridgeResnetGenerator(BridgeResnetConfig(width=4), 1, 3)
