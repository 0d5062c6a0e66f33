"""`unpaired train` and `unpaired demo`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from unpaired.cli.app import INTERRUPTED, app
from unpaired.cli.options import IMAGES, RUN, TRAINING, Extension, Quiet, Section, Switch, Whole, allow, with_settings
from unpaired.core.errors import UserError, option
from unpaired.core.terminal import note, say
from unpaired.core.text import plural

if TYPE_CHECKING:
    from unpaired.core.given import Given
    from unpaired.training.result import Result

METHODS_HELP = (
    "The method: auto (a plan and short probes choose), cyclegan, stegogan, cut, fastcut, dclgan, unsb, pix2pix (learns"
    " from pairs), simgan, feature_gan, bigan, cogan, masked (fills in covered patches; for --init-from), or your own "
    "as package.module:Name. Those of one direction translate A to B; --set method.direction=b2a changes that."
)


def sections() -> list[Section]:
    """Return the settings that trainings have options for."""
    from unpaired.data.config import DataConfig
    from unpaired.training.config import TrainingConfig

    return [
        Section(name="data", kind=DataConfig, group=IMAGES),
        Section(name="training", kind=TrainingConfig, group=TRAINING),
    ]


@app.command
@with_settings(sections)
def train(
    method: Annotated[str | None, Parameter(help=METHODS_HELP)] = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(group=RUN)] = None,
    resume: Annotated[str | None, Parameter(group=RUN)] = None,
    config: Annotated[Path | None, Parameter(group=RUN)] = None,
    data_changed: Annotated[Literal["refuse", "continue"], Parameter(group=RUN, show_default=False)] = "refuse",
    budget: Annotated[str | None, Parameter(group=TRAINING)] = None,
    probe: Annotated[bool, Parameter(group=TRAINING, negative="--no-probe", show_default=False)] = True,
    extension: Extension = None,
    quiet: Quiet = False,
    given: Any = (),
) -> int:
    """Train a method on two folders of images, or resume a run.

    unpaired train cyclegan --data horse2zebra --out runs/h2z

    unpaired train pix2pix --data facades --side-by-side ab --out runs/facades

    unpaired train auto --data horse2zebra --out runs/h2z --budget 12h

    unpaired train --resume runs/h2z

    unpaired train cyclegan --data horse2zebra --out runs/finer --init-from runs/h2z

    Parameters
    ----------
    out
        New folder of the run: settings, log, samples, checkpoints and index.html, a page to watch it.
    resume
        Run to resume, exactly where it stopped; or auto: resume --out where it has begun, else begin it.
    data_changed
        continue: resume although the images are others than when the run stopped.
    config
        TOML file of settings (sections method, data, training), or the name of one that comes with the package, such
        as small-64. Options and --set win over it.
    budget
        With auto: time to train, such as 90s, 30m or 12h, probes included; --images gives a number of images instead.
    probe
        With auto: choose between methods by short trainings. --no-probe takes what the rules choose.
    """
    from unpaired.core.given import Given
    from unpaired.training.settings import read_file

    allow(extension)
    found: list[Given] = [*([read_file(config)] if config else []), *given]
    if method == "auto" or _is_auto(resume):
        if out is not None and resume not in (None, "auto"):
            raise UserError("--resume takes everything from the run: leave out --out.")
        folder = Path(resume) if resume not in (None, "auto") else out
        how: dict[str, Any] = {"budget": budget, "data_changed": data_changed, "go_on": resume is not None}
        return _auto(found, folder, quiet, **({} if probe else {"share": 0.0}), **how)
    if budget is not None or not probe:
        unused = "--no-probe" if budget is None else option("budget", budget)
        raise UserError(f"{unused} belongs to unpaired train auto. Leave it out, or give auto as METHOD.")
    if method is not None:
        if any(source.values.get("method.name", method) != method for source in given):
            raise UserError(f"METHOD {method} and --set method.name name two methods. Leave one of them out.")
        found.append(Given({"method.name": method}, "METHOD"))
    if resume is None or resume == "auto":
        return _conclude(_start(found, out, resume is not None, data_changed, quiet), quiet)
    if out is not None or config is not None:
        raise UserError("--resume takes everything from the run: leave out --out and --config.")
    from unpaired.training.start import resume_run

    return _conclude(resume_run(Path(resume), found, data_changed=data_changed, quiet=quiet), quiet)


def _is_auto(resume: str | None) -> bool:
    if resume is None or resume == "auto":
        return False
    from unpaired.plan.auto import is_auto

    return is_auto(Path(resume))


def _auto(given: list[Given], folder: Path | None, quiet: bool, **how: Any) -> int:
    from unpaired.plan.auto import train_auto
    from unpaired.plan.probes import Stopped

    if folder is None:
        raise UserError("--out is missing: the new folder that this run is to be written to.")
    try:
        result = train_auto(given, folder, quiet=quiet, **how)
    except Stopped as stopped:
        note(f"Stopped; the probes are saved. Resume with:\n  unpaired train --resume {shlex.quote(str(folder))}")
        return INTERRUPTED + int(stopped.args[0])
    return _conclude(result, quiet)


def _start(
    given: list[Given], out: Path | None, go_on: bool, data_changed: Literal["refuse", "continue"], quiet: bool
) -> Result:
    from unpaired.training.start import begin_run

    if not any("method.name" in source.values for source in given):
        raise UserError(
            "METHOD is missing. Say which method to train, such as: unpaired train cyclegan --data ROOT --out RUN."
        )
    if out is None:
        raise UserError("--out is missing: the new folder that this run is to be written to.")
    return begin_run(given, out, go_on=go_on, data_changed=data_changed, quiet=quiet)


def _conclude(result: Result, quiet: bool) -> int:
    if result.state == "interrupted":
        if result.is_first:
            note(
                f"Stopped after {plural(result.images_seen, 'image')}; everything is saved. Resume with:\n"
                f"  unpaired train --resume {shlex.quote(str(result.run))}"
            )
        return INTERRUPTED + (result.signal or 0)
    if not quiet and result.is_first:
        memory = f" Peak: {result.peak_memory}." if result.peak_memory else ""
        early = f" Stopped early: {result.ended_early}." if result.ended_early else ""
        best = f"Use {result.best.path}, {result.advice}\n" if result.best and result.advice else ""
        run = shlex.quote(str(result.run))
        use = f"translate with:\n  unpaired translate {run} IMAGES --out OUT --direction {result.directions[0]}"
        if not result.translates:
            use = f"begin a translation with:\n  unpaired train cyclegan --init-from {run} --data ROOT --out NEW"
        say(
            f"Finished: {plural(result.images_seen, 'image')}.{early}{memory}\n{best}"
            f"Look at {result.run / 'index.html'}, and {use}"
        )
    return 0


@app.command
def demo(
    *,
    out: Path = Path("unpaired-demo"),
    seed: Whole = 0,
    open: Switch = False,
    quiet: Quiet = False,
) -> int:
    """Train a small CycleGAN on two drawn domains, in a minute or so; needs no files and no network.

    Parameters
    ----------
    out
        New folder for the images, the run and the picture of the result.
    seed
        Seed of the images and of the training.
    open
        Then serve the model on this machine, and open its page in the browser.
    """
    from unpaired.demo import open_playground, require_playground, run_demo

    if open:
        require_playground()
    code = run_demo(out, seed=seed, quiet=quiet)
    if open and code in (0, 1):
        open_playground(out)
    return code
