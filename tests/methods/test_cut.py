"""CUT against the published code, against its equations by hand, and the contract of all methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import contract
from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.methods import METHODS, Batch, ImageShapes
from unpaired.methods.cut import CUT, Config, FastConfig, PatchEmbedding, draw_places, select_queries
from unpaired.methods.losses import hard_nce, relation_distance
from unpaired.models.convert.weights import official_discriminator, official_generator
from unpaired.networks import PatchganConfig, ResnetConfig
from unpaired.networks.blocks import InstanceNorm
from unpaired.training.config import TrainingConfig
from unpaired.training.settings import resolve
from unpaired.training.trainer import Trainer

SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(16, 16))
TINY = {
    "generator": ResnetConfig(width=4, blocks=1, downsampling="blur", upsampling="blur"),
    "discriminator": PatchganConfig(width=4, layers=1, downsampling="blur"),
    "nce_layers": (0, 4, 8, 12),
    "embedding_width": 8,
    "num_patches": 16,
}
TOLERANCES = (1e-5, 1e-5, 1e-4, 1e-3)
"""Relative; rounding grows from step to step."""


class _TorchInstanceNorm(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.instance_norm(features)


def _instance_norm_is_sound() -> bool:
    """Whether PyTorch's InstanceNorm returns the same gradient for both orders of memory."""
    image = torch.linspace(-1, 1, 128, dtype=torch.float64).sin().reshape(1, 2, 8, 8).requires_grad_()
    given = image.detach().cos()
    normed = nn.InstanceNorm2d(2)(image)
    orders = (torch.contiguous_format, torch.channels_last)
    one, other = (
        torch.autograd.grad(normed, image, given.contiguous(memory_format=order), retain_graph=True)[0]
        for order in orders
    )
    return torch.allclose(one, other)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _embedding(tensors: dict[str, Tensor], stage: str) -> dict[str, Tensor]:
    weights = _part(tensors, f"{stage}.F.mlp_")
    return {f"layers.{name}": value for name, value in weights.items()}


def _published(shared: Path) -> tuple[dict[str, Tensor], list[str], CUT]:
    """Return the golden tensors, the names of the losses, and the method with the first weights."""
    with safe_open(shared / "golden" / "cut_steps.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        names = file.metadata()["losses"].split(",")
    generator, _, _, g = official_generator(_part(tensors, "initial.G."))
    discriminator, _, d = official_discriminator(_part(tensors, "initial.D."))
    config = Config(
        generator=generator,  # type: ignore[arg-type]
        discriminator=discriminator,  # type: ignore[arg-type]
        embedding_width=32,
        num_patches=10**6,  # every position of every layer
    )
    method = CUT(config, ImageShapes(channels_a=3, channels_b=3, size=(32, 32)))
    method.G.load_state_dict(g)
    method.D.load_state_dict(d)
    method.H.load_state_dict(_embedding(tensors, "initial"))
    return tensors, names, method


def _as_published(method: CUT) -> None:
    """Put PyTorch's InstanceNorm in place of ours, and let gradients reach feature maps as the published code does.

    For batches of one image on the processor, `nn.InstanceNorm2d` of PyTorch 2.13 returns a wrong gradient where the
    gradient that it receives is in channels_last order, as here. The golden numbers hold that error.
    """
    for module in list(method.modules()):
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                module.add_module(name, _TorchInstanceNorm())

    def forward(features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        rows = [maps.permute(0, 2, 3, 1).flatten(1, 2)[:, w] for maps, w in zip(features, places, strict=True)]
        values = [layer(row) for layer, row in zip(method.H.layers, rows, strict=True)]
        return [v / (v.norm(dim=-1, keepdim=True) + 1e-7) for v in values]

    method.H.forward = forward  # type: ignore[method-assign]


def test_four_steps_give_the_losses_and_weights_of_the_published_code(shared: Path) -> None:
    """With PyTorch's own InstanceNorm, whose wrong gradient is among the published code's numbers here."""
    tensors, names, method = _published(shared)
    if _instance_norm_is_sound():
        pytest.skip("the golden numbers hold an error of PyTorch 2.13 that this PyTorch does not make")
    _as_published(method.double())  # float64 is the same on every machine, see test_cyclegan
    trainer = Trainer(method, TrainingConfig(precision="fp32"), torch.device("cpu"))
    pairs = zip(tensors["batches_A"].double(), tensors["batches_B"].double(), strict=True)
    stream = iter([Batch(x, y) for x, y in pairs])
    for step, tolerance in enumerate(TOLERANCES):
        losses = {name: value.item() for name, value in trainer.step(stream).items()}
        theirs = dict(zip(names, tensors["losses"][step].tolist(), strict=True))
        ours = {
            "G_GAN": losses["gan"],
            "NCE": 2 * losses["nce"],  # the mean of both terms is minimised
            "NCE_Y": 2 * losses["identity"],
            "G": losses["gan"] + losses["nce"] + losses["identity"],
        }
        for name, value in ours.items():
            assert value == pytest.approx(theirs[name], rel=tolerance), (step, name)
        halves = (theirs["D_real"] + theirs["D_fake"]) / 2
        assert losses["discriminator"] == pytest.approx(halves, rel=tolerance), step
    final = official_generator(_part(tensors, "final.G."))[3] | _embedding(tensors, "final")
    for name, weight in (method.G.state_dict() | method.H.state_dict()).items():
        if name.endswith("weight"):  # biases before an InstanceNorm have no true gradient
            assert (weight - final[name]).norm() < 0.02 * final[name].norm(), name


def test_the_first_losses_are_those_of_the_published_code_whatever_the_norm(shared: Path) -> None:
    tensors, names, method = _published(shared)
    losses = next(iter([Trainer(method, TrainingConfig(precision="fp32"), torch.device("cpu"))])).step(
        iter([Batch(tensors["batches_A"][0], tensors["batches_B"][0])])
    )
    theirs = dict(zip(names, tensors["losses"][0].tolist(), strict=True))
    assert losses["gan"].item() == pytest.approx(theirs["G_GAN"], rel=1e-5)
    assert 2 * losses["nce"].item() == pytest.approx(theirs["NCE"], rel=1e-5)
    assert 2 * losses["identity"].item() == pytest.approx(theirs["NCE_Y"], rel=1e-5)


def test_the_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    method = CUT(Config(**{**TINY, "num_patches": 10**6}), SHAPES).double()  # type: ignore[arg-type]
    image, output, towards = (torch.rand(1, 3, 16, 16, dtype=torch.float64) for _ in range(3))
    output.requires_grad_()
    (gradient,) = torch.autograd.grad(method.contrast(method.embed(output, image, None, None)), output)
    with torch.no_grad():
        step = 1e-6 * towards
        ahead, behind = (method.contrast(method.embed(output + s, image, None, None)) for s in (step, -step))
    assert ((ahead - behind) / 2e-6).item() == pytest.approx((gradient * towards).sum().item(), rel=1e-5)


@pytest.mark.parametrize("kind", [Config, FastConfig])
@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_contract(kind: type[Config], direction: str) -> None:
    config = kind(**TINY, direction=direction)  # type: ignore[arg-type]
    contract.keeps_it(lambda: CUT(config, SHAPES), lambda: contract.batches(3, 3, 16, rows=2))


def test_two_ranks_equal_one() -> None:
    config = Config(**{**TINY, "num_patches": 10**6})  # type: ignore[arg-type]
    contract.two_ranks_equal_one(lambda: CUT(config, SHAPES), lambda: contract.batches(3, 3, 16, rows=2))


def test_the_contrastive_loss_by_hand() -> None:
    """Two patches with one-hot features: each has its own key at cosine 1 and the other's at cosine 0."""
    from unpaired.methods.losses import info_nce

    own = torch.eye(2)[None]
    expected = -math.log(math.exp(1 / 0.07) / (math.exp(1 / 0.07) + 1))
    assert info_nce(own, own, 0.07).item() == pytest.approx(expected, abs=1e-7)
    swapped = own.flip(1)
    expected = -math.log(1 / (math.exp(1 / 0.5) + 1))
    assert info_nce(own, swapped, 0.5).item() == pytest.approx(expected, rel=1e-6)


def test_keys_are_not_differentiated() -> None:
    from unpaired.methods.losses import info_nce

    queries, keys = (torch.randn(1, 3, 4, requires_grad=True) for _ in range(2))
    info_nce(queries, keys, 0.07).backward()
    assert queries.grad is not None
    assert keys.grad is None


def test_patches_are_different_places_of_one_draw() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 8, 8), torch.randn(2, 5, 2, 3)]
    many, few = draw_places(maps, 20)
    assert len(set(many.tolist())) == 20
    assert set(many.tolist()) <= set(range(64))
    assert sorted(few.tolist()) == list(range(6))
    counts = torch.zeros(64)
    for _ in range(400):
        counts[draw_places(maps[:1], 16)[0]] += 1
    assert 60 < counts.min() < counts.max() < 145  # 100 expected, deviation 8.7


def test_embeddings_have_length_one() -> None:
    embedding = PatchEmbedding([3, 5], 8)
    maps = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)]
    for vectors, count in zip(embedding(maps, [torch.tensor([1, 7, 9]), torch.tensor([0])]), (3, 1), strict=True):
        assert vectors.shape == (2, count, 8)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, count), rtol=0, atol=1e-5)


def test_features_on_the_way_are_those_of_a_second_pass() -> None:
    torch.manual_seed(0)
    method = CUT(Config(**{**TINY, "num_patches": 10**6}), SHAPES)  # type: ignore[arg-type]
    batch = next(contract.batches(3, 3, 16))
    _, kept = method.step(iter([batch]))
    method.observe = lambda image: (method.G(image), None)  # type: ignore[method-assign]
    _, again = method.step(iter([batch]))
    for name, term in kept.terms.items():
        torch.testing.assert_close(term, again.terms[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("taps", "settings"),
    [
        ((0, 2), ResnetConfig(width=4, blocks=1)),
        ((0, 8), ResnetConfig(width=4, blocks=1)),
        ((0, 4), ResnetConfig(width=4, blocks=1, norm="none")),
        ((0, 2, 9), ResnetConfig(width=4, blocks=1, downsampling="blur", upsampling="blur")),
    ],
)
def test_the_last_layer_is_the_same_for_keys_and_queries(taps: tuple[int, ...], settings: ResnetConfig) -> None:
    """The ReLU behind it works in place, and only the pass that translates goes on to it."""
    torch.manual_seed(0)
    method = CUT(Config(**{**TINY, "nce_layers": taps, "generator": settings}), SHAPES)  # type: ignore[arg-type]
    image = next(contract.batches(3, 3, 16)).x
    kept, again = method.observe(image)[1], method.G.features(image, taps)
    assert kept is not None
    for maps, wanted in zip(kept, again, strict=True):
        torch.testing.assert_close(maps, wanted, rtol=0, atol=0)
    assert (kept[-1] < 0).any()


def test_a_mirrored_batch_is_compared_at_the_mirrored_places() -> None:
    """With a generator that leaves images as they are, mirroring before and after changes nothing."""
    torch.manual_seed(0)
    method = CUT(FastConfig(**{**TINY, "num_patches": 10**6}), SHAPES).double()  # type: ignore[arg-type]
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    plain = method.contrast(method.embed(image, image, None, torch.tensor(False)))
    queries = method.G.features(image.flip(3), (0,))[0].flip(3)
    torch.testing.assert_close(queries, method.G.features(image, (0,))[0])
    mirrored = method.contrast(method.embed(image.flip(3), image, None, torch.tensor(True)))
    assert mirrored > 0
    assert mirrored != plain  # convolutions are not symmetric; only the places agree


def test_the_layers_of_the_publication_and_their_channels() -> None:
    shapes = ImageShapes(channels_a=3, channels_b=3, size=(256, 256))
    with torch.device("meta"):
        method = CUT(Config(), shapes)
        maps = method.G.features(torch.empty(1, 3, 256, 256), Config().nce_layers)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (3, 262, 262),
        (128, 256, 256),
        (256, 128, 128),
        (256, 64, 64),
        (256, 64, 64),
    ]
    assert method.G.feature_channels(Config().nce_layers) == [m.shape[1] for m in maps]
    assert [mlp[0].in_features for mlp in method.H.layers] == [3, 128, 256, 256, 256]  # type: ignore[index, union-attr]


def test_hard_negatives_by_hand() -> None:
    """Three patches; the second key resembles the first, so it is the hardest negative of the first query."""
    keys = torch.tensor([[[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]])
    queries = torch.tensor([[[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]])
    gamma, tau, terms = 0.5, 0.2, []
    for p, (hardest, others) in enumerate(((0.8, (1, 2)), (0.8, (0, 2)), (0.6, (0, 1)))):
        query = queries[0, p]
        positive = (query @ keys[0, p]).item()
        total = math.exp((-10 - positive) / tau)  # its own key, as the authors leave it out
        for n in others:
            weight = math.exp(((keys[0, p] @ keys[0, n]).item() - hardest) / gamma)
            total += math.exp((weight * (query @ keys[0, n]).item() - positive) / tau)
        terms.append(math.log(total))
    assert hard_nce(queries, keys, tau, gamma).item() == pytest.approx(sum(terms) / 3, rel=1e-6)


def test_the_distance_of_relations_by_hand() -> None:
    """Two patches: of a source they are alike, of a translation they are not."""
    keys, queries = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), torch.eye(2)[None]
    high, low = math.e / (math.e + 1), 1 / (math.e + 1)
    divergence = 0.0
    for p, q in ((high, 0.5), (low, 0.5)):
        divergence += p * math.log(2 * p / (p + q)) / 2 + q * math.log(2 * q / (p + q)) / 2
    assert relation_distance(queries, keys).item() == pytest.approx(2 * divergence, rel=1e-5)
    assert relation_distance(keys, keys).item() == pytest.approx(0, abs=1e-6)


def test_attention_selects_the_places_of_least_entropy() -> None:
    """One place unlike all others attends to itself alone; the others attend to one another."""
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, :, 0, 1] = torch.tensor([6.0, 0.0])
    fine = torch.rand(1, 2, 4, 4)
    places = select_queries([fine, maps], 1)
    assert places[0].shape == (1,)
    weights = places[1]
    assert weights.shape == (1, 1, 4)
    torch.testing.assert_close(weights[0, 0], torch.tensor([0.0, 1.0, 0.0, 0.0]), rtol=0, atol=1e-6)
    embedding = PatchEmbedding([2], 4)
    (drawn,) = embedding([maps], [weights])
    (there,) = embedding([maps], [torch.tensor([1])])
    torch.testing.assert_close(drawn, there)


@pytest.mark.parametrize(
    "options",
    [{"queries": "attention"}, {"negatives": "hard", "hardness": 20.0, "nce_weight": 0.1, "relation_weight": 0.05}],
    ids=["attention", "hard"],
)
def test_contract_with_later_losses(options: dict[str, Any]) -> None:
    config = Config(**{**TINY, **options})  # type: ignore[arg-type]
    contract.keeps_it(lambda: CUT(config, SHAPES), lambda: contract.batches(3, 3, 16, rows=2))


def test_hardness_without_hard_negatives_is_refused() -> None:
    with pytest.raises(UserError, match=r"method\.hardness = 3\.0 has no meaning with method\.negatives = equal"):
        Config(hardness=3.0)


def test_the_published_lengths() -> None:
    for name, epochs in (("cut", (200, 200)), ("fastcut", (150, 50)), ("cyclegan", (100, 100))):
        training = resolve([Given({"method.name": name}, "{name}")]).training
        assert (training.epochs, training.decay_epochs) == epochs
    shorter = resolve([Given({"method.name": "cut", "training.epochs": 3}, "{name}")])
    assert (shorter.training.epochs, shorter.training.decay_epochs) == (3, 200)
    assert shorter.chosen == {"training.epochs"}


@pytest.mark.parametrize("layers", [(0, 99), (4, 0), (1, 1)])
def test_layers_that_there_are_not(layers: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="numbered from 0"):
        CUT(Config(**{**TINY, "nce_layers": layers}), SHAPES)  # type: ignore[arg-type]


def test_the_penalty_needs_images_of_one_size() -> None:
    with pytest.raises(UserError, match=r"wgangp .* data\.preprocess"):
        CUT(Config(**TINY, objective="wgangp"), ImageShapes(channels_a=3, channels_b=3, size=None))  # type: ignore[arg-type]


def test_no_layer_is_an_error() -> None:
    with pytest.raises(UserError, match="no layers of the generator were asked for"):
        CUT(Config(**{**TINY, "nce_layers": ()}), SHAPES)  # type: ignore[arg-type]


def test_different_channels_are_an_error_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r"A has 1 and B has 3.*label maps: data\.labels_a\.feed = colour"):
        CUT(Config(), ImageShapes(channels_a=1, channels_b=3, size=(16, 16)))
    assert not METHODS["cut"].paired


@pytest.mark.parametrize("given", [{"objective": "hinge"}, {"objective": "wgangp", "gradient_penalty_weight": 1.0}])
def test_settings_of_a_game_that_is_not_there_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="has no meaning with"):
        Config(gan_weight=0.0, **given)


def test_settings_of_a_discriminator_that_is_not_there_are_noticed() -> None:
    """No error: in a comparison they are those of all its methods."""
    shapes = ImageShapes(channels_a=3, channels_b=3, size=(32, 32))
    for config, count in ((Config(gan_weight=0.0), 1), (Config(), 0)):
        assert len(CUT.adapt(config, shapes, frozenset({"discriminator.width"}))[1]) == count


def test_a_gradient_penalty_wants_images_that_do_not_see_one_another() -> None:
    with pytest.raises(UserError, match=r"method\.discriminator\.norm = batch"):
        Config(objective="wgangp", discriminator=PatchganConfig(norm="batch"))
