"""Translation by latent search: it finds what can be found, always the same, wherever it is called."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.networks import (
    CoupledGeneratorConfig,
    InitConfig,
    LatentSearch,
    LatentSearchConfig,
    SearchConfig,
    describe_generator,
    generator_from_description,
    initialize,
)
from unpaired.training.settings import resolve

SMALL = CoupledGeneratorConfig(width=8, latent=6)


def searching(**settings: object) -> SearchConfig:
    return SearchConfig(**{"steps": 20, "restarts": 2, "starts": 32, **settings})  # type: ignore[arg-type]


def make(search: SearchConfig | None = None, source: str = "a") -> LatentSearch:
    """Return a search in a random generator whose images depend strongly on the latent vector."""
    config = LatentSearchConfig(source=source, size=(16, 16), generator=SMALL, search=search or searching())  # type: ignore[arg-type]
    channels = (1, 3) if source == "a" else (3, 1)
    torch.manual_seed(5)
    network = LatentSearch(config, *channels)
    initialize(network, InitConfig(scheme="kaiming"))
    with torch.no_grad():
        for _ in range(30):  # running statistics
            network.generator.train()(torch.randn(64, SMALL.latent))
    return network.eval()


def test_it_finds_an_image_that_the_generator_made_itself() -> None:
    network = make(searching(steps=300, restarts=4, starts=128, prior=0.0))
    a, b = network.generate(3, seed=77)
    translated = network(a)
    assert [error.l1 < 0.02 for error in network.last_errors] == [True] * 3
    assert (translated - b).abs().mean() < 0.05
    assert (b[0] - b[1]).abs().mean() > 0.2  # the images are not all alike


class _Linear(nn.Module):
    """Renders latent vectors by one matrix per domain, so that the best one can be computed."""

    def __init__(self, latent: int, size: tuple[int, int]) -> None:
        super().__init__()
        numbers = torch.Generator().manual_seed(1)
        self.size = size
        self.a = nn.Parameter(torch.randn(latent, size[0] * size[1], generator=numbers) / 10)
        self.b = nn.Parameter(torch.randn(latent, size[0] * size[1], generator=numbers) / 10)

    def render(self, latent: Tensor, domain: str) -> Tensor:
        return (latent @ (self.a if domain == "a" else self.b)).unflatten(1, (1, *self.size))


@pytest.mark.parametrize("prior", [0.0, 0.3])
def test_it_minimises_the_squared_error_and_the_prior(prior: float) -> None:
    """Against least squares: z minimises |x - z A|^2 / pixels + prior |z|^2 / latent."""
    search = searching(steps=400, prior=prior)
    config = LatentSearchConfig(source="a", size=(8, 8), generator=CoupledGeneratorConfig(latent=4), search=search)
    linear = _Linear(4, (8, 8))
    network = LatentSearch(config, 1, 1, linear)  # type: ignore[arg-type]
    image = torch.rand(1, 1, 8, 8) * 2 - 1
    matrix, pixels = linear.a.detach().double(), 64
    inner = matrix @ matrix.T / pixels + prior / 4 * torch.eye(4, dtype=torch.float64)
    best = torch.linalg.solve(inner, matrix @ image.double().flatten() / pixels)
    translated = network(image)
    torch.testing.assert_close(translated.flatten().double(), best @ linear.b.detach().double(), rtol=0, atol=1e-3)
    remaining = (best @ matrix - image.double().flatten()).abs().mean()
    assert network.last_errors[0].l1 == pytest.approx(float(remaining), abs=1e-3)


def test_an_image_has_one_translation_in_any_batch() -> None:
    network = make()
    images = torch.rand(3, 1, 16, 16) * 2 - 1
    together, errors = network(images), network.last_errors
    for number in (2, 0, 1):
        assert torch.equal(network(images[number : number + 1]), together[number : number + 1])
        assert network.last_errors == [errors[number]]


def test_the_callers_state_changes_nothing_and_is_not_changed() -> None:
    network, image = make(), torch.rand(2, 1, 16, 16) * 2 - 1
    plain, buffers = network(image), {name: value.clone() for name, value in network.named_buffers()}
    random = torch.get_rng_state()
    with torch.no_grad():
        assert torch.equal(network(image), plain)
    with torch.inference_mode():
        inside = torch.rand(2, 1, 16, 16).copy_(image)
        assert inside.is_inference()
        random = torch.get_rng_state()
        assert torch.equal(network(inside), plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(image), plain)
    network.train()
    network.generator.own_a.eval()
    assert torch.equal(network(image), plain)
    assert network.generator.shared.training
    assert not network.generator.own_a.training
    assert all(weight.grad is None for weight in network.parameters())
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())
    assert torch.equal(torch.get_rng_state(), random)
    assert not plain.requires_grad


def test_images_of_other_sizes_are_resized_and_the_result_back() -> None:
    network = make()
    image = torch.rand(1, 1, 37, 20) * 2 - 1
    result = network(image)
    assert result.shape == (1, 3, 37, 20)
    small = nnf.interpolate(image, (16, 16), mode="bicubic", antialias=True).clamp(-1, 1)
    expected = nnf.interpolate(network(small), (37, 20), mode="bicubic", antialias=True).clamp(-1, 1)
    assert torch.equal(result, expected)
    assert network(image[:, :, :1, :1]).shape == (1, 3, 1, 1)
    assert network(image.to(torch.bfloat16)).dtype == torch.bfloat16


def test_what_remains_is_reported() -> None:
    network = make()
    network.generator.own_a[0].convolution.weight.data.zero_()  # type: ignore[union-attr, operator]
    network.generator.own_a[0].convolution.bias.data.fill_(math.atanh(0.25))  # type: ignore[union-attr, operator]
    calls: list[tuple[int, int, float]] = []
    network.progress = lambda step, steps, error: calls.append((step, steps, error))
    network(torch.stack([torch.full((1, 16, 16), 0.75), torch.full((1, 16, 16), 0.25)]))
    first, second = network.last_errors
    assert first.l1 == pytest.approx(0.5, rel=1e-6)
    assert first.psnr == pytest.approx(10 * math.log10(4 / 0.25), rel=1e-6)
    assert second.psnr > 100
    assert calls[-1][:2] == (40, 40)
    assert [step for step, _, _ in calls] == sorted(step for step, _, _ in calls)
    assert calls[0] == (0, 40, pytest.approx(0.5, rel=1e-6))


def test_generated_pairs_are_fixed_and_leave_random_numbers_alone() -> None:
    network = make()
    random = torch.get_rng_state()
    one, other = network.generate(4), network.generate(4)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], network.generate(4, seed=1)[0])
    assert (one[0].shape, one[1].shape) == ((4, 1, 16, 16), (4, 3, 16, 16))


@pytest.mark.parametrize("source", ["a", "b"])
def test_a_description_builds_the_same_search(source: str) -> None:
    network = make(source=source)
    twin = generator_from_description(describe_generator(network))
    assert isinstance(twin, LatentSearch)
    assert twin.config == network.config
    twin.load_state_dict(network.state_dict())
    image = torch.rand(1, network.in_channels, 16, 16) * 2 - 1
    assert torch.equal(twin.eval()(image), network(image))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": [16]}, "size"),
        ({"size": [18, 16]}, "18 x 16"),
        ({"size": [10**6, 16]}, "size"),
        ({"source": "c"}, "source"),
        ({"search": {"steps": 10**9}}, "steps"),
        ({"generator": {"family": "coupled", "width": 1024, "latent": 4096}, "size": [4096, 4096]}, "parameters"),
        ({"generator": {"family": "coupled", "widht": 4}}, "widht"),
    ],
)
def test_a_description_that_is_wrong_says_so(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        generator_from_description({**describe_generator(make()), **change})


def test_nobody_can_choose_it_as_a_generator() -> None:
    with pytest.raises(
        UserError, match=r"no such family: 'latent_search'.*Allowed: resnet, masked_resnet, bridge_resnet, unet"
    ):
        resolve([Given({"method.generator.family": "latent_search"}, "{name}")])
