"""Everything that a training must remember to go on as if it had never stopped, as tensors and plain JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.data.values import Domain
from unpaired.methods.base import Method
from unpaired.methods.pool import ImagePool, RaggedImagePool
from unpaired.models.folder import (
    DamagedError,
    ModelCard,
    TranslatorCard,
    independent,
    read_card,
    read_document,
    read_tensors,
    write_model,
)
from unpaired.networks import describe_generator
from unpaired.training.trainer import Trainer

TENSORS, DOCUMENT = "training.safetensors", "training.json"


def save_checkpoint(
    folder: Path,
    trainer: Trainer,
    *,
    method: str,
    domains: dict[str, Domain],
    training_size: tuple[int, int] | None,
    counters: dict[str, Any],
) -> None:
    """Write a checkpoint: the translators as a model folder, and beside them all the rest of the training state.

    `counters` must be plain JSON with `images_seen` among it; floats survive exactly. Every process of the training
    must call this; the first one writes, also what the others alone know: their pools and random state.
    """
    of_others = _collect_from_others(trainer)
    if of_others is None:
        return
    translators = trainer.translators()
    card = ModelCard(
        method=method,
        origin=f"trained with {method} by unpaired {__version__}",
        images_seen=counters["images_seen"],
        training_size=training_size,
        averaged=trainer.averages is not None,
        domains=domains,
        translators={
            direction: TranslatorCard(network=describe_generator(network), weights=f"{direction}.safetensors")
            for direction, network in translators.items()
        },
        versions={"unpaired": __version__, "torch": torch.__version__},
    )
    tensors: dict[str, dict[str, Tensor]] = {
        f"{direction}.safetensors": network.state_dict() for direction, network in translators.items()
    }
    tensors[TENSORS] = _training_tensors(trainer)
    tensors |= of_others
    processes = {"processes": trainer.world.size, "batch_size": trainer.config.batch_size}
    document = {**counters, **processes, "scaler": trainer.scaler.state_dict(), "device": trainer.device.type}
    write_model(folder, card, tensors, {DOCUMENT: document})


def load_checkpoint(folder: Path, trainer: Trainer) -> dict[str, Any]:
    """Bring a trainer to the state that a checkpoint remembers, and return its counters."""
    card = read_card(folder)
    kept = read_tensors(folder, TENSORS)
    document = read_document(folder, DOCUMENT)
    try:
        _load_method(trainer, card, folder, kept)
        for player, optimizer in trainer.optimizers.items():
            _load_optimizer(optimizer, kept, f"optimizer.{player}.")
    except (KeyError, RuntimeError) as error:
        raise DamagedError(f"{folder} does not fit its own settings: {error}.") from error
    trainer.scaler.load_state_dict(document["scaler"])
    rank = trainer.world.rank
    if rank == 0:
        _set_random_state(trainer.device, kept)
    elif rank < document.get("processes", 1):
        _load_own(trainer, read_tensors(folder, _own_file(rank)))
    else:
        _begin_own(trainer, document["images_seen"])
    return document


def seed_process(seed: int, rank: int, images_seen: int = 0) -> None:
    """Give a process random numbers of its own, by its rank; the first one keeps those that follow its weights."""
    torch.manual_seed(int(np.random.SeedSequence([seed, rank, images_seen]).generate_state(1, np.uint64)[0] >> 1))


# ------------------------------------------------------------------------------------------- what one process knows


def _own_file(rank: int) -> str:
    return f"process{rank}.safetensors"


def _own_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """Return what differs from process to process: the pools' images and the state of random numbers."""
    tensors = {f"method.{key}": value for key, value in _pools(trainer.method).items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if trainer.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(trainer.device)
    if trainer.device.type == "mps":
        tensors["random.mps"] = torch.mps.get_rng_state()
    return tensors


def _pools(method: Method) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, module in method.named_modules():
        if isinstance(module, ImagePool | RaggedImagePool):
            state |= module.state_dict(prefix=f"{name}.")
    return state


def _collect_from_others(trainer: Trainer) -> dict[str, dict[str, Tensor]] | None:
    """Return the other processes' own tensors by file name to the first one, and None to the others."""
    if trainer.world.size == 1:
        return {}
    own = b"" if trainer.world.is_first else safetensors.torch.save(independent(_own_tensors(trainer)))
    collected = trainer.world.collect_on_first(own)
    if collected is None:
        return None
    return {_own_file(rank): safetensors.torch.load(content) for rank, content in enumerate(collected) if rank}


def _load_own(trainer: Trainer, kept: dict[str, Tensor]) -> None:
    state = {key.removeprefix("method."): value for key, value in kept.items() if key.startswith("method.")}
    _load_pools(trainer.method, state)
    _set_random_state(trainer.device, kept)


def _begin_own(trainer: Trainer, images_seen: int) -> None:
    """Begin as a process that there was not when the checkpoint was written: with empty pools, a seed of its own."""
    empty = {key: torch.zeros_like(value) for key, value in _pools(trainer.method).items()}
    _load_pools(trainer.method, {key: value for key, value in empty.items() if key.endswith((".images", ".count"))})
    seed_process(trainer.config.seed, trainer.world.rank, images_seen)


def _load_pools(method: Method, state: dict[str, Tensor]) -> None:
    for name, module in method.named_modules():
        if isinstance(module, ImagePool | RaggedImagePool):
            prefix = f"{name}."
            own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            module.load_state_dict(own)


def _set_random_state(device: torch.device, kept: dict[str, Tensor]) -> None:
    torch.set_rng_state(kept["random.cpu"])
    if device.type == "cuda" and "random.cuda" in kept:
        torch.cuda.set_rng_state(kept["random.cuda"], device)
    if device.type == "mps" and "random.mps" in kept:
        torch.mps.set_rng_state(kept["random.mps"])


# --------------------------------------------------------------------------------------------- what all of them know


def _training_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """Return the state that is not among the translators' weights already."""
    state = trainer.method.state_dict()
    if trainer.averages is None:
        elsewhere = tuple(f"{prefix}." for prefix in _prefixes(trainer.method).values())
        state = {key: value for key, value in state.items() if not key.startswith(elsewhere)}
    tensors = {f"method.{key}": value for key, value in state.items()}
    if trainer.averages is not None:
        tensors["averages.updates"] = trainer.averages.updates
    for player, optimizer in trainer.optimizers.items():
        for index, moments in optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimizer.{player}.{index}.{name}"] = value
    tensors |= _own_tensors(trainer)
    return tensors


def _load_method(trainer: Trainer, card: ModelCard, folder: Path, kept: dict[str, Tensor]) -> None:
    state = {key.removeprefix("method."): value for key, value in kept.items() if key.startswith("method.")}
    prefixes = _prefixes(trainer.method)
    for direction, translator in card.translators.items():
        weights = read_tensors(folder, translator.weights)
        if trainer.averages is not None:
            trainer.averages.networks[direction].load_state_dict(weights)
        else:
            state |= {f"{prefixes[direction]}.{key}": value for key, value in weights.items()}
    trainer.method.load_state_dict(state)
    if trainer.averages is not None:
        trainer.averages.updates.copy_(kept["averages.updates"])


def _prefixes(method: Method) -> dict[str, str]:
    """Return where in the method's state dict each translator's weights stand."""
    names = {module: name for name, module in method.named_modules()}
    return {direction: names[network] for direction, network in method.translators().items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, kept: dict[str, Tensor], prefix: str) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in kept.items():
        if key.startswith(prefix):
            index, _, name = key.removeprefix(prefix).partition(".")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def prune(folders: list[Path], keep_last: int, keep_every: int | None) -> list[Path]:
    """Return the checkpoints to delete; `folders` are newest first.

    The newest `keep_last` stay, and of the rest every `keep_every`-th in the order in which they were written; the
    rank among those written is in each folder's counters.
    """
    doomed = []
    for folder in folders[keep_last:]:
        try:
            rank = int(read_document(folder, DOCUMENT)["checkpoints_written"])
        except (UserError, KeyError, TypeError, ValueError):
            rank = 0  # damaged: of no use to anyone
        if not (keep_every and rank and rank % keep_every == 0):
            doomed.append(folder)
    return doomed
