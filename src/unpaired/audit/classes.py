"""Whether a translator adds or removes content: the classes of its inputs compared with those of its translations.

A translator that matches a distribution shows what the target shows, also where the input does not (Cohen et al. 2018,
arXiv:1805.08841; Wu et al. 2024). Domains of label maps say what their images show; photos are labelled by a segmenter.
A class is in an image from `LEAST` of its pixels on. Invented are the pixels of a translation whose class is not in the
input; lost are those of an input whose class is not in the translation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unpaired.audit.charts import displayed
from unpaired.audit.findings import mean_of
from unpaired.audit.inputs import Asked
from unpaired.audit.measure import Values, batches, partner_of
from unpaired.audit.planted_findings import other_model
from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import listing, percent
from unpaired.data.directions import Side, sides
from unpaired.data.labels import Labels, classes_of, paint
from unpaired.data.values import Domain
from unpaired.evaluation.segmentation.segmenter import Segmenter, class_name
from unpaired.report.image_grid import Picture as Pixels
from unpaired.report.image_grid import grid, png, stack
from unpaired.report.results import Check, Figure, Picture, Table, Value

LEAST = 0.005
"""Share of an image's pixels from which on a class is in it; less is the roughness of borders."""
SHOWN = 4
"""Images shown: those with the most invented and lost pixels."""
NOTABLE = 0.05
"""Share of the images from which on the verdict speaks of invented or lost content."""
ADDED, REMOVED = (222, 40, 60), (40, 90, 222)
"""Colours of invented and lost pixels."""
Classes = NDArray[np.uint8]
"""[N, H, W], the class of every pixel."""
Labeller = Callable[[Tensor], Classes]
"""Images [N, C, H, W] in [-1, 1] to their classes."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What was counted of each image, [N, classes], as shares of its pixels."""

    source: Values
    """Classes of the inputs."""
    translated: Values
    added: Values
    """Pixels that have the class in the translation, and another in the input."""
    removed: Values

    @property
    def parts(self) -> dict[str, Values]:
        """The invented and the lost pixels of each class."""
        return {
            "invented": np.where(self.source < LEAST, self.translated, 0),
            "lost": np.where(self.translated < LEAST, self.source, 0),
        }


def compared(before: Classes, after: Classes, count: int) -> Changes:
    """Return what changed from `before` to `after`, both [N, H, W], of `count` classes."""
    changed = before != after
    pairs = ((before, None), (after, None), (after, changed), (before, changed))
    return Changes(*(_shares(classes, count, counted) for classes, counted in pairs))


def why_not_classes(asked: Asked) -> str | None:
    """Return why it is not known what images show; None where it is, of both domains."""
    given, domains = {"a": asked.options.segmenter_a, "b": asked.options.segmenter_b}, asked.inputs.card.domains
    missing = [side for side in sides("a2b") if domains[side].labels is None and given[side] is None]
    flags = listing([option(f"segmenter_{side}", "FOLDER") for side in missing])
    named = listing([domains[side].title(side) for side in missing])
    return f"nothing says which classes images of {named} show; give {flags}" if missing else None


def check_classes(asked: Asked) -> tuple[tuple[Figure, ...], Check]:
    """Compare the classes of inputs and translations of one direction; return the figures and what they say."""
    labellers, labels = _labellers(asked)
    images, count, progress = asked.images, len(labels.palette), asked.on_progress("comparing classes of")
    found, heat, other = dict[str, list[Changes]](), list[Values](), other_model(asked)
    for numbers in batches(images):
        x = images.batch(numbers)
        made = {"": asked.forward.translate_tensor(x)}
        if other is not None:
            made["_against"] = other.translate_tensor(x)
        if asked.forward.source.channels == asked.forward.target.channels:
            made["_identity"] = x
        before, after = labellers[0](x), {name: labellers[1](images) for name, images in made.items()}
        for name, each in after.items():
            found.setdefault(name, []).append(compared(before, each, count))
        heat.append(_places(before, after[""], found[""][-1]).sum(1))
        if progress is not None:
            progress(numbers[-1] + 1, len(images))
    joined = {name: _joined(parts) for name, parts in found.items()}
    changes, shuffled = joined[""], [partner_of(number, len(images)) for number in range(len(images))]
    if len(images) > 1:
        joined["_other"] = replace(changes, source=changes.source[shuffled])
    names = [class_name(labels, index) for index in range(count)]
    figures = _figures(asked, joined)
    real = [_shares(labellers[1](asked.real.batch(numbers)), count) for numbers in batches(asked.real)]
    return figures, Check(
        name="classes",
        verdict=_verdict(changes, names),
        summary=_summary(figures),
        tables=(_table(changes, np.concatenate(real), names, f"Classes, {asked.forward.heading}"),),
        pictures=(_picture(asked, changes, np.sum(heat, 0) / len(images), labellers, labels),),
    )


def _labellers(asked: Asked) -> tuple[tuple[Labeller, Labeller], Labels]:
    """Return what says which classes inputs and translations show, and the classes, which must be the same."""
    (of_input, labels), (of_output, others) = (_labeller(asked, side) for side in sides(asked.direction))
    named = {each.names for each in (labels, others) if each.names is not None}
    if len(labels.palette) != len(others.palette) or len(named) > 1:
        shown = [listing([class_name(each, index) for index in each.classes]) for each in (labels, others)]
        raise UserError(
            f"the classes of inputs and translations are compared, and these differ: {shown[0]}; {shown[1]}. Give "
            f"segmenters of the same classes ({option('segmenter_a')}, {option('segmenter_b')})."
        )
    return (of_input, of_output), labels if labels.names is not None else others


def _labeller(asked: Asked, side: Side) -> tuple[Labeller, Labels]:
    """Return what says which classes images of a domain show, and the classes."""
    domain = asked.inputs.card.domains[side]
    labels = domain.labels
    if labels is not None:
        plain = Domain(channels=domain.channels)
        return lambda images: np.stack([classes_of(displayed(each[None], plain), labels) for each in images]), labels
    folder = asked.options.segmenter_a if side == "a" else asked.options.segmenter_b
    segmenter = Segmenter.load(str(folder), device=asked.options.device)
    if segmenter.description.photos.channels != domain.channels:
        segmenter.require_fitting(segmenter.description.labels, domain.channels)
    return lambda images: np.asarray(segmenter(images), np.uint8), segmenter.description.labels


def _shares(classes: Classes, count: int, counted: NDArray[np.bool_] | None = None) -> Values:
    """Return the share of each image's pixels that have each class, [N, classes]: of all, or of those counted."""
    inside = np.ones_like(classes, bool) if counted is None else counted
    each = [np.bincount(image[where], minlength=256)[:count] for image, where in zip(classes, inside, strict=True)]
    shares: Values = np.asarray(each, np.float64) / classes[0].size
    return shares


def _of_images(parts: Values) -> Values:
    """Return 1 for each image in which one of the classes is, else 0, [N]."""
    return np.asarray((parts >= LEAST).any(1), np.float64)


def _places(before: Classes, after: Classes, changes: Changes) -> Values:
    """Return where content is invented and where it is lost, [2, N, H, W] of 0 and 1."""
    pairs = zip((after, before), changes.parts.values(), strict=True)
    return np.array([[(share > 0)[c] for c, share in zip(each, of, strict=True)] for each, of in pairs], np.float64)


def _joined(parts: Sequence[Changes]) -> Changes:
    columns = zip(*((each.source, each.translated, each.added, each.removed) for each in parts), strict=True)
    return Changes(*(np.concatenate(column) for column in columns))


# --------------------------------------------------------------------------------------------------- what is reported


BASELINES = {
    "": "",
    "_against": "the other model",
    "_identity": "untranslated inputs",
    "_other": "compared with another image's input",
}
"""What figures are of, by the ends of their names."""


def _figures(asked: Asked, every: Mapping[str, Changes]) -> tuple[Figure, ...]:
    options = asked.options
    given = {"segmenter_a": options.segmenter_a, "segmenter_b": options.segmenter_b}
    labelled = {name: str(folder) for name, folder in given.items() if folder is not None}
    facts: Any = {"group": "classes", "protocol": {**asked.protocol(), **labelled, "in_an_image_from": LEAST}}
    figures = list[Figure]()
    for suffix, found in every.items():
        for what, parts in found.parts.items():
            where = f"not in the {'input' if what == 'invented' else 'translation'}"
            where += f", {BASELINES[suffix]}" if suffix else ""
            for name, title, values in (
                ("share", f"Share of pixels whose class is {where}", parts.sum(1)),
                ("images", f"Share of images with a class that is {where}", _of_images(parts)),
            ):
                share, better = mean_of(values), None if suffix else "lower"
                known: Any = {} if share is None else {"value": share.value, "error": share.error}
                figures.append(Figure(name=f"{what}_{name}{suffix}", title=title, better=better, **known, **facts))
    return tuple(figures)


def _verdict(changes: Changes, names: Sequence[str]) -> str:
    """Return one sentence; two standard errors decide."""
    said = []
    for what, parts in changes.parts.items():
        share = mean_of(_of_images(parts))
        if share is not None and share.low > NOTABLE:
            most = names[int(parts.mean(0).argmax())]
            said.append(f"{percent(share.value)} of the images have {what} content, most of it {most}")
    return f"{'; '.join(said)}." if said else "Hardly any translation shows or lacks a class that its input does not."


def _summary(figures: Sequence[Figure]) -> str:
    values = {figure.name: figure.value for figure in figures}

    def of(suffix: str) -> str:
        return " and ".join(f"{percent(values[f'{what}_share{suffix}'], 1)} {what}" for what in ("invented", "lost"))

    others = [f"{name}: {of(end)}" for end, name in BASELINES.items() if end and f"lost_share{end}" in values]
    return (
        f"Of the pixels, {of('')} ({'; '.join(others)}). A class counts as invented where the translation shows it "
        f"(from {percent(LEAST, 1)} of the pixels) and the input does not, as lost where it is the other way round."
    )


def _table(changes: Changes, real: Values, names: Sequence[str], title: str) -> Table:
    rows = []
    for index, name in enumerate(names):
        shares = [changes.source, changes.translated, real, changes.added, changes.removed]
        columns = [each[:, index] for each in shares] + [parts[:, index] >= LEAST for parts in changes.parts.values()]
        if any(each.any() for each in columns):
            rows.append((name, *(Value(value=100 * float(each.mean()), unit="%") for each in columns)))
    return Table(
        title=title,
        columns=("class", "inputs", "translations", "real", "added", "removed", "invented in", "lost in"),
        rows=tuple(rows),
        notes=(
            "inputs, translations, real (images of the target): share of the pixels. added, removed: pixels that have "
            "the class after translation alone, before it alone. invented in, lost in: share of the images.",
        ),
    )


def _picture(
    asked: Asked, changes: Changes, heat: Values, labellers: tuple[Labeller, Labeller], labels: Labels
) -> Picture:
    worst = np.argsort(-np.add(*changes.parts.values()).sum(1), kind="stable")[:SHOWN]
    rows = list[dict[str, Pixels]]()
    for number in worst.tolist():
        x = asked.images.batch([number])
        y = asked.forward.translate_tensor(x)
        before, after = labellers[0](x), labellers[1](y)
        marked = np.full((*before.shape[1:], 3), 235, np.uint8)
        places = _places(before, after, compared(before, after, len(labels.palette)))[:, 0] > 0
        marked[places[1]], marked[places[0]] = REMOVED, ADDED
        rows.append(
            {
                "input": displayed(x, asked.forward.source),
                "its classes": paint(before[0], labels),
                "translation": displayed(y, asked.forward.target),
                "translation's": paint(after[0], labels),
                "changed": marked,
            }
        )
    top = max(float(heat.max()), 1e-9)
    maps = {
        name: np.rint(255 * each[..., None] / top).astype(np.uint8)
        for name, each in zip(("invented", "lost"), heat, strict=True)
    }
    pictures = (
        grid(rows, list(rows[0]), f"{asked.forward.heading}: most invented (red) and lost (blue) content"),
        grid([maps], list(maps), f"Where, over all images; white: {percent(top)} of them"),
    )
    return Picture(
        file=f"classes_{asked.direction}.png",
        title=f"{asked.forward.heading}: content that translations add and remove",
        alt="Examples in rows: input, its classes, translation, its classes, invented (red) and lost (blue) pixels. "
        "Below: how often content is invented and lost at each place, white is most.",
        content=png(stack(pictures)),
    )
