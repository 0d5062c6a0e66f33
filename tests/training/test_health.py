"""Warnings and stops: each fires on what it is for, and not on a healthy training."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest
import torch

from unpaired.methods import METHODS, ImageShapes, Method, Term
from unpaired.training.health import (
    NonFiniteError,
    check_finite,
    check_weights,
    collapse_warning,
    discriminator_warnings,
    translation_warnings,
    without_discriminators,
)


def test_a_loss_that_is_not_finite_is_named_with_its_step() -> None:
    check_finite({"cycle_a": torch.tensor(1.0)}, 3)
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(NonFiniteError, match=r"step 17: cycle_b = (nan|-?inf)\.") as caught:
            check_finite({"cycle_a": torch.tensor(1.0), "cycle_b": torch.tensor(bad)}, 17)
        assert "cycle_a" not in str(caught.value)


def test_weights_that_are_not_finite_name_their_player() -> None:
    good, bad = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.tensor([1.0, math.nan]))
    check_weights({"generators": [good]}, 1)
    with pytest.raises(NonFiniteError, match="weights of the discriminators"):
        check_weights({"generators": [good], "discriminators": [good, bad]}, 1)


def _method(name: str = "cyclegan", **settings: Any) -> Method:
    kind = METHODS[name]
    with torch.device("meta"):
        return kind(kind.config_class(**settings), ImageShapes(channels_a=3, channels_b=3, size=(256, 256)))


CYCLE = _method()


def _images(count: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4, generator=generator) * 2 - 1, 32)[0]
        for _ in range(count)
    ]


def test_healthy_translations_give_no_warning() -> None:
    images = _images()
    assert translation_warnings("a2b", images, [image * 0.5 + 0.1 for image in images], CYCLE) == {}
    assert translation_warnings("a2b", images[:1], images[:1], CYCLE) == {}
    flat = [torch.zeros(3, 32, 32)]
    assert translation_warnings("a2b", flat, flat, CYCLE) == {}
    assert translation_warnings("a2b", [], [], CYCLE) == {}


def test_translations_that_are_not_finite_are_told_and_nothing_else_of_them() -> None:
    image = torch.zeros(3, 8, 8)
    warnings = translation_warnings("a2b", [image, image], [image, image / 0], CYCLE)
    assert list(warnings) == ["finite-a2b"]
    assert "no finite" in warnings["finite-a2b"]


def test_collapse_is_told_per_direction() -> None:
    images = _images()
    same = [images[0]] * len(images)
    assert list(translation_warnings("a2b", images, same, CYCLE)) == ["collapse-a2b"]
    warning = translation_warnings("b2a", images, same, CYCLE)["collapse-b2a"]
    assert "B to A" in warning
    assert "hardly vary" in warning


@pytest.mark.parametrize("name", METHODS)
def test_advice_names_settings_that_the_method_has(name: str) -> None:
    method, images = _method(name), _images()
    settings = dataclasses.asdict(method.config)
    warnings = translation_warnings("a2b", images, [images[0]] * 4, method)
    warnings |= translation_warnings("a2b", images, [-image for image in images], method)
    assert len(warnings) == 2
    for text in warnings.values():
        assert all(setting in settings for setting in re.findall(r"method\.(\w+)", text)), text
        assert ("cycle" in text) <= (name in ("cyclegan", "stegogan"))
    weights = {
        "pix2pix": "l1",
        "cut": "nce",
        "fastcut": "nce",
        "dclgan": "nce",
        "cyclegan": "cycle",
        "stegogan": "cycle",
    }
    weights |= dict.fromkeys(("simgan", "feature_gan"), "regularization")
    named = re.findall(r"method\.(\w+)_weight", warnings["collapse-a2b"])
    assert named == (["sb", "nce"] if name == "unsb" else [weights[name]] if name in weights else [])


def test_the_weight_of_the_cycle_that_counts_is_named() -> None:
    images = _images()
    method = _method(cycle_a_weight=10.0, cycle_b_weight=0.0)  # cycle_weight would be refused
    for direction in ("a2b", "b2a"):
        (text,) = translation_warnings(direction, images, [images[0]] * 4, method).values()
        assert f"a larger method.cycle_{direction[0]}_weight, another" in text


def test_identity_is_not_advised_where_channels_differ() -> None:
    images = _images()
    grey = [-image.mean(0, keepdim=True) for image in images]
    text = translation_warnings("a2b", images, grey, CYCLE)["inversion-a2b"]
    assert "identity_weight" not in text
    assert "training.seed" in text
    fast = _method("fastcut")
    inverted = [-image for image in images]
    assert "method.identity = true" in translation_warnings("a2b", images, inverted, fast)["inversion-a2b"]


def test_generated_images_that_are_all_alike_are_told() -> None:
    images = _images()
    assert collapse_warning("a", images, _images()[::-1]) == {}
    alike = [images[0] + 1e-3 * index for index in range(4)]
    (text,) = collapse_warning("b", images, alike).values()
    assert text.startswith("B: generated images hardly vary")
    assert "training.seed" in text
    assert collapse_warning("b", images, alike[:1]) == {}  # one image says nothing


def test_inverted_colours_are_told() -> None:
    images = _images()
    warnings = translation_warnings("b2a", images, [-image for image in images], CYCLE)
    assert list(warnings) == ["inversion-b2a"]
    assert "correlation -1.00" in warnings["inversion-b2a"]


def test_a_discriminator_that_always_wins_is_named() -> None:
    losses = {"gan_a2b": 0.001, "discriminator_a": 0.001, "discriminator_b": 0.2}
    assert list(discriminator_warnings(losses, CYCLE)) == ["winning-discriminator_a"]
    assert "method.pool_size" in discriminator_warnings(losses, CYCLE)["winning-discriminator_a"]
    (unpooled,) = discriminator_warnings({"gan": 0.001, "discriminator": 0.001}, _method("cut")).values()
    assert unpooled.endswith("(method.discriminator.width), or more images.")
    assert discriminator_warnings(losses, _method(objective="wgangp")) == {}  # a critic's loss has no such meaning


def test_what_a_method_declares_decides_and_no_name_does() -> None:
    """Terms are told apart by their declared kind: here by names that say something else."""
    method = _method("simgan")
    declared = {"fit": Term("adversarial"), "discriminator_of_taste": Term("other"), "gan": Term("discriminator")}
    method.terms = lambda: declared  # type: ignore[method-assign]
    losses = {"fit": 1.0, "discriminator_of_taste": 0.001, "gan": 0.001, "unknown": 2.0}
    assert without_discriminators(losses, method) == {"fit": 1.0, "discriminator_of_taste": 0.001, "unknown": 2.0}
    assert list(discriminator_warnings(losses, method)) == ["winning-gan"]
