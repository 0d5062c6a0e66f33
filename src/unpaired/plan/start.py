"""`unpaired.train`: training from Python, with a method that is named or with `auto`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unpaired.core.errors import UserError, did_you_mean, option
from unpaired.core.extensions import allow_extensions, is_spec
from unpaired.core.given import Given
from unpaired.data.config import DataConfig
from unpaired.plan.auto import SHARE, is_auto, train_auto
from unpaired.training.config import TrainingConfig
from unpaired.training.result import Callback, Result
from unpaired.training.resume import DataChanged
from unpaired.training.settings import find_settings_class, read_file
from unpaired.training.start import begin_run, resume_run

AUTO = "auto"
"""As a method: a plan and probes choose. In place of a run to resume: begin, or resume what is there."""
_SECTIONS = (("data", DataConfig), ("training", TrainingConfig))


def train(
    method: str = "cyclegan",
    *,
    data: str | Path | None = None,
    a: str | Path | None = None,
    b: str | Path | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    data_changed: DataChanged = "refuse",
    budget: str | None = None,
    probe: bool = True,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
    extensions: Sequence[str] = (),
    **named: Any,
) -> Result:
    """Train a method on two folders of images, or resume a run; the same as `unpaired train`.

    - `data` is a folder with both domains, or `a` and `b` are one folder each; `out` is the run's new folder.
    - Any setting may be given by its name: `crop_size=128`, `epochs=5`, `cycle_weight=5.0`. `config` is a TOML file (or
      the name of a shipped one), `settings` maps dotted names to values (`{"training.epochs": 5}`); settings given by
      name win over `settings`, and these over the file. `unpaired settings METHOD` lists all of them.
    - `resume` is the run to resume, given with nothing else but settings that a resumed run may change and, where
      its images have others places now, `data` or `a` and `b`. With `resume="auto"` and `out`, the run in `out` is
      begun, or gone on with where it exists. `data_changed="continue"` goes on with other images than before.
    - `init_from` is a run, checkpoint or model folder to start from, and `freeze` names parts that stay as they are.
    - `callbacks` receive the log, samples, checkpoints and the end, see `unpaired.Callback`.
    - `method` may be a user's own, `package.module:Name`, and so may families of networks. A run that is resumed needs
      those that it names once more, in `extensions`.
    - With `method="auto"` a plan and short trainings choose method and settings. `budget` is the time for all of it,
      such as `90s`, `30m` or `12h` (`max_images` is a number of images instead); with `probe=False` the rules alone
      choose. A signal during a short training raises `unpaired.plan.probes.Stopped`; `resume` goes on from there.

    Raises `UserError`.
    """
    allow_extensions([*extensions, *([method] if is_spec(method) else [])])
    given = [read_file(config)] if config is not None else []
    if settings:
        given.append(Given(dict(settings), "settings['{name}']"))
    places = {"data.root": data, "data.a": a, "data.b": b}
    flags = {name: str(value) for name, value in places.items() if value is not None}
    given.append(Given(flags | _by_name(method, named), "{name}"))
    run, go_on = (None if str(resume) == AUTO else resume), resume is not None
    if run is not None and (out is not None or config is not None):
        raise UserError("resume takes everything from the run: leave out out and config.")
    folder = run or out
    if folder is None:
        raise UserError("out is missing: the folder that this run is to be written to.")
    how: dict[str, Any] = {"data_changed": data_changed, "quiet": quiet, "callbacks": callbacks}
    if method == AUTO or (run is not None and is_auto(Path(run))):
        share = SHARE if probe else 0.0
        return train_auto(given, Path(folder), budget=budget, share=share, go_on=go_on, **how)
    if budget is not None or not probe:
        unused = "probe=False" if budget is None else option("budget", budget)
        raise UserError(f'{unused} belongs to method="auto". Leave it out.')
    if run is not None:
        return resume_run(Path(run), given, **how)
    return begin_run([*given, Given({"method.name": method}, "method")], Path(folder), go_on=go_on, **how)


def _by_name(method: str, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that were given without their section by their dotted names."""
    sections: dict[str, str] = {}
    own = () if method == AUTO else (("method", find_settings_class(method)),)
    for section, kind in (*own, *_SECTIONS):
        sections |= {field.name: section for field in dataclasses.fields(kind)}
    for name in named:
        if name not in sections:
            near = did_you_mean(name, sections)
            hint = f'Those of methods go with settings={{"method.{name}": ...}}.' if method == AUTO else ""
            raise UserError(
                f"{name}: train() has no such argument and {method} no such setting.{near} "
                + (hint or f"See: unpaired settings {method}.")
            )
    return {f"{sections[name]}.{name}": value for name, value in named.items() if value is not None}
