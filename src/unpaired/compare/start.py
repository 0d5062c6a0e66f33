"""A comparison from beginning to end: opened, trained, measured, written down; what is done already is kept."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from unpaired import __version__
from unpaired.compare.document import SCORES, cost_table, with_tables, write
from unpaired.compare.measure import Measuring, read_fcn, task_of, train_or_read
from unpaired.compare.plan import Entry, Plan
from unpaired.compare.train import Outcome, carry_out, check_record, cost_of, images_done, keep_record, run_of, state_of
from unpaired.compare.trainings import Training, data_settings, needs_pairs, shared_settings, trainings_of
from unpaired.core.device import find_device
from unpaired.core.errors import UserError
from unpaired.core.files import check_out, locked
from unpaired.core.given import Given
from unpaired.data.directions import Direction, sides
from unpaired.data.folders import image_folders
from unpaired.data.held_out import Dataset, open_dataset
from unpaired.data.labels import VOID, decoded
from unpaired.data.training import Progress
from unpaired.evaluation.inputs import PARTS, part_of
from unpaired.evaluation.options import HeldOutPart
from unpaired.evaluation.segmentation.segmenter import Segmenter
from unpaired.methods import ImageShapes, find_method
from unpaired.metrics.features import has_lite0, open_features
from unpaired.models.folder import newest_checkpoint
from unpaired.report.results import ComparedDirection, ComparedMethod, MeasuredTraining, Published, made_now
from unpaired.report.results import Comparison as Document
from unpaired.report.results import Direction as Measured
from unpaired.training.config import TrainingConfig

Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""From a label to a bar that takes how many are done and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A comparison that has been found to be possible: plan, data and all trainings."""

    folder: Path
    plan: Plan
    places: Mapping[str, str]
    dataset: Dataset
    trainings: tuple[Training, ...]
    shared: Mapping[str, Any]
    """Settings that all entries share."""
    device: str


@dataclass(slots=True)
class Done:
    """What a comparison has come to."""

    outcome: Outcome
    document: Document | None = None
    """None where it was interrupted."""
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
    check_out(folder, reads=image_folders(shared.data), replaces=())
    trainings_of(plan, places, overrides, {False: 1, True: 1})  # settings are checked before thousands of images
    wanted = {entry.slug for entry in plan.chosen(only)}
    paired = any(entry.slug in wanted for entry in needs_pairs(plan, overrides))
    dataset = open_dataset(shared.data, paired=paired, one_size="a comparison", progress=progress)
    _require_classes(dataset, plan)
    if plan.fcn is not None:
        _fcn(plan, plan.fcn, dataset, torch.device("cpu"))
    images = max(len(dataset.train.a), len(dataset.train.b))
    aligned = open_dataset(shared.data, aligned=True, progress=progress).train.pairs if paired else ()
    epochs = {False: images, True: len(aligned) if paired else images}
    trainings = tuple(trainings_of(plan, places, overrides, epochs))
    for training in trainings:
        if training.entry.slug in wanted:
            _build(training, dataset, torch.device("meta"))
    return Comparison(
        folder=folder,
        plan=plan,
        places=places,
        dataset=dataset,
        trainings=trainings,
        shared=shared_settings(plan, overrides),
        device=shared.training.device,
    )


def described(comparison: Comparison, only: Sequence[str] = ()) -> str:
    """Return what will be trained with which settings, and what is there already: for `--dry-run`.

    Raises `UserError` where what is there was begun with other settings or data.
    """
    wanted = {entry.slug for entry in comparison.plan.chosen(only)}
    check_record(comparison.folder, comparison.dataset, comparison.trainings)
    lines = [comparison.plan.title, ""]
    lines += [f"{name}: {value}" for name, value in protocol(comparison)]
    for training in comparison.trainings:
        state = state_of(comparison.folder, training)
        done = images_done(comparison.folder, training)
        shown = {"new": "to be trained", "begun": f"{done:,} images done, to be resumed", "finished": "finished"}[state]
        if state != "finished" and training.entry.slug not in wanted:
            shown = "left out (--only)"
        config = training.config
        lines += ["", f"{training.name}: {shown}"]
        settings = _listed({name: _value(config.to_json(), name) for name in training.own})
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
    checkpoint: str | None = None,
    quiet: bool = False,
    say: Callable[[str], None],
    counting: Counting,
) -> Done:
    """Train what is to be trained, measure everything that is finished, and write table and page.

    `checkpoint` says which one of each training is measured: last, best or a number of images; by default the last and,
    beside it, the best. Both are measured on images that chose no checkpoint, where there are some. A signal during a
    training leaves all of it in a state from which the same call goes on. Raises `UserError`.
    """
    folder, plan = comparison.folder, comparison.plan
    wanted = {entry.slug for entry in plan.chosen(only)}
    chosen = [training for training in comparison.trainings if training.entry.slug in wanted]
    new = [each for each in chosen if state_of(folder, each) == "new"]
    for training in {each.entry.slug: each for each in reversed(new)}.values():  # the first of every entry
        _build(training, comparison.dataset, torch.device("cpu"))  # weights that it needs from elsewhere are there
    find_device(comparison.device)
    check_record(folder, comparison.dataset, comparison.trainings)  # before anything of another folder is touched
    with locked(folder):
        keep_record(folder, plan, comparison.dataset, comparison.trainings, chosen)
        outcome = carry_out(folder, chosen, quiet=quiet, say=say)
        unfinished = [each.name for each in comparison.trainings if state_of(folder, each) != "finished"]
        done = Done(outcome=outcome, unfinished=unfinished)
        if outcome.signal is not None:
            return done
        finished = [run_of(folder, each) for each in comparison.trainings if each.name not in unfinished]
        dataset, part = part_of(comparison.dataset, (newest_checkpoint(run)[0] for run in finished))
        measuring = _measuring(comparison, dataset, part, checkpoint, counting)
        done.document = _document(comparison, measuring, outcome, counting)
        done.written = write(done.document, folder)
        return done


def protocol(comparison: Comparison, measuring: Measuring | None = None) -> list[tuple[str, str]]:
    """Return how the comparison is done, as names and words."""
    plan, dataset = comparison.plan, comparison.dataset
    test, counts = (dataset if measuring is None else measuring.dataset).test, dataset.fingerprint
    assert dataset.size is not None
    height, width = dataset.size
    seeds = ", ".join(str(seed) for seed in plan.seeds)
    held_out = "test images" if dataset.test.taken_from == "test" else "training images, as there are no others"
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
        ("Shared settings", _listed(comparison.shared) or "none but the defaults"),
        ("Size", f"{height} x {width} pixels (height x width)"),
        ("Seeds", f"{seeds}; figures are means over seeds, ± one standard deviation" if len(plan.seeds) > 1 else seeds),
        ("Data", f"{', '.join(Path(place).name for place in comparison.places.values())}: {dataset.layout}"),
        ("Training images", f"{counts['train_a']:,} of A, {counts['train_b']:,} of B"),
        ("Measured on", f"{', '.join(f'{count[d]:,} ({d})' for d in count)} {held_out}{pairs}, {dataset.part}"),
    ]
    for side in ("a", "b"):
        labels = dataset.labels(side)
        if labels is not None:
            words.append((f"Domain {side.upper()}", labels.in_words()))
    if measuring is not None:
        segmenter = _segmenter_summary(comparison, measuring.segmenter)
        words += [("Segmenter", segmenter)] if segmenter else []
        words += [] if measuring.part is None else [("Part", PARTS[measuring.part])]
        words.append(("Checkpoint", f"the {measuring.checkpoint or 'last'} one of every training"))
    words.append(("Pictures", "rows evenly spread over the test images, of the first seed; none is chosen by its look"))
    versions = f"unpaired {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}"
    words.append(("Versions", versions))
    return words


# ----------------------------------------------------------------------------------------------------------- details


def _build(training: Training, dataset: Dataset, device: torch.device) -> None:
    """Build a method and drop it, to meet what does not fit before anything is trained; `meta` takes no memory."""
    domains = dataset.domains
    shapes = ImageShapes(channels_a=domains["a"].channels, channels_b=domains["b"].channels, size=dataset.size)
    method = find_method(training.config.method)
    try:
        settings, _ = method.adapt(training.config.settings, shapes, training.config.chosen_settings())
        with device:
            method(settings, shapes)
    except UserError as error:
        raise UserError(f'the entry "{training.entry.label}" cannot be trained: {error}') from error


def _require_classes(dataset: Dataset, plan: Plan) -> None:
    """Refuse label maps that hold void alone: nothing could be scored, which would come out after all trainings."""
    for direction in plan.directions:
        task = task_of(dataset, direction)
        if task is None:
            continue
        side = sides(direction)[0 if task == "labels_to_photos" else 1]
        labels = dataset.labels(side)
        assert labels is not None
        parts = {"measured on": (dataset.test, plan.test_images)}
        if task == "labels_to_photos" and dataset.train.pairs:
            parts["of the training"] = (dataset.train, None)
        for part, (images, most) in parts.items():
            places = (position for position, _ in images.positions(side, most))
            if not any((decoded(images.of(side)[place], labels) != VOID).any() for place in places):
                raise UserError(
                    f"the label maps {part} (domain {side.upper()}) hold void alone, so there is nothing to score. "
                    f"Check the files, and data.labels_{side}.void."
                )


def _measuring(
    comparison: Comparison, measured: Dataset, part: HeldOutPart | None, checkpoint: str | None, counting: Counting
) -> Measuring:
    """Return what measures; where label maps become photos, with a segmenter that is trained now or was before."""
    plan, dataset = comparison.plan, comparison.dataset
    segmenter: Segmenter | None = None
    wanted = [d for d in plan.directions if task_of(dataset, d) == "labels_to_photos"]
    if plan.fcn is not None:
        segmenter = _fcn(plan, plan.fcn, dataset, find_device(comparison.device))
    elif wanted and dataset.train.pairs:
        photos, device = sides(wanted[0])[1], find_device(comparison.device)
        with counting("Training the segmenter") as count:
            segmenter = train_or_read(comparison.folder, dataset, photos, plan.segmenter, device, progress=count)
    features = {"features": open_features("lite0", device=comparison.device)} if has_lite0() else {}
    return Measuring(
        folder=comparison.folder,
        dataset=measured,
        part=part,
        test_images=plan.test_images,
        pictures=plan.pictures,
        segmenter=segmenter,
        device=comparison.device,
        features=features,
        checkpoint=checkpoint,
    )


def _fcn(plan: Plan, place: str, dataset: Dataset, device: torch.device) -> Segmenter:
    """Return the segmenter that the plan names; UserError where it has nothing to label."""
    for direction in plan.directions:
        if task_of(dataset, direction) == "labels_to_photos":
            return read_fcn(place, dataset, sides(direction)[1], device)
    raise UserError(
        f"fcn = {place}: no direction of this comparison makes photos of label maps with paired test images, so there "
        "is nothing to label. Leave --fcn out, or say which images are label maps: --set data.labels_a.kind=index."
    )


def _document(comparison: Comparison, measuring: Measuring, outcome: Outcome, counting: Counting) -> Document:
    plan, dataset = comparison.plan, comparison.dataset
    directions = {}
    for direction in plan.directions:
        found = [_method(comparison, measuring, entry, direction, outcome, counting) for entry in plan.entries]
        methods = [(method, measured) for method, measured in found if method is not None]
        task = task_of(dataset, direction)
        inputs, targets = measuring.samples(direction)
        several = [measured for _, measured in methods if measured is not None]
        directions[direction] = with_tables(
            ComparedDirection(
                heading=measuring.task(direction).heading + (f": {task.replace('_', ' ')}" if task else ""),
                task=task,
                methods=tuple(method for method, _ in methods),
                bounds={} if not several else several[0].bounds,
                warnings=tuple(dict.fromkeys(warning for one in several for warning in one.warnings)),
                inputs=inputs,
                targets=targets,
            ),
            plan.source,
        )
    return Document(
        title=plan.title,
        description=plan.description.strip(),
        **made_now(),
        data={**dataset.fingerprint, "contents": dataset.contents, "layout": dataset.layout},
        notices=(*dataset.notices, *([f"measured on {PARTS['all']}"] if measuring.part == "all" else [])),
        protocol=dict(protocol(comparison, measuring)),
        tables=(cost_table(list(directions.values())),),
        directions=directions,
    )


def _method(
    comparison: Comparison,
    measuring: Measuring,
    entry: Entry,
    direction: Direction,
    outcome: Outcome,
    counting: Counting,
) -> tuple[ComparedMethod | None, Measured | None]:
    """Return what was found of an entry in one direction, and its first measured training; None where it has none."""
    folder = comparison.folder
    members = [t for t in comparison.trainings if t.entry == entry and direction in t.directions]
    if not members:
        return None, None
    trainings, missing, first = list[MeasuredTraining](), list[str](), None
    for training in members:
        if training.name in outcome.failed:
            missing.append(f"seed {training.seed} diverged ({outcome.failed[training.name].rstrip('.')})")
            continue
        if state_of(folder, training, thorough=True) != "finished":
            missing.append(f"seed {training.seed} is not trained yet")
            continue
        run = run_of(folder, training)
        with counting(f"Measuring {training.name} {direction}") as count:
            measured, checkpoint = measuring.measure(run, training.name, direction, count)
            selected = measuring.selected(run, training.name, direction, count)
        first = first or measured
        trainings.append(
            MeasuredTraining(
                name=training.name,
                seed=training.seed,
                checkpoint=checkpoint,
                figures=measured.figures,
                selected=selected,
                tables=measured.tables,
                cost=cost_of(run),
            )
        )
    task, config = task_of(comparison.dataset, direction), members[0].config
    published = next((each for each in entry.published if each.task == task and each.mark != "recalled"), None)
    return (
        ComparedMethod(
            label=entry.label,
            method=config.method,
            paired=members[0].paired,
            not_shared=members[0].not_shared,
            trainings=tuple(trainings),
            missing=tuple(missing),
            published=published
            and Published(
                values={name: value for name, value in asdict(published).items() if name in SCORES},
                mark="" if published.mark == "read" else published.mark,
            ),
            pictures=() if first is None else first.pictures,
        ),
        first,
    )


def _segmenter_summary(comparison: Comparison, segmenter: Segmenter | None) -> str | None:
    if segmenter is not None:
        size = comparison.dataset.size
        notice = segmenter.notice_for(size) if size else None
        return "; ".join(part for part in (segmenter.summary, notice) if part)
    if "labels_to_photos" in [task_of(comparison.dataset, direction) for direction in comparison.plan.directions]:
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
    listed = [f"{label} {count:,}" for label, count in more.items() if count != images]
    return f" (in whole batches: {', '.join(listed)})" if listed else ""


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


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.removeprefix('method.')} = {value}" for name, value in settings.items())


def _value(document: object, name: str) -> object:
    for part in name.split("."):
        document = document[part] if isinstance(document, dict) else None
    return document
