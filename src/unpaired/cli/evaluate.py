"""`unpaired evaluate`, `audit` and `report`: what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from unpaired.cli.app import app, command_line
from unpaired.cli.options import IMAGES, RUN, Extension, Json, Quiet, Section, allow, with_settings
from unpaired.core.terminal import note, say, show, stages
from unpaired.core.text import json_text

if TYPE_CHECKING:
    from unpaired.report.results import Document


def _of_evaluate() -> list[Section]:
    from unpaired.evaluation.options import Options

    return [Section(kind=Options, group=RUN)]


def _of_audit() -> list[Section]:
    from unpaired.audit.options import AuditOptions

    return [Section(kind=AuditOptions, group=IMAGES)]


@app.command
@with_settings(_of_evaluate, assign=False)
def evaluate(
    model: Path | None = None,
    /,
    *,
    extension: Extension = None,
    as_json: Json = False,
    quiet: Quiet = False,
    given: Any = (),
) -> int:
    """Measure how good translations are; every result states its protocol.

    unpaired evaluate runs/h2z --data horse2zebra

    unpaired evaluate --real zebras --fake translations --input horses --out figures

    By default, all metrics are computed that need no download: the sliced
    Wasserstein distance, edges, reconstruction, those of pairs and labels where the
    data have them; FID and KID where the file of Inception's weights is there.

    Files of --fake, --input and --real belong together where their names agree
    without suffix and without the endings _real, _fake, _rec, _idt (with _A or _B):
    n1_fake_B.png, n1_real_A.png and n1.jpg.

    Parameters
    ----------
    model
        A run, a checkpoint, or a model folder.
    """
    from unpaired.core.files import require_writable
    from unpaired.core.given import options_of
    from unpaired.evaluation.options import Options
    from unpaired.evaluation.start import evaluate as measure
    from unpaired.evaluation.start import settled

    allow(extension)
    options = options_of(Options, given, model=model, command=command_line())
    options, place, passed_over = settled(options)
    for notice in passed_over:
        note(f"note: {notice}")
    require_writable(place)
    with stages(quiet=quiet) as progress:
        evaluation = measure(options, progress=progress, notice=lambda notice: note(f"note: {notice}"))
    path = evaluation.write(place, then="evaluate again")
    return _shown(evaluation, path, as_json=as_json, quiet=quiet)


@app.command
@with_settings(_of_audit, assign=False)
def audit(
    model: Path,
    /,
    *,
    extension: Extension = None,
    as_json: Json = False,
    quiet: Quiet = False,
    given: Any = (),
) -> int:
    """Measure whether translations hide their inputs in invisible detail, and whether planted structures survive.

    unpaired audit runs/maps --data maps

    hidden: translations are disturbed (rounded, JPEG, blur, noise) before they are translated back. What this destroys
    of the reconstruction, beyond what a plain copy of the input loses, was hidden in detail.

    planted: discs, lines and textures, or a picture of your own, are put into the inputs, and looked for in the
    translations.

    Parameters
    ----------
    model
        A run, a checkpoint or a model folder; hidden is asked of models with both directions.
    """
    from unpaired.audit.audit import audit as carry_out
    from unpaired.audit.options import AuditOptions
    from unpaired.core.given import options_of

    allow(extension)
    options = options_of(AuditOptions, given, model=model, command=command_line())
    with stages(quiet=quiet or as_json) as progress:
        written = carry_out(options, progress=progress)
    return _shown(written.document, written.folder, as_json=as_json, quiet=quiet, figures=False)


def _shown(document: Document, path: Path, *, as_json: bool, quiet: bool, figures: bool = True) -> int:
    """Print notices, the document as tables or JSON, and where it was written."""
    from unpaired.report.tables import render

    for notice in document.notices:
        note(f"note: {notice}")
    if as_json:
        say(json_text(document.plain()))
        return 0
    show(render(document, figures=figures))
    if not quiet:
        say(str(path))
    return 0


@app.command
def report(
    runs: Annotated[list[Path], Parameter(name="RUN", negative=())],
    /,
    *,
    out: Path,
    data: Annotated[Path | None, Parameter(name="--json")] = None,
    checkpoint: str | None = None,
    title: str | None = None,
    quiet: Quiet = False,
) -> int:
    """Write one self-contained HTML page on one run, or on several side by side.

    unpaired report runs/h2z --out report.html

    unpaired report runs/with runs/without --out report.html --json report.json

    It shows settings, curves, samples over time, all figures of `unpaired
    evaluate` with their protocols, best and worst translations, the findings of
    `unpaired audit`, speed, warnings and versions. It needs no other file.

    Parameters
    ----------
    runs
        The folders of runs, in the order in which they are to be shown.
    out
        The page. An earlier report is replaced, any other file is not.
    data
        File for the same as data.
    checkpoint
        Show only what was measured of this checkpoint of every run: best, last or a number of images. [default: all]
    title
        Heading of the page. [default: the names of the runs]
    """
    from unpaired.report.run_report import write_report

    written = write_report(runs, out, data=data, title=title, checkpoint=checkpoint)
    for line in (line for run in written.runs for line in run.damage):
        note(f"warning: {line}")
    if not quiet:
        left_out = f", {written.pictures_left_out} pictures left out" if written.pictures_left_out else ""
        say(f"Report: {written.page} ({written.page.stat().st_size / 1e6:.1f} MB{left_out})")
        if written.data is not None:
            say(f"Data: {written.data}")
    return 0
