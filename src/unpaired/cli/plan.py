"""`unpaired plan`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import RUN, TRAINING, Extension, Json, Quiet, allow, with_settings
from unpaired.cli.train import sections
from unpaired.core.terminal import note, say, show, stages

SECTIONS = ("method", "data", "training")

if TYPE_CHECKING:
    from unpaired.plan.document import Plan


@app.command
@with_settings(sections)
def plan(
    *,
    out: Annotated[Path | None, Parameter(group=RUN)] = None,
    budget: Annotated[str | None, Parameter(group=TRAINING)] = None,
    extension: Extension = None,
    json: Json = False,
    quiet: Quiet = False,
    given: Any = (),
) -> int:
    """Look at the data and plan its training: every setting with its reason, in a file that you can edit.

    unpaired plan --data horse2zebra --out plan.toml

    unpaired plan --data horse2zebra --budget 2h --set method.name=cut

    unpaired train --config plan.toml --out runs/h2z

    Nothing is trained. Settings that you give are kept, and the others fit them.

    Parameters
    ----------
    out
        TOML file of the plan. One that was edited is never replaced.
    budget
        Time for the training on this machine, such as 30m, 2h or 1d: size and length fit it, by steps that are timed.
    """
    from unpaired.core.text import json_text
    from unpaired.plan.document import check_plan_out
    from unpaired.plan.make import make_plan, read_budget

    allow(extension)
    seconds = None if budget is None else read_budget(budget)
    place = None if out is None else check_plan_out(out)
    with stages(quiet=quiet or json) as progress:
        made = make_plan(given, budget=seconds, progress=progress)
    if json:
        say(json_text(made.model_dump()))
    else:
        print_plan(made)
    if place is not None:
        made.write(place)
        if not quiet and not json:
            note(f"Edit it as you like, then: unpaired train --config {shlex.quote(str(place))} --out RUN")
    return 0


def print_plan(made: Plan) -> None:
    """Print findings, then decisions with their reasons, fit for a terminal of 80 columns."""
    from rich.table import Table
    from rich.text import Text

    from unpaired.core.settings import shown

    for finding in made.findings:
        show(Text(f"{finding.severity}: {finding.text}."))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("setting", "value", "reason"):
        table.add_column(name, overflow="fold", max_width=20 if name == "value" else None)
    section, before = "", ""
    for name, each in sorted(made.by_name.items(), key=lambda item: SECTIONS.index(item[0].partition(".")[0])):
        if section != (section := name.partition(".")[0]):
            table.add_row(Text(f"[{section}]", "dim"))
        value = shown(tuple(each.value) if isinstance(each.value, list) else each.value)
        reason = each.reason or {"user": "given"}.get(each.by, "")
        table.add_row(
            Text(name.removeprefix(f"{section}.")), Text(value), Text(reason if reason != before else "(same)")
        )
        before = reason
    say()
    show(table)
