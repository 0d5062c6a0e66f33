"""An evaluation from what was asked for to its results document."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unpaired.core.device import find_device
from unpaired.core.errors import UserError
from unpaired.core.extensions import allow_extensions
from unpaired.core.files import real_path, require_outside
from unpaired.core.settings import option
from unpaired.data.folders import image_folders
from unpaired.evaluation.engine import Plan, Progress, measure, plan
from unpaired.evaluation.folders import open_folders
from unpaired.evaluation.inputs import PARTS, ModelInputs, open_model
from unpaired.evaluation.networks import Networks, Notice, open_networks
from unpaired.evaluation.options import Options
from unpaired.evaluation.protocol import Protocol
from unpaired.models.folder import find_model
from unpaired.models.loading import run_of
from unpaired.report.results import Direction, Evaluation, Model, Table, Value, made_now
from unpaired.report.verdict import with_verdict

EVALUATIONS = "evaluations"
"""Folder of a run that holds its evaluations, each named as its checkpoint."""
TRAINING_IMAGES = 500
"""Images of each domain that are measured where there are no test images, and nobody says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """Everything that is measured, and what is said of it."""

    plans: tuple[Plan, ...]
    model: Model | None
    data: dict[str, Any]
    last: tuple[Plan, ...] = ()
    """The same for the run's last checkpoint, where the best one is measured."""
    notices: list[str] = field(default_factory=list)


def evaluate(
    model: str | Path | Options | None = None,
    *,
    progress: Progress | None = None,
    notice: Notice | None = None,
    extensions: Sequence[str] = (),
    **options: Any,
) -> Evaluation:
    """Measure a model, or a folder of translations, and return the results; `result.write(folder)` keeps them.

        evaluate("runs/h2z", data="horse2zebra", metrics="swd,my.module:Mine")
        evaluate(real="testB", fake="translations", input="testA")

    `options` are the fields of `Options`, `extensions` the user's own parts that the model needs.
    Fails before anything slow is done. `notice` is called with what takes long
    before it begins, such as a download; without it that stands in the notices. Raises `UserError`.
    """
    allow_extensions(extensions)
    if "measures" in options:  # its former name
        options["metrics"] = options.pop("measures")
    if not isinstance(model, Options):
        model = Options(model=model, **options)
    return _evaluate(model, progress, notice)


def _evaluate(options: Options, progress: Progress | None, notice: Notice | None) -> Evaluation:
    notices: list[str] = []
    say = notice or notices.append
    find_device(options.device)  # a device that is missing is an error whatever is measured
    networks = open_networks(options, say)
    opened = (
        _open_folders(options, networks, progress)
        if options.model is None
        else _open_model(options, networks, progress)
    )
    _refuse_impossible(opened.plans, options)
    for chosen in opened.plans:
        if _searches(chosen):
            say(
                f"{chosen.task.heading}: this model translates by a search, which takes seconds to minutes for each of "
                f"{len(chosen.task.rows):,} images; {option('images')} measures fewer. Reconstructions are left out"
            )
    return Evaluation(
        command=options.command,
        **made_now(),
        model=opened.model,
        data=opened.data,
        directions={
            one.task.direction: _measured(one, last, progress)
            for one, last in itertools.zip_longest(opened.plans, opened.last)
        },
        notices=(*notices, *opened.notices),
    )


def _measured(chosen: Plan, last: Plan | None, progress: Progress | None) -> Direction:
    """Measure a direction; with `last`, also that of the run's last checkpoint, beside it in a table."""
    found = with_verdict(measure(chosen, progress=progress))
    if last is None:
        return found
    figures = measure(last, progress=progress).figures
    both = [(one, other) for one in found.figures for other in figures if one.name == other.name and not one.detail]
    table = Table(
        title="Selected and last checkpoint",
        columns=("metric", f"selected ({chosen.facts['checkpoint']})", f"last ({last.facts['checkpoint']})"),
        rows=tuple(
            (one.title, *(Value(value=each.value, error=each.error, unit=each.unit) for each in (one, other)))
            for one, other in both
        ),
    )
    return found.model_copy(update={"last": figures, "tables": (table, *found.tables)})


def settled(options: Options) -> tuple[Options, Path, list[str]]:
    """Return the options with a checkpoint in place of a run, the folder of the results, and notices of both.

    A checkpoint that a training saves meanwhile then changes neither what is measured nor where it is kept. Raises
    `UserError` where there is no place for the results.
    """
    notices: list[str] = []
    if options.model is not None:
        folder, notices = find_model(options.model, options.checkpoint)
        options = replace(options, model=folder, checkpoint=None)
    return options, _place(options), list(notices)


def _place(options: Options) -> Path:
    """Return the folder of the results: `out`, or that of the run; `UserError` where there is neither."""
    if options.out is not None:
        places = [Path(place) for place in (options.real, options.fake, options.input) if place is not None]
        reads = [place.parent if glob.has_magic(place.name) else place for place in places]
        out = Path(os.path.expanduser(options.out))
        pictures = [path.name for path in out.glob("*_*.png")] if out.is_dir() else []
        return Evaluation.check_out(out, pictures, reads=reads)
    if options.model is None:
        raise UserError(f"{option('out')} is missing: the folder that figures and pictures are to be written to.")
    folder = Path(options.model)
    run = run_of(folder)
    if run is None:
        raise UserError(
            f"{option('out')} is missing: {folder} belongs to no run, so it is not clear where the results go. "
            "Name a folder."
        )
    return run / EVALUATIONS / real_path(folder).name


# ------------------------------------------------------------------------------------------------------------ opening


def _open_folders(options: Options, networks: Networks, progress: Progress | None) -> _Opened:
    task, notices = open_folders(options, progress)
    assert task.fakes is not None
    sets = {"real": (options.real, task.real), "fake": (options.fake, task.fakes)}
    if task.inputs is not None:
        sets["input"] = (options.input, task.inputs)
    data = {
        **{name: str(place) for name, (place, _) in sets.items()},
        "split": "folder",
        "images": {name: len(images.positions) for name, (_, images) in sets.items()},
        "contents": {name: images.contents() for name, (_, images) in sets.items()},
    }
    chosen = plan(task, options.chosen, networks=networks, protocol=options.protocol, asked=_asked(options))
    return _Opened(plans=(chosen,), model=None, data=data, notices=notices)


def _open_model(options: Options, networks: Networks, progress: Progress | None) -> _Opened:
    assert options.model is not None
    opened = open_model(
        options.model,
        checkpoint=options.checkpoint,
        data=options.data,
        direction=options.direction,
        size=options.image_size,
        translate_size=options.translate_size,
        steps=options.steps,
        on_bad_image=options.on_bad_image,
        max_pixels=options.max_pixels,
        back=any(metric.group == "reconstruction" for metric in options.chosen),
        part=options.part,
        device=options.device,
        engine=options.engine,
        precision=options.precision,
        progress=progress,
    )
    if options.out is not None:
        require_outside(Path(options.out), image_folders(opened.config))
    _require_fitting(networks, opened)
    images, notices = options.images, list(opened.notices)
    test = opened.dataset.test
    if images is None and test.taken_from == "train" and max(len(test.a), len(test.b)) > TRAINING_IMAGES:
        images = TRAINING_IMAGES
        notices.append(
            f"at most {images} training images of each domain are measured, spread evenly; {option('images')} measures "
            "more or fewer"
        )
    part = opened.data.get("part")
    if part is not None and options.part == "report":
        notices.append(f"measured on {PARTS[part]}")

    def plans(inputs: ModelInputs, protocol: Protocol) -> tuple[Plan, ...]:
        return tuple(
            plan(
                inputs.task(direction, images),
                options.chosen,
                translators=inputs.ways(direction),
                networks=networks,
                protocol=protocol,
                asked=_asked(options),
                facts=inputs.facts(direction),
            )
            for direction in inputs.directions
        )

    last = opened.last() if options.last else None
    return _Opened(
        plans=plans(opened, options.protocol),
        model=opened.model,
        data=opened.data,
        last=() if last is None else plans(opened.at(last), replace(options.protocol, bounds=False, pictures=False)),
        notices=notices,
    )


def _require_fitting(networks: Networks, opened: ModelInputs) -> None:
    """Raise `UserError` where the segmenter names other classes, or takes other photos, than those of a direction."""
    for direction in opened.directions if networks.segmenter is not None else ():
        source, target = opened.card.domains_of(direction)
        if source.labels is not None and target.labels is None and networks.segmenter is not None:
            networks.segmenter.require_fitting(source.labels, target.channels)


def _searches(chosen: Plan) -> bool:
    forward = None if chosen.translators is None else chosen.translators.forward
    return getattr(forward, "search", None) is not None


def _asked(options: Options) -> list[str]:
    return [] if options.named is None else [metric.name for metric in options.chosen]


def _refuse_impossible(plans: Sequence[Plan], options: Options) -> None:
    """Raise `UserError` for a metric asked for by name that no direction allows, and where nothing can be measured."""
    for name, metrics in (options.named or {}).items():
        if not any(metric in chosen.metrics for metric in metrics for chosen in plans):
            reasons = "; ".join(f"{one.task.heading}: {one.left_out[metrics[0].name]}" for one in plans)
            raise UserError(f"{name} cannot be measured here: {reasons}. Leave it out of {option('metrics')}.")
    given = {
        "fcn": (options.fcn, "fcn"),
        "lpips": (options.lpips, "lpips"),
        "features": (options.features, "frechet"),
        "inception": (options.inception, "fid"),
    }
    for setting, (value, name) in given.items():
        found = [one.left_out[name] for one in plans if name in one.left_out]
        if value is not None and len(found) == len(plans):
            raise UserError(f"{option(setting)}: {found[0]}. Leave it out.")
    if not any(one.metrics for one in plans):
        reasons = "; ".join(sorted({reason for one in plans for reason in one.left_out.values()}))
        raise UserError(f"nothing can be measured: {reasons}.")
