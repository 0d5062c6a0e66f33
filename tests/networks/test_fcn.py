"""FCN-8s: its shapes, its upsampling, and where its weights come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.networks.fcn import (
    CLASSIFIER_KEYS,
    FEATURE_KEYS,
    GROUPS,
    Fcn8s,
    FcnConfig,
    Upsampling,
    bilinear_kernel,
    load_vgg,
)
from unpaired.networks.stacks import DEVIATION, MEAN, VggFeatures

SMALL = FcnConfig(width=2, fc_width=6)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96), (31, 200)])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_every_pixel_of_a_photo_of_any_size_has_logits(size: tuple[int, int], norm: str) -> None:
    network = Fcn8s(FcnConfig(width=2, fc_width=6, norm=norm), 3, 5).eval()  # type: ignore[arg-type]
    logits = network(torch.rand(2, 3, *size))
    assert logits.shape == (2, 5, *size)
    assert torch.equal(logits, torch.zeros_like(logits)), "scores begin at zero"


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_photos_of_any_number_of_channels(channels: int) -> None:
    network = _awake(Fcn8s(SMALL, channels, 4)).eval()
    assert network(torch.rand(1, channels, 32, 32)).shape == (1, 4, 32, 32)
    with pytest.raises(UserError, match=rf"photos \[N, {channels}, height, width\]; received \[1, 7, 32, 32\]"):
        network(torch.rand(1, 7, 32, 32))


def test_grey_photos_are_seen_as_colour_and_normalised_like_imagenet() -> None:
    grey, colour = _awake(Fcn8s(SMALL, 1, 4)).eval(), _awake(Fcn8s(SMALL, 3, 4)).eval()
    colour.load_state_dict(grey.state_dict())
    photo = torch.rand(1, 1, 32, 32) * 2 - 1
    torch.testing.assert_close(grey(photo), colour(photo.expand(1, 3, 32, 32)))
    seen: list[Tensor] = []
    colour.features[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    colour(torch.full((1, 3, 8, 8), 0.2))
    expected = [(0.6 - mean) / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor(expected))


def test_the_kernel_that_interpolates_by_hand() -> None:
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    torch.testing.assert_close(bilinear_kernel(2), line[:, None] * line[None, :])
    eighths = torch.tensor([1, 3, 5, 7, 9, 11, 13, 15, 15, 13, 11, 9, 7, 5, 3, 1]) / 16
    torch.testing.assert_close(bilinear_kernel(8)[0], eighths / 16)


@pytest.mark.parametrize(("factor", "learned"), [(2, True), (8, False)])
@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_upsampling_begins_as_interpolation(factor: int, learned: bool, size: tuple[int, int]) -> None:
    scores = torch.randn(2, 3, *size, dtype=torch.float64)
    layer = Upsampling(3, factor, learned=learned).double()
    expected = nnf.interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)
    torch.testing.assert_close(layer(scores), expected)
    assert bool(list(layer.parameters())) == learned
    assert bool(layer.state_dict()) == learned, "what is never learned stands in no file"


def test_the_three_strides_add_up() -> None:
    """With score weights of zero and biases of 1, 10 and 100 every pixel has their sum: each branch reaches the end."""
    network = Fcn8s(SMALL, 3, 2).eval()
    for value, layer in ((1.0, network.score), (10.0, network.score_pool4), (100.0, network.score_pool3)):
        assert layer.bias is not None
        torch.nn.init.constant_(layer.bias, value)
    torch.testing.assert_close(network(torch.rand(1, 3, 45, 70)), torch.full((1, 2, 45, 70), 111.0))


@pytest.mark.parametrize("axis", [2, 3])
def test_a_mirrored_photo_has_mirrored_logits(axis: int) -> None:
    """With kernels that are their own mirror image nothing is shifted: strides of 8, 16 and 32 meet at the pixel."""
    network = Fcn8s(SMALL, 3, 1).eval()
    for weight in (weight for name, weight in network.named_parameters() if name.endswith("convolution.weight")):
        torch.nn.init.constant_(weight, 2 / weight[0].numel())
    for score in (network.score, network.score_pool4, network.score_pool3):
        torch.nn.init.constant_(score.weight, 1.0)
    photo = torch.rand(1, 3, 64, 96)
    logits = network(photo)
    assert logits.std() > 1e-3, "not all alike"
    torch.testing.assert_close(network(photo.flip(axis)), logits.flip(axis), rtol=1e-4, atol=1e-4)


def test_scaled_skips_are_scaled_by_the_authors_factors() -> None:
    photo = torch.rand(1, 3, 32, 32)
    for name, factor in (("score_pool4", 0.01), ("score_pool3", 0.0001)):
        results = []
        for scale in (False, True):
            torch.manual_seed(0)
            network = Fcn8s(FcnConfig(width=2, fc_width=6, scale_skips=scale), 3, 2).eval()
            torch.nn.init.normal_(network.get_submodule(name).get_parameter("weight"))
            results.append(network(photo))
        torch.testing.assert_close(results[1], results[0] * factor)


def test_weights_of_torchvision_are_taken_into_every_layer() -> None:
    """Real shapes without their memory; fc6 is classifier.0 cut into 7 x 7 positions."""
    with torch.device("meta"):
        network = Fcn8s(FcnConfig(), 3, 21)
    shapes = {name: list(p.shape) for name, p in network.named_parameters() if "convolution" in name}
    assert shapes["fc6.convolution.weight"] == [4096, 512, 7, 7]
    assert shapes["fc7.convolution.weight"] == [4096, 4096, 1, 1]
    with torch.device("meta"):
        text = load_vgg(network, _torchvision(64, 4096), "a file")
    assert text == "13 of 13 convolutions of a file, fc6 and fc7 too"


def test_what_was_taken_computes_as_vgg_does() -> None:
    weights = _torchvision(64, 8, {17, 19})
    network = Fcn8s(FcnConfig(fc_width=8), 3, 2).eval()
    text = load_vgg(network, weights, "vgg.safetensors")
    assert text == (
        "9 of 13 convolutions of vgg.safetensors; the other convolutions, fc6 and fc7 begin at random, as they are 8 "
        "wide here and not 4096"
    )
    features = VggFeatures()
    features.load(weights, "test")
    seen: list[Tensor] = []
    network.features[8].register_forward_hook(lambda _m, _i, output: seen.append(output))
    photo = torch.rand(1, 3, 32, 48) * 2 - 1
    network(photo)
    torch.testing.assert_close(seen[0], features(photo))


def test_fully_connected_weights_keep_their_positions() -> None:
    """torchvision flattens [C, 7, 7] row by row; the convolution must give the same number."""
    fully = torch.randn(4, 2 * 49)
    maps = torch.randn(1, 2, 7, 7)
    convolved = nnf.conv2d(maps, fully.reshape(4, 2, 7, 7))
    torch.testing.assert_close(convolved.flatten(), (fully @ maps.flatten()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features.0.weight": None}, "there is no features.0.weight"),
        ({"features.5.bias": None}, "features.5.bias is nothing"),
        ({"features.10.weight": torch.zeros(256, 128, 1, 1)}, r"features.10.weight is \[256, 128, 1, 1\]"),
    ],
)
def test_other_weights_are_refused(change: dict[str, Tensor | None], words: str) -> None:
    weights = {**_torchvision(64, 8, {17}), **change}
    kept = {name: value for name, value in weights.items() if value is not None}
    with pytest.raises(UserError, match=words):
        load_vgg(Fcn8s(FcnConfig(fc_width=8), 3, 2), kept, "a file")


def test_weights_of_another_width_say_what_to_do() -> None:
    with pytest.raises(UserError, match=r"leave segmenter\.width at 64; or train without: --weights none"):
        load_vgg(Fcn8s(SMALL, 3, 2), _torchvision(64, 8), "a file")


def _awake(network: Fcn8s) -> Fcn8s:
    """Scores that begin at zero hide everything behind them."""
    for score in (network.score, network.score_pool4, network.score_pool3):
        torch.nn.init.normal_(score.weight)
    return network


def _torchvision(width: int, fc_width: int, last: set[int] | None = None) -> dict[str, Tensor]:
    """Return weights named as torchvision's, small enough that features neither vanish nor explode."""
    weights, channels = {}, 3
    for key, factor in zip(FEATURE_KEYS, [factor for group in GROUPS for factor in group], strict=True):
        if last is not None and key > max(last):
            break
        weights[f"features.{key}.weight"] = torch.randn(factor * width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
        weights[f"features.{key}.bias"] = torch.randn(factor * width) * 0.1
        channels = factor * width
    for key, inputs in zip(CLASSIFIER_KEYS, (512 * 49, fc_width), strict=True):
        weights[f"classifier.{key}.weight"] = torch.empty(fc_width, inputs)
        weights[f"classifier.{key}.bias"] = torch.empty(fc_width)
    return weights
