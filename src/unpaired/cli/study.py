"""`unpaired study create`, `serve` and `report`: whether people can tell generated pictures from real ones."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

from unpaired.cli.app import app
from unpaired.cli.options import Quiet, Section, Switch, Whole, read_size, with_settings
from unpaired.core.errors import UserError
from unpaired.core.terminal import counting, note, say

STUDY = Group("Study", sort_key=1)
study = App(
    name="study",
    help="Find out whether people can tell generated pictures from real ones.",
    help_epilogue="Begin with: unpaired study create --real DIR --fake NAME=DIR --out STUDY",
    help_format="plaintext",
)
app.command(study)


def _sections() -> list[Section]:
    from unpaired.study.description import Settings

    return [Section(name="study", kind=Settings, group=STUDY, help={"consent": "The line that participants agree to."})]


@study.command
@with_settings(_sections, assign=False)
def create(
    *,
    real: Path,
    fake: Annotated[list[str], Parameter(negative=())],
    out: Path,
    size: str | None = None,
    quiet: Quiet = False,
    given: Any = (),
) -> int:
    """Make a study out of folders of pictures.

    unpaired study create --real photos --fake ours=generated --fake other=theirs --out studies/photos

    Parameters
    ----------
    real
        Folder of real pictures.
    fake
        NAME=DIR, a method and the folder of its pictures; may be repeated. A participant sees one method.
    out
        New folder of the study.
    size
        Crop and resample every picture to this size: 256, or HEIGHTxWIDTH. Without it, all must have one size.
    """
    from unpaired.core.given import settings_of
    from unpaired.study.create import create_study
    from unpaired.study.description import Settings

    settings: Settings = settings_of("study", Settings, given)
    with counting("Reading pictures", quiet=quiet) as progress:
        created = create_study(real, _fakes(fake), out, settings, size=_size(size), progress=progress)
    for notice in created.notices:
        note(f"warning: {notice}")
    if not quiet:
        made = created.study
        counts = ", ".join(f"{len(pictures)} of {name}" for name, pictures in made.methods.items())
        say(
            f"{out}: {len(made.real)} real pictures, {counts}; {made.height} x {made.width} pixels.\n"
            f"Show it to people with:\n  unpaired study serve {shlex.quote(str(out))}"
        )
    return 0


@study.command
def serve(
    folder: Annotated[Path, Parameter(name="STUDY")],
    /,
    *,
    host: str = "127.0.0.1",
    port: Whole = 8000,
    behind_proxy: Switch = False,
) -> int:
    """Show a study to people in their browsers, until stopped; prints the addresses of the study and of its report.

    unpaired study serve studies/photos --port 8080

    Parameters
    ----------
    folder
        The study.
    host
        Address to listen on: 127.0.0.1 is this machine only, 0.0.0.0 all networks.
    port
        Port to listen on; 0 takes a free one.
    behind_proxy
        Believe a proxy on this machine about who is asking (X-Forwarded-For), for the limits on requests.
    """
    from unpaired.study.serve import serve_study

    serve_study(folder, host, port, behind_proxy=behind_proxy)
    return 0


@study.command
def report(
    folder: Annotated[Path, Parameter(name="STUDY")],
    /,
    *,
    out: Path | None = None,
    quiet: Quiet = False,
) -> int:
    """Write a study's report: index.html, report.json, answers.csv and participants.csv.

    Parameters
    ----------
    folder
        The study.
    out
        Folder for the report; an earlier report in it is replaced. [default: STUDY/report]
    """
    from unpaired.study.page import summary, write_report

    made, path = write_report(folder, out)
    if not quiet:
        say(summary(made))
        say(f"Report: {path}")
    return 0


def _fakes(given: Sequence[str]) -> dict[str, Path]:
    fakes: dict[str, Path] = {}
    for text in given:
        name, sign, folder = text.partition("=")
        if not (name and sign and folder):
            raise UserError(f'--fake "{text}": expected NAME=DIR, such as --fake ours=translated/test.')
        if name in fakes:
            raise UserError(f'--fake: the method "{name}" is given twice. Each needs a name of its own.')
        fakes[name] = Path(folder)
    return fakes


def _size(text: str | None) -> tuple[int, int] | None:
    size = read_size("--size", text)
    if size is not None and not all(8 <= side <= 4096 for side in size):
        raise UserError(f"--size {text}: expected 8 to 4096 pixels (256) or HEIGHTxWIDTH (256x512).")
    return size
