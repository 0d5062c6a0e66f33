from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.models.exactness import Run, reference
from unpaired.models.export.model import TOLERANCE, check_parity, parity_images
from unpaired.networks import Generator, InitConfig, ResnetConfig, build_generator, initialize


@pytest.fixture(scope="module")
def network() -> Generator:
    torch.manual_seed(0)
    network = build_generator(ResnetConfig(width=4, blocks=1), 3, 2).eval().requires_grad_(False)
    initialize(network, InitConfig(gain=0.1))
    return network


def changed(network: Generator, change: Callable[[Tensor], Tensor]) -> Run:
    run = reference(network)
    return lambda image: change(run(image))


def test_images_are_of_every_kind() -> None:
    shapes = {tuple(image.shape) for image in parity_images(5)}
    assert {(1, 5, 1, 1), (1, 5, 1, 9), (2, 5, 37, 50), (1, 5, 64, 48)} <= shapes


def test_what_is_equal_and_what_is_nearly_equal_passes(network: Generator) -> None:
    assert check_parity(reference(network), network).largest == 0
    found = check_parity(changed(network, lambda result: result + TOLERANCE * 0.99), network)
    assert found.largest == pytest.approx(TOLERANCE, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda result: result + TOLERANCE * 1.01, "differs from float32 by at most 0.001"),
        (lambda result: result[..., :-1], "became"),
        (lambda result: result / 0, "not finite"),
        (lambda result: result[:1], r"an image of shape \[2, 3, 37, 50\] became \[1, 2, 37, 50\]"),
        (lambda result: result.flip(-1) if result.shape[-1] == 131 else result, r"shape \[1, 3, 96, 131\]"),
    ],
)
def test_what_differs_is_refused(network: Generator, change: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_parity(changed(network, change), network)


def test_magnified_rounding_errors_of_one_pixel_are_no_difference(network: Generator) -> None:
    def noisy_at_one_pixel(result: Tensor) -> Tensor:
        return -result if result.shape[-2:] == (1, 1) else result

    assert check_parity(changed(network, noisy_at_one_pixel), network).largest == 0
    steady = build_generator(ResnetConfig(width=4, blocks=0, norm="none"), 3, 2).eval().requires_grad_(False)
    initialize(steady, InitConfig(gain=0.2))
    with pytest.raises(UserError, match=r"\[1, 3, 1, 1\]"):
        check_parity(changed(steady, noisy_at_one_pixel), steady)
