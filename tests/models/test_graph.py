"""The any-size graph in plain PyTorch; what exporters make of it is tested with the engines and the exported files."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch

from unpaired.models.exactness import reference
from unpaired.models.graph import AnySize, quiet_exporter, trace, trusting_copy
from unpaired.networks import ResnetConfig, UnetConfig, VitUnetConfig, build_generator

CONFIGS = [
    ResnetConfig(width=2, blocks=1),
    UnetConfig(width=2, depth=4, norm="batch", upsampling="nearest"),
    VitUnetConfig(width=2, depth=1, tokens=4, heads=2, blocks=1),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.family)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (7, 5), (16, 16), (17, 33)])
def test_padding_inside_is_the_padding_of_the_translator(
    config: ResnetConfig | UnetConfig, size: tuple[int, int]
) -> None:
    network = build_generator(config, 3, 2).eval().requires_grad_(False)
    image = torch.rand(2, 3, *size) * 2 - 1
    assert torch.equal(AnySize(network).eval()(image), reference(network)(image))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.family)
def test_one_trace_serves_every_size(config: ResnetConfig | UnetConfig) -> None:
    network = build_generator(config, 1, 2).eval().requires_grad_(False)
    program = trace(network)
    for shape in ((1, 1, 1, 1), (3, 1, 5, 18), (2, 1, 32, 16), (1, 1, 33, 70)):
        image = torch.rand(shape) * 2 - 1
        assert torch.equal(program.module()(image), reference(network)(image)), shape
    assert not any("stack_trace" in node.meta for node in program.graph.nodes), "paths of the machine that traced it"


def test_the_network_itself_still_checks_its_input() -> None:
    network = build_generator(CONFIGS[0], 3, 3)
    copied = trusting_copy(network)
    assert copied is not network
    with pytest.raises(ValueError, match="multiples of 4"):
        network(torch.zeros(1, 3, 9, 9))


def test_exporters_are_quiet_for_the_time_being(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with quiet_exporter():
        warnings.warn("of no use to the user", UserWarning, stacklevel=1)
        logger.warning("nor is this")
    assert logger.level == before
    assert not caplog.records
