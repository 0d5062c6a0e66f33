"""An evaluation from what was asked for to its result and the files that hold it."""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unpaired import __version__
from unpaired.core.device import find_device
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.data.directions import DIRECTIONS
from unpaired.evaluation.dataset import Task, model_task, open_model_data, run_of
from unpaired.evaluation.direction import Direction, Progress, measure, open_direction
from unpaired.evaluation.figures import FILE, Evaluation
from unpaired.evaluation.folders import open_folders
from unpaired.evaluation.networks import Say, Tools, open_tools
from unpaired.evaluation.options import Options
from unpaired.evaluation.translations import Translators
from unpaired.models.folder import ModelCard, find_model, read_card
from unpaired.models.loading import load_generator
from unpaired.models.translator import Translator

EVALUATIONS = "evaluations"
"""Folder of a run that holds its evaluations, each named as its checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """Everything that is measured, and what is told of it."""

    directions: tuple[Direction, ...]
    model: dict[str, Any] | None
    data: dict[str, Any]
    notices: list[str] = field(default_factory=list)


def evaluate(options: Options, *, progress: Progress | None = None, say: Say | None = None) -> Evaluation:
    """Measure a model, or a folder of translations, and return the figures; nothing is written but the user's cache.

    What cannot be had is said before anything slow is done. `say` is told of what takes long before it is begun, such
    as a download; without it that stands in the notices. Raises `UserError`.
    """
    told = progress or _silent
    notices: list[str] = []
    find_device(options.device)  # one that is not there is told whatever is measured
    tools = open_tools(options, say or notices.append)
    opened = _open_folders(options, tools, told) if options.model is None else _open_model(options, tools, told)
    _refuse_impossible(opened.directions, options)
    for one in opened.directions:
        if one.translators is not None and one.translators.forth.search is not None:
            (say or notices.append)(
                f"{one.task.heading}: this model translates by a search, which takes seconds to minutes for each of "
                f"{len(one.task.rows):,} images; --images measures fewer. There and back is left out"
            )
    results = {one.task.direction: measure(one, options, told) for one in opened.directions}
    return Evaluation(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=options.command,
        versions={"unpaired": __version__, "torch": torch.__version__, "python": platform.python_version()},
        model=opened.model,
        data=opened.data,
        directions=results,
        notices=(*notices, *opened.notices),
    )


def settled(options: Options) -> tuple[Options, list[str]]:
    """Return the options with the newest checkpoint in place of a run, and notices of damaged ones passed over.

    A checkpoint that a training saves meanwhile then changes neither what is measured nor where it is kept.
    """
    if options.model is None:
        return options, []
    folder, notices = find_model(options.model)
    return replace(options, model=folder), list(notices)


def place_of(options: Options) -> Path:
    """Return the folder of the results: `--out`, or that of the run; `UserError` where there is neither."""
    if options.out is not None:
        place = Path(options.out).expanduser()
        if place.exists() and not place.is_dir():
            raise UserError(f"--out {place} is a file. Give a folder.")
        return place
    if options.model is None:
        raise UserError("--out is missing: the folder that the figures and pictures are to be written to.")
    folder, _ = find_model(options.model)
    run = run_of(folder)
    if run is None:
        raise UserError(
            f"--out is missing: {folder} belongs to no run, so it is not clear where the figures and pictures go. Name "
            "a folder."
        )
    return run / EVALUATIONS / folder.resolve().name


def keep(evaluation: Evaluation, folder: Path) -> Path:
    """Write `evaluation.json` and its pictures, in place of those of an earlier evaluation; return the JSON's path.

    The JSON is written last and whole, so it never names a picture that is not there. Raises `UserError` where the
    folder cannot be written.
    """
    path = folder / FILE
    pictures = [picture for found in evaluation.directions.values() for picture in found.pictures]
    earlier = _pictures_of(path)
    for picture in pictures:
        write_atomic(folder / picture.file, picture.content, then="evaluate again")
    write_atomic(path, evaluation.to_bytes(), then="evaluate again")
    for name in earlier - {picture.file for picture in pictures}:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    return path


def _pictures_of(path: Path) -> set[str]:
    """Return the files of the pictures that an earlier evaluation wrote; none where it cannot be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        named = {one["file"] for found in document["directions"].values() for one in found["pictures"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
    return {name for name in named if isinstance(name, str) and Path(name).name == name and name.endswith(".png")}


def _silent(_: str, __: int, ___: int) -> None:
    """Tell nobody."""


# ------------------------------------------------------------------------------------------------------------ opening


def _open_folders(options: Options, tools: Tools, progress: Progress) -> _Opened:
    task, notices = open_folders(options, progress)
    assert task.made is not None
    data: dict[str, Any] = {
        "real": str(options.real),
        "fake": str(options.fake),
        "split": "folder",
        "images": {"real": len(task.real.positions), "fake": len(task.made.positions)},
        "contents": {"real": task.real.contents(), "fake": task.made.contents()},
    }
    if task.inputs is not None:
        data["input"] = str(options.inputs)
        data["images"]["input"] = len(task.inputs.positions)
        data["contents"]["input"] = task.inputs.contents()
    direction = open_direction(task, None, options, tools)
    return _Opened(directions=(direction,), model=None, data=data, notices=notices)


def _open_model(options: Options, tools: Tools, progress: Progress) -> _Opened:
    assert options.model is not None
    folder, notices = find_model(options.model)
    card = read_card(folder)
    names = [name for name in DIRECTIONS if name in card.translators]
    wanted: list[str] = list(names) if options.direction == "both" else [options.direction]
    translators, fingerprints = _translators(folder, wanted, [*names], options)
    held_out, config = open_model_data(folder, card, options, progress)
    multiple = 1 if run_of(folder) is None else 4
    tasks = [model_task(name, held_out, config, card, options, multiple) for name in wanted]
    if tools.segmenter is not None:
        _require_fitting(tools, tasks)
    run = run_of(folder)
    return _Opened(
        directions=tuple(open_direction(task, translators[task.direction], options, tools) for task in tasks),
        model=_described(folder, card, fingerprints, str(options.model)),
        data={
            "root": str(options.data) if options.data is not None else config.root or f"{config.a} and {config.b}",
            "split": held_out.taken_from,
            "images": {side: len(files) for side, files in sorted(held_out.files.items())},
            "contents": {side: held_out.contents(side) for side in ("a", "b")},
            "layout": held_out.layout,
            "run": None if run is None else str(run),
        },
        notices=[*notices, *held_out.notices],
    )


def _translators(
    folder: Path, wanted: list[str], there: list[str], options: Options
) -> tuple[dict[str, Translators], dict[str, str]]:
    """Return the way forth and back for every direction, and the fingerprints of the networks."""
    opened, fingerprints = dict[str, Translator](), dict[str, str]()
    needed = list(dict.fromkeys([*wanted, *there])) if options.allows("reconstruction") else wanted
    for name in needed:
        loaded = load_generator(folder, name)
        opened[name] = Translator(
            loaded.network,
            loaded.card,
            loaded.direction,
            device=options.device,
            engine=options.engine,
            precision=options.precision,
            fingerprint=loaded.fingerprint,
        )
        fingerprints[name] = loaded.fingerprint
    ways = {}
    for name in wanted:
        back = opened.get("b2a" if name == "a2b" else "a2b")
        # A search takes seconds for an image, and to search for what it has found itself would tell little.
        searches = opened[name].search is not None
        ways[name] = Translators(forth=opened[name], back=None if searches else back)
    return ways, fingerprints


def _require_fitting(tools: Tools, tasks: list[Task]) -> None:
    """Raise `UserError` where the segmenter names other classes, or takes other photos, than those of a direction."""
    assert tools.segmenter is not None
    for task in tasks:
        if task.inputs is None or task.inputs.domain.labels is None or task.real.domain.labels is not None:
            continue
        tools.segmenter.require_fitting(task.inputs.domain.labels, task.real.domain.channels)


def _described(folder: Path, card: ModelCard, fingerprints: dict[str, str], path: str) -> dict[str, Any]:
    return {
        "path": path,
        "checkpoint": folder.resolve().name,
        "images_seen": card.images_seen,
        "method": card.method,
        "origin": card.origin,
        "fingerprints": fingerprints,
    }


def _refuse_impossible(directions: tuple[Direction, ...], options: Options) -> None:
    """Raise `UserError` for a measure asked for by name that no direction allows, and where nothing can be measured."""
    for name in options.measures or ():
        reasons = {one.impossible.get(name) for one in directions}
        if None not in reasons:
            told = "; ".join(f"{one.task.heading}: {one.impossible[name]}" for one in directions)
            raise UserError(f"{name} cannot be measured here: {told}. Leave it out of --measures.")
    given = {
        "--fcn": ("fcn", options.fcn),
        "--lpips": ("lpips", options.lpips),
        "--features": ("features", options.features),
        "--inception": ("features", options.inception),
    }
    for option, (name, value) in given.items():
        if value is not None and all(name in one.impossible for one in directions):
            raise UserError(f"{option}: {directions[0].impossible[name]}. Leave it out.")
    if not any(one.gauges or one.wanted.sliced or one.wanted.used for one in directions):
        told = "; ".join(sorted({reason for one in directions for reason in one.impossible.values()}))
        raise UserError(f"nothing can be measured: {told}.")
