"""A comparison from beginning to end: opened, trained, measured, written down; what is done already is kept."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from unpaired import __version__
from unpaired.compare.page import page_of, picture_of, pictures_of
from unpaired.compare.plan import Plan
from unpaired.compare.results import Line, Results, Seeded
from unpaired.compare.score import Scorer, bounds, sides, task_of
from unpaired.compare.segmenter import read_fcn, train_or_read
from unpaired.compare.table import as_csv, as_json, markdown
from unpaired.compare.train import (
    Outcome,
    carry_out,
    compare_record,
    cost_of,
    images_done,
    keep_record,
    run_of,
    state_of,
)
from unpaired.compare.trainings import Training, data_settings, needs_pairs, shared_settings, trainings_of
from unpaired.core.device import find_device
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.core.given import Given
from unpaired.data.directions import Side
from unpaired.data.held_out import Material, open_material
from unpaired.data.labels import VOID, decoded
from unpaired.data.training import Progress
from unpaired.evaluation.segmentation.segmenter import Segmenter
from unpaired.methods import METHODS, Direction, ImageShapes
from unpaired.training.config import TrainingConfig

Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""From a label to a bar that is told how many are done and how many there are."""

TABLE, SHEET, DOCUMENT, PAGE, PICTURE = "table.md", "table.csv", "results.json", "index.html", "pictures.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A comparison that has been found to be possible: plan, data and all trainings."""

    folder: Path
    plan: Plan
    places: Mapping[str, str]
    material: Material
    trainings: tuple[Training, ...]
    shared: Mapping[str, Any]
    """Settings that all entries share."""
    device: str


@dataclass(slots=True)
class Done:
    """What a comparison has come to."""

    outcome: Outcome
    table: str = ""
    """Markdown; empty where it was interrupted."""
    written: list[Path] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    """Trainings that are still to be done."""


def open_comparison(
    plan: Plan,
    folder: Path,
    places: Mapping[str, str],
    overrides: Given,
    *,
    only: Sequence[str] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Check everything that can be checked before hours of training: settings, images, sizes. Writes nothing.

    `places` are data settings (`data.root`, or `data.a` and so on), `overrides` the user's settings for all entries,
    `only` the labels of the entries to train now. Raises `UserError`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("a comparison trains one method after another in one process: start it without torchrun.")
    plan.chosen(only)
    places = {name: os.path.abspath(os.path.expanduser(place)) for name, place in places.items()}
    shared = data_settings(plan, places, overrides)
    trainings_of(plan, places, overrides, {False: 1, True: 1})  # settings are checked before thousands of images
    wanted = {entry.slug for entry in plan.chosen(only)}
    paired = any(entry.slug in wanted for entry in needs_pairs(plan, overrides))
    material = open_material(shared.data, paired=paired, progress=progress)
    _require_classes(material, plan)
    if plan.fcn is not None:
        _fcn(plan, plan.fcn, material, torch.device("cpu"))
    epochs = {True: material.epoch_images[False], **material.epoch_images}
    trainings = tuple(trainings_of(plan, places, overrides, epochs))
    for training in trainings:
        if training.entry.slug in wanted:
            _build(training, material, torch.device("meta"))
    return Comparison(
        folder=folder,
        plan=plan,
        places=places,
        material=material,
        trainings=trainings,
        shared=shared_settings(plan, overrides),
        device=shared.training.device,
    )


def described(comparison: Comparison, only: Sequence[str] = ()) -> str:
    """Return what will be trained with which settings, and what is there already: for `--dry-run`.

    Raises `UserError` where what is there was begun with other settings or data.
    """
    wanted = {entry.slug for entry in comparison.plan.chosen(only)}
    compare_record(comparison.folder, comparison.material, comparison.trainings)
    lines = [comparison.plan.title, ""]
    lines += [f"{name}: {value}" for name, value in protocol(comparison)]
    for training in comparison.trainings:
        state = state_of(comparison.folder, training)
        done = images_done(comparison.folder, training)
        told = {"new": "to be trained", "begun": f"{done:,} images done, to be resumed", "finished": "finished"}[state]
        if state != "finished" and training.entry.slug not in wanted:
            told = "left out (--only)"
        config = training.config
        lines += ["", f"{training.name}: {told}"]
        settings = _told({name: _value(config.to_json(), name) for name in training.own})
        t = config.training
        lines.append(f"  {config.method}{f': {settings}' if settings else ''}")
        lines.append(
            f"  {t.max_images:,} images in batches of {t.batch_size}; learning rate {t.learning_rate:g}, {_schedule(t)}"
        )
        if training.not_shared:
            lines.append(f"  does not share {', '.join(training.not_shared)}")
    return "\n".join(lines)


def compare(
    comparison: Comparison,
    *,
    only: Sequence[str] = (),
    quiet: bool = False,
    say: Callable[[str], None],
    counting: Counting,
) -> Done:
    """Train what is to be trained, measure everything that is finished, and write table and page.

    A signal during a training leaves all of it in a state from which the same call goes on. Raises `UserError`.
    """
    folder, plan = comparison.folder, comparison.plan
    wanted = {entry.slug for entry in plan.chosen(only)}
    chosen = [training for training in comparison.trainings if training.entry.slug in wanted]
    for training in _firsts(each for each in chosen if state_of(folder, each) == "new"):
        _build(training, comparison.material, torch.device("cpu"))  # weights that it needs from elsewhere are there
    find_device(comparison.device)
    keep_record(folder, plan, comparison.material, comparison.trainings, chosen)
    outcome = carry_out(folder, chosen, quiet=quiet, say=say)
    unfinished = [each.name for each in comparison.trainings if state_of(folder, each) != "finished"]
    done = Done(outcome=outcome, unfinished=unfinished)
    if outcome.signal is not None:
        return done
    scorer = _scorer(comparison, counting)
    results = _collect(comparison, scorer, outcome, counting)
    pictures = [pictures_of(results, scorer, direction) for direction in plan.directions]
    done.table = markdown(results)
    contents = {
        TABLE: done.table.encode(),
        SHEET: as_csv(results).encode(),
        DOCUMENT: as_json(results).encode(),
        PAGE: page_of(results, pictures).encode("utf-8", "replace"),
        PICTURE: picture_of(pictures),
    }
    for name, content in contents.items():
        write_atomic(folder / name, content)
        done.written.append(folder / name)
    return done


def protocol(comparison: Comparison, scorer_words: str | None = None) -> list[tuple[str, str]]:
    """Return how the comparison is done, as names and words."""
    plan, material = comparison.plan, comparison.material
    test, print_ = material.test, material.fingerprint
    height, width = material.size
    seeds = ", ".join(str(seed) for seed in plan.seeds)
    held_out = "test images" if material.test_from == "test" else "training images, as there are no others"
    pairs = " in pairs by name" if test.pairs else ""
    count = {direction: len(test.positions(sides(direction)[0], plan.test_images)) for direction in plan.directions}
    schedules: dict[str, list[str]] = {}
    for training in comparison.trainings:
        labels_of = schedules.setdefault(_schedule(training.config.training), [])
        labels_of += [training.entry.label] if training.entry.label not in labels_of else []
    rates = "; ".join(
        how if len(schedules) == 1 else f"{how} ({', '.join(labels)})" for how, labels in schedules.items()
    )
    words = [
        ("Budget", f"every translator sees {plan.images:,} images{_beyond(comparison)}; learning rate: {rates}"),
        ("Shared settings", _told(comparison.shared) or "none but the defaults"),
        ("Size", f"{height} x {width} pixels (height x width)"),
        ("Seeds", f"{seeds}; figures are means over seeds, ± one standard deviation" if len(plan.seeds) > 1 else seeds),
        ("Data", f"{', '.join(Path(place).name for place in comparison.places.values())}: {material.layout}"),
        ("Training images", f"{print_['train_a']:,} of A, {print_['train_b']:,} of B"),
        ("Measured on", f"{', '.join(f'{count[d]:,} ({d})' for d in count)} {held_out}{pairs}, {material.part}"),
    ]
    for side in ("a", "b"):
        labels = material.labels(side)
        if labels is not None:
            words.append((f"Domain {side.upper()}", labels.in_words()))
    if scorer_words is not None:
        words.append(("Segmenter", scorer_words))
    words.append(("Pictures", "rows evenly spread over the test images, of the first seed; none is chosen by its look"))
    versions = f"unpaired {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}"
    words.append(("Versions", versions))
    return words


# ----------------------------------------------------------------------------------------------------------- details


def _build(training: Training, material: Material, device: torch.device) -> None:
    """Build a method and drop it, to meet what does not fit before anything is trained; `meta` takes no memory."""
    domains = material.domains
    shapes = ImageShapes(channels_a=domains["a"].channels, channels_b=domains["b"].channels, size=material.size)
    method = METHODS[training.config.method]
    try:
        settings, _ = method.adapt(training.config.settings, shapes, training.config.chosen_settings())
        with device:
            method.make(settings, shapes)
    except UserError as error:
        raise UserError(f'the entry "{training.entry.label}" cannot be trained: {error}') from error


def _require_classes(material: Material, plan: Plan) -> None:
    """Refuse label maps that hold void alone: nothing could be scored, which would come out after all trainings."""
    for direction in plan.directions:
        task = task_of(material, direction)
        if task is None:
            continue
        side = sides(direction)[0 if task == "labels_to_photos" else 1]
        labels = material.labels(side)
        assert labels is not None
        parts = {"measured on": (material.test, plan.test_images)}
        if task == "labels_to_photos" and material.train.pairs:
            parts["of the training"] = (material.train, None)
        for part, (images, most) in parts.items():
            places = (position for position, _ in images.positions(side, most))
            if not any((decoded(images.of(side)[place], labels) != VOID).any() for place in places):
                raise UserError(
                    f"the label maps {part} (domain {side.upper()}) hold void alone, so there is nothing to score. "
                    f"Check the files, and data.labels_{side}.void."
                )


def _firsts(trainings: Iterable[Training]) -> list[Training]:
    """Return the first training of every entry."""
    return list({each.entry.slug: each for each in reversed(list(trainings))}.values())


def _scorer(comparison: Comparison, counting: Counting) -> Scorer:
    """Return what measures; where label maps become photos, with a segmenter that is trained now or was before."""
    plan, material = comparison.plan, comparison.material
    segmenter: Segmenter | None = None
    wanted = [d for d in plan.directions if task_of(material, d) == "labels_to_photos"]
    if plan.fcn is not None:
        segmenter = _fcn(plan, plan.fcn, material, find_device(comparison.device))
    elif wanted and material.train.pairs:
        photos: Side = sides(wanted[0])[1]
        device = find_device(comparison.device)
        with counting("Training the segmenter") as count:
            segmenter = train_or_read(comparison.folder, material, photos, plan.segmenter, device, progress=count)
    return Scorer(
        comparison.folder,
        material,
        most=plan.test_images,
        rows=plan.pictures,
        labeller=segmenter,
        labeller_name=segmenter.fingerprint if segmenter is not None else "",
        device=comparison.device,
    )


def _fcn(plan: Plan, place: str, material: Material, device: torch.device) -> Segmenter:
    """Return the segmenter that the plan names; UserError where it has nothing to label."""
    for direction in plan.directions:
        if task_of(material, direction) == "labels_to_photos":
            return read_fcn(place, material, sides(direction)[1], device)
    raise UserError(
        f"fcn = {place}: no direction of this comparison makes photos of label maps with paired test images, so there "
        "is nothing to label. Leave --fcn out, or say which images are label maps: --set data.labels_a.kind=index."
    )


def _collect(comparison: Comparison, scorer: Scorer, outcome: Outcome, counting: Counting) -> Results:
    folder, plan = comparison.folder, comparison.plan
    lines = []
    for entry in plan.entries:
        for direction in plan.directions:
            members = [t for t in comparison.trainings if t.entry == entry and direction in t.directions]
            if not members:
                continue
            finished, missing = list[Seeded](), list[str]()
            for training in members:
                if training.name in outcome.failed:
                    missing.append(f"seed {training.seed} broke down ({outcome.failed[training.name].rstrip('.')})")
                elif state_of(folder, training, thorough=True) != "finished":
                    missing.append(f"seed {training.seed} is not trained yet")
                else:
                    finished.append(_measured(folder, scorer, training, direction, counting))
            lines.append(Line(entry=entry, direction=direction, seeds=tuple(finished), missing=tuple(missing)))
    with counting("Measuring the real images"):
        limits = {direction: bounds(scorer, direction) for direction in plan.directions}
    return Results(
        plan=plan,
        material=comparison.material,
        lines=tuple(lines),
        bounds=limits,
        not_shared={t.entry.label: t.not_shared for t in comparison.trainings if t.not_shared},
        protocol=tuple(protocol(comparison, _segmenter_words(comparison, scorer))),
    )


def _measured(folder: Path, scorer: Scorer, training: Training, direction: Direction, counting: Counting) -> Seeded:
    with counting(f"Measuring {training.name} {direction}") as count:
        measured = scorer.measure(run_of(folder, training), training.name, direction, count)
    return Seeded(training=training, measured=measured, cost=cost_of(folder, training))


def _segmenter_words(comparison: Comparison, scorer: Scorer) -> str | None:
    tasks = [task_of(comparison.material, direction) for direction in comparison.plan.directions]
    if isinstance(scorer.labeller, Segmenter):
        notice = scorer.labeller.notice_for(comparison.material.size)
        return "; ".join(part for part in (scorer.labeller.summary, notice) if part)
    if "labels_to_photos" in tasks:
        return "none: the training photos and label maps do not match by name, so there is nothing to train it on"
    return None


def _beyond(comparison: Comparison) -> str:
    """Return who sees a few images more, as batches are whole, in words; empty where nobody does."""
    images = comparison.plan.images
    more: dict[str, int] = {}
    for training in comparison.trainings:
        t = training.config.training
        each = t.batch_size * t.accumulate
        more[training.entry.label] = -(-images // each) * each
    told = [f"{label} {count:,}" for label, count in more.items() if count != images]
    return f" (in whole batches: {', '.join(told)})" if told else ""


def _schedule(training: TrainingConfig) -> str:
    """Return how the learning rate falls, in words."""
    total = training.epochs + training.decay_epochs
    if training.schedule == "constant":
        return "constant"
    if training.schedule != "linear":
        return f"{training.schedule} over {total} epoch{'s' if total > 1 else ''}"
    if not training.decay_epochs:
        return "constant"
    return f"constant for {training.epochs} of {total} epoch{'s' if total > 1 else ''}, then falling to zero"


def _told(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.removeprefix('method.')} = {value}" for name, value in settings.items())


def _value(document: object, name: str) -> object:
    for part in name.split("."):
        document = document[part] if isinstance(document, dict) else None
    return document
