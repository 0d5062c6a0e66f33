"""How strongly a network's output responds to invisible changes of its input.

A network that writes its input into invisible detail, or reads it from there, must respond to such detail strongly.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unpaired.audit.disturb import LEVEL
from unpaired.audit.measure import Values
from unpaired.models.padding import crop_back, pad_to
from unpaired.models.translator import Translator
from unpaired.networks import Generator

STEPS = 10
"""Gradient steps that look for the most effective change."""
DRAWS = 4
"""Random changes that are averaged."""


@dataclass(frozen=True, slots=True)
class Response:
    """Root mean square of the output's change, in levels, for a change of one level in every value of the input."""

    random: Values
    """For random changes, +1 or -1 level at every value."""
    worst: Values
    """For the most effective change found of at most one level at every value."""


def response(translator: Translator, images: Sequence[Tensor], *, seed: int) -> Response:
    """Measure a translator's network in float32 at images [1, C, H, W] in [-1, 1].

    The most effective change is sought by repeated steps e <- sign of the gradient of |G(x + e) - G(x)|^2, the power
    iteration for a change whose largest value is bounded, from a random one (cf. Madry et al. 2018, section 2.1).
    """
    network = translator.network
    if translator.device.type != "cpu":  # the translator's own network stays on the CPU
        network = copy.deepcopy(network).to(translator.device)
    found = [
        _of_image(
            _Probe(network, image.to(translator.device)), torch.Generator().manual_seed(seed * 1_000_003 + number)
        )
        for number, image in enumerate(images)
    ]
    random, worst = zip(*found, strict=True)
    return Response(random=np.sqrt(random), worst=np.sqrt(worst))


class _Probe:
    """A network at one image."""

    def __init__(self, network: Generator, image: Tensor) -> None:
        self.image, self._size = pad_to(image, network.size_multiple, network.minimum_size)
        self._network = network
        with torch.no_grad():
            self._before = network(self.image)

    def output_change(self, change: Tensor) -> Tensor:
        """Return the mean squared change of the output, in levels^2, without padding."""
        difference = crop_back(self._network(self.image + change) - self._before, self._size) / LEVEL
        return difference.square().mean()


def _of_image(probe: _Probe, generator: torch.Generator) -> tuple[float, float]:
    """Return the mean squared response to random changes, and to the most effective one that was found."""
    draws = [_signs(probe.image, generator) for _ in range(DRAWS)]
    with torch.no_grad():
        found = [float(probe.output_change(draw)) for draw in draws]
    change, best = draws[0], max(found)
    for _ in range(STEPS):
        value = probe.output_change(change.requires_grad_())
        best = max(best, float(value.detach()))
        (gradient,) = torch.autograd.grad(value, change)
        change = gradient.sign() * LEVEL
    with torch.no_grad():
        best = max(best, float(probe.output_change(change)))
    return sum(found) / DRAWS, best


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return +1 or -1 level at every value, equally likely."""
    signs = torch.randint(0, 2, like.shape, generator=generator).to(like.device, like.dtype)
    return (signs * 2 - 1) * LEVEL
