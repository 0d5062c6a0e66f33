from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from unpaired.core.errors import UserError
from unpaired.networks import (
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    PatchganConfig,
    PixelConfig,
    PixelDiscriminator,
    ResnetConfig,
    ResnetGenerator,
    UnetConfig,
    build_discriminator,
    build_generator,
    describe_generator,
    generator_from_description,
)

SIZES = {"in_channels": 3, "out_channels": 3}


def test_families_are_chosen_by_their_configs() -> None:
    assert isinstance(build_generator(ResnetConfig(width=2, blocks=1), 1, 2), ResnetGenerator)
    assert isinstance(build_discriminator(PixelConfig(width=2), 1), PixelDiscriminator)
    assert TypeAdapter(GeneratorConfig).validate_python({"family": "unet", "depth": 5}) == UnetConfig(depth=5)
    assert TypeAdapter(DiscriminatorConfig).validate_python({"family": "patchgan"}) == PatchganConfig()


@pytest.mark.parametrize(
    "settings",
    [{"width": 0}, {"width": 10**6}, {"blocks": -1}, {"norm": "layer"}, {"upsampling": "bilinear"}, {"ngf": 64}],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises((UserError, ValidationError)):
        ResnetConfig(**settings)


@pytest.mark.parametrize(
    "config",
    [
        ResnetConfig(width=3, blocks=2, norm="batch", upsampling="nearest", dropout=True),
        UnetConfig(width=2, depth=6, norm="none", dropout=True),
    ],
)
def test_a_description_gives_the_same_network(config: ResnetConfig | UnetConfig) -> None:
    network = build_generator(config, 1, 4).eval()
    description = json.loads(json.dumps(describe_generator(network)))
    again = generator_from_description(description).eval()
    assert (again.config, again.in_channels, again.out_channels) == (config, 1, 4)
    again.load_state_dict(network.state_dict())
    image = torch.randn(1, 1, 64, 64)
    assert torch.equal(again(image), network(image))


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"family": "resnett", **SIZES}, ["resnett", 'Did you mean "resnet"']),
        ({**SIZES}, ["family None"]),
        ({"family": ["resnet"], **SIZES}, ["family"]),
        ({"family": "resnet"}, ["in_channels", "None"]),
        ({"family": "resnet", "in_channels": True, "out_channels": 3}, ["in_channels", "True"]),
        ({"family": "resnet", "in_channels": 3, "out_channels": 10**9}, ["out_channels"]),
        ({"family": "resnet", "widht": 3, **SIZES}, ["widht", 'Did you mean "width"']),
        ({"family": "resnet", "width": "8", **SIZES}, ["width", "'8'"]),
        ({"family": "unet", "blocks": 3, **SIZES}, ["blocks"]),
        ({"family": "unet", "depth": 4, "dropout": True, **SIZES}, ["dropout", "depth"]),
        ({"family": "unet", "depth": 10**12, **SIZES}, ["depth"]),
        ({"family": "resnet", "width": 1024, "blocks": 100, **SIZES}, ["parameters"]),
        ({"family": "resnet", "width": object(), **SIZES}, ["not valid"]),
    ],
)
def test_a_bad_description_is_one_clear_error(description: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        generator_from_description(description)
    for word in words:
        assert word in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["width", "blocks", "depth", "norm", "upsampling", "dropout", "in_channels", "out_channels"])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS | st.text(max_size=4), JSON, max_size=6), st.sampled_from(["resnet", "unet"]) | JSON)
def test_a_hostile_description_gives_a_network_or_a_user_error(content: dict[str, Any], family: Any) -> None:
    try:
        network = generator_from_description({**SIZES, "width": 1, "depth": 2, **content, "family": family})
    except UserError:
        return
    assert isinstance(network, Generator)
