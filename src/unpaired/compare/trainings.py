"""From a plan to trainings: each with a name, a seed, a direction where it has but one, and all of its settings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unpaired.compare.plan import Entry, Plan, refuse_code
from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.extensions import is_extension
from unpaired.core.given import Given, flatten
from unpaired.core.settings import settings_classes
from unpaired.methods import METHODS, Direction, find_method
from unpaired.networks import DiscriminatorConfig, GeneratorConfig
from unpaired.training.config import TrainingConfig
from unpaired.training.settings import RunConfig, read_file, resolve, unknown_method

NETWORKS: dict[str, Any] = {"generator": GeneratorConfig, "discriminator": DiscriminatorConfig}
"""Settings that only mean the same where they are of the same families."""

DECIDED = {
    "training.seed": "Give the seeds: seeds = [0, 1, 2] in the plan, or --seeds 0,1,2.",
    "training.max_images": "Give the budget: images in the plan, or --images.",
    "training.epochs": "The schedule follows from the budget: images in the plan, or --images.",
    "training.decay_epochs": "The schedule follows from the budget: images in the plan, or --images.",
    "training.patience": "All trainings have the same budget: images in the plan, or --images.",
    **{f"data.{name}": "Give the folders with the command." for name in ("root", "a", "b", "test_a", "test_b")},
}
"""What a comparison decides for all its trainings, and how to ask for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of a comparison."""

    name: str
    """Name of its run's folder, such as `cyclegan-seed0` or `cut-a2b-seed0`."""
    entry: Entry
    seed: int
    directions: tuple[Direction, ...]
    """The directions that it gives and the comparison wants."""
    config: RunConfig
    own: tuple[str, ...]
    """Dotted names of the method's settings that are its own, not shared."""
    not_shared: tuple[str, ...]
    """The networks that its method has of its own kind and does not share: `generator`, `discriminator`."""

    @property
    def paired(self) -> bool:
        """Whether it learns from pairs."""
        return find_method(self.config.method).paired


def trainings_of(
    plan: Plan, places: Mapping[str, str], overrides: Given, epoch_images: Mapping[bool, int]
) -> list[Training]:
    """Return every training of a plan: entry by entry, seed by seed.

    `places` are the data folders by setting (`data.root`), `overrides` what the user set for all entries, and
    `epoch_images` the images of an epoch for unpaired (False) and paired (True) methods. Raises `UserError` where a
    setting is unknown, is decided by the comparison, or is what an entry differs in.
    """
    _check_shared(plan, overrides)
    found = []
    for entry in plan.entries:
        given, not_shared = _given(plan, entry, overrides)
        own_names = {name for source in given[2:] for name in source.values} - {"method.name"}
        method = _method_of(entry, given)
        one_way = "direction" in {field.name for field in dataclasses.fields(find_method(method).config_class)}
        for directions in _split(plan, entry, given, one_way):
            for seed in plan.seeds:
                way = f"-{directions[0]}" if one_way else ""
                own: dict[str, Any] = {**places, "training.max_images": plan.images, "training.seed": seed}
                if one_way:
                    own["method.direction"] = directions[0]
                config = resolve([*given, Given(own, "{name} of the comparison")])
                config = _scheduled(config, plan.images, epoch_images[find_method(method).paired])
                name = f"{entry.slug}{way}-seed{seed}"
                found.append(
                    Training(
                        name=name,
                        entry=entry,
                        seed=seed,
                        directions=directions,
                        config=config,
                        own=tuple(sorted(name for name in own_names if name.startswith("method."))),
                        not_shared=tuple(sorted({setting.split(".")[1] for setting in not_shared})),
                    )
                )
    names = [training.name for training in found]
    for training in found:
        if names.count(training.name) > 1:
            raise UserError(
                f'the runs of "{training.entry.label}" and of another entry would both be called {training.name}. '
                "Change one of the labels."
            )
    return found


def data_settings(plan: Plan, places: Mapping[str, str], overrides: Given) -> RunConfig:
    """Return a configuration whose data and training settings are those that all entries share."""
    _check_shared(plan, overrides)
    shared = {**flatten(plan.data, "data."), **flatten(plan.training, "training.")}
    chosen = {name: value for name, value in overrides.values.items() if not name.startswith("method.")}
    return resolve([Given({**shared, **places}, "{name} of the plan"), Given(chosen, overrides.origin)])


def shared_settings(plan: Plan, overrides: Given) -> dict[str, Any]:
    """Return the settings that all entries share, by dotted name; label maps and size are shown elsewhere."""
    elsewhere = ("data.labels_", "data.crop_size")
    settings = {**_sections(plan), **overrides.values}
    return {name: value for name, value in settings.items() if not name.startswith(elsewhere)}


def needs_pairs(plan: Plan, overrides: Given) -> list[Entry]:
    """Return the entries whose method learns from pairs."""
    return [e for e in plan.entries if find_method(_method_of(e, _given(plan, e, overrides)[0])).paired]


def _sections(plan: Plan) -> dict[str, Any]:
    return {**flatten(plan.method, "method."), **flatten(plan.data, "data."), **flatten(plan.training, "training.")}


def _own(entry: Entry) -> dict[str, Any]:
    return {**flatten(entry.method, "method."), **flatten(entry.training, "training.")}


def _given(plan: Plan, entry: Entry, overrides: Given) -> tuple[list[Given], list[str]]:
    """Return the settings of an entry, later ones over earlier ones, and the shared ones that it cannot have."""
    shared = Given(_sections(plan), "{name} of the plan")
    own = Given(_own(entry), f'{{name}} of "{entry.label}"')
    begin = [read_file(entry.config)] if entry.config is not None else []
    for given in begin:
        refuse_code(given.values, str(entry.config))
    for source in (*begin, own):
        _refuse_decided(source.values, f'"{entry.label}" sets')
        for name in source.values:
            if name.startswith("data."):
                raise UserError(f'"{entry.label}" sets {name}, and the data is the same for all: set it in [data].')
    method = _method_of(entry, [*begin, own])
    kept, dropped = [], list[str]()
    for source in (shared, overrides):
        fits = {name: value for name, value in source.values.items() if _has(method, name)}
        dropped += [name for name in source.values if name not in fits and name.split(".")[1] in NETWORKS]
        kept.append(Given(fits, source.origin))
    return [*kept, *begin, own], dropped  # two that are shared, then the entry's


def _method_of(entry: Entry, given: list[Given]) -> str:
    names = [source.values["method.name"] for source in given if "method.name" in source.values]
    if not names:
        raise UserError(f'the entry "{entry.label}" has no method: give it method = {{ name = "cyclegan" }}.')
    if names[-1] not in METHODS and not is_extension(names[-1], "method"):
        raise unknown_method(str(names[-1]), f'the method of "{entry.label}"')
    return str(names[-1])


def _has(method: str, name: str) -> bool:
    """Whether a setting of the plan means something for a method: always, unless it is a method's own."""
    section, _, rest = name.partition(".")
    if section != "method":
        return True
    setting = rest.split(".")[0]
    hint = typing.get_type_hints(find_method(method).config_class, include_extras=True).get(setting)
    return hint is not None and (
        setting not in NETWORKS or {*settings_classes(hint)} <= {*settings_classes(NETWORKS[setting])}
    )


def _check_shared(plan: Plan, overrides: Given) -> None:
    """Refuse shared settings that nobody has, that the comparison decides, or that entries differ in."""
    _refuse_decided({**flatten(plan.data, "data."), **flatten(plan.training, "training.")}, "the plan sets")
    _refuse_decided(overrides.values, "--set names")
    settings = {field.name for method in METHODS.values() for field in dataclasses.fields(method.config_class)}
    for name in [*flatten(plan.method, "method."), *(n for n in overrides.values if n.startswith("method."))]:
        setting = name.split(".")[1]
        if setting in ("name", "direction"):
            raise UserError(f"{name} cannot be shared: every entry says which method it is, and which way it goes.")
        if setting not in settings:
            raise UserError(f"{name}: no method has such a setting.{did_you_mean(setting, settings)}")
    for entry in plan.entries:
        own = _own(entry)
        own |= dict(read_file(entry.config).values) if entry.config is not None else {}
        for name in overrides.values:
            if any(f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.") for other in own):
                raise UserError(
                    f'--set {name}: the entry "{entry.label}" sets this itself, so it cannot be set for all. Copy the '
                    "plan and change it there."
                )


def _refuse_decided(values: Mapping[str, Any], who: str) -> None:
    for name in values:
        if name in DECIDED:
            raise UserError(f"{who} {name}, which a comparison decides for all. {DECIDED[name]}")


def _split(plan: Plan, entry: Entry, given: list[Given], one_way: bool) -> list[tuple[Direction, ...]]:
    if not one_way:
        return [plan.directions]
    named = [source.values["method.direction"] for source in given if "method.direction" in source.values]
    if not named:
        return [(direction,) for direction in plan.directions]
    if named[-1] not in plan.directions:
        raise UserError(
            f'the entry "{entry.label}" goes {named[-1]!r}, and the plan compares {" and ".join(plan.directions)}.'
        )
    return [(named[-1],)]


def _scheduled(config: RunConfig, images: int, epoch_images: int) -> RunConfig:
    """Return the settings with epochs that make the budget, split as the method's publication splits them.

    The published share of epochs at the full learning rate (a half for CycleGAN, three quarters for FastCUT) is kept.
    """
    training = config.training
    total = -(-images // epoch_images)
    # Rounded in favour of the full rate; the schedules without a phase of decay have all their epochs in `epochs`.
    decay = total * (training.total_epochs - training.epochs) // training.total_epochs
    changed: TrainingConfig = dataclasses.replace(training, epochs=total - decay, decay_epochs=decay)
    return dataclasses.replace(config, training=changed)
