"""Beginning a segmenter's training, and going on with one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unpaired.core.device import fast_bf16, find_device
from unpaired.core.errors import UserError
from unpaired.core.files import locked, write_atomic
from unpaired.core.given import Given, settings_of, without_none
from unpaired.data.config import DataConfig
from unpaired.data.training import Progress
from unpaired.evaluation.segmentation.config import SegmenterConfig, settled
from unpaired.evaluation.segmentation.dataset import Material, label_side, open_labelled
from unpaired.evaluation.segmentation.train import Outcome, Told, Training
from unpaired.metrics.features.vgg import read_vgg
from unpaired.networks.fcn import CLASSIFIER_KEYS, Fcn8s, load_vgg
from unpaired.report.run_log import MetricsLog, event
from unpaired.training.settings import read_file

CONFIG = "config.json"
SECTIONS = ("data", "segmenter")
RESUMABLE = frozenset(
    {
        *(f"data.{name}" for name in ("root", "a", "b", "test_a", "test_b", "workers")),
        *(f"segmenter.{name}" for name in ("device", "threads")),
    }
)
"""Settings that a resumed training may change: where the data lies, and where it computes."""
_FOLDERS = ("root", "a", "b", "test_a", "test_b")

Say = Callable[[str], None]
AT_RANDOM = "none: every weight began at random"


def start_training(
    given: Sequence[Given], folder: Path, *, say: Say, progress: Progress | None = None, told: Told | None = None
) -> Outcome:
    """Train a segmenter from the beginning, in a new folder.

    `given` are settings of `data.*` and `segmenter.*`, later ones over earlier ones. Nothing is written before
    settings, images and weights have been found to be good. Raises `UserError`.
    """
    data, config = _settings(given)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        advice = f"Go on with it: --resume {folder}. Or" if (folder / CONFIG).is_file() else "Please"
        raise UserError(f"{folder} exists and is not an empty folder. {advice} choose another --out.")
    label_side(data)
    device = find_device(config.device)
    material = open_labelled(_with_absolute_places(data), progress=progress)
    weights, origin = _first_weights(config, say)
    config = dataclasses.replace(config, weights=_weights_named(config, bool(weights)))
    held = {f"classifier.{key}.weight" in weights for key in CLASSIFIER_KEYS}
    config = settled(config, weights=bool(weights), fully_connected=held == {True})
    network = _network(config, material)
    if weights:
        origin = load_vgg(network, weights, origin)
    config = dataclasses.replace(config, precision=_precision(config, device))
    training = _training(folder, config, material, network, device, origin, say)
    _keep_settings(folder, material, config, origin)
    with locked(folder), contextlib.closing(MetricsLog(folder, tensorboard=False)) as log:
        return training.run(log, told)


def resume_training(
    given: Sequence[Given], folder: Path, *, say: Say, progress: Progress | None = None, told: Told | None = None
) -> Outcome:
    """Go on with a training from its last saved state, as if it had never stopped (bit for bit on a processor).

    Raises `UserError`.
    """
    if not (folder / CONFIG).is_file():
        raise UserError(f"--resume {folder}: this is no segmenter's training; it holds no {CONFIG}.")
    for source in given:
        for name in source.values.keys() - RESUMABLE:
            raise UserError(
                f"{source.origin.format(name=name)}: cannot be changed when a training goes on. Start a new one, or "
                f"change only: {', '.join(sorted(RESUMABLE))}."
            )
    kept = read_file(folder / CONFIG)
    origin = str(kept.values.get("origin", ""))
    stored = Given({n: value for n, value in kept.values.items() if n.split(".")[0] in SECTIONS}, kept.origin)
    data, config = _settings([stored, *given])
    material = open_labelled(_with_absolute_places(data), progress=progress)
    if material.contents != kept.values.get("contents"):
        raise UserError(
            f"--resume {folder}: photos or label maps are not those that it began with. Put them back, say where they "
            "lie now with --data, or start a new training."
        )
    device = find_device(config.device)
    with locked(folder):
        _keep_settings(folder, material, config, origin)
        network = _network(config, material)
        training = _training(folder, config, material, network, device, origin, say)
        if not training.restore():
            _first_weights_again(config, network, say)
            say(f"{folder} stopped before its first saved state: starting from the beginning")
        seen = training.standing.images_seen
        with contextlib.closing(MetricsLog(folder, tensorboard=False, resumed_at=seen)) as log:
            log.write(event("resumed", seen, f"{seen:,} of {training.total:,} images are done"))
            say(f"going on: {seen:,} of {training.total:,} images are done")
            return training.run(log, told)


def _keep_settings(folder: Path, material: Material, config: SegmenterConfig, origin: str) -> None:
    """Write `config.json`: the settings, with what was decided and found, and what else a training must find again."""
    document = {
        "data": dataclasses.asdict(material.config),
        "segmenter": dataclasses.asdict(config),
        "origin": origin,
        "contents": material.contents,
    }
    write_atomic(folder / CONFIG, (json.dumps(without_none(document), indent=2) + "\n").encode())


def _settings(given: Sequence[Given]) -> tuple[DataConfig, SegmenterConfig]:
    for source in given:
        for name in source.values:
            if name.split(".")[0] not in SECTIONS or "." not in name:
                raise UserError(
                    f"{source.origin.format(name=name)}: unknown setting. Settings are data.* and segmenter.*."
                )
    data: DataConfig = settings_of("data", DataConfig, given)
    config: SegmenterConfig = settings_of("segmenter", SegmenterConfig, given)
    return data, config


def _with_absolute_places(data: DataConfig) -> DataConfig:
    """Make folders absolute, so that a training can go on from anywhere."""
    places = {name: value for name, value in dataclasses.asdict(data).items() if name in _FOLDERS and value}
    return dataclasses.replace(
        data, **{name: os.path.abspath(os.path.expanduser(place)) for name, place in places.items()}
    )


def _first_weights(config: SegmenterConfig, say: Say) -> tuple[dict[str, Tensor], str]:
    """Return VGG-16's weights and where they come from; empty where the network begins at random."""
    if config.weights == "none":
        return {}, AT_RANDOM
    named = None if config.weights in ("auto", "torchvision") else config.weights
    try:
        return read_vgg(named, "--weights FILE", notice=say)
    except UserError as error:
        if config.weights != "auto":
            raise
        say(f"torchvision's weights of VGG-16 cannot be had here, so every weight begins at random. {error}")
        return {}, f"{AT_RANDOM}, as torchvision's could not be had"


def _weights_named(config: SegmenterConfig, found: bool) -> str:
    """Return what "auto" has come to, and files by their whole path, so that a training that goes on finds the same."""
    if config.weights == "auto":
        return "torchvision" if found else "none"
    return (
        config.weights
        if config.weights in ("torchvision", "none")
        else os.path.abspath(os.path.expanduser(config.weights))
    )


def _first_weights_again(config: SegmenterConfig, network: Fcn8s, say: Say) -> None:
    weights, origin = _first_weights(config, say)
    if weights:
        load_vgg(network, weights, origin)


def _network(config: SegmenterConfig, material: Material) -> Fcn8s:
    """Return the network with its first weights, drawn on the processor whatever device trains it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Fcn8s(config.network(), material.photos.channels, len(material.labels.palette))


def _precision(config: SegmenterConfig, device: torch.device) -> Any:
    if config.precision != "auto":
        return config.precision
    return "bf16" if fast_bf16(device) else "fp32"


def _training(
    folder: Path,
    config: SegmenterConfig,
    material: Material,
    network: Fcn8s,
    device: torch.device,
    origin: str,
    say: Say,
) -> Training:
    if config.threads:
        torch.set_num_threads(config.threads)
    for notice in material.notices:
        say(notice)
    say(f"weights: {origin}")
    say(f"computing on {device.type} in {config.precision}")
    bf16 = config.precision == "bf16"
    return Training(folder, config, material, network, device, origin=origin, bf16=bf16, say=say)
