"""`unpaired segment train`: a segmenter is trained in a folder, evaluated on held-out photos, and the best one kept."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from unpaired.core.device import fast_bf16, find_device
from unpaired.core.errors import UserError
from unpaired.core.files import check_out, locked, new_folder, require_new, write_atomic
from unpaired.core.given import Given, flatten, read_document, settings_of, without_none
from unpaired.core.interrupt import Interrupt
from unpaired.data.config import DataConfig
from unpaired.data.folders import image_folders
from unpaired.data.labels import VOID
from unpaired.data.streams.stream import absolute
from unpaired.data.training import Progress
from unpaired.evaluation.segmentation.config import SegmenterConfig, settle
from unpaired.evaluation.segmentation.dataset import LabelledData, label_side, open_labelled, refuse_unused
from unpaired.evaluation.segmentation.score import REAL, SCORES, score_photos, scores_to_json
from unpaired.evaluation.segmentation.segmenter import (
    BEST,
    FROM_NOTHING,
    Description,
    Segmenter,
    build_network,
    three_scores,
    write_segmenter,
)
from unpaired.evaluation.segmentation.trainer import STATE, Trainer, median_frequency
from unpaired.metrics.features.published import read_vgg
from unpaired.models.folder import DamagedError
from unpaired.networks.fcn import CLASSIFIER_KEYS, Fcn8s, load_vgg
from unpaired.report.run_log import MetricsLog, event

CONFIG = "config.json"
SECTIONS = ("data", "segmenter")
_FOLDERS = ("root", "a", "b", "test_a", "test_b")
RESUMABLE = frozenset(
    {*(f"data.{name}" for name in (*_FOLDERS, "workers")), "segmenter.device", "segmenter.threads"},
)
"""Settings that a resumed training may change: where the data lies, and where it computes."""
LOG_STEPS = 20
"""Steps between two lines of the log."""

Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Status:
    """What a training has come to; stored with its state."""

    images_seen: int = 0
    seconds: float = 0.0
    best: dict[str, Any] | None = None
    """`images`, and `scores` on the held-out photos as JSON holds them, of the evaluation with the best class IoU."""
    last: dict[str, Any] | None = None
    """Of the latest evaluation."""
    loss_sum: float = 0.0
    loss_steps: int = 0
    signal: int | None = None
    """Number of the signal that interrupted it; None where it is finished."""


@dataclass(slots=True, kw_only=True)
class _Run:
    folder: Path
    config: SegmenterConfig
    data: LabelledData
    trainer: Trainer
    origin: str
    say: Say
    progress: Progress | None
    status: Status = field(default_factory=Status)


def start_training(given: Sequence[Given], folder: Path, *, say: Say, progress: Progress | None = None) -> Status:
    """Train a segmenter from the beginning, in a new folder.

    `given` are settings of `data.*` and `segmenter.*`, later ones over earlier ones. Nothing is written before
    settings, images and weights have been found to be good. Raises `UserError`.
    """
    data_config, config = _settings(given)
    advice = f"Resume it: --resume {folder}, or c" if (folder / CONFIG).is_file() else "C"
    require_new(folder, f"{advice}hoose another --out.")  # before the images are checked, and again under the lock
    check_out(folder, reads=image_folders(data_config), replaces=())
    label_side(data_config)
    find_device(config.device)
    data = open_labelled(data_config, progress=progress)
    weights, config, origin = _first_weights(config, say)
    fully = all(f"classifier.{key}.weight" in weights for key in CLASSIFIER_KEYS)
    config = settle(config, weights=bool(weights), fully_connected=fully)
    run = _open(folder, config, data, say, progress, origin)
    if isinstance(run.trainer.network, Fcn8s) and weights:
        run.origin = load_vgg(run.trainer.network, weights, origin)
    say(f"weights: {run.origin}")
    with new_folder(folder):
        run.trainer.save(folder, asdict(run.status))
        _write_config(run)
        with contextlib.closing(MetricsLog(folder, tensorboard=False)) as log:
            return _train(run, log)


def resume_training(given: Sequence[Given], folder: Path, *, say: Say, progress: Progress | None = None) -> Status:
    """Resume a training from its last saved state, as if it had never stopped (bit for bit on a CPU).

    Raises `UserError`.
    """
    if not (folder / CONFIG).is_file():
        raise UserError(f"--resume {folder}: this is no segmenter's training; it holds no {CONFIG}.")
    for source in given:
        for name in source.values.keys() - RESUMABLE:
            raise UserError(
                f"{source.called(name)}: cannot be changed when a training resumes. Start a new one, or "
                f"change only: {', '.join(sorted(RESUMABLE))}."
            )
    with locked(folder):
        kept = read_document(folder / CONFIG, f"--resume {folder}")
        stored = flatten({section: kept.get(section, {}) for section in SECTIONS})
        data_config, config = _settings([Given(stored, f"{folder / CONFIG}: {{name}}", record=True), *given])
        data = open_labelled(data_config, progress=progress)
        if data.found.contents != kept.get("contents"):
            raise UserError(
                f"--resume {folder}: photos or label maps are not those that it began with. Put them back, say where "
                "they lie now with --data, or start a new training."
            )
        run = _open(folder, config, data, say, progress, str(kept.get("origin", "")))
        run.status = _status(run.trainer.load(folder), run.trainer.images_seen, folder)
        _write_config(run)
        seen, total = run.trainer.images_seen, run.trainer.total
        with contextlib.closing(MetricsLog(folder, tensorboard=False, resumed_at=seen)) as log:
            log.write(event("resumed", seen, f"{seen:,} of {total:,} images are done"))
            say(f"going on: {seen:,} of {total:,} images are done")
            return _train(run, log)


def _status(counters: dict[str, Any], images_seen: int, folder: Path) -> Status:
    try:
        return TypeAdapter(Status).validate_python({**counters, "images_seen": images_seen})
    except ValidationError as error:
        raise DamagedError(
            f"{folder / STATE} is damaged: it does not say how far the training is ({error})."
        ) from error


# ------------------------------------------------------------------------------------------------------------- the loop


def _train(run: _Run, log: MetricsLog) -> Status:
    """Train until the budget is spent or a signal comes; then everything is saved."""
    trainer, status = run.trainer, run.status
    assert run.config.evaluate_every is not None
    started = time.monotonic() - status.seconds
    status.signal = None
    with Interrupt() as interrupt:
        while trainer.images_seen < trainer.total and interrupt.received is None:
            before, rate = trainer.images_seen, trainer.learning_rate
            status.loss_sum += trainer.step()
            status.loss_steps += 1
            if status.loss_steps == LOG_STEPS:
                mean = status.loss_sum / LOG_STEPS
                status.loss_sum, status.loss_steps = 0.0, 0
                log.write({"images": trainer.images_seen, "cross_entropy": mean, "learning_rate": rate})
            status.images_seen, status.seconds = trainer.images_seen, time.monotonic() - started
            if run.progress is not None:
                run.progress("training", trainer.images_seen, trainer.total)
            due = before // run.config.evaluate_every < trainer.images_seen // run.config.evaluate_every
            if due or trainer.images_seen >= trainer.total:
                _evaluate(run, log)
                status.seconds = time.monotonic() - started
                trainer.save(run.folder, asdict(status))
    finished = trainer.images_seen >= trainer.total
    if not finished:
        trainer.save(run.folder, asdict(status))
        status.signal = int(interrupt.received) if interrupt.received is not None else None
    log.write(event("finished" if finished else "interrupted", trainer.images_seen, "everything is saved"))
    return status


def _evaluate(run: _Run, log: MetricsLog) -> None:
    """Score on held-out photos, and keep the segmenter where it is the best so far."""
    status, data, seen = run.status, run.data, run.trainer.images_seen
    began = time.monotonic()
    precision = "bf16" if run.config.precision == "bf16" else "fp32"
    segmenter = Segmenter(run.trainer.network, _description(run, {}), run.trainer.device, precision=precision)
    found = score_photos(segmenter, data.held_out, most=run.config.held_out_images)
    scores = scores_to_json(found[REAL], data.labels)
    best = status.best is None or scores["class_iou"] > status.best["scores"]["class_iou"]
    status.last = {"images": seen, "scores": scores}
    if best:
        write_segmenter(run.folder / BEST, run.trainer.network, _description(run, scores))
        status.best = status.last
    record = {"images": seen, "evaluation": {name: scores[name] for name in SCORES}, "best": best}
    log.write({**record, "evaluation_seconds": round(time.monotonic() - began, 1)})
    run.say(f"{seen:,} images: {three_scores(scores)}{' (best so far)' if best else ''}")


def _description(run: _Run, scores: dict[str, Any]) -> Description:
    data, config = run.data, run.config
    return Description(
        network=config.network_config(),
        labels=data.labels,
        photos=data.photos,
        size=data.size,
        origin=run.origin,
        training={
            "settings": asdict(config),
            "images_seen": run.trainer.images_seen,
            "pairs": len(data.train),
            "contents": data.found.contents,
            "label_side": label_side(data.config),
        },
        held_out={
            "photos": min(config.held_out_images or len(data.held_out), len(data.held_out)),
            "from": data.found.test.taken_from,
            "precision": config.precision,
            "chosen_by": "class_iou on these photos, of all evaluations of the training",
            **scores,
        },
    )


# ------------------------------------------------------------------------------------------------------------- opening


def _settings(given: Sequence[Given]) -> tuple[DataConfig, SegmenterConfig]:
    for source in given:
        for name in source.values:
            if name.split(".")[0] not in SECTIONS or "." not in name:
                raise UserError(f"{source.called(name)}: unknown setting. Settings are data.* and segmenter.*.")
    data: DataConfig = settings_of("data", DataConfig, given)
    refuse_unused(data)
    config: SegmenterConfig = settings_of("segmenter", SegmenterConfig, given)
    # Absolute folders, so that a training can go on from anywhere.
    given_places = {name: place for name, place in asdict(data).items() if name in _FOLDERS and place}
    places: dict[str, Any] = {name: absolute(place) for name, place in given_places.items()}
    return replace(data, **places), config


def _first_weights(config: SegmenterConfig, say: Say) -> tuple[dict[str, Tensor], SegmenterConfig, str]:
    """Return VGG-16's weights (none where the network begins at random), what `weights` has come to, and their origin.

    Files are named by their whole path, so that a description of the training says which they were.
    """
    nothing = replace(config, weights="none")
    if config.network == "unet" or config.weights == "none":
        return {}, nothing, FROM_NOTHING
    file = None if config.weights in ("auto", "torchvision") else config.weights
    try:
        weights, origin = read_vgg(file, "--weights FILE", notice=say)
    except UserError as error:
        if config.weights != "auto":
            raise
        say(f"torchvision's weights of VGG-16 cannot be had here, so every weight begins at random. {error}")
        return {}, nothing, f"{FROM_NOTHING}, as torchvision's are not available"
    return weights, replace(config, weights=absolute(file) if file else "torchvision"), origin


def _open(
    folder: Path, config: SegmenterConfig, data: LabelledData, say: Say, progress: Progress | None, origin: str
) -> _Run:
    device = find_device(config.device)
    if config.precision == "auto":
        config = replace(config, precision="bf16" if fast_bf16(device) else "fp32")
    if config.threads:
        torch.set_num_threads(config.threads)
    for notice in (*data.found.notices, f"computing on {device.type} in {config.precision}"):
        say(notice)
    class_weights = _class_weights(config, data)
    network = build_network(config.network_config(), data.photos.channels, len(class_weights), config.seed)
    trainer = Trainer(network, data.train, config, device, class_weights=class_weights)
    return _Run(folder=folder, config=config, data=data, trainer=trainer, origin=origin, say=say, progress=progress)


def _class_weights(config: SegmenterConfig, data: LabelledData) -> Tensor:
    pixels = data.train.class_pixels(len(data.labels.palette))
    pixels[[index for index in data.labels.void if index < len(pixels)]] = 0
    held_out = (data.held_out.truth(index) for index in range(len(data.held_out)))
    if not pixels.any() or not any((truth != VOID).any() for truth in held_out):
        part, why = ("held out", "could be scored") if pixels.any() else ("of the training", "can be learned")
        raise UserError(
            f"the label maps {part} hold void alone, so nothing {why}. Check the files, and the void of the label maps."
        )
    return median_frequency(pixels) if config.balance == "median" else torch.ones(len(pixels))


def _write_config(run: _Run) -> None:
    """Write `config.json`: the settings, with what was decided and found, and what else a training must find again."""
    document = {
        "data": asdict(run.data.config),
        "segmenter": asdict(run.config),
        "origin": run.origin,
        "contents": run.data.found.contents,
    }
    write_atomic(run.folder / CONFIG, json.dumps(without_none(document), indent=2) + "\n")
