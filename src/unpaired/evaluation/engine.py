"""The one evaluation engine: asks metrics what they need, streams the images once, and computes.

    chosen = plan(task, METRICS.values(), translators=translators, networks=networks, protocol=FULL)
    direction = measure(chosen)      # figures, bounds, tables, pictures, and one sentence for each metric left out

`unpaired evaluate`, evaluation during training, `compare` and `audit` are its clients. They differ in the images and in
the `Protocol`; a metric of one name computes the same in all of them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from unpaired import __version__
from unpaired.core.settings import option
from unpaired.evaluation.dataset import FILTER, NEAREST, SPLITS, Batch, Task
from unpaired.evaluation.metrics.base import Context, Metric, Need, SetMetric, feature_network
from unpaired.evaluation.metrics.classes import target_side
from unpaired.evaluation.networks import Networks
from unpaired.evaluation.protocol import FULL, Protocol
from unpaired.evaluation.statistics import Reference, Request, Sets, reference_statistics
from unpaired.evaluation.translations import Translators, batches
from unpaired.models.outputs import default_format
from unpaired.report.results import Direction, Fact, Figure

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
_OF_SETS = {Need.PATCHES, Need.COLOURS, Need.FEATURES}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured of one direction, and with what."""

    context: Context
    metrics: tuple[type[Metric], ...]
    left_out: Mapping[str, str]
    """Why the other metrics are left out, by name."""
    notes: tuple[str, ...]
    """One sentence for each metric that a reader expects and that is left out."""
    translators: Translators | None = None
    """None where translations lie in a folder, or come as `stream`."""
    stream: Callable[[], Iterable[Batch]] | None = None
    """Batches of translations that come from elsewhere."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What all figures depend on beside the images, such as the engine."""

    @property
    def task(self) -> Task:
        """What the direction is measured on."""
        return self.context.task


def plan(
    task: Task,
    metrics: Iterable[type[Metric]],
    *,
    translators: Translators | None = None,
    networks: Networks | None = None,
    protocol: Protocol = FULL,
    asked: Collection[str] = (),
    stream: Callable[[], Iterable[Batch]] | None = None,
    facts: Mapping[str, Fact] | None = None,
) -> Plan:
    """Choose those of the metrics that can be computed of a direction; nothing is computed yet.

    `asked` are the names of metrics that somebody asked for, so that it is said where one is left out.
    """
    context = Context(task=task, networks=networks or Networks(), protocol=protocol)
    back = translators is not None and translators.backward is not None
    chosen, left_out, notes = list[type[Metric]](), dict[str, str](), list[str]()
    for metric in metrics:
        reasons = (_missing(need, metric, context, back) for need in Need if need in metric.needs)
        missing = next((reason for reason in reasons if reason), None)
        unfit = None if missing else _unfit(metric, context)
        if missing is None and unfit is None:
            chosen.append(metric)
            continue
        left_out[metric.name] = missing or unfit or ""
        if metric.name in asked or (unfit and not metric.quiet):
            notes.append(f"{metric.title} is left out: {left_out[metric.name]}")
    return Plan(
        context=context,
        metrics=tuple(chosen),
        left_out=left_out,
        notes=tuple(notes),
        translators=translators,
        stream=stream,
        facts=facts or {},
    )


def measure(chosen: Plan, *, progress: Progress | None = None, reference: Reference | None = None) -> Direction:
    """Compute the metrics of one direction: the real images are read once, then every translation once.

    Memory does not grow with the number of images. `reference` are statistics of the real images that are at hand, of
    `open_reference`. Raises `UserError` where translations are not finite or a network refuses the images.
    """
    task, protocol = chosen.task, chosen.context.protocol
    say = progress or _silent
    sets, context = None, chosen.context
    if any(_OF_SETS & metric.needs for metric in chosen.metrics):
        sets = Sets(task, _request(chosen), reference or open_reference(chosen, progress=progress))
        context = replace(context, sets=sets)
    metrics = [metric(context) for metric in chosen.metrics]
    plain = [metric(context) for metric in chosen.metrics if _is_bounded_by_input(metric, task, protocol)]
    _show_real(metrics, task, protocol)
    done, total = 0, len(task.rows)
    for batch in _stream(chosen):
        if sets is not None:
            sets.add(batch)
        for metric in metrics:
            metric.update(batch)
        for metric in plain:
            metric.update(batch.untranslated)
        done += len(batch.rows)
        say(f"measuring {task.heading}", done, total)
    say(f"comparing {task.heading}", 0, 1)
    return _result(chosen, metrics, plain, sets)


def open_reference(chosen: Plan, *, cached: bool = True, progress: Progress | None = None) -> Reference:
    """Return the statistics of the real images that a plan needs, from the user's cache where `cached` allows it."""
    task, say = chosen.task, progress or _silent
    return reference_statistics(
        task.real,
        task.size,
        _request(chosen),
        cached=cached,
        progress=lambda done, total: say(f"real images, {task.heading}", done, total),
    )


def protocol_facts(chosen: Plan) -> dict[str, Fact]:
    """Return what all figures of a direction depend on."""
    task, protocol = chosen.task, chosen.context.protocol
    domains = [task.target, *([task.inputs.domain] if task.inputs is not None else [])]
    labels = any(domain.labels is not None for domain in domains)
    return {
        "protocol": protocol.name,
        "reference": f"{SPLITS[task.split]} of {task.target_name}",
        "reference_split": task.split,
        "reference_images": len(task.real.positions),
        "translations": len(task.rows),
        "size": f"{task.size[0]} x {task.size[1]}",
        "prepared": task.real.prepared,
        "resize_filter": f"{FILTER}; label maps: {NEAREST}" if labels else FILTER,
        "translations_are": _as_files(task),
        "reference_files": task.real.formats(),
        "input_files": None if task.inputs is None else task.inputs.formats(),
        **chosen.facts,
        "seed": protocol.seed,
        "unpaired": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


# ------------------------------------------------------------------------------------------------------- choosing


def _missing(need: Need, metric: type[Metric], context: Context, back: bool) -> str | None:
    """Return why a need is not met; None where it is."""
    task, networks = context.task, context.networks
    source = None if task.inputs is None else task.inputs.domain
    reasons = {
        Need.INPUT: (task.inputs is not None, f"the inputs are not given ({option('input')})"),
        Need.TARGET: (
            task.has_truth,
            "it is not known which true image belongs to which translation"
            + (f" ({option('paired')} says that names tell)" if task.direction == "folders" else ""),
        ),
        Need.RECONSTRUCTION: (
            back,
            "the model translates in one direction only, or by a search, so there are no reconstructions",
        ),
        Need.FEATURES: (
            feature_network(metric, networks) is not None,
            f"Inception's weights are not at hand ({option('inception')})"
            if metric.network == "inception"
            else f"no feature network is given ({option('features')})",
        ),
        Need.MAPS: (
            (network := feature_network(metric, networks)) is not None and network.gives_maps,
            f"no feature network with features of positions is given ({option('features')})",
        ),
        Need.LPIPS: (networks.lpips is not None, f"it was not asked for ({option('lpips')})"),
        Need.LABELS: (task.target.labels is not None, "translations are no label maps"),
        Need.SEGMENTER: (
            source is not None and source.labels is not None and task.target.labels is None,
            "it labels photos that were made of label maps, and this direction makes none",
        ),
    }
    met, reason = reasons.get(need, (True, ""))
    if need is Need.CLASSIFIER and (
        networks.classifier is None or target_side(context) not in networks.classifier.names
    ):
        return f"no class is given ({option('classes')})"
    if met and need is Need.SEGMENTER and networks.segmenter is None:
        return f"no segmenter is given ({option('fcn')})"
    return None if met else reason


def _unfit(metric: type[Metric], context: Context) -> str | None:
    """Return why the images do not fit a metric whose needs are met; None where they do."""
    task = context.task
    channels = task.target.channels
    if metric.needs & {Need.FEATURES, Need.MAPS, Need.CLASSIFIER} and channels not in (1, 3):
        return f"images have {channels} channels, and feature networks see grey or RGB"
    sizes = [task.size] if issubclass(metric, SetMetric) else task.fake_sizes
    height, width = min(sizes, key=min)
    if min(height, width) < metric.smallest:
        return f"it needs images of at least {metric.smallest} x {metric.smallest}; there is one of {height} x {width}"
    return metric.unavailable(context)


# ---------------------------------------------------------------------------------------------------------- computing


def _request(chosen: Plan) -> Request:
    networks = chosen.context.networks
    seen = [feature_network(metric, networks) for metric in chosen.metrics if Need.FEATURES in metric.needs]
    return Request(
        patches=any(Need.PATCHES in metric.needs for metric in chosen.metrics),
        colours=any(Need.COLOURS in metric.needs for metric in chosen.metrics),
        networks={key: network for key, network in networks.features.items() if network in seen},
        protocol=chosen.context.protocol,
    )


def _is_bounded_by_input(metric: type[Metric], task: Task, protocol: Protocol) -> bool:
    return metric.untranslated and protocol.bounds and task.comparable and not issubclass(metric, SetMetric)


def _show_real(metrics: Sequence[Metric], task: Task, protocol: Protocol) -> None:
    asking = [metric for metric in metrics if Need.REAL in metric.needs]
    if asking:
        for images in task.real.batches(task.size, protocol.batch_size):
            for metric in asking:
                metric.update_real(images)


def _stream(chosen: Plan) -> Iterable[Batch]:
    if chosen.stream is not None:
        return chosen.stream()
    back = any(Need.RECONSTRUCTION in metric.needs for metric in chosen.metrics)
    return batches(chosen.task, chosen.translators, chosen.context.protocol, back=back)


def _result(chosen: Plan, metrics: Sequence[Metric], plain: Sequence[Metric], sets: Sets | None) -> Direction:
    facts = protocol_facts(chosen)
    figures, bounds = list[Figure](), dict[str, tuple[Figure, ...]]()
    for metric in metrics:
        figures += _with(facts, metric.compute())
        for name, found in metric.bounds().items():
            bounds[name] = (*bounds.get(name, ()), *_with(facts, found))
    for metric in plain:
        bounds["untranslated"] = (*bounds.get("untranslated", ()), *_with(facts, metric.compute()))
    warnings = [*file_warnings(chosen.task), *chosen.notes]
    warnings += [warning for metric in metrics for warning in metric.warnings()]
    return Direction(
        heading=chosen.task.heading,
        figures=tuple(figures),
        bounds=bounds,
        tables=tuple(table for metric in metrics for table in metric.tables()),
        pictures=tuple(picture for metric in metrics for picture in metric.pictures()),
        warnings=tuple(dict.fromkeys(warnings)),
        reference_reused=sets is not None and sets.reference.reused,
    )


def _with(facts: Mapping[str, Fact], found: Figure | Sequence[Figure]) -> list[Figure]:
    """Return figures with the protocol that all of a direction share."""
    figures = [found] if isinstance(found, Figure) else found
    return [one.model_copy(update={"protocol": {**facts, **one.protocol}}) for one in figures]


def file_warnings(task: Task) -> list[str]:
    """Return what the files' formats do to the figures: JPEG's own marks count as a difference."""
    real, warnings = task.real.formats() or "", list[str]()
    if task.fakes is not None and "JPEG" in (task.fakes.formats() or ""):
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
            f"size that most translations have; others are resized to it ({FILTER}). {option('size')} sets another"
        )
    return warnings


def _as_files(task: Task) -> str:
    if task.fakes is not None:
        return f"files: {task.fakes.formats()}"
    if task.target.labels is not None:
        return "as files hold them: label maps, the nearest class of every pixel"
    kind = default_format(task.target)
    levels = {"uint8": "8-bit levels", "uint16": "16-bit levels", "float32": "floats"}.get(task.target.dtype)
    span = task.target.range
    values = "" if span is None else f", {span[0]:g} to {span[1]:g} {task.target.unit}".rstrip()
    return f"as {'PNG' if kind == 'png' else 'TIFF'} files hold them: {levels or 'signed 16-bit levels'}{values}"


def _silent(_: str, __: int, ___: int) -> None:
    """Report to nobody."""
