"""What a run's folder holds, read once: settings, log, samples, checkpoints, what was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unpaired.core.errors import UserError
from unpaired.core.text import memory
from unpaired.models.best import BestCheckpoint, read_best
from unpaired.models.folder import CARD, CHECKPOINTS, DamagedError, checkpoints_of
from unpaired.report.image_grid import grids_of
from unpaired.report.measured import Measured, read_measured
from unpaired.report.run_curves import Curves, curves_of
from unpaired.report.run_log import METRICS, read_metrics
from unpaired.report.run_status import ENDINGS, Standing, standing_of

CONFIG = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The held-out images measured once while the training went on."""

    images: int
    values: Mapping[str, float]
    best: bool
    """Whether it was the best so far."""
    share: float | None
    """Of the training time that all evaluations had taken by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as the report tells of it."""

    number: int
    """1, 2, ...: how charts and tables call it."""
    name: str
    """Unlike the others'."""
    path: Path
    config: Mapping[str, Any]
    standing: Standing
    curves: Curves
    moments: Sequence[Moment]
    grids: Sequence[tuple[int, Path]]
    """Images seen and file of every sample grid."""
    checkpoints: Sequence[str]
    """Newest first."""
    best: int | None
    """Images seen by the best checkpoint, None where none was chosen."""
    best_kept: BestCheckpoint | None
    """`RUN/best`, and why it is the best."""
    device: str | None
    peak_memory: str | None
    versions: Mapping[str, str]
    """Of what wrote the newest checkpoint."""
    auditable: bool
    """Whether it has what an audit takes, a network for either direction; true where no checkpoint tells."""
    evaluations: Sequence[Measured]
    audits: Sequence[Measured]
    damage: Sequence[str]
    """One line on each file that could not be read, or that tells of another checkpoint than its place says."""

    @property
    def method(self) -> str | None:
        """Return the method's name."""
        section = self.config.get("method")
        name = section.get("name") if isinstance(section, Mapping) else None
        return name if isinstance(name, str) else None


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Return runs in the order given; `UserError` for what is no run, or is given twice."""
    for path in paths:
        _check(path)
    places = [path.resolve() for path in paths]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{paths[number]} is given twice. Give every run once.")
    names = _names(places)
    return [_read(number, name, path) for number, (name, path) in enumerate(zip(names, paths, strict=True), 1)]


def _check(path: Path) -> None:
    if not path.exists():
        raise UserError(f"there is no run at {path}. Give folders that `unpaired train` wrote.")
    if not path.is_dir():
        raise UserError(f"{path} is a file. A run is a folder that `unpaired train` wrote.")
    if not ((path / METRICS).is_file() or (path / CHECKPOINTS).is_dir() or _config(path)[0]):
        inner = sorted(folder.parent.name for folder in path.glob(f"*/{METRICS}"))
        remedy = f"It holds runs: give {path / inner[0]}" if inner else "Give folders that `unpaired train` wrote"
        more = f" or another of its {len(inner)} folders" if len(inner) > 1 else ""
        raise UserError(
            f"{path} is not a run: it holds no {CONFIG} of a training, no {METRICS} and no {CHECKPOINTS} folder. "
            f"{remedy}{more}."
        )


def _names(places: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that differ."""
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names


def _config(path: Path) -> tuple[dict[str, Any], str | None]:
    """Return a run's settings, and what is wrong with the file."""
    place = path / CONFIG
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, f"{place} is missing: the settings are not known."
    except (OSError, ValueError, RecursionError):
        return {}, f"{place} is damaged: the settings are not known."
    if not isinstance(config, dict) or not {"method", "training"} <= set(config):
        return {}, f"{place} does not hold the settings of a training: they are not known."
    return config, None


def _read(number: int, name: str, path: Path) -> Run:
    config, damage = _config(path)
    records = read_metrics(path)
    standing = standing_of(records, config)
    moments = _moments(records)
    best, bad_best = _best(path)
    versions, device, auditable, bad_checkpoints = _of_newest_checkpoint(path)
    evaluations, bad_evaluations = read_measured(path, "evaluation")
    audits, bad_audits = read_measured(path, "audit")
    endings = [entry for entry in standing.events if str(entry.get("event")) in ENDINGS]
    return Run(
        number=number,
        name=name,
        path=path,
        config=config,
        standing=standing,
        # Evaluations are not thinned: there are few, and the best of them is to be found.
        curves=curves_of([record for record in records if "evaluation" not in record]),
        moments=moments,
        grids=grids_of(path),
        checkpoints=[folder.name for folder in checkpoints_of(path)],
        best=best.images_seen if best else next((each.images for each in reversed(moments) if each.best), None),
        best_kept=best,
        device=device,
        peak_memory=next(filter(None, map(_peak_memory, reversed(endings))), None),
        versions=versions,
        auditable=auditable,
        evaluations=evaluations,
        audits=audits,
        damage=[
            line
            for line in (
                *(damage, bad_best, *bad_checkpoints, *bad_evaluations, *bad_audits),
                *_out_of_date(best, [*evaluations, *audits]),
            )
            if line
        ],
    )


def _peak_memory(ending: Mapping[str, Any]) -> str | None:
    count = ending.get("peak_memory_bytes")
    where = "GPU memory" if ending.get("device") == "cuda" else "memory"
    return f"{memory(count)} of {where}" if isinstance(count, int) else None


def _out_of_date(best: BestCheckpoint | None, measured: Sequence[Measured]) -> list[str]:
    """Return a line on what was measured of a `best` that a better checkpoint has replaced since."""
    return [
        f"{each.folder} is out of date: it was measured after {seen:,} images, and {best.path} is now the checkpoint "
        f"after {best.images_seen:,}. Measure it again."
        for each in measured
        if best is not None
        and each.name == best.path.name
        and isinstance(seen := (each.document.model or {}).get("images_seen"), int)
        and seen != best.images_seen
    ]


def _best(path: Path) -> tuple[BestCheckpoint | None, str | None]:
    try:
        return read_best(path), None
    except DamagedError as error:
        return None, str(error)


def _moments(records: Sequence[Mapping[str, Any]]) -> list[Moment]:
    moments = []
    for record in records:
        values, images = record.get("evaluation"), number(record.get("images"))
        if "event" in record or not isinstance(values, Mapping) or images is None:
            continue
        finite = {str(name): value for name, given in values.items() if (value := number(given)) is not None}
        share = number(record.get("evaluation_share"))
        moments.append(Moment(images=int(images), values=finite, best=record.get("best") is True, share=share))
    return moments


def number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and math.isfinite(value) else None  # type: ignore[arg-type]


def _of_newest_checkpoint(path: Path) -> tuple[dict[str, str], str | None, bool, list[str]]:
    """Return versions, device and whether an audit can be made, by the newest checkpoint, and what cannot be read."""
    for folder in checkpoints_of(path):
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            state = json.loads((folder / "training.json").read_text(encoding="utf-8"))
            versions = {str(name): str(version) for name, version in card["versions"].items()}
            device = state.get("device")
            families = [translator["network"]["family"] for translator in card.get("translators", {}).values()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}, None, True, [f"{folder} is damaged: device and versions are not known."]
        auditable = not families or (len(families) == 2 and "latent_search" not in families)
        return versions, str(device) if device else None, auditable, []
    return {}, None, True, []
