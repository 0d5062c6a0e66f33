"""What is decided where the settings of a segmenter leave something open."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from unpaired.core.errors import UserError
from unpaired.evaluation.segmentation.config import SegmenterConfig, settle
from unpaired.networks.fcn import FcnConfig


@pytest.mark.parametrize(
    ("given", "weights", "fully", "expected"),
    [
        ({}, True, True, {"norm": "none", "fc_width": 4096, "learning_rate": 1e-4, "weight_decay": 0.0}),
        ({}, True, False, {"norm": "none", "fc_width": 512, "learning_rate": 1e-4}),
        ({}, False, False, {"norm": "batch", "fc_width": 512, "learning_rate": 1e-3}),
        ({"width": 32}, False, True, {"fc_width": 512}),
        ({"optimizer": "sgd"}, True, True, {"learning_rate": 1e-3, "weight_decay": 5e-4}),
        ({"optimizer": "sgd", "weight_decay": 0.0, "learning_rate": 0.5}, True, True, {"learning_rate": 0.5}),
        ({"norm": "none", "fc_width": 7}, False, False, {"norm": "none", "fc_width": 7, "learning_rate": 1e-4}),
        ({"network": "unet"}, False, False, {"width": 16, "learning_rate": 1e-3, "fc_width": None, "norm": None}),
        ({"network": "unet", "width": 4, "weights": "none"}, False, False, {"width": 4, "weight_decay": 0.0}),
        ({"images": 1000}, True, True, {"evaluate_every": 100}),
        ({"images": 10}, True, True, {"evaluate_every": 8}),
        ({"images": 1000, "evaluate_every": 30}, True, True, {"evaluate_every": 30}),
    ],
)
def test_what_is_left_open_is_decided(
    given: dict[str, Any], weights: bool, fully: bool, expected: dict[str, Any]
) -> None:
    found = dataclasses.asdict(settle(SegmenterConfig(**given), weights=weights, fully_connected=fully))
    assert {name: found[name] for name in {**given, **expected}} == pytest.approx({**given, **expected})


def test_the_defaults_with_torchvisions_weights_are_the_published_network() -> None:
    assert settle(SegmenterConfig(), weights=True, fully_connected=True).network_config() == FcnConfig()


@pytest.mark.parametrize("wrong", [{"images": 0}, {"zoom": 0.5}, {"dropout": 1.0}, {"optimizer": "lion"}, {"size": 3}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        SegmenterConfig(**wrong)


@pytest.mark.parametrize(
    "given", [{"fc_width": 512}, {"norm": "batch"}, {"dropout": 0.1}, {"scale_skips": True}, {"weights": "vgg.pth"}]
)
def test_a_unet_refuses_settings_of_the_fcn(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"segmenter\.{next(iter(given))}.*segmenter\.network"):
        SegmenterConfig(network="unet", **given)
