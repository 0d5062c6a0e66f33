"""What a comparison was begun with: kept in its folder, and compared with what is asked for when it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unpaired.compare.plan import Plan
from unpaired.compare.trainings import Training
from unpaired.core.errors import UserError, option
from unpaired.core.files import read_json, require_new, write_atomic
from unpaired.core.given import flatten
from unpaired.data.held_out import Dataset
from unpaired.training.start import RESUMABLE

RECORD = "comparison.json"
FORMAT = "unpaired-comparison"
FREE = RESUMABLE - {"training.epochs", "training.decay_epochs", "training.max_images"}
"""Settings that may change while a comparison goes on: they change no figure."""


def check_record(folder: Path, dataset: Dataset, trainings: Sequence[Training]) -> dict[str, Any] | None:
    """Return the record of a folder, None for none, after comparing it with what is asked for now.

    `trainings` are all of the plan, also those left out for now (`--only`). New entries and seeds may be added, and
    the settings of `FREE` may change; raises `UserError` that names everything else that differs.
    """
    before = _read(folder)
    if before is None:
        require_new(folder, "It is not the folder of a comparison. Choose another --out.")
        return None
    data = _data(dataset)
    kept = {"contents": data["contents"], **before["data"]}  # older versions did not write down what files hold
    if kept != data:
        raise UserError(
            f"the data differs from that of the comparison in {folder}: {_differences(kept, data)}. Give the same "
            "images, or another --out."
        )
    for training in trainings:
        old, settings = before["trainings"].get(training.name), _asked(training)
        if old is not None and not _same(old, settings, training.config.chosen):
            raise UserError(
                f"{training.name} was begun with other settings in {folder}: {_differences(old, settings)}. Go on with "
                "those, or choose another --out."
            )
    return before


def keep_record(
    folder: Path, plan: Plan, dataset: Dataset, trainings: Sequence[Training], chosen: Sequence[Training]
) -> None:
    """Write down what is asked for of the `chosen` trainings; raises `UserError` as `check_record` does."""
    before = check_record(folder, dataset, trainings)
    document: dict[str, Any] = {
        "format": FORMAT,
        "format_version": 1,
        "title": plan.title,
        "data": _data(dataset),
        "trainings": {each.name: _asked(each) for each in chosen} | ({} if before is None else before["trainings"]),
    }
    if document != before:
        write_atomic(folder / RECORD, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def settings_by_name(training: Training) -> dict[str, Any]:
    """Return all settings of a training by dotted name."""
    return flatten(training.config.to_json())


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        document = read_json(folder / RECORD)
    except UserError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise UserError(f"{error} Choose another --out.") from error
    tables = [document.get("data"), trainings := document.get("trainings")]
    tables += trainings.values() if isinstance(trainings, dict) else []
    if document.get("format") != FORMAT or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{folder / RECORD} is not the record of a comparison. Choose another --out.")
    return document


def _asked(training: Training) -> dict[str, Any]:
    """Return the settings that a training must keep, by dotted name, as JSON has them."""
    kept = {name: value for name, value in settings_by_name(training).items() if name not in FREE and value is not None}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain


def _data(dataset: Dataset) -> dict[str, Any]:
    """Return what tells images from others."""
    return {**dataset.fingerprint, "contents": dataset.contents}


def _same(old: Mapping[str, Any], new: Mapping[str, Any], chosen: frozenset[str]) -> bool:
    """Whether settings agree; one that a newer version has and nobody has set is at its default."""
    later = {name for name in new if name not in old and name not in chosen}
    return {name: value for name, value in new.items() if name not in later} == dict(old)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first few settings that differ, in words."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    listed = [f"{option(name)} was {_shown(old.get(name))} and is now {_shown(new.get(name))}" for name in names[:4]]
    return "; ".join(listed) + (f"; and {len(names) - 4} more" if len(names) > 4 else "")


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
