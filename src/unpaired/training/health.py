"""Signs that a training goes wrong: losses that are not finite, collapse, a one-sided game, inverted colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from unpaired.core.errors import UserError, option
from unpaired.methods.base import Method, TermKind

SAME_OUTPUT_SHARE = 0.05
"""Translations vary less than this share of what their inputs vary: collapse."""
WINNING_LOSS = {"lsgan": 0.01, "vanilla": 0.05, "hinge": 0.02}
"""Below this mean loss a discriminator tells real from fake nearly always; 0.125 to 0.25 is usual for lsgan."""
INVERSION_CORRELATION = -0.3
"""Brightness of input and translation run against one another."""


class NonFiniteError(UserError):
    """A loss or weight is infinite or not a number: `reason`, and what to do about it."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason} {advice}".rstrip())
        self.reason = reason


def check_finite(losses: Mapping[str, Tensor], step: int) -> None:
    """Raise `NonFiniteError` naming each loss that is not finite; one transfer from the device."""
    if bool(torch.isfinite(torch.stack(list(losses.values()))).all()):
        return
    names = [f"{name} = {value.item()}" for name, value in losses.items() if not torch.isfinite(value)]
    raise NonFiniteError(f"training stopped at step {step}: {', '.join(names)}.")


def check_weights(parameters: Mapping[str, list[torch.nn.Parameter]], step: int) -> None:
    """Raise `NonFiniteError` when a player's weights are not finite, so that no such checkpoint is ever written."""
    for player, weights in parameters.items():
        if weights and not bool(torch.isfinite(torch.stack([weight.detach().sum() for weight in weights]).sum())):
            raise NonFiniteError(f"training stopped at step {step}: the weights of the {player} are not finite.")


HOLDING: tuple[TermKind, ...] = ("cycle", "contrastive", "regularization", "reconstruction")
"""Kinds of terms that make a translation follow its input; a larger weight works against collapse."""
COLOURING: tuple[TermKind, ...] = ("identity", "regularization")
"""Kinds of terms that compare colours; a larger weight works against inverted ones."""


def without_discriminators(losses: Mapping[str, float], method: Method) -> dict[str, float]:
    """Return the losses of all terms but those that the method declares as a discriminator's."""
    return {name: loss for name, loss in losses.items() if _kind(method, name) != "discriminator"}


def translation_warnings(direction: str, inputs: list[Tensor], outputs: list[Tensor], method: Method) -> dict[str, str]:
    """Return warnings about translations of held-out images, by kind.

    `inputs` and `outputs` hold single images, [C, H, W] in [-1, 1]. Advice names the settings that `method` declares.
    """
    warnings = {}
    source, target = direction.upper().split("2")
    if not all(bool(y.isfinite().all()) for y in outputs):
        return {
            f"finite-{direction}": f"{source} to {target}: translations hold values that are no finite numbers (NaN or "
            "infinity), which pictures show as black. The training has diverged."
        }
    if len(inputs) > 1:
        varied_in, varied_out = _variation(inputs), _variation(outputs)
        if varied_out < SAME_OUTPUT_SHARE * varied_in:
            weight = "".join(f"a larger method.{name}, " for name in _settings(method, HOLDING, direction))
            warnings[f"collapse-{direction}"] = (
                f"{source} to {target}: translations hardly vary with the input ({varied_out:.4f} against "
                f"{varied_in:.4f}); the generator may have collapsed. Try {weight}another {option('training.seed')} "
                "or a smaller "
                "training.learning_rate."
            )
    pairs = zip(inputs, outputs, strict=True)
    correlation = sum(_correlation(x.mean(0), y.mean(0)) for x, y in pairs) / max(1, len(inputs))
    if correlation < INVERSION_CORRELATION:
        warnings[f"inversion-{direction}"] = (
            f"{source} to {target}: bright and dark are exchanged (correlation {correlation:.2f}). "
            + _against_inversion(method, direction, same_channels=inputs[0].shape[0] == outputs[0].shape[0])
        )
    return warnings


def _settings(method: Method, kinds: tuple[TermKind, ...], direction: str) -> dict[str, object]:
    """Return the settings, with their values, that weigh a direction's terms of these kinds."""
    terms = [term for term in method.terms().values() if term.kind in kinds and term.direction in (None, direction)]
    values = dataclasses.asdict(method.config)
    return {term.setting: values[term.setting] for term in terms if term.setting is not None}


def _against_inversion(method: Method, direction: str, *, same_channels: bool) -> str:
    """Return what helps: a term that compares colours, where the method has one, or a new start."""
    if method.paired:
        return "The method learns that from pairs alone: look whether they ask for it."
    why = "" if method.keeps_input else "Nothing in this method ties the colours of a translation to its input. "
    if any(_settings(method, ("cycle",), direction).values()):
        why = "Inverted colours can satisfy the cycle. "
    remedies = ["start again with another training.seed."]
    for name, value in _settings(method, COLOURING, direction).items():
        if value is False:
            remedies.insert(0, f"set method.{name} = true")
        elif value is not True and same_channels:
            remedies.insert(0, f"raise method.{name}")
    return f"{why}Unless the domains ask for it, {' or '.join(remedies)}"


def collapse_warning(domain: str, real: list[Tensor], generated: list[Tensor]) -> dict[str, str]:
    """Return a warning where images made of noise are all alike beside held-out images of their domain.

    Both hold single images, [C, H, W] in [-1, 1].
    """
    if min(len(real), len(generated)) < 2:
        return {}
    usual, varied = _variation(real), _variation(generated)
    if varied >= SAME_OUTPUT_SHARE * usual:
        return {}
    return {
        f"collapse-{domain}": (
            f"{domain.upper()}: generated images hardly vary with the latent vector ({varied:.4f}; real images: "
            f"{usual:.4f}); the generator may have collapsed. Try another {option('training.seed')}, a larger "
            f"{option('training.batch_size')} "
            "or a smaller training.learning_rate."
        )
    }


def discriminator_warnings(losses: Mapping[str, float], method: Method) -> dict[str, str]:
    """Return warnings about discriminators whose mean loss over an epoch says that they always win."""
    limit = WINNING_LOSS.get(getattr(method.config, "objective", ""))
    if limit is None:
        return {}
    pooled = hasattr(method.config, "pool_size")
    remedy = "more images, or a larger method.pool_size" if pooled else "or more images"
    return {
        f"winning-{name}": (
            f"{name} always wins: its mean loss is {loss:.4f} (below {limit}). The generators then learn little. Try a "
            f"smaller discriminator (method.discriminator.width), {remedy}."
        )
        for name, loss in losses.items()
        if _kind(method, name) == "discriminator" and loss < limit
    }


def _kind(method: Method, name: str) -> TermKind:
    term = method.terms().get(name)
    return "other" if term is None else term.kind


def _variation(images: list[Tensor]) -> float:
    """Return how much coarse (8 x 8) versions of the images differ from their mean, as a standard deviation."""
    coarse = torch.stack([torch.nn.functional.adaptive_avg_pool2d(image.float(), 8) for image in images])
    return float(coarse.std(dim=0, unbiased=False).mean())


def _correlation(x: Tensor, y: Tensor) -> float:
    x, y = x.float() - x.float().mean(), y.float() - y.float().mean()
    scale = float(x.norm() * y.norm())
    return float((x * y).sum()) / scale if scale > 1e-6 else 0.0
