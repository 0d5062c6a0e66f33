from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.models.convert.files import convert_weights
from unpaired.models.convert.weights import official_discriminator, official_generator, to_official
from unpaired.networks import (
    GeneratorConfig,
    InitConfig,
    PatchganConfig,
    PixelConfig,
    ResnetConfig,
    UnetConfig,
    build_discriminator,
    build_generator,
    initialize,
)
from unpaired.networks.weight_files import read_weights


def _golden(shared: Path, name: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    content = load_file(shared / "golden" / f"{name}.safetensors")
    prefix = "weights."
    weights = {key.removeprefix(prefix): value for key, value in content.items() if key.startswith(prefix)}
    return weights, content["input"], content["output"]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("resnet_6blocks_instance", ResnetConfig(width=8, blocks=6)),
        ("resnet_9blocks_instance", ResnetConfig(width=8, blocks=9)),
        ("resnet_9blocks_batch", ResnetConfig(width=8, blocks=9, norm="batch")),
        ("unet_128_batch", UnetConfig(width=8, depth=7, norm="batch")),
        ("unet_256_instance", UnetConfig(width=8, depth=8)),
    ],
)
def test_the_authors_generators(shared: Path, name: str, config: GeneratorConfig) -> None:
    weights, image, output = _golden(shared, f"generator_{name}")
    found, in_channels, out_channels, state = official_generator(weights)
    assert (found, in_channels, out_channels) == (config, 3, 3)
    network = build_generator(found, in_channels, out_channels).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(network(image), output, rtol=0, atol=1e-5)
    again = to_official(found, network.state_dict())
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[key], weights[key]) for key in weights)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("basic3_batch", PatchganConfig(width=8, norm="batch")),
        ("basic3_instance", PatchganConfig(width=8)),
        ("n_layers2_instance", PatchganConfig(width=8, layers=2)),
        ("pixel3_instance", PixelConfig(width=8)),
    ],
)
def test_the_authors_discriminators(shared: Path, name: str, config: PatchganConfig | PixelConfig) -> None:
    weights, image, output = _golden(shared, f"discriminator_{name}")
    found, in_channels, state = official_discriminator(weights)
    assert (found, in_channels) == (config, 3)
    network = build_discriminator(found, in_channels).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(network(image), output, rtol=0, atol=1e-5)
    again = to_official(found, network.state_dict())
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[key], weights[key]) for key in weights)


NORMS = st.sampled_from(["instance", "batch", "none"])
CHANNELS = st.integers(1, 5)
SAMPLING = st.sampled_from(["strided", "blur"])
RESNETS = st.builds(
    ResnetConfig,
    width=st.integers(1, 4),
    blocks=st.integers(1, 4),
    norm=NORMS,
    dropout=st.booleans(),
    downsampling=SAMPLING,
    upsampling=st.sampled_from(["transposed", "blur"]),
)
UNETS = st.builds(UnetConfig, width=st.integers(1, 3), depth=st.integers(5, 9), norm=NORMS)
PATCHES = st.builds(
    PatchganConfig, width=st.integers(1, 4), layers=st.integers(1, 6), norm=NORMS, downsampling=SAMPLING
)
PIXELS = st.builds(PixelConfig, width=st.integers(1, 4), norm=NORMS)


@settings(max_examples=60, deadline=None)
@given(RESNETS | UNETS, CHANNELS, CHANNELS)
def test_there_and_back_is_the_identity(config: GeneratorConfig, in_channels: int, out_channels: int) -> None:
    state = build_generator(config, in_channels, out_channels).state_dict()
    found, inputs, outputs, again = official_generator(to_official(config, state))
    assert (found, inputs, outputs) == (config, in_channels, out_channels)
    assert list(again) == list(state)
    assert all(torch.equal(again[name], state[name]) and again[name].dtype == state[name].dtype for name in state)


@settings(max_examples=40, deadline=None)
@given(PATCHES | PIXELS, CHANNELS)
def test_discriminators_there_and_back(config: PatchganConfig | PixelConfig, in_channels: int) -> None:
    state = build_discriminator(config, in_channels).state_dict()
    found, inputs, again = official_discriminator(to_official(config, state))
    assert (found, inputs) == (config, in_channels)
    assert all(torch.equal(again[name], state[name]) for name in state)


def _published_resnet(width: int, blocks: int, *, dropout: bool) -> nn.Sequential:
    """The published sequence of layers, with BatchNorm, so that keys and results can be compared."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            half = [nn.ReflectionPad2d(1), nn.Conv2d(4 * width, 4 * width, 3, bias=False), nn.BatchNorm2d(4 * width)]
            other = [nn.ReflectionPad2d(1), nn.Conv2d(4 * width, 4 * width, 3, bias=False), nn.BatchNorm2d(4 * width)]
            self.conv_block = nn.Sequential(*half, nn.ReLU(), *([nn.Dropout(0.5)] if dropout else []), *other)

        def forward(self, features: Tensor) -> Tensor:
            return features + self.conv_block(features)

    layers: list[nn.Module] = [
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, width, 7, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    for channels in (width, 2 * width):
        layers += [nn.Conv2d(channels, 2 * channels, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * channels), nn.ReLU()]
    layers += [Block() for _ in range(blocks)]
    for channels in (4 * width, 2 * width):
        layers += [nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, 1, bias=False), nn.BatchNorm2d(channels // 2)]
        layers += [nn.ReLU()]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("dropout", [False, True])
def test_dropout_moves_the_second_convolution(dropout: bool) -> None:
    theirs = _published_resnet(2, 2, dropout=dropout).eval()
    initialize(theirs, InitConfig(gain=0.1))
    config, _, _, state = official_generator({f"model.{name}": value for name, value in theirs.state_dict().items()})
    assert config == ResnetConfig(width=2, blocks=2, norm="batch", dropout=dropout)
    ours = build_generator(config, 3, 3).eval()
    ours.load_state_dict(state)
    image = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(ours(image), theirs(image))


def _weights(config: GeneratorConfig) -> dict[str, Tensor]:
    return to_official(config, build_generator(config, 3, 3).state_dict())


@pytest.mark.parametrize("config", [ResnetConfig(width=2, blocks=2), UnetConfig(width=2, depth=5)])
def test_files_of_pytorch_0_with_statistics_of_instance_norm(tmp_path: Path, config: GeneratorConfig) -> None:
    weights = _weights(config)
    plain = dict(weights)
    batch = _weights(replace(config, norm="batch"))
    weights |= {name: value for name, value in batch.items() if name.endswith(("running_mean", "running_var"))}
    assert len(weights) > len(plain)
    path = tmp_path / "horse2zebra.pth"
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    converted = convert_weights(read_weights(path))
    assert converted.config == config
    again = to_official(config, converted.state)
    assert again.keys() == plain.keys()
    assert all(torch.equal(again[name], plain[name]) for name in plain)


def test_batch_norm_of_pytorch_0_lacks_its_counter() -> None:
    config = ResnetConfig(width=2, blocks=1, norm="batch")
    weights = {name: value for name, value in _weights(config).items() if not name.endswith("num_batches_tracked")}
    found, _, _, state = official_generator(weights)
    assert found == config
    build_generator(found, 3, 3).load_state_dict(state)


def test_half_precision_becomes_float32() -> None:
    weights = {name: value.half() for name, value in _weights(ResnetConfig(width=2, blocks=1)).items()}
    state = official_generator(weights)[3]
    assert all(value.dtype == torch.float32 for value in state.values())


def test_every_tensor_that_does_not_fit_is_named() -> None:
    weights = _weights(ResnetConfig(width=2, blocks=2))
    del weights["model.4.weight"]
    weights["model.11.conv_block.5.weight"] = torch.zeros(8, 8, 5, 5)
    weights["model.7.bias"] = torch.zeros(8, dtype=torch.int64)
    weights["extra.weight"] = torch.zeros(1)
    with pytest.raises(UserError) as caught:
        official_generator(weights)
    for part in (
        "missing: model.4.weight",
        "wrong shape: model.11.conv_block.5.weight has [8, 8, 5, 5], expected [8, 8, 3, 3]",
        "wrong type: model.7.bias holds torch.int64",
        "unexpected: extra.weight",
    ):
        assert part in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([ResnetConfig(width=1, blocks=1), UnetConfig(width=1, depth=5, norm="batch")]), st.data())
def test_a_file_that_lost_a_tensor_is_never_taken_for_another_network(
    config: GeneratorConfig, data: st.DataObject
) -> None:
    weights = _weights(config)
    name = data.draw(st.sampled_from([name for name in weights if not name.endswith("num_batches_tracked")]))
    del weights[name]
    with pytest.raises(UserError):
        convert_weights(weights)


@pytest.mark.parametrize("width", [2000, 0])
def test_sizes_that_no_network_of_ours_has(width: int) -> None:
    weights = {"model.1.weight": torch.zeros(width, 3, 7, 7), "model.17.weight": torch.zeros(3, width, 7, 7)}
    with pytest.raises(UserError, match="width"):
        official_generator(weights)


def test_odd_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="dimensions"):
        official_generator({"model.1.weight": torch.zeros(3)})
    with pytest.raises(UserError, match="incomplete"):
        official_generator({"model.1.weight": torch.zeros(2, 3, 7, 7)})


class _Filter(nn.Module):
    """The published down- and upsampling: a fixed filter of each channel, between paddings."""

    def __init__(self, channels: int, row: list[float], *, up: bool) -> None:
        super().__init__()
        values = torch.tensor(row)
        self.register_buffer("filt", (values[:, None] * values / 16).expand(channels, 1, -1, -1).clone())
        self.up = up

    def forward(self, features: Tensor) -> Tensor:
        groups = features.shape[1]
        if self.up:
            padded = nn.functional.pad(features, (1, 1, 1, 1), mode="replicate")
            larger = nn.functional.conv_transpose2d(padded, self.filt, stride=2, padding=2, groups=groups)
            return larger[:, :, 1:-1, 1:-1]
        padded = nn.functional.pad(features, (1, 1, 1, 1), mode="reflect")
        return nn.functional.conv2d(padded, self.filt, stride=2, groups=groups)


def _published_antialiased(width: int) -> nn.Sequential:
    """The published generator of CUT without residual blocks."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
    for channels in (2 * width, 4 * width):
        layers += [nn.Conv2d(channels // 2, channels, 3, 1, 1), nn.InstanceNorm2d(channels), nn.ReLU()]
        layers += [_Filter(channels, [1.0, 2.0, 1.0], up=False)]
    for channels in (4 * width, 2 * width):
        layers += [_Filter(channels, [1.0, 3.0, 3.0, 1.0], up=True), nn.Conv2d(channels, channels // 2, 3, 1, 1)]
        layers += [nn.InstanceNorm2d(channels // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


def test_the_antialiased_generator_of_cut() -> None:
    torch.manual_seed(0)
    theirs = _published_antialiased(2).eval()
    weights = {f"model.{name}": value for name, value in theirs.state_dict().items()}
    config, _, _, state = official_generator(weights)
    assert config == ResnetConfig(width=2, blocks=0, downsampling="blur", upsampling="blur")
    ours = build_generator(config, 3, 3).eval()
    ours.load_state_dict(state)
    image = torch.randn(2, 3, 16, 24)
    torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-5)
    again = to_official(config, state)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_filters_that_are_not_the_published_ones() -> None:
    weights = _weights(ResnetConfig(width=2, blocks=1, downsampling="blur"))
    assert weights["model.7.filt"].shape == (4, 1, 3, 3)
    weights["model.7.filt"] = torch.zeros(4, 1, 3, 3)
    with pytest.raises(UserError, match=r"model\.7\.filt is not a filter"):
        official_generator(weights)
    unet = _weights(UnetConfig(width=2, depth=5)) | {"model.7.filt": torch.ones(4, 1, 3, 3) / 9}
    with pytest.raises(UserError, match="filter"):
        official_generator(unet)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ResnetConfig(width=2, blocks=1, upsampling="nearest"), "nearest"),
        (UnetConfig(width=2, depth=5, upsampling="nearest"), "nearest"),
        (UnetConfig(width=2, depth=4), "depth of at least 5"),
    ],
)
def test_what_the_authors_code_cannot_build_is_refused(config: GeneratorConfig, words: str) -> None:
    with pytest.raises(UserError, match=words):
        _weights(config)
