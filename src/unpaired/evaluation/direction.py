"""One direction of an evaluation: which measures it allows, and carrying them out in one pass over the images."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.data.values import Domain
from unpaired.evaluation.dataset import FILTER, NEAREST, SPLITS, Task
from unpaired.evaluation.distribution import Wanted, wanted_distances
from unpaired.evaluation.figures import DirectionResult, Fact, Figure
from unpaired.evaluation.labels import FcnScores, LabelScores
from unpaired.evaluation.metrics import Content, Gauge, Paired, Reconstruction, can_be_seen, edges
from unpaired.evaluation.networks import Tools
from unpaired.evaluation.options import DISTRIBUTION, Options
from unpaired.evaluation.sets import Sets
from unpaired.evaluation.statistics import Lens
from unpaired.evaluation.translations import Translators, batches
from unpaired.metrics.sliced import SMALLEST
from unpaired.metrics.structure import self_similarity

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """What is measured of one direction, and with what."""

    task: Task
    translators: Translators | None
    wanted: Wanted
    gauges: dict[str, Gauge]
    """By the name of the measure."""
    impossible: dict[str, str]
    """Why the other measures cannot be taken, by name."""

    @property
    def domains(self) -> tuple[Domain | None, Domain]:
        """The domains of inputs and translations."""
        made = self.task.made.domain if self.task.made is not None else self.task.real.domain
        return None if self.task.inputs is None else self.task.inputs.domain, made


def open_direction(task: Task, translators: Translators | None, options: Options, tools: Tools) -> Direction:
    """Choose the measures of one direction: those that were asked for or, by default, all that can be taken."""
    impossible = _why_not(task, translators, tools, options)

    def takes(name: str) -> bool:
        return options.allows(name) and name not in impossible

    gauges: dict[str, Gauge] = {}
    if takes("paired") or takes("lpips"):
        lpips = tools.lpips if takes("lpips") else None
        gauges["paired"] = Paired(task.real, lpips, takes("paired"))
    if task.inputs is not None:
        domains = (task.inputs.domain, task.real.domain if task.made is None else task.made.domain)
        if takes("structure_edges"):
            gauges["structure_edges"] = edges(domains, task.heading)
        lens = tools.lens("features")
        if takes("structure") and lens is not None:
            gauges["structure"] = _structure(lens, domains, task.heading)
        if takes("reconstruction"):
            gauges["reconstruction"] = Reconstruction(domains[0], domains[1], task.heading)
        if takes("fcn") and tools.segmenter is not None and task.inputs.domain.labels is not None:
            labels = task.inputs.domain.labels
            gauges["fcn"] = FcnScores(task, labels, task.real.domain, tools.segmenter, options.seed)
    if takes("labels") and task.real.domain.labels is not None:
        gauges["labels"] = LabelScores(task, task.real.domain.labels, options.seed)
    lenses = () if "features" in impossible else tools.lenses
    wanted = wanted_distances(options, lenses)
    if "swd" in impossible:
        wanted = Wanted(sliced=False, lenses=wanted.lenses)
    return Direction(task=task, translators=translators, wanted=wanted, gauges=gauges, impossible=impossible)


def measure(direction: Direction, options: Options, progress: Progress) -> DirectionResult:
    """Carry out the measures of one direction: the real images once, then every translation once."""
    task, heading = direction.task, direction.task.heading
    facts, warnings = protocol_of(direction, options), file_warnings(task)
    warnings += [f"{_NAMES.get(name, name)} is left out: {why}" for name, why in _worth_telling(direction, options)]
    sets = _sets(direction, options, progress)

    def told(done: int, total: int) -> None:
        progress(f"measuring {heading}", done, total)

    for batch in batches(task, direction.translators, options.batch_size, told):
        if sets is not None:
            sets.add(batch)
        for gauge in direction.gauges.values():
            gauge.add(batch)
    figures, bounds = list[Figure](), dict[str, tuple[Figure, ...]]()
    if sets is not None:
        progress(f"comparing {heading}", 0, 1)
        figures, set_bounds, set_warnings = sets.results(facts)
        bounds |= {name: tuple(found) for name, found in set_bounds.items()}
        warnings += set_warnings
    for gauge in direction.gauges.values():
        figures += gauge.figures(facts)
        warnings += gauge.warnings()
        for name, found in gauge.bounds(facts).items():
            bounds[name] = (*bounds.get(name, ()), *found)
    return DirectionResult(
        heading=heading,
        figures=tuple(figures),
        bounds=bounds,
        tables=tuple(table for gauge in direction.gauges.values() for table in gauge.tables()),
        pictures=tuple(one for gauge in direction.gauges.values() for one in gauge.pictures(task.direction)),
        warnings=tuple(dict.fromkeys(warnings)),
        reference_reused=sets is not None and sets.reference.whole.reused,
    )


def _sets(direction: Direction, options: Options, progress: Progress) -> Sets | None:
    """Begin to compare sets of images, with the statistics of the real ones; None where none is compared."""
    if not (direction.wanted.sliced or direction.wanted.used):
        return None
    return Sets(
        direction.task,
        direction.domains,
        direction.wanted,
        seed=options.seed,
        bounds=options.bounds,
        batch_size=options.batch_size,
        told=lambda done, total: progress(f"real images, {direction.task.heading}", done, total),
    )


def protocol_of(direction: Direction, options: Options) -> dict[str, Fact]:
    """Return what all figures of a direction depend on."""
    task, target = direction.task, direction.domains[1]
    facts: dict[str, Fact] = {
        "reference": f"{SPLITS[task.split]} of {_where(task)}",
        "reference_split": task.split,
        "reference_images": len(task.real.positions),
        "translations": len(task.rows),
        "size": f"{task.size[0]} x {task.size[1]}",
        "prepared": task.real.prepared,
        "resize_filter": f"{FILTER}; label maps: {NEAREST}" if _holds_labels(direction) else FILTER,
        "translations_are": _as_files(task, target),
        "reference_files": task.real.formats(),
        "input_files": None if task.inputs is None else task.inputs.formats(),
    }
    if direction.translators is not None:
        engine = direction.translators.forth.engine
        facts |= {"engine": str(engine), "device": str(direction.translators.forth.device)}
    return facts | {
        "seed": options.seed,
        "unpaired": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _holds_labels(direction: Direction) -> bool:
    return any(domain is not None and domain.labels is not None for domain in direction.domains)


def file_warnings(task: Task) -> list[str]:
    """Return what the files' formats do to the figures: JPEG's own marks count as a difference."""
    real, warnings = task.real.formats(), list[str]()
    if task.made is not None and "JPEG" in task.made.formats():
        warnings.append(
            "translations are JPEG files: what the compression changed is measured with them. Measure PNG files"
        )
    elif "JPEG" in real:
        which = "are JPEG files" if real == "JPEG" else f"are partly JPEG files ({real})"
        warnings.append(
            f"real images {which} and translations are not: marks of the compression count as a difference. Compare "
            "figures with those of the same files only"
        )
    if task.resized:
        warnings.append(
            f"images have different sizes; sets are compared at {task.size[0]} x {task.size[1]} (height x width), the "
            f"size that most translations have; others are brought to it ({FILTER}). --size sets another"
        )
    return warnings


def _structure(lens: Lens, domains: tuple[Domain, Domain], heading: str) -> Content:
    features = lens.features

    def distance(x: Tensor, y: Tensor) -> Tensor:
        of_x, of_y = features.maps(x), features.maps(y)
        assert of_x is not None
        assert of_y is not None
        if of_x.shape[-2] * of_x.shape[-1] < 2:
            raise UserError(
                f"structure: {features.name} has one position for an image of {x.shape[-2]} x {x.shape[-1]}, and "
                "self-similarity compares positions. Use larger images (--size), or leave structure out of --measures."
            )
        return self_similarity(of_x, of_y)

    facts = {
        "features": features.name,
        "features_fingerprint": features.fingerprint,
        "features_input": features.input,
        "method": "self-similarity of positions, mean squared difference",
    }
    return Content("structure", f"Structure distance ({features.name})", distance, facts, domains, heading)


_EDGES = 4
_NAMES = {"swd": "the sliced Wasserstein distance", "features": "every measure of features"}


def _why_not(task: Task, translators: Translators | None, tools: Tools, options: Options) -> dict[str, str]:
    """Return the measures that cannot be taken of a direction, each with the reason."""
    found: dict[str, str] = {}
    target = task.real.domain if task.made is None else task.made.domain
    if not task.has_truth:
        unknown = "it is not known which true image belongs to which translation"
        unknown += " (--paired says that names tell)" if task.direction == "folders" else ""
        found |= dict.fromkeys(("paired", "lpips", "labels"), unknown)
    if tools.lpips is None:
        found["lpips"] = found.get("lpips", "it was not asked for")
    elif target.channels not in (1, 3):
        found["lpips"] = f"images have {target.channels} channels, and its network sees grey or RGB"
    if task.inputs is None:
        found |= dict.fromkeys(("structure", "structure_edges"), "the inputs are not given (--input)")
    elif not can_be_seen([task.inputs.domain, target]):
        found |= dict.fromkeys(("structure", "structure_edges"), "inputs or translations are neither grey nor RGB")
    lens = tools.lens("features")
    if lens is None or not lens.features.gives_maps:
        found.setdefault("structure", "the features have no positions")
    if translators is None or translators.back is None:
        searches = translators is not None and translators.forth.search is not None
        found["reconstruction"] = (
            "the model translates by a search, and to search for what it found itself would tell little"
            if searches
            else "there is no way back"
        )
    if target.labels is None:
        found["labels"] = "translations are no label maps"
    if task.inputs is None or task.inputs.domain.labels is None or target.labels is not None:
        found["fcn"] = "it labels photos that were made of label maps, and this direction makes none"
    if target.channels not in (1, 3):
        found["features"] = f"images have {target.channels} channels, and feature networks see grey or RGB"
    smallest = min(min(size) for size in (task.real if task.made is None else task.made).sizes)
    if task.inputs is not None and smallest < _EDGES:
        found["structure_edges"] = f"edges need images of at least {_EDGES} x {_EDGES}"
    if min(task.size) < SMALLEST:
        found["swd"] = f"it needs images of at least {SMALLEST} x {SMALLEST}; these are {task.size[0]} x {task.size[1]}"
    if "features" in found:
        found |= {name: found["features"] for name in DISTRIBUTION if name != "swd"}
    return found


def _worth_telling(direction: Direction, options: Options) -> list[tuple[str, str]]:
    """Return what is left out although a reader expects it, and why."""
    told = [("swd", direction.impossible["swd"])] if "swd" in direction.impossible and options.allows("swd") else []
    if "features" in direction.impossible and (options.features is not None or options.wants_inception):
        told.append(("features", direction.impossible["features"]))
    return told


def _where(task: Task) -> str:
    """Return the domain or folder of the real images: the end of `A to B` and of `fake against real`."""
    return task.heading.rpartition(" against " if task.direction == "folders" else " ")[2]


def _as_files(task: Task, target: Domain) -> str:
    if task.made is not None:
        return f"files: {task.made.formats()}"
    if target.labels is not None:
        return "as files hold them: label maps, the nearest class of every pixel"
    if target.dtype == "float32":
        return "as TIFF files hold them: floats"
    return f"as PNG files hold them: {8 if target.dtype == 'uint8' else 16}-bit levels"
