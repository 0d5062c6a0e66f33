"""What identifies a network; that loading itself is right is tested with the translator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unpaired.core.errors import UserError
from unpaired.models.folder import read_card, read_tensors, write_model
from unpaired.models.loading import load_generator

MakeModel = Callable[..., Path]


def test_fingerprints_are_equal_for_equal_networks_only(make_model: MakeModel) -> None:
    folder = make_model()
    one = load_generator(folder)
    assert one.fingerprint == load_generator(folder, "a2b").fingerprint
    assert one.fingerprint == load_generator(make_model("copy")).fingerprint, "where it lies is of no matter"
    assert one.fingerprint != load_generator(folder, "b2a").fingerprint
    weights = read_tensors(folder, "a2b.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 0.5
    write_model(folder, read_card(folder), {"a2b.safetensors": weights, "b2a.safetensors": {}})
    assert one.fingerprint != load_generator(folder).fingerprint


def test_the_network_is_ready_to_translate(make_model: MakeModel) -> None:
    loaded = load_generator(make_model(), "b2a")
    assert loaded.direction == "b2a"
    assert not loaded.network.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in loaded.network.parameters())
    with pytest.raises(UserError, match="no such direction"):
        load_generator(make_model("other"), "b2c")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(make_model: MakeModel, value: float) -> None:
    folder = make_model()
    weights = read_tensors(folder, "a2b.safetensors")
    weights["head.convolution.weight"][0, 0, 0, 0] = value
    write_model(folder, read_card(folder), {"a2b.safetensors": weights, "b2a.safetensors": {}})
    with pytest.raises(UserError, match=r"1 of 588 values of head\.convolution\.weight are not finite"):
        load_generator(folder)
