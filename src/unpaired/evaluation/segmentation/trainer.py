"""One trainer for every segmentation network: cross entropy of the true classes, void left out, step by step.

The order of the photos, crops and dropout are functions of the seed and the number of images seen, so weights, the
optimiser and that number are all that a training needs to go on as if it had never stopped.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.labels import VOID
from unpaired.evaluation.segmentation.config import SegmenterConfig
from unpaired.evaluation.segmentation.dataset import LabelledPhotos, batch_at
from unpaired.evaluation.segmentation.segmenter import Network
from unpaired.models.folder import DamagedError, read_document, read_tensors, verify, write_folder

STATE = "state"
"""The folder, in that of a training, of what it needs to go on."""
_TENSORS, _DOCUMENT = "state.safetensors", "state.json"


@final
class Trainer:
    """Minimises the cross entropy of `photos`; `config` is settled, `network` has its first weights."""

    def __init__(
        self,
        network: Network,
        photos: LabelledPhotos,
        config: SegmenterConfig,
        device: torch.device,
        *,
        class_weights: Tensor | None = None,
    ) -> None:
        self.network, self.photos, self.config, self.device = network.to(device), photos, config, device
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = _optimizer(config, network)
        self.class_weights = torch.ones(network.classes) if class_weights is None else class_weights
        self.images_seen = 0
        self.total = -(-config.images // config.batch_size) * config.batch_size
        """Images to see: whole batches."""

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step: a cosine from the first one to zero."""
        assert self.config.learning_rate is not None
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * self.images_seen / self.total))

    def step(self) -> float:
        """Take one step and return its loss. Raises `UserError` where it is not finite."""
        config, seen = self.config, self.images_seen
        photos, truth = batch_at(self.photos, seen, config.batch_size, config.seed, zoom=config.zoom, flip=config.flip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.network.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(np.random.default_rng([2, config.seed, seen]).integers(2**63)))  # for dropout
            with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                logits = self.network(photos.to(self.device, memory_format=torch.channels_last))
        loss = cross_entropy(logits.float(), truth.to(self.device), self.class_weights.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.images_seen += config.batch_size
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(
                f"the loss is {value} after {self.images_seen:,} images, so the weights are lost. Set a smaller "
                f"{option('segmenter.learning_rate')}, or segmenter.precision=fp32. What was saved before is intact."
            )
        return value

    def save(self, run: Path, counters: dict[str, Any]) -> None:
        """Write the state of the training, atomically, in place of the one before; `counters` is plain JSON."""
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items() if isinstance(value, Tensor)}
        write_folder(run / STATE, {_TENSORS: tensors}, {_DOCUMENT: {**counters, "images_seen": self.images_seen}})

    def load(self, run: Path) -> dict[str, Any]:
        """Put the saved state back in place and return its counters; `DamagedError` where it is not what was saved."""
        folder = run / STATE
        verify(folder)
        network: dict[str, Tensor] = {}
        states: dict[int, dict[str, Tensor]] = {}
        counters = read_document(folder, _DOCUMENT)
        try:
            for key, value in read_tensors(folder, _TENSORS).items():
                part, _, name = key.partition(".")
                if part == "network":
                    network[name] = value
                else:
                    index, _, name = name.partition(".")
                    states.setdefault(int(index), {})[name] = value
            self.network.load_state_dict(network)
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})
            self.images_seen = int(counters.pop("images_seen"))
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{folder} is damaged: its state does not fit the training ({error}).") from error
        return counters


def cross_entropy(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of -log p(true class) over the pixels that are not void; 0 where all are void.

    `logits` is [N, classes, H, W], `truth` [N, H, W], `weights` [classes].
    """
    summed = nnf.cross_entropy(logits, truth, weights, ignore_index=VOID, reduction="sum")
    known = truth != VOID
    counted = weights[torch.where(known, truth, 0)] * known
    return summed / counted.sum().clamp(min=torch.finfo(torch.float32).tiny)


def median_frequency(pixels: NDArray[np.int64]) -> Tensor:
    """Return median frequency / frequency of each class (Eigen & Fergus 2015, of all pixels); 0 where it has none."""
    there = pixels > 0
    share = pixels / pixels.sum()
    weights = np.zeros(len(pixels))
    weights[there] = np.median(share[there]) / share[there]
    return torch.from_numpy(weights.astype(np.float32))


def _optimizer(config: SegmenterConfig, network: Network) -> torch.optim.Optimizer:
    assert config.learning_rate is not None
    assert config.weight_decay is not None
    parameters = list(network.parameters())
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.learning_rate, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.Adam(parameters, config.learning_rate, weight_decay=config.weight_decay)
