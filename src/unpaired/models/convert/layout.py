"""From the names of another program's layers to ours and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from unpaired.core.errors import UserError

Names = dict[str, str]
"""The other program's name for each of our layers, those without weights included."""

Settings = TypeVar("Settings")

OLD_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers that InstanceNorm kept in PyTorch 0.x and that nothing reads."""


def settings(kind: type[Settings], values: Mapping[str, Any], source: str) -> Settings:
    """Return the settings that were found in tensors; UserError where no network of ours has them."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UserError(
            f"The weights look like {source}, but with a {where} that is not supported: {problem['msg']} "
            f"(found {problem['input']!r})."
        ) from error


def shape(weights: Mapping[str, Tensor], name: str, dimensions: int, source: str) -> torch.Size:
    """Return the shape of a tensor that decides about the architecture; UserError where it is missing or odd."""
    if name not in weights:
        raise UserError(f"The weights look like {source}, but {name} is missing. The file may be incomplete.")
    if weights[name].dim() != dimensions:
        raise UserError(
            f"The weights look like {source}, but {name} has shape {list(weights[name].shape)}, not {dimensions} "
            "dimensions. The file was written by some other network."
        )
    return weights[name].shape


def to_ours(weights: Mapping[str, Tensor], network: nn.Module, names: Names, source: str) -> dict[str, Tensor]:
    """Rename tensors to the state of `network` (on any device, "meta" too), as contiguous float32.

    Raises one UserError with every missing, unexpected and mis-shaped tensor. Statistics of InstanceNorm, as files of
    PyTorch 0.x have them, are left out; a BatchNorm counter, as they lack, becomes 0.
    """
    expected = {_rename(key, names): (key, value) for key, value in network.state_dict().items()}
    ignored = {f"{names[name]}.{leaf}" for name in _norms_without_state(network, names) for leaf in OLD_STATISTICS}
    counters = {name for name in expected if name.endswith(".num_batches_tracked")}
    problems = [f"missing: {name}" for name in expected if name not in weights and name not in counters]
    problems += [f"unexpected: {name}" for name in weights if name not in expected and name not in ignored]
    for name, (_, wanted) in expected.items():
        found = weights.get(name, wanted)
        if found.shape != wanted.shape:
            problems.append(f"wrong shape: {name} has {list(found.shape)}, expected {list(wanted.shape)}")
        elif found.is_complex() or found.is_floating_point() != wanted.is_floating_point():
            problems.append(f"wrong type: {name} holds {found.dtype}")
    if problems:
        raise UserError(
            f"The weights look like {source}, but they do not fit:\n  " + "\n  ".join(problems) + "\n"
            "The file is incomplete, or it was written by a changed network."
        )
    return {
        ours: weights[name].to(wanted.dtype).contiguous() if name in weights else torch.zeros((), dtype=torch.int64)
        for name, (ours, wanted) in expected.items()
    }


def to_theirs(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Rename the tensors of one of our states; the inverse of `to_ours`."""
    return {_rename(key, names): value for key, value in state.items()}


def _rename(key: str, names: Names) -> str:
    layer, _, leaf = key.rpartition(".")
    return f"{names[layer]}.{leaf}"


def _norms_without_state(network: nn.Module, names: Names) -> list[str]:
    layers = dict(network.named_modules())
    return [name for name in names if name.rpartition(".")[2] == "norm" and not layers[name].state_dict()]
