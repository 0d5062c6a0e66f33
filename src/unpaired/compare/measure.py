"""Measures the trainings of a comparison with the evaluation engine, and keeps the results in its folder.

Photos are labelled by a U-Net that is trained on the comparison's photos once, or by an FCN-8s that the plan names.
Only an FCN-8s gives FCN-scores, and none gives those of the CycleGAN paper, whose FCN-8s was trained on Cityscapes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError

from unpaired import __version__
from unpaired.compare.plan import SegmenterSettings
from unpaired.core.errors import UserError
from unpaired.core.files import read_json, write_atomic
from unpaired.data.directions import Direction, Side, reverse, sides
from unpaired.data.held_out import Dataset, displayed, evenly
from unpaired.evaluation.dataset import Batch, Task
from unpaired.evaluation.engine import Plan as EnginePlan
from unpaired.evaluation.engine import measure, open_reference, plan
from unpaired.evaluation.inputs import model_task
from unpaired.evaluation.metrics import METRICS
from unpaired.evaluation.metrics.base import Context, Metric
from unpaired.evaluation.networks import Networks
from unpaired.evaluation.options import HeldOutPart
from unpaired.evaluation.protocol import COMPARISON
from unpaired.evaluation.segmentation.config import SegmenterConfig, settle
from unpaired.evaluation.segmentation.dataset import LabelledPhotos
from unpaired.evaluation.segmentation.segmenter import (
    FROM_NOTHING,
    Description,
    Segmenter,
    build_network,
    write_segmenter,
)
from unpaired.evaluation.segmentation.trainer import Trainer
from unpaired.evaluation.statistics import Reference
from unpaired.evaluation.translations import Translators
from unpaired.metrics.features import Features
from unpaired.models.folder import BEST, MANIFEST, DamagedError, find_model, read_card
from unpaired.models.translator import Translator
from unpaired.report.image_grid import Picture as Pixels
from unpaired.report.image_grid import is_image, png
from unpaired.report.results import Direction as Measured
from unpaired.report.results import Figure, Picture, is_plain

FOLDER = "segmenter"


def train_or_read(
    folder: Path,
    dataset: Dataset,
    photos: Side,
    settings: SegmenterSettings,
    device: torch.device,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Segmenter:
    """Return the U-Net of the comparison in `folder`: read, or trained on the training pairs and kept there.

    `photos` says which domain holds the photos; the other one holds label maps. Raises `UserError` where the one that
    is there was trained with other settings, `DamagedError` where its files are not intact.
    """
    labels, domain = dataset.labels("b" if photos == "a" else "a"), dataset.domains[photos]
    assert labels is not None
    assert dataset.size is not None
    asked: dict[str, Any] = {
        "settings": asdict(settings),
        "photos": photos,
        "channels": domain.channels,
        "classes": len(labels.palette),
        "training_pairs": len(dataset.train.pairs),
        "size": list(dataset.size),
        "void": sorted(labels.void),
        "palette": [list(colour) for colour in labels.palette],
    }
    place = folder / FOLDER
    if place.is_dir():
        return _read(place, asked, device)
    images = dataset.train
    pairs = [(a, b) if photos == "a" else (b, a) for a, b in images.pairs]
    maps = images.of("b" if photos == "a" else "a")
    config = settle(SegmenterConfig(network="unet", weights="none", zoom=1.0, precision="fp32", **asdict(settings)))
    network = build_network(config.network_config(), domain.channels, len(labels.palette), config.seed)
    trainer = Trainer(network, LabelledPhotos(images.of(photos), maps, domain, labels, pairs), config, device)
    while trainer.images_seen < trainer.total:
        trainer.step()
        if progress is not None:
            progress(min(trainer.images_seen, settings.images), settings.images)
    description = Description(
        network=config.network_config(),
        labels=labels,
        photos=domain,
        size=dataset.size,
        origin=FROM_NOTHING,
        training={
            "settings": asdict(config),
            "images_seen": trainer.images_seen,
            "pairs": len(pairs),
            "comparison": asked,
        },
        held_out={},
    )
    write_segmenter(place, network, description)
    return Segmenter.load(place, device=device)


def _read(place: Path, asked: dict[str, Any], device: torch.device) -> Segmenter:
    try:
        segmenter = Segmenter.load(place, device=device, defaults=asked)
    except DamagedError as error:
        raise DamagedError(f"{error} Delete the folder to have the segmenter trained again.") from error
    kept = segmenter.description.training.get("comparison")
    # What an older version did not write down is taken to be as it is now.
    kept = {**asked, **kept} if isinstance(kept, dict) else asked
    differing = [name for name, value in asked.items() if kept[name] != value]
    if differing:
        name = differing[0]
        raise UserError(
            f"the segmenter in {place} was trained with other settings: {name} was {kept[name]} and is now "
            f"{asked[name]}. Resume with those, choose another --out, or delete the folder to have it trained again "
            "(every method is then scored again)."
        )
    return segmenter


def read_fcn(place: str, dataset: Dataset, photos: Side, device: torch.device) -> Segmenter:
    """Read a segmenter of `unpaired segment train` for the photos of domain `photos`.

    Raises `UserError` where there is none, or where it was trained on other classes or other photos.
    """
    segmenter = Segmenter.load(Path(os.path.expanduser(place)), device=device)
    labels = dataset.labels("b" if photos == "a" else "a")
    assert labels is not None
    segmenter.require_fitting(labels, dataset.domains[photos].channels)
    return segmenter


RESULTS = "results"
MEASURED = ("kernel", "swd", "l1", "input_l1", "reconstruction_l1", "labels", "fcn")
"""The metrics of a comparison, each where it can be computed."""
OnProgress = Callable[[int, int], None]
LabelTask = Literal["labels_to_photos", "photos_to_labels"]


def task_of(dataset: Dataset, direction: Direction) -> LabelTask | None:
    """Return what is compared by labels in a direction; None where nothing can be."""
    source, target = sides(direction)
    if not dataset.test.pairs:
        return None
    if dataset.labels(target) is not None:
        return "photos_to_labels"
    return "labels_to_photos" if dataset.labels(source) is not None else None


@dataclass(kw_only=True)
class Measuring:
    """What all trainings of a comparison are measured on, and with what."""

    folder: Path
    """Of the comparison."""
    dataset: Dataset
    test_images: int | None
    """At most so many; None means all."""
    pictures: int
    """Rows of sample pictures."""
    segmenter: Segmenter | None
    device: str
    features: Mapping[str, Features] = field(default_factory=dict)
    """EfficientNet-Lite0, where it is installed."""
    part: HeldOutPart | None = None
    """Which part of the held-out images the data set holds; None where no checkpoint tells."""
    checkpoint: str | None = None
    """Which checkpoint of a training is measured; None for the last one and, beside it, the selected one."""
    _references: dict[Direction, Reference] = field(default_factory=dict)

    def task(self, direction: Direction) -> Task:
        """Return what a direction is measured on."""
        return model_task(direction, self.dataset, self.dataset.config, self.dataset.domains, self.test_images)

    def sample_rows(self, direction: Direction) -> list[int]:
        """Return which images of a task are shown: spread evenly."""
        return evenly(len(self.task(direction).rows), self.pictures)

    def samples(self, direction: Direction) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
        """Write the sample images of a direction and their true images, where they are known, and return them."""
        task, found = self.task(direction), (list[Picture](), list[Picture]())
        assert task.inputs is not None
        for number, place in enumerate(self.sample_rows(direction)):
            row = task.rows[place]
            for kind, images, position in (("inputs", task.inputs, row.input), ("targets", task.real, row.target)):
                if position is not None:
                    pixels = displayed(images.source[position], images.domain)
                    picture = _picture(f"{kind}-{direction}", number, pixels)
                    write_atomic(self.folder / picture.file, picture.content)
                    found[kind == "targets"].append(picture)
        return tuple(found[0]), tuple(found[1])

    def measure(
        self, run: Path, name: str, direction: Direction, progress: OnProgress | None = None
    ) -> tuple[Measured, str]:
        """Measure one direction of a run; return it with its samples as pictures, and the name of the checkpoint.

        What was measured before is kept where neither model nor protocol has changed.
        """
        return self._measure(find_model(run, self.checkpoint or "last")[0], name, direction, progress)

    def selected(
        self, run: Path, name: str, direction: Direction, progress: OnProgress | None = None
    ) -> tuple[Figure, ...]:
        """Return the figures of a run's best checkpoint; none where one was asked for, or none was chosen."""
        if self.checkpoint is not None or not (run / BEST).is_dir():
            return ()
        return self._measure(find_model(run, "best")[0], f"{name}-selected", direction, progress)[0].figures

    def _measure(
        self, checkpoint: Path, name: str, direction: Direction, progress: OnProgress | None
    ) -> tuple[Measured, str]:
        key, place = self._key(checkpoint, direction), self.folder / RESULTS / f"{name}-{direction}.json"
        if (kept := self._kept(place, key)) is not None:
            return kept, checkpoint.name
        chosen = self._plan(checkpoint, name, direction)
        if direction not in self._references:
            self._references[direction] = open_reference(chosen)
        on_progress = None if progress is None else partial(_forward, progress)
        found = measure(chosen, progress=on_progress, reference=self._references[direction])
        for picture in found.pictures:
            write_atomic(self.folder / picture.file, picture.content)
        document = {"key": key, "checkpoint": checkpoint.name, "measured": found.model_dump()}
        write_atomic(place, json.dumps(document, indent=2, allow_nan=False, default=str) + "\n")
        return found, checkpoint.name

    def _kept(self, place: Path, key: str) -> Measured | None:
        """Return a result that is kept under this key, with its pictures; None where there is no whole one."""
        try:
            document = read_json(place)
            kept = Measured.model_validate(document["measured"]) if document["key"] == key else None
        except (UserError, KeyError, ValidationError):
            return None
        for path in (Path(picture.file) for picture in (() if kept is None else kept.pictures)):
            if path.parent != Path(RESULTS, place.stem) or not is_plain(path.name) or not is_image(self.folder / path):
                return None
        return kept

    def _plan(self, checkpoint: Path, name: str, direction: Direction) -> EnginePlan:
        load = partial(Translator.load, checkpoint, device=self.device, engine="torch", precision="fp32")
        forward, back = load(direction), reverse(direction)
        # A search takes seconds for an image, and a search for what it has found itself says little.
        backward = load(back) if forward.search is None and back in read_card(checkpoint).translators else None
        rows = self.sample_rows(direction)
        return plan(
            self.task(direction),
            [*(METRICS[metric] for metric in MEASURED), _samples(f"{name}-{direction}", rows)],
            translators=Translators(forward=forward, backward=backward),
            networks=Networks(features=self.features, segmenter=self.segmenter),
            protocol=COMPARISON,
            facts={
                "translated_at": str(forward.sizing),
                "engine": str(forward.engine),
                "device": str(forward.device),
            },
        )

    def _key(self, checkpoint: Path, direction: Direction) -> str:
        """Return what a result depends on: weights, images, segmenter, and the version that measured."""
        depends = {
            "weights": hashlib.sha256((checkpoint / MANIFEST).read_bytes()).hexdigest(),
            "images": [self.dataset.fingerprint, self.dataset.contents, self.dataset.size],
            "rows": [list(row) for row in self.task(direction).rows],
            "pictures": self.sample_rows(direction),
            "segmenter": "" if self.segmenter is None else self.segmenter.fingerprint,
            "features": [network.fingerprint for network in self.features.values()],
            "metrics": MEASURED,
            "version": __version__,
        }
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def _samples(folder: str, chosen: Sequence[int]) -> type[Metric]:
    """Return what keeps some translations as pictures; it measures nothing."""

    class Samples(Metric):
        name, title, group = "samples", "Samples", ""

        def __init__(self, context: Context) -> None:
            super().__init__(context)
            self._found: list[Picture] = []

        def update(self, batch: Batch) -> None:
            for index, image in enumerate(batch.fake_images, batch.first):
                if index in chosen:
                    self._found.append(_picture(folder, len(self._found), displayed(image, batch.fake_domain)))

        def compute(self) -> Sequence[Figure]:
            return ()

        def pictures(self) -> Sequence[Picture]:
            return self._found

    return Samples


def _picture(folder: str, number: int, pixels: Pixels) -> Picture:
    return Picture(file=f"{RESULTS}/{folder}/{number:03d}.png", content=png(pixels))


def _forward(progress: OnProgress, _: str, done: int, total: int) -> None:
    progress(done, total)
