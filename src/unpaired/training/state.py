"""Everything that a training must remember to go on as if it had never stopped: parts that save and load themselves.

What a part's state holds as tensors is written to `training.safetensors` as `PART.key`, the rest, which is plain JSON,
to `training.json` under PART. The translators' weights are those of the model folder that a checkpoint is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.extensions import Kind, is_extension
from unpaired.data.reading import SideBySide
from unpaired.data.scale import Scale
from unpaired.data.values import Domain
from unpaired.methods import Method
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
from unpaired.networks import Discriminator, Generator, describe_generator
from unpaired.training.trainer import Trainer

TENSORS, DOCUMENT = "training.safetensors", "training.json"


class Stateful(Protocol):
    """A part of a training that saves and loads itself; modules, optimisers and scalers of PyTorch are such parts."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state: tensors and plain JSON by name."""

    def load_state_dict(self, state: Any) -> object:
        """Go on from a state."""


Parts = Mapping[str, Stateful]
"""Parts by name; the plain JSON of the part named "" stands at the top of the document."""


@final
@dataclass(slots=True)
class Counters:
    """How far a training is."""

    images_seen: int = 0
    """Of each domain."""
    step: int = 0
    seconds: float = 0.0
    """Training time, over all the times that the run was resumed."""
    checkpoints_written: int = 0
    warned: set[str] = field(default_factory=set)
    """Kinds of warnings that were given."""

    def state_dict(self) -> dict[str, Any]:
        """Return the counters as plain JSON; floats survive exactly."""
        return {**asdict(self), "warned": sorted(self.warned)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.images_seen, self.step = _count(state["images_seen"]), _count(state["step"])
        self.checkpoints_written, self.seconds = _count(state["checkpoints_written"]), float(state["seconds"])
        self.warned = {str(kind) for kind in state["warned"]}


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise ValueError(f"{value!r} is no count")
    return value


def save_checkpoint(
    folder: Path,
    trainer: Trainer,
    parts: Parts,
    *,
    method: str,
    domains: dict[str, Domain],
    training_size: tuple[int, int] | None,
    scale: Scale | None = None,
    readers: Sequence[str] = (),
    side_by_side: SideBySide | None = None,
) -> None:
    """Write a checkpoint: the translators as a model folder, and beside them all the rest of the training state.

    `parts` are what the trainer does not know of; that named "" holds `images_seen`. `readers` are the user's own that
    read the images; `side_by_side` is the order of halves where it learns from such files. Every process of the
    training must call this; the first one writes, also what the others alone know: their pools and random state.
    """
    of_others = _collect_from_others(trainer)
    if of_others is None:
        return
    tensors, document = _split({**_parts(trainer), **parts})
    translators = trainer.translators()
    card = ModelCard(
        method=method,
        origin=f"trained with {method} by unpaired {__version__}",
        images_seen=document["images_seen"],
        training_size=training_size,
        scale=scale,
        averaged=trainer.averages is not None,
        domains=domains,
        translators={
            direction: TranslatorCard(
                network=describe_generator(network), weights=f"{direction}.safetensors", search=network.is_search
            )
            for direction, network in translators.items()
        },
        paired=trainer.method.paired,
        side_by_side=side_by_side,
        extensions=_extensions(method, trainer.method) | ({"reader": list(readers)} if readers else {}),
        versions={"unpaired": __version__, "torch": torch.__version__},
    )
    elsewhere = tuple(_places(trainer).values())
    files: dict[str, dict[str, Tensor]] = {
        f"{direction}.safetensors": network.state_dict() for direction, network in translators.items()
    }
    files[TENSORS] = {key: value for key, value in tensors.items() if not key.startswith(elsewhere)}
    processes = {"processes": trainer.world.size, "batch_size": trainer.config.batch_size}
    write_model(folder, card, files | of_others, {DOCUMENT: {**document, **processes, "device": trainer.device.type}})


def load_checkpoint(folder: Path, trainer: Trainer, parts: Parts) -> dict[str, Any]:
    """Bring a trainer and all other parts to the state of a checkpoint, and return its document.

    Checkpoints of earlier versions load as well. `DamagedError` where one does not fit its own settings.
    """
    card, document, tensors = read_card(folder), read_document(folder, DOCUMENT), read_tensors(folder, TENSORS)
    obsolete = tuple(f"method.{prefix}" for prefix in trainer.method.obsolete)
    tensors = {key: value for key, value in tensors.items() if not key.startswith(obsolete)}
    for direction, place in _places(trainer).items():
        weights = read_tensors(folder, card.translators[direction].weights)
        tensors |= {f"{place}{key}": value for key, value in weights.items()}
    rank, everything = trainer.world.rank, {**_parts(trainer), **parts}
    if not document.get("scaler"):
        del everything["scaler"]  # of another precision
    try:
        _count(document.get("processes", 1))
        _load(everything, tensors, document)
        if 0 < rank < document.get("processes", 1):
            _load(_own_parts(trainer), read_tensors(folder, _own_file(rank)), {})
    except UserError:
        raise
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise DamagedError(f"{folder} does not fit its own settings: {error}.") from error
    if rank >= document.get("processes", 1):
        _Pools(trainer.method).clear()
        seed_process(trainer.config.seed, rank, document["images_seen"])
    return document


def seed_process(seed: int, rank: int, images_seen: int = 0) -> None:
    """Give a process random numbers of its own, by its rank; the first one keeps those that follow its weights."""
    torch.manual_seed(int(np.random.SeedSequence([seed, rank, images_seen]).generate_state(1, np.uint64)[0] >> 1))


# ------------------------------------------------------------------------------------------------------------- parts


def _parts(trainer: Trainer) -> dict[str, Stateful]:
    """Return the trainer's parts."""
    averages: dict[str, Stateful] = {} if trainer.averages is None else {"averages": trainer.averages}
    optimizers = {f"optimizer.{player}": _Optimizer(each) for player, each in trainer.optimizers.items()}
    own = {"random": _RandomNumbers(trainer.device)}
    return {"method": trainer.method, **averages, **optimizers, "scaler": trainer.scaler, **own}


def _own_parts(trainer: Trainer) -> dict[str, Stateful]:
    """Return what differs from process to process."""
    return {"method": _Pools(trainer.method), "random": _RandomNumbers(trainer.device)}


def _split(parts: Parts) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of all parts, and their plain JSON."""
    tensors: dict[str, Tensor] = {}
    document: dict[str, Any] = {}
    for name, part in parts.items():
        state = part.state_dict()
        tensors |= {f"{name}.{key}": value for key, value in state.items() if isinstance(value, Tensor)}
        plain = {key: value for key, value in state.items() if not isinstance(value, Tensor)}
        document |= plain if not name else {name: plain} if plain or not state else {}
    return tensors, document


def _load(parts: Parts, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    for name, part in parts.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        part.load_state_dict({**own, **(document if not name else document.get(name, {}))})


@final
class _Optimizer:
    """An optimiser's state as tensors named `INDEX.moment`."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()["state"]
        return {f"{index}.{name}": value for index, moments in state.items() for name, value in moments.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for place, found in moments.items():
            if any(value.dim() and value.shape != weights[place].shape for value in found.values()):
                raise ValueError(f"a moment of weight {place} has another shape")
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


@final
class _RandomNumbers:
    """The state of PyTorch's random numbers on the CPU and on the training's device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state_dict(self) -> dict[str, Any]:
        state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        if self.device.type == "mps":
            state["mps"] = torch.mps.get_rng_state()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        torch.set_rng_state(state["cpu"])
        if self.device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.device)
        if self.device.type == "mps" and "mps" in state:
            torch.mps.set_rng_state(state["mps"])


@final
class _Pools:
    """The image pools of a method, under their names in its state dict."""

    def __init__(self, method: Method) -> None:
        pools = {name: each for name, each in method.named_modules() if isinstance(each, ImagePool | RaggedImagePool)}
        self.pools = pools

    def state_dict(self) -> dict[str, Any]:
        return {f"{name}.{key}": value for name, pool in self.pools.items() for key, value in pool.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, pool in self.pools.items():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            pool.load_state_dict(own)

    def clear(self) -> None:
        for pool in self.pools.values():
            pool.clear()


# ----------------------------------------------------------------------------------------------------------- details


def _places(trainer: Trainer) -> dict[str, str]:
    """Return under which prefix of all tensors each direction's weights stand, which its own file holds."""
    if trainer.averages is not None:
        return {direction: f"averages.registered.{direction}." for direction in trainer.averages.networks}
    names = {module: name for name, module in trainer.method.named_modules()}
    return {direction: f"method.{names[network]}." for direction, network in trainer.method.translators().items()}


def _extensions(name: str, method: Method) -> dict[Kind, list[str]]:
    """Return the user's own parts that a checkpoint needs, by kind."""
    parts = list(method.modules())
    names: dict[Kind, set[str]] = {
        "method": {name},
        "generator": {part.config.family for part in parts if isinstance(part, Generator)},
        "discriminator": {part.config.family for part in parts if isinstance(part, Discriminator)},
    }
    own = {kind: sorted(each for each in found if is_extension(each, kind)) for kind, found in names.items()}
    return {kind: found for kind, found in own.items() if found}


def _own_file(rank: int) -> str:
    return f"process{rank}.safetensors"


def _collect_from_others(trainer: Trainer) -> dict[str, dict[str, Tensor]] | None:
    """Return the other processes' own tensors by file name to the first one, and None to the others."""
    if trainer.world.size == 1:
        return {}
    own = b"" if trainer.world.is_first else safetensors.torch.save(independent(_split(_own_parts(trainer))[0]))
    collected = trainer.world.collect_on_first(own)
    if collected is None:
        return None
    return {_own_file(rank): safetensors.torch.load(content) for rank, content in enumerate(collected) if rank}


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
