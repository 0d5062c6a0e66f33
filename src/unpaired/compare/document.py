"""The results of a comparison as a document: means over seeds, verdicts, tables; and its files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from unpaired.compare.plan import INPUT, TRUTH
from unpaired.core.text import NONE, csv_text, duration, listing, memory, number, plural
from unpaired.report.embedding import picture_rows
from unpaired.report.image_grid import Picture as Pixels
from unpaired.report.image_grid import grid, png, stack
from unpaired.report.page import document_page
from unpaired.report.results import (
    Cell,
    ComparedDirection,
    ComparedMethod,
    Comparison,
    Figure,
    MeasuredTraining,
    Picture,
    Table,
    Value,
)
from unpaired.report.tables import bound_name, to_markdown
from unpaired.report.verdict import FEW, best_of, compare_figures, label

TABLE, SHEET, PAGE, PICTURE = "table.md", "table.csv", "index.html", "pictures.png"
SCORES = ("pixel_accuracy", "class_accuracy", "class_iou")
COLUMNS = {
    "pixel_accuracy": "per-pixel acc.",
    "class_accuracy": "per-class acc.",
    "class_iou": "class IoU",
    "kernel": "kernel distance",
    "swd": "SWD",
    "l1": "L1 to target",
    "input_l1": "L1 to input",
    "reconstruction_l1": "reconstruction L1",
}
"""The figures of a table in their order, and their headings."""
DECISIVE = ("class_iou", "kernel", "swd", "l1")
"""Figures that a verdict rests on: the first that was measured."""
BASELINES = {"shuffled_labels": "chance (true images of other inputs)", "untranslated": "no translation at all"}
PUBLISHED = "published, other data and scorer"


def score_name(name: str) -> str:
    """Return the name of a score whatever gives the labels: `class_iou` of `fcn_class_iou`."""
    return name.removeprefix("fcn_")


# -------------------------------------------------------------------------------------------------------------- verdict


def verdict(found: ComparedDirection) -> str:
    """Return one sentence: the best method, those within its error, and what is no better than a baseline."""
    figures = {each.label: _mean(each, name) for name in _measured(found)[:1] for each in found.methods}
    known = {name: figure for name, figure in figures.items() if figure is not None}
    if not known or (best := best_of(known)) is None:
        return ""
    first, same = best
    figure = known[first]
    metric = COLUMNS[score_name(figure.name)] if score_name(figure.name) in SCORES else label(figure)
    images = figure.protocol.get("translations")
    if isinstance(images, int) and images < FEW:
        return f"Too few test images to tell methods apart ({plural(images, 'translation')} each)."
    text = f"{first} has the best {metric} ({number(figure.value, 3)})" if len(known) > 1 else ""
    if same:
        text += f", not distinguishable from {listing(same)}"
    elif text and figure.error is not None:
        text += ", by more than the error"
    sentences = [text] if text else []
    for bound, name in BASELINES.items():
        other = next((one for one in found.bounds.get(bound, ()) if one.name == figure.name), None)
        if other is None:
            continue
        better = [each for each, one in known.items() if compare_figures(one, other).relation == "better"]
        count = "no method is" if not better else listing(better) + (" is" if len(better) == 1 else " are")
        sentences.append(f"{count} better than {name} by {metric} ({number(other.value, 3)})")
        break
    if all(one.error is None for one in known.values()):
        sentences.append("with one seed the errors of these figures are not known")
    text = "; ".join(sentences)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _measured(found: ComparedDirection) -> list[str]:
    """Return the names of the figures that a verdict can rest on, the most telling first."""
    names = {figure.name for each in found.methods for one in each.trainings for figure in one.figures}
    return [name for wanted in DECISIVE for name in sorted(names) if score_name(name) == wanted]


def _mean(method: ComparedMethod, name: str) -> Figure | None:
    return method.mean(name) if method.trainings else None


# --------------------------------------------------------------------------------------------------------------- tables


def with_tables(found: ComparedDirection, source: str) -> ComparedDirection:
    """Return a direction with its verdict and its tables: the figures of all methods, and the IoU of every class."""
    tables = [table for table in (_figures(found, source), _selected(found), _classes(found)) if table is not None]
    return found.model_copy(update={"tables": tuple(tables), "verdict": verdict(found)})


def cost_table(directions: Sequence[ComparedDirection]) -> Table:
    """Return what the trainings of every method took: time and weights of both directions together."""
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(each.label for found in directions for each in found.methods):
        methods = [each for found in directions for each in found.methods if each.label == name]
        trainings = {each.name: each for method in methods for each in method.trainings}
        seeds = [[one.cost for one in trainings.values() if one.seed == seed] for seed in _seeds(methods)]
        costs = [cost for each in seeds for cost in each]
        if not costs:
            rows.append((name, NONE, NONE, NONE, NONE, NONE, "0"))
            continue
        peaks = [cost.peak_memory_bytes for cost in costs if cost.peak_memory_bytes]
        rows.append(
            (
                name,
                duration(float(np.mean([sum(cost.seconds or 0.0 for cost in each) for each in seeds]))),
                f"{np.mean([cost.images_per_second or 0.0 for cost in costs]):.3g}",
                f"{max(sum(cost.parameters for cost in each) for each in seeds) / 1e6:.2f} M",
                memory(max(peaks)) if peaks else NONE,
                listing(sorted({cost.device for cost in costs})),
                str(max(len(each) for each in seeds)),
            )
        )
    return Table(
        title="Cost",
        columns=("method", "time", "images/s", "trained weights", "peak memory", "device", "trainings per seed"),
        rows=tuple(rows),
        notes=(
            "Time and weights are those of both directions together; a method of one direction is trained once for "
            "each. Images/s are those of one training. Peak memory on a CPU is that of the whole process.",
        ),
    )


def _seeds(methods: Sequence[ComparedMethod]) -> list[int]:
    return list(dict.fromkeys(one.seed for method in methods for one in method.trainings))


def _figures(found: ComparedDirection, source: str) -> Table:
    names = {figure.name: None for each in found.methods for one in each.trainings for figure in one.figures}
    chosen = [name for wanted in COLUMNS for name in names if score_name(name) == wanted]
    several = max((len(each.trainings) for each in found.methods), default=0) > 1
    published = any(each.published for each in found.methods)
    best = {name: best_of({each.label: _mean(each, name) for each in found.methods}) for name in chosen}
    rows: list[tuple[Cell, ...]] = []
    for each in found.methods:
        cells: list[Cell] = [_title(each)]
        for name in chosen:
            first = best[name]
            cells.append(_value(each, name, best=first == (each.label, [])))
        cells += [str(len(each.trainings))] if several else []
        cells += [_published(each)] if published else []
        rows.append(tuple(cells))
    bounds = {name: {one.name: one.value for one in figures} for name, figures in found.bounds.items()}
    kept = {name: values for name, values in bounds.items() if any(figure in values for figure in chosen)}
    width = 1 + len(chosen) + several + published
    for name, values in kept.items():
        cells = [
            bound_name(name),
            *(NONE if (value := values.get(figure)) is None else _rounded(value) for figure in chosen),
        ]
        rows.append((*cells, *(NONE,) * (width - len(cells))))
    return Table(
        title=found.heading,
        columns=(
            "method",
            *(COLUMNS[score_name(name)] for name in chosen),
            *(["seeds"] if several else []),
            *([PUBLISHED] if published else []),
        ),
        rows=tuple(rows),
        references=tuple(range(-len(kept), 0)),
        notes=tuple(_notes(found, several, source if published else "")),
    )


def _selected(found: ComparedDirection) -> Table | None:
    """Return the figures of the last and the selected checkpoints, means over seeds; None where none was selected."""
    methods = [each for each in found.methods if any(one.selected for one in each.trainings)]
    names = _measured(found)
    if not methods or not names:
        return None
    rows = tuple(
        (each.label, *(_value(each, name, best=False, selected=which) for name in names for which in (False, True)))
        for each in methods
    )
    heads = (f"{COLUMNS[score_name(name)]}, {which}" for name in names for which in ("last", "selected"))
    return Table(title=f"Last and selected checkpoints, {found.heading}", columns=("method", *heads), rows=rows)


def _title(method: ComparedMethod) -> str:
    return f"{method.label}{'*' if method.not_shared else ''}{' (with pairs)' if method.paired else ''}"


def _value(method: ComparedMethod, name: str, *, best: bool, selected: bool = False) -> Cell:
    """Return a mean with its standard deviation over seeds or, for one seed, its standard error."""
    figure = method.mean(name, selected=selected) if method.trainings else None
    if figure is None or figure.value is None:
        return NONE
    error = figure.error
    if error is not None and len(method.trainings) > 1:
        error *= math.sqrt(len(method.trainings))
    # Where no error is known, nothing is better by more than it.
    value = figure.value if error else _rounded(figure.value)
    return Value(value=value, error=error, unit=figure.unit, best=best and bool(error))


def _rounded(value: float) -> float:
    return round(value, 3 if abs(value) < 10 else 1)


def _published(method: ComparedMethod) -> str:
    if method.published is None:
        return NONE
    values = " / ".join(f"{value:.2f}" for value in method.published.values.values())
    return f"{values} ({method.published.mark})" if method.published.mark else values


def _notes(found: ComparedDirection, several: bool, source: str) -> list[str]:
    notes = {
        "labels_to_photos": "The scores are those of a segmenter (see the protocol): it labels the translations, and "
        "its labels are compared with the input. They are comparable with one another, not with published FCN-scores.",
        "photos_to_labels": "Every pixel of a translation counts as the class of the nearest palette colour.",
    }
    found_notes = [notes[found.task]] if found.task else []
    found_notes.append(
        "±: one standard deviation over seeds." if several else "±: standard error by the sampling of test images."
    )
    found_notes += [f"{each.label}: {'; '.join(each.missing)}." for each in found.methods if each.missing]
    found_notes += [
        f"* {each.label} does not share {listing(each.not_shared)}: its networks are its own."
        for each in found.methods
        if each.not_shared
    ]
    if source:
        found_notes.append(
            f"Published: per-pixel accuracy / per-class accuracy / class IoU in {source}. They were measured on other "
            "data by another network: compare their order with ours, not their values."
        )
    return found_notes


def _classes(found: ComparedDirection) -> Table | None:
    """Return the IoU of every class, mean over seeds; None where there are no classes."""
    methods = [each for each in found.methods if any(one.tables for one in each.trainings)]
    shares = {row[0]: row[1] for each in methods for one in each.trainings for row in _class_rows(one)}
    if not shares:
        return None
    rows: list[tuple[Cell, ...]] = []
    for name, share in shares.items():
        means = [[_iou(one, name) for one in each.trainings] for each in methods]
        cells = [
            NONE if any(value is None for value in values) else f"{np.mean([v or 0.0 for v in values]):.3f}"
            for values in means
        ]
        rows.append((name, f"{share:.1%}" if isinstance(share, float) else NONE, *cells))
    columns = ("class", "of the pixels", *(each.label for each in methods))
    return Table(title=f"IoU of every class, {found.heading}", columns=columns, rows=tuple(rows))


def _class_rows(training: MeasuredTraining) -> list[tuple[Cell, ...]]:
    """Return class, share of the pixels, accuracy and IoU of every class."""
    return [row for table in training.tables[:1] for row in table.rows if len(row) == 4]


def _iou(training: MeasuredTraining, name: Cell) -> float | None:
    value = next((row[3] for row in _class_rows(training) if row[0] == name), None)
    return float(value) if isinstance(value, int | float) else None


# ---------------------------------------------------------------------------------------------------------------- files


def write(document: Comparison, folder: Path) -> list[Path]:
    """Write the document, its tables, its page and its pictures; return their paths."""
    contents: dict[str, str | bytes] = {
        TABLE: markdown(document),
        SHEET: as_csv(document),
        PICTURE: png(stack([_grid(found, folder) for found in document.directions.values()])),
        PAGE: page(document, folder),
    }
    path = document.write(folder, files=contents)
    return [*(folder / name for name in contents), path]


def markdown(document: Comparison) -> str:
    """Return title, verdicts, tables and protocol as Markdown."""
    parts = [f"# {document.title}\n", *([f"{document.description}\n"] if document.description else [])]
    for found in document.directions.values():
        first, *others = found.tables
        parts += [f"## {found.heading}\n", *([f"{found.verdict}\n"] if found.verdict else [])]
        parts += [to_markdown(first.model_copy(update={"title": ""})), *map(to_markdown, others)]
    parts += [to_markdown(table) for table in document.tables]
    parts.append(
        "## Protocol\n\n" + "\n".join(f"- {name}: {value}" for name, value in document.protocol.items()) + "\n"
    )
    return "\n".join(parts)


def as_csv(document: Comparison) -> str:
    """Return one row for every figure of every seed: label, method, direction, seed, measure, value."""
    rows: list[list[object]] = [["label", "method", "direction", "seed", "measure", "value"]]
    for direction, found in document.directions.items():
        for each in found.methods:
            for one in each.trainings:
                values = {figure.name: figure.value for figure in one.figures}
                values |= {f"iou of {row[0]}": _iou(one, row[0]) for row in _class_rows(one)}
                values |= {f"{figure.name} (selected)": figure.value for figure in one.selected if not figure.detail}
                values |= one.cost.model_dump(exclude={"device"})
                rows += [
                    [each.label, each.method, direction, one.seed, name, value]
                    for name, value in values.items()
                    if value is not None
                ]
        for bound, figures in found.bounds.items():
            rows += [[bound, "", direction, "", one.name, one.value] for one in figures]
    return csv_text(rows)


def page(document: Comparison, folder: Path) -> str:
    """Return the whole page as HTML; everything is inside."""
    rows = {}
    for name, found in document.directions.items():
        columns, pictures, given = _samples(found, folder)
        if pictures:
            rows[name] = picture_rows(columns, pictures, given=given)
    return document_page(document, rows=rows)


def _grid(found: ComparedDirection, folder: Path) -> Pixels:
    columns, rows, _ = _samples(found, folder)
    return grid(rows, columns, found.heading)


def _samples(found: ComparedDirection, folder: Path) -> tuple[list[str], list[dict[str, Pixels]], int]:
    """Return the columns of the sample pictures, their rows, and how many columns are given images."""
    given = {INPUT: found.inputs, TRUTH: found.targets}
    columns = {name: pictures for name, pictures in given.items() if pictures}
    count = len(columns)
    columns |= {each.label: each.pictures for each in found.methods if each.pictures}
    rows = [
        {name: _read(folder, pictures[place]) for name, pictures in columns.items() if place < len(pictures)}
        for place in range(len(found.inputs))
    ]
    return list(columns), rows, count


def _read(folder: Path, picture: Picture) -> Pixels:
    with PillowImage.open(folder / picture.file) as image:
        return np.asarray(image.convert("RGB"))
