"""Making a plan: fingerprint, findings, rules and, with a budget, size and length by the time that steps take here."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from unpaired.core.device import find_device
from unpaired.core.errors import UserError, option
from unpaired.core.given import Given, Joined, flatten
from unpaired.core.memory import means_out_of_memory
from unpaired.core.text import duration, number
from unpaired.data.config import DataConfig
from unpaired.data.transforms import training_size
from unpaired.methods import Batch, ImageShapes, find_method
from unpaired.plan.document import METHOD, Decision, Plan
from unpaired.plan.findings import findings
from unpaired.plan.fingerprint import Fingerprint, Progress, take_fingerprint
from unpaired.plan.rules import ENOUGH, LEVELS, Limits, by_rules, default_limits
from unpaired.training.config import TrainingConfig
from unpaired.training.init import find_init
from unpaired.training.settings import RunConfig
from unpaired.training.trainer import Trainer

Timing = Callable[[RunConfig, Fingerprint], float]
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SPARE = 0.85
"""Share of a budget for steps; the rest is for loading, evaluation and checkpoints."""


def make_plan(
    given: Sequence[Given] | Mapping[str, Any], *, budget: str | float | None = None, progress: Progress | None = None
) -> Plan:
    """Look at the data and the machine, and return the plan of a training; nothing is written or trained.

    `given` are settings that the user has chosen, by dotted names: at least where the data is,
    `make_plan({"data.root": "horse2zebra"})`. `budget` is the time for the training on this machine, such as `30m` or
    `2h`, or seconds. Raises `UserError`.
    """
    chosen = [Given(given, "{name}")] if isinstance(given, Mapping) else list(given)
    joined = Joined(chosen)
    joined.values.pop("method.name", None)
    seconds = read_budget(budget) if isinstance(budget, str) else budget
    training: TrainingConfig = joined.build(TrainingConfig, "training")
    refuse_recipe(training)
    if training.init_from is not None:
        find_init(training)  # a wrong one is refused before anything slow
    facts = take_fingerprint(joined.build(DataConfig, "data"), device=training.device, progress=progress)
    return plan_by_rules(facts, chosen, budget=seconds)


def refuse_recipe(training: TrainingConfig) -> None:
    """Raise `UserError` for a recipe: a plan decides what a recipe would, by the data."""
    if training.recipe != "published":
        chosen = option("training.recipe", training.recipe)
        raise UserError(
            f"{chosen}: a plan decides these settings itself. Leave it out, or use unpaired train cyclegan."
        )


def plan_by_rules(
    facts: Fingerprint, given: Sequence[Given] = (), *, budget: float | None = None, timing: Timing | None = None
) -> Plan:
    """Return what the rules decide on these facts, around what is `given`; with a budget (seconds) steps are timed.

    Another method has other settings: give it (`method.name`) and make a plan anew, which costs nothing without a
    budget. Raises `UserError` where the given settings contradict one another.
    """
    values = flatten(Joined(given).values)
    user = [Decision(setting=METHOD if n == "method.name" else n, value=v, by="user") for n, v in values.items()]
    plan = Plan(title=facts.title, findings=findings(facts), decisions=tuple(user))
    limits = default_limits(facts)
    if budget is not None:
        limits = fitted(facts, plan, budget, timing or seconds_per_image)
    plan = by_rules(facts, plan, limits)
    plan.config()
    return plan


def read_budget(text: str) -> float:
    """Return the seconds of `90s`, `30m`, `2h` or `1d`; raises `UserError`."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(s|m|min|h|d)", text.strip())
    if found is None or not float(found[1]):
        raise UserError(f"{option('budget', text)}: a length of time has a unit, such as 90s, 30m, 2h or 1d.")
    return float(found[1]) * _UNITS[found[2]]


def fitted(facts: Fingerprint, plan: Plan, budget: float, timing: Timing) -> Limits:
    """Return the largest images and networks with which a budget is enough for `ENOUGH` images, and how many it is.

    The smallest level is timed first; larger ones only where their arithmetic says that they could fit.
    """
    most = default_limits(facts).level if facts.device != "cpu" else LEVELS[0]
    allowed = [level for level in LEVELS if level.cost <= most.cost]
    enough = _SPARE * budget / ENOUGH

    def timed(number_of: int) -> float:
        limits = Limits(allowed[number_of], "", ENOUGH)
        return timing(by_rules(facts, plan, limits).config(), facts)

    last = len(allowed) - 1
    chosen, seconds = last, timed(last)
    for index, level in enumerate(allowed[:-1]):
        # Small networks use a machine badly, so larger ones cost less than their arithmetic says.
        if seconds * (level.cost / allowed[last].cost) ** 0.6 <= enough and (found := timed(index)) <= enough:
            chosen, seconds = index, found
            break
    images = max(1, int(_SPARE * budget / seconds))
    images = max(10, round(images, 2 - len(str(images))))
    why = f"the largest that sees {number(ENOUGH)} images in {duration(budget)} here"
    if chosen == last:
        why = f"the smallest there is, for {duration(budget)}"
    return Limits(allowed[chosen], why, images, f"{duration(budget)} at {number(seconds, 2)} s an image, measured here")


def seconds_per_image(config: RunConfig, facts: Fingerprint) -> float:
    """Return how long a training image takes on the device of the settings, by a few steps on random images.

    Infinite where memory is short.
    """
    method, training, device = find_method(config.method), config.training, find_device(config.training.device)
    size = training_size(config.data)
    height, width = size or (facts.a.height // 4 * 4, facts.a.width // 4 * 4)
    counts = [
        config.data.channels(side) or (3 if config.data.labels(side) else max(facts.side(side).channels))
        for side in ("a", "b")
    ]
    shapes = ImageShapes(channels_a=counts[0], channels_b=counts[1], size=(height, width))
    settings, _ = method.adapt(config.settings, shapes, config.chosen_settings())

    def batches() -> Iterator[Batch]:
        while True:
            yield Batch(*(torch.rand(training.batch_size, n, height, width, device=device) * 2 - 1 for n in counts))

    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            trainer = Trainer(method(settings, shapes), training, device, fixed_sizes=size is not None)
            taken = [_timed(trainer, batches(), device) for _ in range(4)]
            trainer.close()
    except (UserError, RuntimeError, MemoryError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        if means_out_of_memory(cause):
            return float("inf")
        raise
    return statistics.median(taken[1:]) / training.batch_size


def _timed(trainer: Trainer, batches: Iterator[Batch], device: torch.device) -> float:
    """Return the seconds of a step; on CPUs those that were computed, whatever else the machine does."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = clock()
    trainer.step(batches)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (clock() - begun) / (torch.get_num_threads() if device.type == "cpu" else 1)
