"""One direction of a model, read from its folder: the network with its weights, and what identifies it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from unpaired.core.errors import UserError, option
from unpaired.core.files import real_path
from unpaired.core.given import Given, flatten, settings_of, without_none
from unpaired.core.given import read_document as read_settings
from unpaired.data.config import DataConfig
from unpaired.data.directions import DIRECTIONS, Side, parse_direction
from unpaired.data.formats import missing_readers
from unpaired.data.scale import scale_of
from unpaired.models.folder import (
    BEST,
    CARD,
    CHECKPOINTS,
    MANIFEST,
    DamagedError,
    ModelCard,
    find_model,
    read_card,
    read_document,
    read_tensors,
)
from unpaired.networks import Generator, generator_class, generator_from_description
from unpaired.networks.weight_files import non_finite

CONFIG = "config.json"
"""The settings of a run."""
TRAINING = "training.json"
"""What a checkpoint keeps for those who resume it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A network as it was stored, and what the model says of itself."""

    network: Generator
    """On the CPU, float32, in evaluation mode."""
    card: ModelCard
    direction: str
    """`a2b` or `b2a`."""
    fingerprint: str
    """SHA-256 of the stored weights and of the network's description: equal for equal networks only."""
    folder: Path
    """The model folder that was read: of a run, its best or newest checkpoint."""
    notices: list[str]
    """A message for each damaged checkpoint that was passed over."""


def load_generator(
    model: str | Path,
    direction: str | None = None,
    *,
    checkpoint: str | int | None = None,
    steps: int | None = None,
    seed: int | None = None,
) -> Loaded:
    """Read one direction of a run, a checkpoint or a model folder.

    `direction` may be left out: `a2b`, or the only one there is; `checkpoint` as in `find_model`. `steps` and `seed` of
    a translation are for networks that take a time and noise; by default as they were trained. Raises `UserError`
    where there is no such model or direction, `DamagedError` where its files are not intact.
    """
    folder, notices = find_model(model, checkpoint)
    card = card_with_scale(folder)
    for reader in missing_readers(card.extensions.get("reader", [])):
        notices.append(
            f"the model was trained on files that the reader {reader} reads. To translate such files name it: "
            f'--extension {reader} on the command line, extensions=["{reader}"] in Python.'
        )
    chosen = _choose_direction(folder, card, direction)
    card = with_steps(card, chosen, steps, seed)
    network = _load_network(folder, card, chosen).eval().requires_grad_(False)
    if seed is not None:
        network.draw()
    return Loaded(
        network=network,
        card=card,
        direction=chosen,
        fingerprint=_fingerprint(folder, card, chosen),
        folder=folder,
        notices=list(notices),
    )


def card_with_scale(folder: Path) -> ModelCard:
    """Return what a model says of itself, with the scale of its training from its run's settings where it is older."""
    card, run = read_card(folder), run_of(folder)
    if card.scale is None and run is not None:
        with contextlib.suppress(UserError):
            return replace(card, scale=scale_of(read_data_config(run)))
    return card


def run_of(folder: Path) -> Path | None:
    """Return the run that a checkpoint belongs to (`RUN/checkpoints/NAME`, `RUN/best`), or None."""
    above = real_path(folder).parent
    run = above.parent if above.name == CHECKPOINTS else above
    return run if (run / CONFIG).is_file() and (above.name == CHECKPOINTS or real_path(folder).name == BEST) else None


def read_data_config(run: Path) -> DataConfig:
    """Return the settings of the data that a run was trained with; raises `UserError` where they cannot be read."""
    path = run / CONFIG
    # A record: nothing in it is a choice of the user, so no code that it names is imported.
    given = Given(flatten(without_none(read_settings(path, str(path)))), f"{path}: {{name}}", record=True)
    config: DataConfig = settings_of("data", DataConfig, [given])
    return config


@dataclass(frozen=True, slots=True)
class Selected:
    """On which held-out images a training has chosen its best checkpoint."""

    contents: str
    """Digest of all images of the training, held-out ones too."""
    digests: Mapping[Side, frozenset[bytes]] | None
    """Those of the images of the selection part; None where all held-out images chose."""


def selected_on(checkpoint: Path) -> Selected | None:
    """Return which images chose, as a checkpoint records it; None for a model without it, as of earlier versions."""
    if not (checkpoint / TRAINING).is_file():
        return None
    kept = read_document(checkpoint, TRAINING).get("evaluation") or {}
    try:
        found = kept["selection"]
        sides: tuple[Side, Side] = ("a", "b")
        digests = {side: frozenset(map(bytes.fromhex, found[side])) for side in sides} if found else None
        return Selected(str(kept["contents"]), digests)
    except KeyError:
        return None
    except (TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"{checkpoint} is damaged: {TRAINING} holds what no training wrote ({error}).") from error


def _choose_direction(folder: Path, card: ModelCard, direction: str | None) -> str:
    there = [name for name in DIRECTIONS if name in card.translators]
    if not there or len(there) != len(card.translators) or not {"a", "b"} <= set(card.domains):
        raise DamagedError(
            f"{folder} is damaged: {CARD} names the directions {sorted(card.translators)} and the domains "
            f"{sorted(card.domains)}; a model has a2b, b2a or both, between the domains a and b."
        )
    if direction is None:
        return there[0]
    chosen = parse_direction(direction, card.domains)
    if chosen not in there:
        one_way = ""
        if card.method is not None:
            one_way = (
                f" A model trained with {card.method} translates one way only; for the other way train one with --set "
                f"method.direction={chosen}."
            )
        raise UserError(f'{folder} has no direction "{direction}"; it has {" and ".join(there)}.{one_way}')
    return chosen


def with_steps(card: ModelCard, direction: str, steps: int | None, seed: int | None) -> ModelCard:
    """Return what a model says of itself with other steps and another seed of its translations in one direction.

    Raises `UserError` where its network takes none, or other numbers.
    """
    described = card.translators[direction]
    for name, value, needed in (("steps", steps, "time"), ("seed", seed, "noise")):
        if value is not None and needed not in generator_class(described.network).takes:
            raise UserError(
                f"{option(name, value)}: this model translates in one step, without noise. Leave it out; models that "
                "were trained with unsb take several steps."
            )
    if seed is not None and not 0 <= seed < 1 << 31:
        raise UserError(f"{option('seed', seed)}: allowed are whole numbers from 0 to {(1 << 31) - 1:,}.")
    trained: int = described.network.get("steps", 1)
    if steps is not None and not 1 <= steps <= trained:
        raise UserError(
            f"{option('steps', steps)}: this model has {trained} steps. Choose a number from 1 to {trained}."
        )
    given = {"stop_after": steps, "seed": seed}
    network = {**described.network, **{name: value for name, value in given.items() if value is not None}}
    return replace(card, translators={**card.translators, direction: replace(described, network=network)})


def _load_network(folder: Path, card: ModelCard, direction: str) -> Generator:
    """Build the network that the card describes and give it the stored weights, every one of them checked."""
    described = card.translators[direction]
    # Built without memory: a description of absurd size costs nothing, no weight is drawn only to be replaced, and the
    # caller's random state stays untouched.
    with torch.device("meta"):
        network = generator_from_description(described.network)
    source, target = card.domains_of(direction)
    if (network.in_channels, network.out_channels) != (source.channels, target.channels):
        raise DamagedError(
            f"{folder} is damaged: the network of {direction} goes from {network.in_channels} to "
            f"{network.out_channels} channels, its domains from {source.channels} to {target.channels}."
        )
    parameters = sum(value.numel() for value in network.state_dict().values())
    weights = read_tensors(folder, described.weights, at_most=8 * parameters + (1 << 24))
    if bad := non_finite(weights):
        raise UserError(
            f"{folder / described.weights}: {bad} are not finite numbers (NaN or infinity); such a network makes black "
            "pictures. Its training diverged: choose an earlier checkpoint (checkpoint = best, or a number of images)."
        )
    whole = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    try:
        network.load_state_dict(whole, strict=True, assign=True)
    except RuntimeError as error:
        raise DamagedError(
            f"{folder} is damaged: {described.weights} does not fit the network that {CARD} describes. {error}"
        ) from error
    return network


def _fingerprint(folder: Path, card: ModelCard, direction: str) -> str:
    """Return what identifies the network; its weights were compared with this checksum when they were read."""
    described = card.translators[direction]
    weights = read_document(folder, MANIFEST)["files"][described.weights]["sha256"]
    content = json.dumps([weights, described.network], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
