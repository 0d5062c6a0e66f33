"""The audit of a model: its held-out images, asked several questions in each direction; a results document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from unpaired.audit.hidden import check_hidden, why_not_hidden
from unpaired.audit.inputs import Asked, HeldOutImages, open_audited
from unpaired.audit.options import CHECKS, AuditOptions, CheckName
from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.directions import DIRECTIONS
from unpaired.data.training import SIDES, Progress
from unpaired.evaluation.inputs import ModelInputs
from unpaired.report.chart import svg_file
from unpaired.report.results import Audit, Check, Direction, Figure, made_now

DRAWING = "audit.svg"
FILES = (DRAWING, *(f"{check}_{direction}.png" for check in CHECKS for direction in DIRECTIONS))
"""Beside the document."""


@dataclass(frozen=True, slots=True)
class Question:
    """A check that an audit can make: one function, and one that says why a model cannot be asked."""

    answer: Callable[[Asked], tuple[tuple[Figure, ...], Check]]
    """Measures one direction; its figures are in the group of the check's name."""
    why_not: Callable[[ModelInputs], str | None]


QUESTIONS: Mapping[CheckName, Question] = {"hidden": Question(check_hidden, why_not_hidden)}


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
    questions, notices = _questions(options, inputs)
    directions = {name: _direction(Asked(inputs, name, options, progress), questions) for name in inputs.directions}
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


def _questions(options: AuditOptions, inputs: ModelInputs) -> tuple[list[Question], list[str]]:
    """Return the questions and a notice for each that is left out; `UserError` where one was asked for by name."""
    why_not = {name: QUESTIONS[name].why_not(inputs) for name in options.chosen}
    refused = [f"{name}: left out, since {why}" for name, why in why_not.items() if why is not None]
    kept = [QUESTIONS[name] for name, why in why_not.items() if why is None]
    if refused and (options.checks is not None or not kept):
        raise UserError(
            f"{inputs.folder} cannot be audited so ({refused[0].replace('left out, since ', '')}). Give another model, "
            f"or other {option('checks')}."
        )
    return kept, refused


def _direction(asked: Asked, questions: list[Question]) -> Direction:
    answers = [question.answer(asked) for question in questions]
    figures = tuple(figure for found, _ in answers for figure in found)
    hidden = [check for _, check in answers if check.name == "audit"]
    own = {name: value for check in hidden for name, value in check if name != "name"}
    others = tuple(check for _, check in answers if check.name != "audit")
    return Direction(heading=asked.forward.heading, figures=figures, checks=others, **own)
