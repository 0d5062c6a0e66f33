"""How well a segmenter labels real photos: measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.core.given import Given, settings_of
from unpaired.data.config import DataConfig
from unpaired.data.held_out import evenly
from unpaired.data.labels_config import LabelsConfig
from unpaired.data.training import Progress
from unpaired.evaluation.segmentation.dataset import Material, open_labelled
from unpaired.evaluation.segmentation.model import Description, Segmenter, require_classes
from unpaired.evaluation.segmentation.score import Told, real_bounds, scores_to_json

FORMAT, VERSION = "unpaired-segmenter-score", 1
FIGURES = (("pixel_accuracy", "per-pixel"), ("class_accuracy", "per-class"), ("class_iou", "class IoU"))
REAL, SHUFFLED = "real photos", "shuffled"


def measure(
    folder: Path,
    given: Sequence[Given],
    *,
    seed: int = 0,
    most: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    told: Told | None = None,
) -> dict[str, Any]:
    """Return the scores of a segmenter on real photos and how they were measured, as `write_report` stores them.

    `given` are settings of `data.*`; size and label maps are by default those of the training. Raises `UserError`.
    """
    segmenter = Segmenter.load(folder, device=device)
    description = segmenter.description
    material = open_labelled(_data_settings(given, description), progress=progress)
    require_photos(description, material)
    bounds = real_bounds(segmenter, material.held_out, seed=seed, most=most, told=told)
    count = len(evenly(len(material.held_out), most))
    notices = [notice for notice in (segmenter.notice_for(material.size),) if notice is not None]
    if material.held_out_from == "train":
        notices.append("there are no test photos, so the ones given were measured; were they trained on?")
    scores = {REAL: bounds.upper} | ({SHUFFLED: bounds.lower} if bounds.lower is not None else {})
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {"unpaired": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "segmenter": {
            "path": str(folder),
            "words": description.in_words(),
            "fingerprint": segmenter.fingerprint,
            "size": list(segmenter.size),
        },
        "data": {
            "root": material.config.root or material.config.b or material.config.a,
            "split": material.held_out_from,
            "photos": count,
            "contents": material.contents,
        },
        "protocol": _protocol(segmenter, material, seed),
        "scores": {name: scores_to_json(each, description.labels) for name, each in scores.items()},
        "notices": notices,
    }


def table(report: dict[str, Any]) -> str:
    """Return the figures as Markdown: the three scores, and each class."""
    scores: dict[str, dict[str, Any]] = report["scores"]
    height, width = report["protocol"]["size"]
    lines = [
        f"{report['segmenter']['words']}",
        f"Measured on {report['data']['photos']:,} {report['data']['split']} photos at {height} x {width}.",
        "",
        f"| | {' | '.join(words for _, words in FIGURES)} |",
        "| --- |" + " ---: |" * len(FIGURES),
        *(f"| {name} | {' | '.join(_figure(each[key]) for key, _ in FIGURES)} |" for name, each in scores.items()),
        "",
        "| class | share of pixels | accuracy | IoU |",
        "| --- | ---: | ---: | ---: |",
    ]
    classes = scores[REAL]["classes"]
    total = sum(each["pixels"] for each in classes)
    for each in classes:
        share = f"{each['pixels'] / total:.1%}"
        lines.append(f"| {each['name']} | {share} | {_figure(each['accuracy'])} | {_figure(each['iou'])} |")
    return "\n".join(lines)


def write_report(path: Path, report: dict[str, Any], *, command: str) -> None:
    """Write a report as JSON, atomically; an existing file is replaced. Raises `UserError`."""
    document = {**report, "command": command}
    write_atomic(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(), then="measure again")


def require_photos(description: Description, material: Material) -> None:
    """Raise `UserError` unless photos and label maps are of the kind that the segmenter was trained on."""
    require_classes(description, material.labels)
    if material.photos.channels != description.photos.channels:
        raise UserError(
            f"the photos have {material.photos.channels} channels and the segmenter was trained on photos of "
            f"{description.photos.channels}. Give photos of the same kind, or set data.channels_a or data.channels_b."
        )


def _protocol(segmenter: Segmenter, material: Material, seed: int) -> dict[str, Any]:
    """Return how it was measured, as names and words or numbers."""
    return {
        "size": list(material.size),
        "labelled_at": list(segmenter.size),
        "photos_resized_by": "bicubic",
        "label_maps_resized_by": "nearest pixel",
        "void": "left out",
        "classes_absent_from_both": "left out of the means",
        "confusion": "one matrix over all photos",
        "shuffled": f"each photo against the label map of another one, drawn with seed {seed}",
        "precision": segmenter.precision,
    }


def _data_settings(given: Sequence[Given], description: Description) -> DataConfig:
    names = {name for source in given for name in source.values}
    for source in given:
        for name in source.values:
            if not name.startswith("data."):
                raise UserError(
                    f"{source.origin.format(name=name)}: cannot be set here. A measurement has settings of data.* only."
                )
    config: DataConfig = settings_of("data", DataConfig, given)
    if "data.crop_size" not in names:
        config = dataclasses.replace(config, crop_size=description.size)
    if config.labels_a is None and config.labels_b is None:
        labels = description.labels
        known = LabelsConfig(kind=labels.kind, palette=labels.palette, names=labels.names, void=labels.void)
        on_a = description.training.get("label_side") == "a"
        config = dataclasses.replace(config, labels_a=known if on_a else None, labels_b=None if on_a else known)
    return config


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
