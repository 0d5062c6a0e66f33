"""The table of a comparison: for people (Markdown, and the same in the page), for spreadsheets (CSV), for programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import dataclass
from typing import Any

from unpaired.compare.plan import Entry, Published
from unpaired.compare.results import MEASURES, SCORES, Line, Results, Summary, measure, summary
from unpaired.compare.score import sides
from unpaired.core.text import duration
from unpaired.methods import METHODS, Direction

MARKS = {"read": "", "second-hand": "second-hand", "recalled": "from memory, not confirmed"}
NONE = "–"
PUBLISHED = "published, other data and scorer"
"""Heading of the column that is not ours."""
TASKS = {"labels_to_photos": "labels to photos", "photos_to_labels": "photos to labels"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table, as words; the first column names the row."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    apart: int = 0
    """How many of the last rows stand apart: bounds, no methods."""
    notes: tuple[str, ...] = ()
    """Sentences below it."""


def tables_of(results: Results) -> list[Table]:
    """Return the tables of a comparison: each direction, what it cost, and the classes one by one."""
    directions = results.plan.directions
    tables = [_direction(results, direction) for direction in directions]
    tables.append(_cost(results))
    tables += [table for direction in directions if (table := _classes(results, direction)) is not None]
    return tables


def markdown(results: Results) -> str:
    """Return title, tables and protocol as Markdown."""
    plan = results.plan
    parts = [f"# {plan.title}\n"]
    if plan.description:
        parts.append(f"{plan.description.strip()}\n")
    for table in tables_of(results):
        rule = "| --- |" + " ---: |" * (len(table.header) - 1)
        lines = [_row(table.header), rule, *(_row(row) for row in table.rows)]
        parts.append(f"## {table.title}\n\n" + "\n".join(lines) + "\n")
        parts += [f"{note}\n" for note in table.notes]
    parts.append("## Protocol\n\n" + "\n".join(f"- {name}: {value}" for name, value in results.protocol) + "\n")
    return "\n".join(parts)


def as_csv(results: Results) -> str:
    """Return one row for every figure of every seed: label, method, direction, seed, measure, value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", "method", "direction", "seed", "measure", "value"])
    for line in results.lines:
        for one in line.seeds:
            head = [line.entry.label, one.training.config.method, line.direction, one.training.seed]
            for name, read in MEASURES.items():
                value = read(one)
                if value is not None:
                    writer.writerow([*head, name, repr(value)])
            for index, each in enumerate((one.measured.scores or {}).get("classes", [])):
                if each["iou"] is not None:
                    writer.writerow(
                        [*head, f"iou of {_class_names(results, line.direction)[index]}", repr(each["iou"])]
                    )
    for direction, bounds in results.bounds.items():
        for name, scores in bounds.items():
            for score in SCORES:
                writer.writerow([name, "", direction, "", score, repr(scores[score])])
    return text.getvalue()


def as_json(results: Results) -> str:
    """Return everything that is known as JSON: single seeds, means, bounds, published figures, protocol."""
    document = {
        "title": results.plan.title,
        "description": results.plan.description,
        "source": results.plan.source,
        "protocol": dict(results.protocol),
        "not_shared": {label: list(names) for label, names in results.not_shared.items()},
        "bounds": dict(results.bounds),
        "lines": [_line_json(line) for line in results.lines],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def heading(results: Results, direction: Direction) -> str:
    """Return a direction in words: `A to B: labels to photos`."""
    source, target = direction.upper().split("2")
    task = results.task(direction)
    return f"{source} to {target}" + (f": {TASKS[task]}" if task else "")


# ------------------------------------------------------------------------------------------------------- directions


def _direction(results: Results, direction: Direction) -> Table:
    lines, bounds = results.of(direction), results.bounds.get(direction, {})
    scored = bool(bounds) or any(measure(line, "class_iou") for line in lines)
    published = {line.entry.label: _published(results, line.entry, direction) for line in lines}
    header = ["method"]
    header += [*SCORES.values()] if scored else []
    header += ["L1 to input", "L1 there and back"]
    several = len(results.plan.seeds) > 1
    header += ["seeds"] if several else []
    header += [PUBLISHED] if any(published.values()) else []
    rows = []
    for line in lines:
        row = [_name(results, line)]
        row += [_figure(measure(line, name)) for name in SCORES] if scored else []
        row += [_figure(measure(line, name)) for name in ("l1", "reconstruction_l1")]
        row += [str(len(line.seeds))] if several else []
        row += [_told(published[line.entry.label])] if any(published.values()) else []
        rows.append(tuple(row))
    for name, scores in bounds.items():
        row = [_BOUNDS[name]] + [f"{scores[score]:.3f}" for score in SCORES]
        rows.append(tuple(row + [NONE] * (len(header) - len(row))))
    notes = [_scorer_note(results, direction, scored)]
    notes += [f"{line.entry.label}: {'; '.join(line.missing)}." for line in lines if line.missing]
    notes += [
        f"¹ {label} does not share {' and '.join(names)}: its networks are its own."
        for label, names in results.not_shared.items()
    ]
    if any(published.values()) and results.plan.source:
        notes.append(
            f"Published: per-pixel accuracy / per-class accuracy / class IoU in {results.plan.source}. Those figures "
            "were measured on other data, by another network: their order can be compared with ours, their values not."
        )
    return Table(
        title=heading(results, direction),
        header=tuple(header),
        rows=tuple(rows),
        apart=len(bounds),
        notes=tuple(note for note in notes if note),
    )


_BOUNDS = {"real photos": "real photos (upper bound)", "shuffled": "of other images (lower bound)"}


def _name(results: Results, line: Line) -> str:
    paired = any(METHODS[one.training.config.method].paired for one in line.seeds)
    mark = "¹" if line.entry.label in results.not_shared else ""
    return f"{line.entry.label}{mark}{' (with pairs)' if paired else ''}"


def _scorer_note(results: Results, direction: Direction, scored: bool) -> str:
    task = results.task(direction) if scored else None
    l1 = "L1 is the mean difference of values in [-1, 1]."
    if task == "labels_to_photos" and results.plan.fcn is not None:
        return (
            "The scores are FCN-scores: an FCN-8s labels the translations, and its labels are compared with the input. "
            "It is not the authors' of Cityscapes (the protocol says what it was trained on), so they stand beside one "
            f"another and not beside published ones. {l1}"
        )
    if task == "labels_to_photos":
        return (
            "The scores are segmenter scores: a small network, trained here on the real training photos, labels the "
            f"translations, and its labels are compared with the input. They are no FCN-scores. {l1}"
        )
    if task == "photos_to_labels":
        return f"Every pixel of a translation counts as the class of the nearest palette colour. {l1}"
    return l1


def _published(results: Results, entry: Entry, direction: Direction) -> Published | None:
    task = results.task(direction)
    return next((figures for figures in entry.published if figures.task == task), None)


def _told(figures: Published | None) -> str:
    if figures is None:
        return NONE
    text = f"{figures.pixel_accuracy:.2f} / {figures.class_accuracy:.2f} / {figures.class_iou:.2f}"
    return f"{text} ({MARKS[figures.mark]})" if MARKS[figures.mark] else text


# ------------------------------------------------------------------------------------------------------ the others


def _cost(results: Results) -> Table:
    rows = []
    for entry in results.plan.entries:
        by_training = {one.training.name: one for line in results.lines if line.entry == entry for one in line.seeds}
        per_seed = [[one for one in by_training.values() if one.training.seed == seed] for seed in results.plan.seeds]
        complete = [found for found in per_seed if found]
        seconds = summary([sum(one.cost.seconds for one in found) for found in complete])
        speed = summary([one.cost.images_per_second for one in by_training.values()])
        parameters = max((sum(one.cost.parameters for one in found) for found in complete), default=None)
        memory = sorted({one.cost.peak_memory for one in by_training.values() if one.cost.peak_memory}, reverse=True)
        rows.append(
            (
                entry.label,
                NONE if seconds is None else duration(seconds.mean),
                NONE if speed is None else f"{speed.mean:.3g}",
                NONE if parameters is None else f"{parameters / 1e6:.2f} M",
                memory[0] if memory else NONE,
                " and ".join(sorted({one.cost.device for one in by_training.values()})) or NONE,
                str(max((len(found) for found in complete), default=0)),
            )
        )
    return Table(
        title="What it took",
        header=(
            "method",
            "training time",
            "images/s",
            "trained weights",
            "peak memory",
            "device",
            "trainings per seed",
        ),
        rows=tuple(rows),
        notes=(
            "Time and weights are those of both directions together; a method of one direction is trained once for "
            "each. Images/s are those of one training.",
        ),
    )


def _classes(results: Results, direction: Direction) -> Table | None:
    """Return the IoU of every class, or None where there are no classes."""
    lines = [line for line in results.of(direction) if line.seeds and line.seeds[0].measured.scores]
    if not lines:
        return None
    names = _class_names(results, direction)
    rows = []
    for index, name in enumerate(names):
        each = [[one.measured.scores["classes"][index] for one in line.seeds if one.measured.scores] for line in lines]
        if not any(one["pixels"] or one["predicted"] for found in each for one in found):
            continue
        figures = [_figure(summary([one["iou"] for one in found]), spread=False) for found in each]
        pixels = sum(scores["pixels"] for scores in lines[0].seeds[0].measured.scores["classes"])  # type: ignore[index]
        rows.append((name, f"{each[0][0]['pixels'] / pixels:.1%}", *figures))
    return Table(
        title=f"IoU of every class, {heading(results, direction)}",
        header=("class", "of the pixels", *(line.entry.label for line in lines)),
        rows=tuple(rows),
    )


def _class_names(results: Results, direction: Direction) -> list[str]:
    source, target = sides(direction)
    labels = results.material.labels(target) or results.material.labels(source)
    if labels is None:
        return []
    return list(labels.names) if labels.names else [f"class {index}" for index in range(len(labels.palette))]


def _figure(found: Summary | None, *, spread: bool = True) -> str:
    if found is None:
        return NONE
    deviation = f" ± {found.deviation:.3f}" if spread and found.deviation is not None else ""
    return f"{found.mean:.3f}{deviation}"


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _line_json(line: Line) -> dict[str, Any]:
    means = {name: measure(line, name) for name in MEASURES}
    return {
        "label": line.entry.label,
        "direction": line.direction,
        "missing": list(line.missing),
        "mean": {name: None if found is None else dataclasses.asdict(found) for name, found in means.items()},
        "published": [dataclasses.asdict(figures) for figures in line.published],
        "seeds": [
            {
                "training": one.training.name,
                "method": one.training.config.method,
                "seed": one.training.seed,
                "measured": dataclasses.asdict(one.measured),
                "cost": dataclasses.asdict(one.cost),
            }
            for one in line.seeds
        ],
    }
