"""The training of a segmenter: cross entropy without void, measured on held-out photos, the best one kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.core.interrupt import Interrupt
from unpaired.data.labels import VOID
from unpaired.evaluation.segmentation.config import SegmenterConfig
from unpaired.evaluation.segmentation.dataset import Material, class_pixels, label_side
from unpaired.evaluation.segmentation.examples import batch_at
from unpaired.evaluation.segmentation.model import BEST, IMAGES_PER_BATCH, Description, Segmenter, write_segmenter
from unpaired.evaluation.segmentation.score import fcn_score, scores_to_json
from unpaired.evaluation.segmentation.state import has_state, load_state, save_state
from unpaired.metrics.confusion import Scores
from unpaired.networks.fcn import Fcn8s
from unpaired.report.run_log import MetricsLog, event

LOG_STEPS = 20
"""Steps between two lines of the log."""

Told = Callable[[int, int], None]
"""Called with the images seen and those to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The segmenter as it was after so many images."""

    images: int
    scores: dict[str, Any]
    """As JSON holds them, see `score.scores_to_json`."""

    @property
    def class_iou(self) -> float:
        """What decides which one is the best."""
        return float(self.scores["class_iou"])


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a training ended."""

    folder: Path
    images_seen: int
    signal: int | None
    """Number of the signal that interrupted it; None where it is finished."""
    best: Measured | None
    last: Measured | None


@dataclass(slots=True)
class _Standing:
    """What has been found out so far."""

    images_seen: int = 0
    seconds: float = 0.0
    best: Measured | None = None
    last: Measured | None = None
    loss_sum: float = 0.0
    loss_steps: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@final
class Training:
    """One training in one folder; `config` is settled, `network` has its first weights."""

    def __init__(
        self,
        folder: Path,
        config: SegmenterConfig,
        material: Material,
        network: Fcn8s,
        device: torch.device,
        *,
        origin: str,
        bf16: bool,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        assert config.learning_rate is not None
        self.folder, self.config, self.material, self.device = folder, config, material, device
        self.origin, self.bf16, self._say = origin, bf16, say
        self.network = network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = _optimizer(config, self.network)
        self.class_weights = _class_weights(config, material).to(device)
        self.standing = _Standing()
        self.total = -(-config.images // config.batch_size) * config.batch_size

    def restore(self) -> bool:
        """Go back to the saved state; returns False where there is none yet."""
        if not has_state(self.folder):
            return False
        counters = load_state(self.folder, self.network, self.optimizer)
        for name in ("best", "last"):
            counters[name] = None if counters[name] is None else Measured(**counters[name])
        self.standing = _Standing(**counters)
        return True

    def run(self, log: MetricsLog, told: Told | None = None) -> Outcome:
        """Train until the budget is spent or a signal comes; then everything is saved."""
        config, standing = self.config, self.standing
        assert config.evaluate_every is not None
        started = time.monotonic() - standing.seconds
        with Interrupt() as interrupt:
            while standing.images_seen < self.total and interrupt.received is None:
                before = standing.images_seen
                self._step(log)
                standing.seconds = time.monotonic() - started
                if told is not None:
                    told(standing.images_seen, self.total)
                due = before // config.evaluate_every < standing.images_seen // config.evaluate_every
                if due or standing.images_seen >= self.total:
                    self._evaluate(log)
                    standing.seconds = time.monotonic() - started
                    self._save()
        finished = standing.images_seen >= self.total
        if not finished:
            self._save()
        log.write(event("finished" if finished else "interrupted", standing.images_seen, "everything is saved"))
        received = None if finished else interrupt.received
        return Outcome(
            folder=self.folder,
            images_seen=standing.images_seen,
            signal=None if received is None else int(received),
            best=standing.best,
            last=standing.last,
        )

    def _step(self, log: MetricsLog) -> None:
        config, standing = self.config, self.standing
        photos, truth = batch_at(
            self.material.train,
            standing.images_seen,
            config.batch_size,
            config.seed,
            zoom=config.zoom,
            flip=config.flip,
        )
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            # Dropout, too, is a function of the seed and the images seen.
            torch.manual_seed(int(np.random.default_rng([2, config.seed, standing.images_seen]).integers(2**63)))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                logits = self.network(photos.to(self.device, memory_format=torch.channels_last))
        loss = cross_entropy(logits.float(), truth.to(self.device), self.class_weights)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        standing.images_seen += config.batch_size
        self._note(log, float(loss.detach()), rate)

    def _note(self, log: MetricsLog, loss: float, rate: float) -> None:
        standing = self.standing
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} after {standing.images_seen:,} images, so the weights are lost. Set a smaller "
                "segmenter.learning_rate, or segmenter.precision=fp32. What was saved before is intact."
            )
        standing.loss_sum += loss
        standing.loss_steps += 1
        if standing.loss_steps == LOG_STEPS:
            mean = standing.loss_sum / standing.loss_steps
            standing.loss_sum, standing.loss_steps = 0.0, 0
            log.write({"images": standing.images_seen, "cross_entropy": mean, "learning_rate": rate})

    def _rate(self) -> float:
        """Return the learning rate of the next step: a cosine from the first one to zero."""
        assert self.config.learning_rate is not None
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * self.standing.images_seen / self.total))

    def _evaluate(self, log: MetricsLog) -> None:
        """Measure on held-out photos, and keep the segmenter where it is the best so far."""
        standing, labels = self.standing, self.material.labels
        began = time.monotonic()
        segmenter = self._segmenter({})
        held_out = self.material.held_out.batches(IMAGES_PER_BATCH, self.config.held_out_images)
        scores = fcn_score(segmenter, held_out)
        measured = Measured(images=standing.images_seen, scores=scores_to_json(scores, labels))
        best = standing.best is None or measured.class_iou > standing.best.class_iou
        if best:
            write_segmenter(self.folder / BEST, self.network, self._description(measured.scores))
            standing.best = measured
        standing.last = measured
        figures = {name: measured.scores[name] for name in ("pixel_accuracy", "class_accuracy", "class_iou")}
        seconds = round(time.monotonic() - began, 1)
        log.write({"images": standing.images_seen, "evaluation": figures, "evaluation_seconds": seconds, "best": best})
        self._say(f"{standing.images_seen:,} images: {in_words(scores)}{' (best so far)' if best else ''}")

    def _segmenter(self, held_out: dict[str, Any]) -> Segmenter:
        precision = "bf16" if self.bf16 else "fp32"
        return Segmenter(self.network, self._description(held_out), self.device, fingerprint="", precision=precision)

    def _description(self, held_out: dict[str, Any]) -> Description:
        material, config = self.material, self.config
        most = config.held_out_images
        count = len(material.held_out) if most is None else min(most, len(material.held_out))
        return Description(
            network=config.network(),
            labels=material.labels,
            photos=material.photos,
            size=material.size,
            origin=self.origin,
            training={
                "settings": asdict(config),
                "images_seen": self.standing.images_seen,
                "pairs": len(material.train),
                "contents": material.contents,
                "label_side": label_side(material.config),
            },
            held_out={
                "photos": count,
                "from": material.held_out_from,
                "precision": "bf16" if self.bf16 else "fp32",
                "chosen_by": "class_iou on these photos, of all measurements of the training",
                **held_out,
            },
        )

    def _save(self) -> None:
        save_state(self.folder, self.network, self.optimizer, self.standing.to_json())


def cross_entropy(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of -log p(true class) over the pixels that are not void; 0 where all are void.

    `logits` is [N, classes, H, W], `truth` [N, H, W], `weights` [classes].
    """
    summed = nnf.cross_entropy(logits, truth, weights, ignore_index=VOID, reduction="sum")
    known = truth != VOID
    counted = weights[torch.where(known, truth, 0)] * known
    return summed / counted.sum().clamp(min=torch.finfo(torch.float32).tiny)


def median_frequency(pixels: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
    """Return median frequency / frequency of each class (Eigen & Fergus 2015, of all pixels); 0 where it has none."""
    there = pixels > 0
    share = pixels / pixels.sum()
    weights = np.zeros(len(pixels))
    weights[there] = np.median(share[there]) / share[there]
    return torch.from_numpy(weights.astype(np.float32))


def in_words(scores: Scores) -> str:
    """Return the three figures as a person reads them."""
    pixels, classes, iou = scores.pixel_accuracy, scores.class_accuracy, scores.class_iou
    return f"per-pixel {pixels:.3f}, per-class {classes:.3f}, class IoU {iou:.3f}"


def _class_weights(config: SegmenterConfig, material: Material) -> Tensor:
    labels = material.labels
    pixels = class_pixels(material.train, len(labels.palette))
    pixels[[index for index in labels.void if index < len(pixels)]] = 0
    if not pixels.any():
        raise UserError(
            "the label maps of the training hold void alone, so there is nothing to learn. Check the files, and the "
            "void of the label maps."
        )
    if not any((material.held_out.truth(index) != VOID).any() for index in range(len(material.held_out))):
        raise UserError(
            "the label maps that are held out hold void alone, so nothing could be measured. Check the files, and the "
            "void of the label maps."
        )
    return median_frequency(pixels) if config.balance == "median" else torch.ones(len(pixels))


def _optimizer(config: SegmenterConfig, network: Fcn8s) -> torch.optim.Optimizer:
    assert config.learning_rate is not None
    assert config.weight_decay is not None
    parameters = list(network.parameters())
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.learning_rate, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.Adam(parameters, config.learning_rate, weight_decay=config.weight_decay)
