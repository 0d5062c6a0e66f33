"""One sentence that says what figures mean: against no translation at all, against chance, and against other results.

A difference counts where it is larger than two standard errors of the difference. Its error takes the two figures for
independent, which is on the safe side: figures of the same images agree more than that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unpaired.core.text import listing, plural, with_error
from unpaired.report.results import GROUPS, Direction, Figure

Relation = Literal["better", "worse", "the same", "unknown"]
SURE = 2.0
"""A difference of so many standard errors counts."""
FEW = 10
"""Below so many images a sample is too small to tell anything."""
WORST = {"untranslated": "no translation at all", "shuffled_labels": "chance"}
"""Bounds that a translation should be better than, and what each stands for."""
_CHOICE = {
    "distribution": ("fid", "frechet", "frechet_inception", "kid", "kernel", "kernel_inception", "swd"),
    "paired": ("lpips", "l1", "ssim", "psnr"),
    "labels": ("class_iou", "fcn_class_iou"),
}
"""By group of figures: those that a verdict rests on, the first that was measured."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a figure relates to another one of the same metric."""

    relation: Relation
    """`the same` where the difference is not larger than two of its standard errors."""
    difference: float | None = None
    error: float | None = None
    """Standard error of the difference; None where it is not known."""


def compare_figures(one: Figure, other: Figure) -> Comparison:
    """Say whether a figure is better than another one by more than the error of the difference.

    Where neither has an error the values alone decide; where a value is missing, or the metric has no better side, the
    relation is unknown.
    """
    if one.value is None or other.value is None or one.better is None:
        return Comparison("unknown")
    difference = one.value - other.value
    errors = [figure.error for figure in (one, other) if figure.error is not None]
    error = math.hypot(*errors) if errors else None
    if difference == 0 or (error is not None and abs(difference) <= SURE * error):
        return Comparison("the same", difference, error)
    better = difference < 0 if one.better == "lower" else difference > 0
    return Comparison("better" if better else "worse", difference, error)


def verdict(direction: Direction) -> str:
    """Return one sentence about a direction; empty where nothing can be compared with a bound."""
    parts = [part for group in GROUPS if (part := _of_group(direction, group))]
    if not parts:
        return ""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def with_verdict(direction: Direction) -> Direction:
    """Return a direction with its verdict."""
    return direction.model_copy(update={"verdict": verdict(direction)})


def among(figures: Mapping[str, Figure | None], name: str) -> str:
    """Return how one of several results stands by one metric: `better than 3 of 4 others and the same as 1 (swd)`.

    `figures` hold the same metric by the name of the result; empty where there is nothing to compare.
    """
    own = figures.get(name)
    others = [figure for other, figure in figures.items() if other != name and figure is not None]
    if own is None or own.value is None or not others:
        return ""
    relations = [compare_figures(own, other).relation for other in others]
    counts = {relation: relations.count(relation) for relation in ("better", "worse", "the same")}
    words = {"better": "better than", "worse": "worse than", "the same": "within the error of"}
    several = len(others) > 1
    parts = [
        f"{words[relation]} {f'{count} of {len(others)} others' if several else 'the other one'}"
        for relation, count in counts.items()
        if count
    ]
    return f"{listing(parts)} by {label(own)} ({with_error(own.value, own.error)})" if parts else ""


def best_of(figures: Mapping[str, Figure | None]) -> tuple[str, list[str]] | None:
    """Return the name of the best result by one metric, and those within the error of it; None of none."""
    known = {name: figure for name, figure in figures.items() if figure is not None and figure.value is not None}
    if not known or next(iter(known.values())).better is None:
        return None
    higher = next(iter(known.values())).better == "higher"
    first = (max if higher else min)(known, key=lambda name: known[name].value or 0.0)
    same = [
        name for name in known if name != first and compare_figures(known[first], known[name]).relation == "the same"
    ]
    return first, same


def label(figure: Figure) -> str:
    """Return what a sentence calls a metric: its title without a capital that is no abbreviation."""
    first = figure.title.split(" ")[0]
    return figure.title[:1].lower() + figure.title[1:] if first[1:].islower() and first != "Fréchet" else figure.title


# ------------------------------------------------------------------------------------------------------------ details


def _of_group(direction: Direction, group: str) -> str:
    for name in _CHOICE.get(group, ()):
        figure = direction.figure(name)
        if figure is None or figure.value is None:
            continue
        bounds = {
            bound: found
            for bound, every in direction.bounds.items()
            if (found := next((one for one in every if one.name == name and one.value is not None), None)) is not None
        }
        worst = next((bound for bound in WORST if bound in bounds), None)
        if worst is None or _is_biased(figure):
            continue
        return _against(figure, worst, bounds)
    return ""


def _against(figure: Figure, worst: str, bounds: Mapping[str, Figure]) -> str:
    bound = bounds[worst]
    images = figure.protocol.get("translations")
    numbers = f"{label(figure)} {_value(figure)}, of the {_BOUND[worst]} {_value(bound)}"
    if isinstance(images, int) and images < FEW:
        return f"too few images to tell ({plural(images, 'translation')}; {numbers})"
    best = next((name for name in _REAL if name in bounds), None)
    relation = compare_figures(figure, bound)
    if relation.relation != "worse" and best is not None and not _is_better(bounds[best], bound):
        return (
            f"this sample cannot tell: {_REAL[best]} ({_value(bounds[best])}) is no better than the {_BOUND[worst]} "
            f"({_value(bound)}) by {label(figure)}"
        )
    words = {
        "better": f"better than {WORST[worst]}",
        "worse": f"worse than {WORST[worst]}",
        "the same": f"no different from {WORST[worst]} within the error",
        "unknown": f"not comparable with {WORST[worst]}",
    }[relation.relation]
    sure = "by more than its error" if relation.error is not None and relation.relation in ("better", "worse") else ""
    return " ".join(part for part in (words, sure, f"({numbers})") if part)


_BOUND = {"untranslated": "untranslated input", "shuffled_labels": "shuffled labels"}
_REAL = {
    "real_photos": "the segmenter on real photos",
    "real_images": "the classifier on real images",
    "real_halves": "one half of the real images against the other",
}
"""Bounds that a translation can hardly be better than."""


def _value(figure: Figure) -> str:
    return f"{with_error(figure.value, figure.error)}{f' {figure.unit}' if figure.unit else ''}"


def _is_better(one: Figure, other: Figure) -> bool:
    if one.value is None or other.value is None:
        return False
    return one.value < other.value if one.better == "lower" else one.value > other.value


def _is_biased(figure: Figure) -> bool:
    """Whether a Fréchet distance is far too large for want of images: no more of them than features."""
    facts = figure.protocol
    counts = [facts.get(name) for name in ("reference_images", "translations")]
    dim = facts.get("features_dim")
    return isinstance(dim, int) and any(isinstance(count, int) and count <= dim for count in counts)
