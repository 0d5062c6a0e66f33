"""`unpaired train auto`: a plan, probes, the training with what they decided, and its evaluation; resumable as a whole.

The run's folder holds what was asked for (`auto.json`), the candidates and their probes (`probes/`), then the plan
(`plan.toml`); the winner's probe becomes the run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from unpaired.core.errors import UserError, option
from unpaired.core.files import LOCK, check_out, locked, read_regular, require_new, write_atomic
from unpaired.core.given import Given
from unpaired.core.terminal import note, show, stages
from unpaired.core.text import duration, number, percent, plural, printable
from unpaired.data.directions import Direction
from unpaired.data.folders import image_folders
from unpaired.data.held_out import open_dataset
from unpaired.data.streams.stream import absolute
from unpaired.evaluation.options import Options
from unpaired.evaluation.start import evaluate, settled
from unpaired.methods import find_method
from unpaired.models.folder import CHECKPOINTS
from unpaired.plan.document import METHOD, By, Decision, Plan, read_plan
from unpaired.plan.fingerprint import take_fingerprint
from unpaired.plan.make import plan_by_rules, read_budget, refuse_recipe, seconds_per_image
from unpaired.plan.probes import RECORD, Prober, Probes
from unpaired.report.tables import render, to_terminal
from unpaired.training.progress import Progress
from unpaired.training.restart import has_begun
from unpaired.training.result import Callback, Result
from unpaired.training.resume import CONFIG, FOLDERS, RESUMABLE, DataChanged, resumed_config, with_absolute_paths
from unpaired.training.schedule import factor
from unpaired.training.settings import RunConfig, resolve
from unpaired.training.start import resume_run

ASKED, PLAN, PROBES, CANDIDATES = "auto.json", "plan.toml", "probes", "candidates.json"
SHARE = 0.15
"""Of the budget that probes may spend."""
OPEN = {"CycleGAN": "cyclegan", "CUT": "cut", "FastCUT": "fastcut"}
"""What probes choose among where no rule has chosen a method: name -> method."""
LENGTH = ("training.epochs", "training.decay_epochs", "training.max_images")


class Asked(BaseModel):
    """What `unpaired train auto` was asked for, kept so that it can go on."""

    seconds: float | None
    """The budget as seconds of training; None where it is one of images, or the plan's."""
    share: float
    """Of the budget, for probes; 0 for none."""
    settings: dict[str, Any]
    """What the user set, by dotted name."""

    @property
    def given(self) -> list[Given]:
        """The user's settings."""
        return [Given(self.settings, "{name}")]

    def changed_by(self, given: Sequence[Given]) -> list[Given]:
        """Return the settings that are given otherwise now: one that is only repeated leaves what was decided since."""
        found = []
        for source in given:
            now = {n: absolute(v) if n.removeprefix("data.") in FOLDERS else v for n, v in source.values.items()}
            plain = json.loads(json.dumps(now, default=str))
            changed = {name: value for name, value in now.items() if plain[name] != self.settings.get(name)}
            found.append(dataclasses.replace(source, values=changed))
        return found


class Candidate(BaseModel):
    """What probes try."""

    plan: Plan
    cost: float
    """Of an image, in the unit of the budget."""


def is_auto(folder: Path) -> bool:
    """Whether `train_auto` has begun in a folder."""
    return (folder / ASKED).is_file()


def train_auto(
    given: Sequence[Given],
    folder: Path,
    *,
    budget: str | None = None,
    share: float = SHARE,
    go_on: bool = False,
    data_changed: DataChanged = "refuse",
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Plan, probe, train and evaluate in a new folder; with `go_on`, go on there where that was begun.

    `given` are the settings that the user chose, which are kept; `training.max_images` is a budget of images. `budget`
    is one of training time (`30m`), of which probes may take `share`; 0 leaves the choice to the rules. `callbacks` see
    the run alone, not its probes. Raises `UserError`, and `Stopped` for a signal during a probe.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("train auto probes in one process. Start it without torchrun, or train its plan.toml with it.")
    folder = Path(os.path.abspath(folder))
    go_on = go_on and is_auto(folder)
    asked = _read(folder, given, budget, share) if go_on else _asked(given, budget, share, folder)
    with locked(folder):
        if not has_begun(folder):
            write_atomic(folder / ASKED, asked.model_dump_json(indent=2) + "\n")
            if not (folder / PLAN).is_file():
                _decide(folder, asked, quiet).write(folder / PLAN)
            _begin(folder, read_plan(folder / PLAN))
    changed = asked.changed_by(given) if go_on else []
    result = resume_run(folder, changed, data_changed=data_changed, quiet=quiet, callbacks=callbacks)
    if result.state == "finished":
        options, place, _ = settled(Options(model=str(folder)))
        with stages(quiet=quiet) as progress:
            found = evaluate(options, progress=progress)
        found.write(place, then="evaluate again")
        if not quiet:
            show(render(found))
    return result


def _asked(given: Sequence[Given], budget: str | None, share: float, folder: Path) -> Asked:
    """Return what is asked for, after checking all that costs nothing; raises `UserError`."""
    settings = {name: value for source in given for name, value in source.values.items()}
    seconds = None if budget is None else read_budget(budget)
    for name in (name for name in LENGTH if seconds and settings.get(name) is not None):
        chosen = option(name, settings[name])
        raise UserError(f"{option('budget', budget)} and {chosen} both say how long to train. Leave one of them out.")
    config = with_absolute_paths(resolve(given))
    refuse_recipe(config.training)
    if share and not config.training.evaluate_images:
        raise UserError(
            f"{option('training.evaluate_images', 0)} turns off the evaluations by which probes are judged. Leave it "
            "out, or let the rules alone choose: --no-probe."
        )
    require_new(folder)
    check_out(folder, reads=image_folders(config.data), replaces=())
    data = dataclasses.asdict(config.data)
    places = {f"data.{name}": data[name] for name in FOLDERS}
    return Asked(
        seconds=seconds, share=share, settings={name: places.get(name, value) for name, value in settings.items()}
    )


def _read(folder: Path, given: Sequence[Given], budget: str | None, share: float) -> Asked:
    """Return what was asked for in a folder; raises `UserError` where it is damaged or something else is asked for."""
    try:
        asked = Asked.model_validate_json(read_regular(folder / ASKED, at_most=1 << 24))
    except ValidationError as error:
        raise UserError(f"{printable(folder / ASKED)} is damaged. Choose another {option('out')}.") from error
    changed = [option("budget", budget)] if budget is not None and read_budget(budget) != asked.seconds else []
    changed += ["--no-probe"] if not share and asked.share else []
    if not has_begun(folder):  # a run compares them itself
        changed += [source.called(name) for source in asked.changed_by(given) for name in source.values]
    if changed:
        raise UserError(
            f"{changed[0]}: {printable(folder)} was begun without it. Leave it out, or choose another {option('out')}."
        )
    return asked


# ------------------------------------------------------------------------------------------------------------ decisions


def _decide(folder: Path, asked: Asked, quiet: bool) -> Plan:
    """Return the plan, after probes where there is something to choose."""
    candidates = _candidates(folder / PROBES / CANDIDATES, asked, quiet)
    plans = [candidate.plan for candidate in candidates.values()]
    for finding in () if quiet else plans[0].findings:
        note(f"{'warning: ' if finding.severity == 'warning' else ''}{finding.text}")
    if len(candidates) == 1:
        return plans[0]
    configs = {name: with_absolute_paths(resolve([one.plan.given(), *asked.given])) for name, one in candidates.items()}
    first = next(iter(configs.values()))
    epoch = _epoch_images(first)
    planned, most = first.training.total_epochs * epoch, first.training.max_images
    total = asked.seconds or min(planned, most or planned)
    ways: list[Direction] = [way for one in configs.values() if (way := getattr(one.settings, "direction", None))]
    prober = Prober(
        folder=folder / PROBES,
        candidates=configs,
        costs={name: candidate.cost for name, candidate in candidates.items()},
        direction=ways[0] if ways else "a2b",
        say=(lambda _: None) if quiet else note,
    )
    probes = prober.probe(asked.share * total)
    if probes.measure and not quiet:
        show(to_terminal(probes.table()))
    winner = probes.left[0]
    # The plan's own method, and a budget of images, which includes the probes, make room for what probes decide.
    decisions = candidates[winner].plan.decisions
    kept = tuple(one for one in decisions if one.setting not in (METHOD, "training.max_images"))
    plan = candidates[winner].plan.model_copy(update={"decisions": kept})
    return plan.decided(*_by_probes(probes, total, asked.seconds is not None, configs[winner], epoch))


def _candidates(path: Path, asked: Asked, quiet: bool) -> dict[str, Candidate]:
    """Return the candidates by name, one where a rule chooses; from the file of an earlier call where there is one."""
    kind = TypeAdapter(dict[str, Candidate])
    if path.is_file():
        return kind.validate_json(path.read_bytes())
    config = resolve(asked.given)
    with Progress(quiet=quiet) as display:
        facts = take_fingerprint(config.data, device=config.training.device, progress=display.checking)
    found, refused = dict[str, Candidate](), list[UserError]()

    def add(name: str, *method: Given) -> None:
        try:  # a setting that the user chose may be one of some methods alone
            plan = plan_by_rules(facts, [*asked.given, *method], budget=asked.seconds)
            found[name] = Candidate(plan=plan, cost=seconds_per_image(plan.config(), facts) if asked.seconds else 1.0)
        except UserError as error:
            refused.append(error)

    add("")
    if asked.share and (not found or found[""].plan.method in OPEN.values()):
        ruled = found.pop("", None)
        for name, method in OPEN.items():
            add(name, Given({"method.name": method}, "{name}"))
        if ruled is not None:  # what the rules choose comes first: it is taken where probes cannot tell
            found = dict(sorted(found.items(), key=lambda one: one[1].plan.method != ruled.plan.method))
    if refused and not found:
        raise refused[0]
    write_atomic(path, kind.dump_json(found, indent=2))
    return found


def _by_probes(probes: Probes, total: float, is_time: bool, config: RunConfig, epoch: int) -> list[Decision]:
    """Return what probes decide: the method, and the images for which the rest of the budget is enough."""
    winner, training = probes.winner, config.training
    images = winner.images + round(max(total - probes.spent, 0.0) / winner.cost)
    epochs = -(-images // epoch)
    decay = epochs * (training.total_epochs - training.epochs) // training.total_epochs
    reason = f"{duration(total)} at {number(winner.cost, 2)} s an image" if is_time else plural(round(total), "image")
    reason += f", of which probes took {percent(probes.spent / total)}" if probes.spent else ""
    decided = {
        METHOD: (config.method, probes.reason()),
        "training.max_images": (images, reason),
        "training.epochs": (epochs - decay, "as many as these images make, divided as the plan has it"),
        "training.decay_epochs": (decay, "the rest of them"),
    }
    by: By = "probe" if probes.measure else "rule"
    return [Decision(setting=name, value=value, reason=why, by=by) for name, (value, why) in decided.items()]


def _epoch_images(config: RunConfig) -> int:
    train = open_dataset(config.data, paired=find_method(config.method).paired).train
    return len(train.pairs) or max(len(train.a), len(train.b))


# ------------------------------------------------------------------------------------------------------------- training


def _begin(folder: Path, plan: Plan) -> None:
    """Make the folder a run: the winner's probe, where it is how the run would begin, else a new one."""
    config = with_absolute_paths(plan.config())
    record, runs = folder / PROBES / RECORD, folder / PROBES / "runs"
    run = runs / next((name for name, method in OPEN.items() if method == config.method), "")
    images = Probes.model_validate_json(record.read_bytes()).tried[run.name].images if record.is_file() else 0
    if images and _begins_with(config, images):
        later = {name: value for name, value in plan.settings.items() if name in RESUMABLE}
        _, config = resumed_config(run, [Given(later, "plan: {name}")])
        for path in run.iterdir():
            if path.name not in (CONFIG, LOCK):
                os.replace(path, folder / path.name)
    write_atomic(folder / CONFIG, config.to_file())  # what makes it a run comes last
    for run in runs.glob("*"):  # logs and samples of the others stay, their weights do not
        shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)


def _begins_with(config: RunConfig, images: int) -> bool:
    """Whether a run begins with a probe of so many images, which has the full learning rate."""
    epochs = range(images // _epoch_images(config) + 1)
    return config.training.schedule != "plateau" and all(factor(config.training, epoch) == 1.0 for epoch in epochs)
