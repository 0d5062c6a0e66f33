"""The audit of a model: its held-out images, both ways, measured, drawn, told and written."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import PIL
import torch

from unpaired import __version__
from unpaired.audit.curves import Curve, error_curve, spectrum_curve
from unpaired.audit.figure import draw as draw_figure
from unpaired.audit.findings import Found, figures_of, table_of, too_few
from unpaired.audit.hidden import RESAMPLES, hidden_in
from unpaired.audit.inputs import Direction, Request, Subject, chosen, open_subject, sides, spread
from unpaired.audit.measure import Told, measure
from unpaired.audit.pictures import draw as draw_pictures
from unpaired.audit.sensitivity import response
from unpaired.audit.spectrum import spectrum_of
from unpaired.audit.summary import summary
from unpaired.core.files import write_atomic
from unpaired.data.held_out import Side
from unpaired.data.training import Progress
from unpaired.evaluation.dataset import FILTER, SPLITS
from unpaired.evaluation.figures import Fact, Figure, Picture, Table, figures_to_json
from unpaired.report.image_grid import png

FORMAT = "unpaired-audit"
VERSION = 1
FILE = "audit.json"
DRAWING = "audit.svg"
PICTURES = {"a2b": "hidden_a2b.png", "b2a": "hidden_b2a.png"}
_SIDES: tuple[Side, Side] = ("a", "b")
_THEN = "run the audit again"
PROBED = 8
"""Images at which the networks' sensitivity is measured, which takes gradients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionAudit:
    """What was found of one direction."""

    direction: Direction
    heading: str
    summary: str
    hidden_share: float | None
    figures: tuple[Figure, ...]
    table: Table
    curves: tuple[Curve, ...]
    """The first is drawn in the figure."""
    picture: Picture
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `audit.json` holds of the direction."""
        return {
            "heading": self.heading,
            "summary": self.summary,
            "hidden_share": self.hidden_share,
            "figures": figures_to_json(self.figures),
            "tables": [asdict(self.table)],
            "curves": [curve.to_json() for curve in self.curves],
            "pictures": [{"file": self.picture.file, "title": self.picture.title, "alt": self.picture.alt}],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A finished audit and where it lies."""

    folder: Path
    directions: tuple[DirectionAudit, ...]
    document: Mapping[str, Any]
    """The content of `audit.json`."""
    notices: tuple[str, ...]
    """What a person should know of the model and the data."""


def audit(request: Request, *, progress: Progress | None = None) -> Audit:
    """Measure a model, write figure, pictures and `audit.json`, and return what was found.

    Raises `UserError` before anything is computed where the model has one direction only or translates by a search,
    where its images keep sizes of their own, or where there is no place for the results. Nothing is half-written:
    every file is there whole or not at all, and `audit.json` comes last.
    """
    subject = open_subject(request, progress)
    folder = subject.folder
    found = tuple(_audited(subject, direction, request, progress) for direction in request.directions)
    document = _document(request, subject, found)
    files = {PICTURES[one.direction]: one.picture.content for one in found}
    files[DRAWING] = draw_figure([one.curves[0] for one in found]).encode()
    for name, content in files.items():
        write_atomic(folder / name, content, then=_THEN)
    write_atomic(folder / FILE, to_bytes(document), then=_THEN)
    for name in PICTURES.values():  # of an audit of both directions that lay here before
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    return Audit(folder=folder, directions=found, document=document, notices=subject.notices)


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON that every reader can read: no NaN, any file name."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


# -------------------------------------------------------------------------------------------------------- measuring


def _audited(subject: Subject, direction: Direction, request: Request, progress: Progress | None) -> DirectionAudit:
    """Measure one direction."""
    source, target = sides(direction)
    back: Direction = "b2a" if direction == "a2b" else "a2b"
    forward, backward = subject.translators[direction], subject.translators[back]
    inputs, real = (chosen(subject, side, request.images) for side in (source, target))
    names = f"{source.upper()} to {target.upper()}"
    measured = measure(forward, backward, inputs, seed=request.seed, told=_told(progress, f"auditing {names}"))
    probes = [inputs.batch([place]) for place in spread(len(inputs), PROBED)]
    sensitivity = (
        response(forward, probes, seed=request.seed),
        response(backward, [forward.translate_tensor(probe) for probe in probes], seed=request.seed),
    )
    found = Found(
        direction=direction,
        measured=measured,
        hidden=hidden_in(measured, seed=request.seed),
        translated=spectrum_of(inputs, forward),
        real=spectrum_of(real),
        sensitivity=sensitivity,
        protocol=_protocol(subject, request, len(inputs), len(real)),
    )
    picture, columns = draw_pictures(forward, backward, inputs, seed=request.seed, title=f"{names}: hidden detail")
    figures = figures_of(found)
    return DirectionAudit(
        direction=direction,
        heading=names,
        summary=summary(found),
        hidden_share=figures[0].value,
        figures=figures,
        table=table_of(found),
        curves=(
            error_curve(measured, f"{names}: error of the reconstruction after a disturbance"),
            spectrum_curve(found.translated, found.real, target.upper()),
        ),
        picture=Picture(
            file=PICTURES[direction],
            title=f"{names}: translations, their detail, and what comes back",
            alt=f"Examples in rows. Columns: {'; '.join(columns)}.",
            content=png(picture),
        ),
        warnings=_warnings(subject, found),
    )


def _warnings(subject: Subject, found: Found) -> tuple[str, ...]:
    warnings = list(found.measured.notices)
    if found.hidden.reason is not None:
        warnings.append(f"no share can be told: {found.hidden.reason}")
    if (few := too_few(found)) is not None:
        warnings.append(few)
    if subject.held_out.taken_from == "train":
        warnings.append("there are no test images, so this was measured on training images")
    return tuple(warnings)


def _told(progress: Progress | None, stage: str) -> Told | None:
    return None if progress is None else _stage(progress, stage)


def _stage(progress: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(stage, done, total)


# ---------------------------------------------------------------------------------------------------------- telling


def _protocol(subject: Subject, request: Request, inputs: int, real: int) -> dict[str, Fact]:
    """Return what every figure of a direction depends on."""
    held_out = subject.held_out
    assert held_out.size is not None
    return {
        "split": SPLITS[held_out.taken_from],
        "images": inputs,
        "real_images_of_the_target": real,
        "size": f"{held_out.size[0]} x {held_out.size[1]}",
        "prepared": f"{subject.config.preprocess}: {held_out.part}",
        "resize_filter": FILTER,
        "disturbed": "translations in float, cut to the range of values; JPEG by Pillow, 4:4:4",
        "errors": f"standard errors over images; of shares by {RESAMPLES} resamples of the images",
        "seed": request.seed,
        "arithmetic": f"PyTorch float32, {next(iter(subject.translators.values())).device.type}",
        "unpaired": __version__,
        "pillow": PIL.__version__,
    }


def _document(request: Request, subject: Subject, found: Sequence[DirectionAudit]) -> dict[str, Any]:
    held_out, card = subject.held_out, subject.card
    counts = {side: len(chosen(subject, side, request.images)) for side in _SIDES}
    root = (
        request.data
        if request.data is not None
        else subject.config.root or f"{subject.config.a} and {subject.config.b}"
    )
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": request.command,
        "versions": {"unpaired": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "model": {
            "path": str(request.model),
            "checkpoint": subject.checkpoint.resolve().name,
            "images_seen": card.images_seen,
            "method": card.method,
            "origin": card.origin,
            "fingerprints": dict(subject.fingerprints),
        },
        "data": {
            "root": None if root is None else str(root),
            "split": held_out.taken_from,
            "images": counts,
            "contents": {side: held_out.contents(side) for side in _SIDES},
        },
        "notices": list(subject.notices),
        "drawing": DRAWING,
        "directions": {one.direction: one.to_json() for one in found},
    }
