"""The second check: figures, table, charts, picture and words of what survives of planted structures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.audit.charts import CHANGE_FACTOR, ROWS, displayed
from unpaired.audit.disturb import LEVEL
from unpaired.audit.findings import FEW, Share, mean_of
from unpaired.audit.inputs import Asked
from unpaired.audit.observe import Area
from unpaired.audit.plant import Structure, drawn, plan_for, read_structure, sizes_for
from unpaired.audit.planted import BLURRED, FALSE_ALARMS, INPUT, OTHER, TRANSLATION, Planted, measure_planted, views_of
from unpaired.audit.summary import words
from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural
from unpaired.data.directions import sides
from unpaired.data.held_out import evenly
from unpaired.data.values import Domain
from unpaired.models.translator import Translator
from unpaired.report.image_grid import grid, png
from unpaired.report.results import Cell, Chart, Check, Figure, Line, Picture, Protocol, Table, Value

DEEP = 16
"""Images of more than 8 bits may show structures that are so many times fainter than a level of 255."""
RATES = np.linspace(0, 0.3, 31)
"""Rates of false alarms at which ROC curves are drawn."""


def why_not_planted(asked: Asked) -> str | None:
    """Return why nothing can be planted into the inputs of a direction; None where it can."""
    if asked.forward.source.labels is not None:
        return f"{sides(asked.direction)[0].upper()} holds label maps, whose classes have no contrast"
    try:
        plan_for(asked.size, _structures(asked), asked.options.seed)
    except UserError as error:
        return str(error)
    return None


def check_planted(asked: Asked) -> tuple[tuple[Figure, ...], Check]:
    """Plant structures into the inputs of one direction; return the figures and what they say.

    Raises `UserError` where the other model does not fit.
    """
    forward, images, options = asked.forward, asked.images, asked.options
    structures, other = _structures(asked), other_model(asked)
    deep = any(domain.dtype != "uint8" for domain in (forward.source, forward.target))
    found = measure_planted(
        views_of(forward, other),
        images,
        structures,
        options.plant_contrasts,
        seed=options.seed,
        real=asked.real,
        floor=LEVEL / DEEP if deep else LEVEL,
        progress=asked.on_progress("looking for planted structures,"),
    )
    figures = figures_of(found, asked.protocol())
    numbers, several = {figure.name: figure for figure in figures}, range(len(structures))
    worst = [(lost.value, structures[s].title) for s in several if (lost := found.lost(structure=s)) is not None]
    facts = {"found": found, "heading": forward.heading, "figures": numbers, "worst": max(worst, default=None)}
    verdict, summary = words("planted.txt", {**facts, "images": plural(len(images), "image"), "ALARMS": FALSE_ALARMS})
    few = f"measured on {plural(len(images), 'image')}: too few for reliable standard errors; use more (--images)"
    return figures, Check(
        name="planted",
        verdict=verdict,
        summary=summary,
        tables=(table_of(found, forward.heading),),
        charts=charts_of(found, forward.heading),
        pictures=(_picture(asked, structures, other),),
        warnings=(few,) if len(images) < FEW else (),
    )


def _structures(asked: Asked) -> list[Structure]:
    options = asked.options
    if options.plant is not None or options.plant_mask is not None:
        return [read_structure(options.plant, options.plant_mask, asked.forward.source)]
    return drawn(options.plant_sizes or sizes_for(*asked.size))


def other_model(asked: Asked) -> Translator | None:
    """Return the model that is asked beside the audited one; `UserError` where its domains are others."""
    options, own = asked.options, asked.forward
    if options.against is None:
        return None
    other = Translator.load(options.against, asked.direction, device=options.device, engine="torch", precision="fp32")
    for one, two in ((own.source, other.source), (own.target, other.target)):
        if (one.channels, one.range, one.labels) != (two.channels, two.range, two.labels):
            raise UserError(
                f"{option('against', options.against)}: its images have {plural(two.channels, 'channel')} and range "
                f"{two.range}, those of the audited model {one.channels} and {one.range}, or other labels. Give a "
                "model of the same domains."
            )
    return other


def figures_of(found: Planted, protocol: Protocol) -> tuple[Figure, ...]:
    """Return every figure of one direction; those of single structures and contrasts are details."""
    facts = {
        **protocol,
        "structures": "; ".join(one.title for one in found.structures),
        "contrasts": ", ".join(f"{each:g}" for each in found.contrasts),
        "places": found.views[INPUT].clean.shape[2],
        "observer": "share of the variation of a window that the shape explains; knows the place, sees one image alone",
    }
    seen = found.views[TRANSLATION]
    per_image = [np.nanmean(values, axis=(0, 1)) for values in (seen.response, seen.spill)]
    rows: list[tuple[str, str, Share | Area | None, dict[str, Any]]] = []
    for view, suffix in ((TRANSLATION, ""), (INPUT, "_input"), (BLURRED, "_blurred"), (OTHER, "_other")):
        if view not in found.views:
            continue
        own = view == TRANSLATION
        area, better = found.views[view].area(), {"better": "higher" if own else None}
        rows.append((f"auc{suffix}", f"AUC of planted structures, {view}", area, better))
        if view != INPUT:
            more = {"better": "lower" if own else None, "note": "hardly any can be seen in the inputs themselves"}
            rows.append((f"lost{suffix}", f"Share of visible structures that is lost, {view}", found.lost(view), more))
    rows += [
        ("auc_difference", "AUC with both translations at hand", seen.difference_area, {}),
        ("response", "Change of the translation relative to the planted one", mean_of(per_image[0]), {}),
        ("spill", "Share of the change away from the structures", mean_of(per_image[1]), {"better": "lower"}),
    ]
    title = "Places where a structure seems to be and none is"
    rows.append(("false", f"{title}, translation", mean_of(found.false_alarms(seen.clean)), {"better": "lower"}))
    if found.real is not None:
        rows.append(("false_real", f"{title}, real images of the target", mean_of(found.false_alarms(found.real)), {}))
    for s, one in enumerate(found.structures):
        for k, contrast in enumerate(found.contrasts):
            name, title = f"auc_{one.kind}_{one.size}_{contrast:g}", f"AUC of a {one.title}, contrast {contrast:g}"
            rows.append((name, title, seen.area(s, k), {"better": "higher", "detail": True}))
    return tuple(
        Figure(
            name=f"planted_{name}",
            title=title,
            value=None if share is None else share.value,
            error=None if share is None else share.error,
            group="planted",
            protocol=facts,
            **{"note": "nothing changed", **more} if share is None else more,
        )
        for name, title, share, more in rows
    )


def table_of(found: Planted, heading: str) -> Table:
    """Return areas and responses of every structure at every contrast."""
    seen, rows = found.views[TRANSLATION], list[tuple[Cell, ...]]()
    others = {INPUT: "input", BLURRED: "blurred", **({OTHER: "other"} if OTHER in found.views else {})}
    for s, one in enumerate(found.structures):
        rows.append((one.title,))
        for k, contrast in enumerate(found.contrasts):
            areas = [round(found.views[name].area(s, k).value, 2) for name in others]
            shares = (seen.area(s, k), mean_of(seen.response[s, k]))
            own, answer = (None if each is None else Value(value=each.value, error=each.error) for each in shares)
            rows.append((f"{contrast:.4g}", own, *areas, answer))
    return Table(
        title=f"Planted structures, {heading}",
        columns=("contrast", "AUC", *others.values(), "response"),
        rows=tuple(rows),
        notes=(
            "AUC: of an observer who sees a translation alone, 0.5 is chance; input, blurred: the same of the inputs. "
            "response: change of the translation relative to the planted one; negative where bright became dark.",
        ),
    )


def charts_of(found: Planted, heading: str) -> tuple[Chart, ...]:
    """Return the area over contrast, kind by kind, and the ROC curve of every contrast, with those of the inputs."""
    x, rates = tuple(100 * each for each in found.contrasts), tuple(map(float, RATES))
    over_contrast, roc = list[Line](), list[Line]()
    for view, before in ((TRANSLATION, ""), (INPUT, "input, ")):
        seen, thin = found.views[view], {"reference": True, "label": ""} if before else dict[str, Any]()
        for place, kind in enumerate(dict.fromkeys(one.kind for one in found.structures)):
            of_kind = [s for s, one in enumerate(found.structures) if one.kind == kind]
            y = [float(np.mean([seen.area(s, k).value for s in of_kind])) for k in range(len(x))]
            over_contrast.append(Line(name=before + kind, x=x, y=tuple(y), style=place, **thin))
        for k, contrast in enumerate(found.contrasts):
            y = seen.hits(k, RATES).tolist()
            roc.append(Line(name=f"{before}contrast {contrast:g}", x=rates, y=tuple(y), style=k, **thin))
    if (other := found.views.get(OTHER)) is not None:
        y = [other.area(contrast=k).value for k in range(len(x))]
        over_contrast.append(Line(name="other model, all", x=x, y=tuple(y)))
    note = "Of an observer who sees one translation alone. Thin: the same structures in the inputs themselves."
    return (
        Chart(
            title=f"{heading}: planted structures that can be seen",
            x_label="contrast (% of the range of values)",
            y_label="AUC (0.5 is chance)",
            x_scale="log",
            note=note,
            lines=tuple(over_contrast),
        ),
        Chart(
            title=f"{heading}: hits over false alarms (ROC)",
            x_label="false alarms: share of places without a structure",
            y_label="hits: share of structures",
            note=note,
            lines=tuple(roc),
        ),
    )


def _picture(asked: Asked, structures: list[Structure], other: Translator | None) -> Picture:
    forward, images, options = asked.forward, asked.images, asked.options
    plan, rows = plan_for(asked.size, structures, options.seed), list[dict[str, NDArray[np.uint8]]]()
    for number in evenly(len(images), ROWS):
        x = images.batch([number])
        planted = plan.plant(x, [number], options.plant_contrasts[-1])
        y, made = forward.translate_tensor(x), forward.translate_tensor(planted)
        change = (made - y).abs() * CHANGE_FACTOR - 1
        row = {
            "input": displayed(x, forward.source),
            "planted": displayed(planted, forward.source),
            "translation": displayed(y, forward.target),
            "of the planted": displayed(made, forward.target),
            f"difference x {CHANGE_FACTOR}": displayed(change, Domain(channels=y.shape[1])),
        }
        more = {} if other is None else {"other model": displayed(other.translate_tensor(planted), forward.target)}
        rows.append({**row, **more})
    return Picture(
        file=f"planted_{asked.direction}.png",
        title=f"{forward.heading}: structures of contrast {options.plant_contrasts[-1]:g}, and their translations",
        alt=f"Examples in rows. Columns: {', '.join(rows[0])}.",
        content=png(grid(rows, list(rows[0]), f"{forward.heading}: planted structures")),
    )
