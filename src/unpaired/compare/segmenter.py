"""What labels the photos of a comparison: a U-Net trained on its photos once, or an FCN-8s that the plan names.

Only an FCN-8s gives FCN-scores, and none gives those of the CycleGAN paper, whose FCN-8s was trained on Cityscapes:
scores of different segmenters cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from unpaired.compare.plan import SegmenterSettings
from unpaired.core.errors import UserError
from unpaired.data.directions import Side
from unpaired.data.held_out import Dataset
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
from unpaired.models.folder import DamagedError

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
            f"{asked[name]}. Go on with those, choose another --out, or delete the folder to have it trained again "
            "(every method is then scored again)."
        )
    return segmenter


def read_fcn(place: str, dataset: Dataset, photos: Side, device: torch.device) -> Segmenter:
    """Read a segmenter of `unpaired segment train` for the photos of domain `photos`.

    Raises `UserError` where there is none, or where it was trained on other classes or other photos.
    """
    segmenter = Segmenter.load(Path(place).expanduser(), device=device)
    labels = dataset.labels("b" if photos == "a" else "a")
    assert labels is not None
    segmenter.require_fitting(labels, dataset.domains[photos].channels)
    return segmenter
