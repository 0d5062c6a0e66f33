"""What is measured of a trained method: how well labels are kept, how much was changed, and whether it comes back.

Labels are compared as in the paper, by one confusion matrix over all test images (`unpaired.metrics.confusion`). Photos
to labels: the class of the nearest palette colour against the true label map. Labels to photos: any function that
labels photos (`Labeller`) labels the translation, and its labels are compared with those that were put in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.data.directions import Side
from unpaired.data.held_out import Material, Picture, displayed, signed_batch
from unpaired.data.labels import VOID, Indices, classes_of, decoded, paint
from unpaired.data.values import Domain, Image, from_signed, to_signed
from unpaired.methods import Direction
from unpaired.metrics.confusion import Confusion, Scores
from unpaired.models.folder import MANIFEST, newest_checkpoint, read_card
from unpaired.models.translator import Translator
from unpaired.report.image_grid import png

Labeller = Callable[[NDArray[np.float32]], Indices]
"""From photos [N, C, H, W] in [-1, 1] to class indices [N, H, W]."""
Told = Callable[[int, int], None]
"""Called with how many images are done, and how many there are."""

RESULTS = "results"
IMAGES_PER_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one direction of one training."""

    images: int
    l1: float | None
    """Mean |G(x) - x| of values in [-1, 1]; None where the domains have different channels."""
    reconstruction_l1: float | None
    """Mean |F(G(x)) - x| of values in [-1, 1]; None for a method of one direction."""
    scores: dict[str, Any] | None
    """`pixel_accuracy`, `class_accuracy`, `class_iou` and `classes`; None without labels."""


def task_of(material: Material, direction: Direction) -> str | None:
    """Return `labels_to_photos`, `photos_to_labels`, or None where nothing can be compared by labels."""
    source, target = sides(direction)
    if not material.test.pairs:
        return None
    if material.labels(target) is not None:
        return "photos_to_labels"
    return "labels_to_photos" if material.labels(source) is not None else None


def sides(direction: Direction) -> tuple[Side, Side]:
    """Return the domains that a direction comes from and leads to."""
    return ("a", "b") if direction == "a2b" else ("b", "a")


# ------------------------------------------------------------------------------------------------- trained methods


class Scorer:
    """Measures the trained methods of a comparison, all on the same images, and keeps the results in its folder."""

    def __init__(
        self,
        folder: Path,
        material: Material,
        *,
        most: int | None,
        rows: int,
        labeller: Labeller | None,
        labeller_name: str,
        device: str,
    ) -> None:
        self.folder, self.material, self.most, self.rows = folder, material, most, rows
        self.labeller, self.labeller_name, self.device = labeller, labeller_name, device

    def measure(self, run: Path, name: str, direction: Direction, told: Told | None = None) -> Measured:
        """Measure one direction of a run, or return what is kept where neither model nor protocol has changed."""
        checkpoint, _ = newest_checkpoint(run)
        key = self._key(checkpoint, direction)
        place = self.folder / RESULTS / f"{name}-{direction}.json"
        kept = _read(place)
        there = all(self.picture(name, direction, n).is_file() for n in range(len(self.shown_rows(direction))))
        if kept is not None and kept.get("key") == key and there:
            return Measured(**kept["measured"])
        measured, pictures = self._measure(checkpoint, direction, told)
        for number, picture in enumerate(pictures):
            write_atomic(self.picture(name, direction, number), png(picture))
        document = {"key": key, "checkpoint": checkpoint.name, "measured": asdict(measured)}
        write_atomic(place, (json.dumps(document, indent=2) + "\n").encode())
        return measured

    def picture(self, name: str, direction: Direction, row: int) -> Path:
        """Return the file of a translation that the page shows."""
        return self.folder / RESULTS / f"{name}-{direction}" / f"{row:03d}.png"

    def positions(self, direction: Direction) -> list[tuple[int, int | None]]:
        """Return the test images of a direction and their partners, in order."""
        return self.material.test.positions(sides(direction)[0], self.most)

    def shown_rows(self, direction: Direction) -> list[int]:
        """Return which of the positions are displayed as pictures: spread evenly, whatever they look like."""
        count = len(self.positions(direction))
        rows = min(self.rows, count)
        return [index * count // rows for index in range(rows)]

    def _measure(self, checkpoint: Path, direction: Direction, told: Told | None) -> tuple[Measured, list[Picture]]:
        source, target = sides(direction)
        translator = self._load(checkpoint, direction)
        # A search takes seconds for an image; to search for what it has found itself would tell little.
        back = None if translator.search is not None else self._back(checkpoint, direction)
        domains = self.material.domains
        comparable = domains[source].channels == domains[target].channels
        confusion = self._confusion(direction)
        shown_rows = set(self.shown_rows(direction))
        changed, returned, pictures, done = list[float](), list[float](), list[Picture](), 0
        for part in self._batches(direction):
            x = torch.from_numpy(signed_batch(self.material.test.of(source), [p for p, _ in part], domains[source]))
            y = translator.translate_tensor(x)
            if comparable:
                changed += (y - x).abs().mean((1, 2, 3)).tolist()
            if back is not None:
                returned += (back.translate_tensor(y) - x).abs().mean((1, 2, 3)).tolist()
            images = [from_signed(row.permute(1, 2, 0).numpy(), domains[target]) for row in y]
            if confusion is not None:
                self._count(confusion, direction, images, part)
            pictures += [
                self._looked_at(image, domains[target])
                for number, image in enumerate(images, done)
                if number in shown_rows
            ]
            done += len(part)
            if told is not None:
                told(done, len(self.positions(direction)))
        measured = Measured(
            images=done,
            l1=_mean(changed),
            reconstruction_l1=_mean(returned),
            scores=None if confusion is None else as_json(confusion.scores()),
        )
        return measured, pictures

    def _back(self, checkpoint: Path, direction: Direction) -> Translator | None:
        """Return the translator of the other direction, where a model has one."""
        other: Direction = "b2a" if direction == "a2b" else "a2b"
        return self._load(checkpoint, other) if other in read_card(checkpoint).translators else None

    def _load(self, checkpoint: Path, direction: Direction) -> Translator:
        """Return a translator in float32."""
        return Translator.load(checkpoint, direction, device=self.device, engine="torch", precision="fp32")

    def _batches(self, direction: Direction) -> Iterator[list[tuple[int, int | None]]]:
        positions = self.positions(direction)
        for start in range(0, len(positions), IMAGES_PER_BATCH):
            yield positions[start : start + IMAGES_PER_BATCH]

    def _confusion(self, direction: Direction) -> Confusion | None:
        """Return an empty confusion matrix for a direction that can be scored by labels."""
        task = task_of(self.material, direction)
        if task is None or (task == "labels_to_photos" and self.labeller is None):
            return None
        side = sides(direction)[1 if task == "photos_to_labels" else 0]
        labels = self.material.labels(side)
        assert labels is not None
        return Confusion(len(labels.palette))

    def _count(
        self, confusion: Confusion, direction: Direction, images: list[Image], part: list[tuple[int, int | None]]
    ) -> None:
        source, target = sides(direction)
        test = self.material.test
        to_labels = self.material.labels(target)
        if to_labels is not None:
            for image, (_, partner) in zip(images, part, strict=True):
                assert partner is not None
                confusion.add(decoded(test.of(target)[partner], to_labels), classes_of(image, to_labels))
            return
        from_labels = self.material.labels(source)
        assert from_labels is not None
        assert self.labeller is not None
        photos = _as_photos(images, self.material.domains[target])
        for found, (position, _) in zip(self.labeller(photos), part, strict=True):
            confusion.add(decoded(test.of(source)[position], from_labels), found)

    def _looked_at(self, image: Image, domain: Domain) -> Picture:
        """Return a translation as a person looks at it; in a label domain every pixel is one of its colours."""
        if domain.labels is None:
            return displayed(image, domain)
        return paint(classes_of(image, domain.labels), domain.labels)

    def _key(self, checkpoint: Path, direction: Direction) -> str:
        """Return what a result depends on: weights, images, scorer, and the version that measured."""
        depends = {
            "weights": hashlib.sha256((checkpoint / MANIFEST).read_bytes()).hexdigest(),
            "images": self.material.fingerprint,
            "positions": self.positions(direction),
            "rows": self.shown_rows(direction),
            "size": self.material.size,
            "labeller": self.labeller_name,
            "version": __version__,
        }
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------- the bounds


def bounds(scorer: Scorer, direction: Direction) -> dict[str, dict[str, Any]]:
    """Return the scores between which a method's should lie: of the true images, and of true images shuffled.

    For labels to photos: the labels that the segmenter gives real photos, against their own label maps and against
    those of other photos. For photos to labels: other photos' label maps (their own would score 1). Empty where there
    is nothing to compare; the shuffled ones are missing where there is one image only, or void alone meets classes.
    """
    task = task_of(scorer.material, direction)
    own, other = scorer._confusion(direction), scorer._confusion(direction)
    if task is None or own is None or other is None:
        return {}
    truths, found = list[Indices](), list[Indices]()
    source, target = sides(direction)
    test, domains = scorer.material.test, scorer.material.domains
    for position, partner in scorer.positions(direction):
        assert partner is not None
        label_side, place = (source, position) if task == "labels_to_photos" else (target, partner)
        labels = scorer.material.labels(label_side)
        assert labels is not None
        truths.append(decoded(test.of(label_side)[place], labels))
        if task == "labels_to_photos":
            assert scorer.labeller is not None
            found.append(scorer.labeller(signed_batch(test.of(target), [partner], domains[target]))[0])
    results = {}
    if task == "labels_to_photos":
        for truth, labelled in zip(truths, found, strict=True):
            own.add(truth, labelled)
        results["real photos"] = as_json(own.scores())
    if len(truths) > 1:
        shift = len(truths) // 2  # neighbours are often frames of one film, half the set away they are not
        for index, truth in enumerate(truths):
            wrong = (found or truths)[(index + shift) % len(truths)]
            other.add(np.where(wrong == VOID, VOID, truth), np.where(wrong == VOID, 0, wrong))
        if other.counts.any():
            results["shuffled"] = as_json(other.scores())
    return results


def as_json(scores: Scores) -> dict[str, Any]:
    """Return scores as JSON holds them: what is not a number becomes null."""
    document = asdict(scores)
    document["classes"] = [
        {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in each.items()}
        for each in document["classes"]
    ]
    return document


def _as_photos(images: list[Image], domain: Domain) -> NDArray[np.float32]:
    """Return translations, as their files would hold them, in the form that networks see."""
    return np.stack([to_signed(image, domain.range).transpose(2, 0, 1) for image in images])


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _read(place: Path) -> Mapping[str, Any] | None:
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{place} cannot be read ({error}). Delete it to have it measured again.") from error
    return document if isinstance(document, dict) else None
