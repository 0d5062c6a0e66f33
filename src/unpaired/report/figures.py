"""Figures of a document as tables, and what they depend on, each fact once; for terminals and pages alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unpaired.core.text import listing
from unpaired.report.results import GROUPS, Cell, Direction, Document, Fact, Figure, Protocol, Table, Value

BOUNDS = {
    "untranslated": ("untranslated input", "the inputs as they are in place of the translations"),
    "real_halves": (
        "real against real",
        "two halves of the real images, which differ by chance alone. There are fewer in a half, which makes sliced "
        "Wasserstein and Fréchet distances larger",
    ),
    "real_photos": ("real photos", "what the segmenter makes of them, the most that can be reached"),
    "shuffled_labels": ("shuffled labels", "label maps of other images, which know nothing of the input"),
}
"""Name of a bound -> its name in a table, and what it is."""
_LEVELS = "swd_"
"""Older documents do not mark the levels of the pyramid as details."""


def is_detail(figure: Figure) -> bool:
    """Return whether a figure is a part of another one, which tables leave out."""
    return figure.detail or figure.name.startswith(_LEVELS)


def bound_name(name: str) -> str:
    """Return what a bound is called in a table."""
    return BOUNDS[name][0] if name in BOUNDS else name.replace("_", " ")


def figure_table(found: Direction) -> Table:
    """Return a direction's figures, grouped by the question that they answer, each with its bounds below it."""
    shown = [figure for figure in found.figures if not is_detail(figure)]
    rows: list[tuple[Cell, ...]] = []
    references: list[int] = []
    for group, question in {
        **GROUPS,
        **{figure.group: "Other" for figure in shown if figure.group not in GROUPS},
    }.items():
        own = [figure for figure in shown if figure.group == group]
        rows += [(question,)] if own else []
        for figure in own:
            rows.append((figure.title, value_of(figure), better(figure)))
            for name, figures in found.bounds.items():
                for bound in figures:
                    if bound.name == figure.name:
                        references.append(len(rows))
                        rows.append((bound_name(name), value_of(bound), ""))
    return Table(
        columns=("metric", "value", "better"),
        rows=tuple(rows),
        references=tuple(references),
        notes=tuple(_notes(shown, found.bounds)),
    )


def value_of(figure: Figure) -> Value:
    """Return a figure's number as a cell of a table."""
    return Value(value=figure.value, error=figure.error, unit=figure.unit)


def better(figure: Figure) -> str:
    """Return which way a figure is better, as an arrow and a word."""
    return {"lower": "↓ lower", "higher": "↑ higher", None: ""}[figure.better]


def _notes(figures: Sequence[Figure], bounds: Mapping[str, Sequence[Figure]]) -> Iterable[str]:
    yield from (f"{figure.title}: {figure.note}." for figure in figures if figure.note)
    names = {figure.name for figure in figures}
    for name, own in bounds.items():
        if name in BOUNDS and any(figure.name in names for figure in own):
            yield f"{BOUNDS[name][0]}: {BOUNDS[name][1]}."
    if any(figure.error is not None for figure in figures):
        yield "±: standard error by the sampling of images."


def protocol_parts(document: Document) -> list[tuple[str, Protocol]]:
    """Return what the figures depend on: what all share (under ""), what a direction adds, what single figures add."""
    found = list(document.directions.values())
    common = {**document.protocol, **_common([figure.protocol for each in found for figure in each.figures])}
    parts: list[tuple[str, Protocol]] = [("", common)]
    single: dict[tuple[str, Fact], list[str]] = {}
    for each in found:
        shared = _common([figure.protocol for figure in each.figures])
        if own := {name: value for name, value in shared.items() if name not in common}:
            parts.append((each.heading, own))
        for figure in each.figures:
            for name, value in figure.protocol.items():
                if name not in shared and value is not None and not is_detail(figure):
                    titles = single.setdefault((name, value), [])
                    titles += [] if figure.title in titles else [figure.title]
    together: dict[tuple[str, ...], dict[str, Fact]] = {}
    for (name, value), titles in single.items():  # facts of the same figures stand together
        together.setdefault(tuple(titles), {})[name] = value
    return [(title, facts) for title, facts in [*parts, *((listing(t), f) for t, f in together.items())] if facts]


def fact(name: str, value: Fact) -> str:
    """Return a fact of a protocol as text."""
    if name.endswith("fingerprint"):
        return str(value)[:12]
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def facts_of(protocol: Protocol) -> list[tuple[str, str]]:
    """Return the facts of a protocol that are known, as names and texts that people read."""
    return [(name.replace("_", " "), fact(name, value)) for name, value in protocol.items() if value is not None]


def _common(protocols: Sequence[Protocol]) -> Protocol:
    first = protocols[0] if protocols else {}
    return {n: v for n, v in first.items() if all(n in other and other[n] == v for other in protocols[1:])}
