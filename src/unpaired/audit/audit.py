"""The audit of a model: its held-out images, asked several questions in each direction; a results document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unpaired.audit.classes import check_classes, why_not_classes
from unpaired.audit.hidden import check_hidden, why_not_hidden
from unpaired.audit.inputs import Asked, HeldOutImages, open_audited
from unpaired.audit.options import CHECKS, AuditOptions, CheckName
from unpaired.audit.planted_findings import check_planted, why_not_planted
from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.directions import DIRECTIONS
from unpaired.data.training import SIDES, Progress
from unpaired.report.chart import svg_file
from unpaired.report.results import Audit, Check, Direction, Figure, made_now

DRAWING = "audit.svg"
FILES = (DRAWING, *(f"{check}_{direction}.png" for check in CHECKS for direction in DIRECTIONS))
"""Beside the document."""


Answer = Callable[[Asked], tuple[tuple[Figure, ...], Check]]
"""Measures one direction; its figures are in the group of the check's name."""
QUESTIONS: Mapping[CheckName, tuple[Answer, Callable[[Asked], str | None]]] = {
    "hidden": (check_hidden, why_not_hidden),
    "planted": (check_planted, why_not_planted),
    "classes": (check_classes, why_not_classes),
}
"""What answers each question, and what says why a direction cannot be asked it, or None."""


@dataclass(frozen=True, slots=True)
class Written:
    """A finished audit and where it was written."""

    document: Audit
    folder: Path


def audit(options: AuditOptions, *, progress: Progress | None = None) -> Written:
    """Measure a model and write `audit.json` and its pictures.

    Raises `UserError` before anything is computed where the model translates by a search or cannot be asked what was
    asked for, where its images keep sizes of their own, or where there is no place for the results.
    """
    inputs, folder = open_audited(options, FILES, progress)
    asked = [Asked(inputs, name, options, progress) for name in inputs.directions]
    answers, notices = _answers(asked)
    directions = {one.direction: _direction(one, answers[one.direction]) for one in asked}
    counts = {side: len(HeldOutImages(inputs, side, options.images)) for side in SIDES}
    document = Audit(
        command=options.command,
        **made_now(),
        model=inputs.model,
        data={**inputs.data, "images": counts},
        notices=(*inputs.notices, *notices),
        directions=directions,
    )
    charts = [part.charts[0] for found in directions.values() for part in found.answers if part.charts]
    document.write(folder, files={DRAWING: svg_file(charts)}, then="run the audit again")
    return Written(document, folder)


def _answers(every: Sequence[Asked]) -> tuple[dict[str, list[Answer]], list[str]]:
    """Return what answers each direction's questions, and notices of what is left out.

    Raises `UserError` where a check that was named cannot be made, or none can.
    """
    found, refused, options = {one.direction: list[Answer]() for one in every}, dict[str, None](), every[0].options
    for one in every:
        for name in options.chosen:
            answer, why_not = QUESTIONS[name]
            if (why := why_not(one)) is None:
                found[one.direction].append(answer)
            else:
                refused[f"{name}: {why.removesuffix('.')}"] = None
    if refused and (options.checks is not None or not any(found.values())):
        raise UserError(
            f"{every[0].inputs.folder} cannot be audited so. {'; '.join(refused)}. Give another model, or other "
            f"{option('checks')} or {option('direction')}."
        )
    return found, [f"left out: {each}" for each in refused]


def _direction(asked: Asked, questions: Sequence[Answer]) -> Direction:
    answers = [answer(asked) for answer in questions]
    own = {name: value for _, check in answers if check.name == "audit" for name, value in check if name != "name"}
    return Direction(
        heading=asked.forward.heading,
        figures=tuple(figure for figures, _ in answers for figure in figures),
        checks=tuple(check for _, check in answers if check.name != "audit"),
        **own,
    )
