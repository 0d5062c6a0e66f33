"""Starting from weights: those of a run, a checkpoint or a model folder in place of random ones; and freezing parts."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unpaired.core.errors import UserError, did_you_mean, option
from unpaired.core.families import families_of
from unpaired.core.text import listing, plural
from unpaired.methods import Method
from unpaired.methods.pool import ImagePool, RaggedImagePool
from unpaired.models.folder import checkpoint_title, find_model, read_card, read_tensors
from unpaired.networks import generator_from_description
from unpaired.networks.weight_files import non_finite
from unpaired.training.config import TrainingConfig
from unpaired.training.settings import RunConfig

MOST_NAMED = 3
"""Tensors that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a network of a new training took from a model."""

    network: str
    """`a2b`, `b2a`, or the method's own name of it, such as `D_X`."""
    taken: int
    """Tensors that were taken."""
    count: int
    """Tensors that it has."""
    misfits: tuple[str, ...]
    """Those that start at random, and why: `model.1.weight (64 x 3 x 7 x 7; there: 64 x 1 x 7 x 7)`."""
    unused: tuple[str, ...]
    """Tensors of the model's network that this one does not have."""

    def in_words(self) -> str:
        """Return one phrase about it."""
        if not self.taken:
            return f"{self.network} starts at random"
        unused = f"; not used: {_some(self.unused)}" if self.unused else ""
        if self.taken == self.count:
            return f"{self.network} whole{unused}"
        return (
            f"{self.network} {self.taken} of {plural(self.count, 'tensor')}; at random: {_some(self.misfits)}{unused}"
        )


def with_generator_of(config: RunConfig) -> RunConfig:
    """Return the settings with the generator of the model in `training.init_from`, where none was chosen."""
    fields = {field.name for field in dataclasses.fields(config.settings)}
    if config.training.init_from is None or "generator" not in fields or "generator" in config.chosen_settings():
        return config
    folder, _ = find_init(config.training)
    card = read_card(folder)
    described = next(iter(card.translators.values()))
    if described.is_search:
        return config
    with torch.device("meta"):
        generator = generator_from_description(described.network).config
    hint = typing.get_type_hints(type(config.settings), include_extras=True)["generator"]
    if families_of(hint) is None and type(generator) is not type(config.settings.generator):
        return config  # the method has one kind of generator, and takes of the weights what fits
    return dataclasses.replace(config, settings=dataclasses.replace(config.settings, generator=generator))


def load_weights(method: Method, config: RunConfig) -> tuple[list[Fit], str]:
    """Give a new method the weights of `training.init_from`, as far as name and shape agree; say what was taken.

    Translators take those of their direction, as users of the model get them (its averages where it has some). Of a
    checkpoint of the same method the other networks are taken too; optimisers, image pools and counters never are.
    Raises `UserError` where nothing fits.
    """
    folder, notices = find_init(config.training)
    card = read_card(folder)
    found: dict[str, dict[str, Tensor]] = {
        direction: read_tensors(folder, described.weights) for direction, described in card.translators.items()
    }
    if card.method == config.method and (folder / "training.safetensors").is_file():
        for key, value in read_tensors(folder, "training.safetensors").items():
            part, _, name = key.removeprefix("method.").partition(".")
            if key.startswith("method."):
                found.setdefault(part, {})[name] = value
    fits = [_take(name, part, found.get(name, {})) for name, part in _parts(method)]
    if not any(fit.taken for fit in fits if fit.network in card.translators):
        reasons = "; ".join(f"{fit.network}: {_some(fit.misfits)}" for fit in fits if fit.network in card.translators)
        raise UserError(
            f"{option('training.init_from', config.training.init_from)}: none of its weights fits. It translates "
            f"{listing(sorted(card.translators))}. {reasons or 'This method translates another way'}. Leave "
            "method.generator out, whose settings then follow the model, or give those that it was trained with."
        )
    text = f"Weights of {checkpoint_title(folder, card)} in {folder}: {'; '.join(fit.in_words() for fit in fits)}."
    return fits, " ".join([*notices, text])


def freeze(method: Method, names: tuple[str, ...]) -> None:
    """Let the weights that `training.freeze` names stay as they are; raises `UserError` for a name of nothing."""
    known: dict[str, list[nn.Parameter]] = {}
    for player, each in method.players().items():
        known.setdefault(player, []).extend(each.parameters())
    for name, parameter in [
        *method.named_parameters(),
        *((f"{way}.{name}", p) for way, net in method.translators().items() for name, p in net.named_parameters()),
    ]:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            known.setdefault(".".join(parts[:end]), []).append(parameter)
    for name in names:
        if name not in known:
            inner = sorted(each for each in known if each.rpartition(".")[0] == name.rpartition(".")[0])
            raise UserError(
                f"{option('training.freeze')}: there is nothing called {name!r}.{did_you_mean(name, known)} "
                f"Names here: {', '.join(inner or sorted(each for each in known if '.' not in each))}."
            )
        for parameter in known[name]:
            parameter.requires_grad_(False)
    if names and not any(parameter.requires_grad for parameter in method.parameters()):
        raise UserError(f"{option('training.freeze', list(names))} leaves nothing to train. Name fewer parts.")


def find_init(training: TrainingConfig) -> tuple[Path, list[str]]:
    """Return the folder of `training.init_from` and what was passed over; raises `UserError` where there is none."""
    assert training.init_from is not None
    try:
        return find_model(training.init_from, training.init_checkpoint)
    except UserError as error:
        raise UserError(f"{option('training.init_from')}: {error}") from error


def _parts(method: Method) -> Iterator[tuple[str, nn.Module]]:
    """Yield the translators by direction, then the method's other networks by name; pools are no networks."""
    translators = method.translators()
    yield from translators.items()
    taken = {id(value) for network in translators.values() for value in network.state_dict(keep_vars=True).values()}
    for name, part in method.named_children():
        own = [value for value in part.state_dict(keep_vars=True).values() if id(value) not in taken]
        if own and not isinstance(part, ImagePool | RaggedImagePool):
            yield name, part


@torch.no_grad()
def _take(name: str, network: nn.Module, weights: Mapping[str, Tensor]) -> Fit:
    """Copy what fits into a network."""
    if bad := non_finite(weights):
        raise UserError(f"{option('training.init_from')}: {bad} of {name} are not finite. Give another checkpoint.")
    own = network.state_dict()
    fitting = [key for key, value in own.items() if key in weights and weights[key].shape == value.shape]
    if not any(own[key].dim() > 1 for key in fitting):
        fitting = []  # a few biases alone say nothing
    for key in fitting:
        own[key].copy_(weights[key])
    there = {key: f"there: {_shape(value)}" for key, value in weights.items()}
    misfits = [f"{key} ({_shape(own[key])}; {there.get(key, 'not there')})" for key in own if key not in fitting]
    unused = tuple(key for key in weights if key not in own)
    return Fit(network=name, taken=len(fitting), count=len(own), misfits=tuple(misfits), unused=unused)


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one value"


def _some(names: tuple[str, ...]) -> str:
    rest = len(names) - MOST_NAMED
    return ", ".join([*names[:MOST_NAMED], *([f"{rest:,} more"] if rest > 0 else [])])
