"""Each rule by itself: what it decides on which facts."""

from __future__ import annotations

from typing import Any

import pytest

from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.plan.document import Plan
from unpaired.plan.findings import findings
from unpaired.plan.fingerprint import DomainFacts, Fingerprint, Outside
from unpaired.plan.make import fitted, plan_by_rules, read_budget, seconds_per_image
from unpaired.plan.rules import LEVELS, default_limits
from unpaired.training.settings import RunConfig

PHOTOS = DomainFacts(
    title="A",
    images=1000,
    test_images=100,
    unusable=0,
    height=256,
    width=256,
    shortest=256,
    sizes=1,
    aspect=1.0,
    aspect_spread=1.0,
    channels={3: 1100},
    dtypes={"uint8": 1100},
    low=None,
    high=None,
    suggested_range=None,
    unit="",
    spacing_unit="",
    missing=0.0,
    large=False,
    labels=(),
    void=(),
    declared_labels=False,
    grey=False,
    statistics={"brightness": (0.5, 0.1), "contrast": (0.2, 0.05), "saturation": (0.1, 0.05)},
    lost=(0.05, 0.1, 0.2),
    orientation=0.0,
    groups=0,
    duplicates=0,
    in_test=0,
)
FACTS = Fingerprint(
    title="set",
    a=PHOTOS,
    b=PHOTOS.model_copy(update={"title": "B"}),
    side_by_side=None,
    pairs=None,
    alignment=None,
    group_rule=None,
    shared_groups=0,
    overlap=0,
    distance=None,
    outside=(),
    device="cuda",
    cores=8,
    memory=40 * 2**30,
    accelerator="GPU",
)


def facts(both: dict[str, Any] | None = None, a: dict[str, Any] | None = None, **changes: Any) -> Fingerprint:
    """Return facts of two sets of photos on a GPU, changed for both domains, for A, and for the whole."""
    domains = {
        "a": PHOTOS.model_copy(update={**(both or {}), **(a or {})}),
        "b": PHOTOS.model_copy(update={"title": "B", **(both or {})}),
    }
    return FACTS.model_copy(update={**domains, **changes})


GREY12 = {
    "channels": {1: 99},
    "grey": True,
    "dtypes": {"uint16": 99},
    "suggested_range": (0.0, 4095.0),
    "low": 0.0,
    "high": 3e3,
}
CT = {**GREY12, "unit": "HU", "spacing_unit": "mm", "dtypes": {"int16": 99}}
FLOATS = {**GREY12, "dtypes": {"float32": 99}, "suggested_range": (-3.5, 90.0)}
NO_TESTS = {"test_images": 0}
WIDE = {"height": 360, "width": 480, "shortest": 360, "aspect": 4 / 3}
PANORAMA = {"height": 200, "width": 3000, "shortest": 200, "aspect": 15.0}
MIXED = {"height": 900, "width": 1200, "shortest": 600, "aspect": 4 / 3, "aspect_spread": 1.8}
PAIRS: dict[str, Any] = {"pairs": "name", "alignment": 0.9}
CASES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # changes of the facts, what the user gave, what is decided
    ({}, {}, {"method.name": "cyclegan", "data.crop_size": 256, "data.load_size": 286, "training.batch_size": 1}),
    ({}, {}, {"method.generator.blocks": 9, "method.generator.width": 64, "method.discriminator.layers": 3}),
    ({}, {}, {"method.generator.upsampling": "transposed", "method.identity_weight": 5.0, "data.flip": True}),
    ({}, {}, {"training.epochs": 100, "training.decay_epochs": 100, "training.augment": []}),
    ({}, {}, {"training.evaluate_every_images": 10_000, "data.held_out": None, "data.group": None}),
    ({"device": "cpu"}, {}, {"method.name": "cyclegan", "data.crop_size": 128, "method.generator.width": 32}),
    ({"device": "cpu"}, {}, {"training.epochs": 10, "training.decay_epochs": 10}),
    ({}, {"method.name": "cut"}, {"method.generator.upsampling": "blur", "method.direction": "a2b"}),
    ({"memory": 2 * 2**30}, {}, {"data.crop_size": 128, "method.generator.width": 64}),
    (PAIRS, {}, {"method.name": "pix2pix", "method.generator.family": "unet", "data.crop_size": 256}),
    (PAIRS | {"alignment": 0.1}, {}, {"method.name": "cyclegan"}),
    (PAIRS | {"pairs": "position"}, {}, {"method.name": "cyclegan"}),
    (PAIRS | {"both": {"height": 200, "shortest": 200}}, {}, {"data.crop_size": 192}),
    (PAIRS | {"pairs": "file", "side_by_side": "ab"}, {}, {"data.side_by_side": "ab", "method.name": "pix2pix"}),
    ({"both": {"unusable": 1}}, {}, {"data.on_bad_image": "skip"}),
    ({"a": {"channels": {1: 9}, "grey": True}}, {}, {"data.channels_a": 1, "data.channels_b": 3}),
    ({"a": {"channels": {1: 9}, "grey": True}}, {}, {"method.name": "cyclegan", "method.identity_weight": 0.0}),
    ({"a": {"grey": True}, "device": "cpu"}, {}, {"data.channels_a": 1, "method.name": "cyclegan"}),
    ({"a": {"labels": (0, 1, 2), "void": (255,)}}, {}, {"data.labels_a.kind": "index", "data.labels_a.void": [255]}),
    ({"a": {"labels": (0, 1, 2)}}, {}, {"method.identity_weight": 0.0, "data.channels_a": None}),
    ({"both": GREY12}, {}, {"data.range_a": [0, 4095], "data.range_b": [0, 4095], "data.channels_a": 1}),
    ({"both": GREY12}, {}, {"data.preprocess": "crop", "method.generator.upsampling": "nearest"}),
    ({"both": GREY12, "a": {"suggested_range": (0.0, 1023.0)}}, {}, {"data.range_a": [0, 4095]}),
    ({"both": CT}, {}, {"data.range_a": "ct", "data.flip": False, "data.preprocess": "crop"}),
    ({"both": FLOATS}, {}, {"data.range_a": "p0.1..p99.9"}),
    ({"both": FLOATS | {"unit": "K"}}, {}, {"data.range_a": [-3.5, 90]}),
    ({"both": WIDE}, {}, {"data.preprocess": "resize_and_crop", "data.crop_size": [256, 340]}),
    ({"both": WIDE} | PAIRS, {}, {"data.crop_size": [256, 352], "data.load_size": [286, 394]}),
    ({"both": {**WIDE, "lost": (0.005, 0.02, 0.1)}}, {}, {"data.crop_size": [180, 240]}),
    ({"both": PANORAMA}, {}, {"data.preprocess": "crop", "data.crop_size": 200, "data.load_size": None}),
    ({"both": PANORAMA, "device": "cpu"}, {}, {"data.preprocess": "scale_width_and_crop", "data.load_size": 2148}),
    ({"both": MIXED}, {}, {"data.preprocess": "scale_width_and_crop", "data.crop_size": 256}),
    ({"both": {"large": True}}, {}, {"data.preprocess": "crop", "data.sampling": "area"}),
    ({"both": {"height": 32, "width": 32, "shortest": 32}}, {}, {"data.crop_size": 32, "training.batch_size": 16}),
    ({"both": {"height": 32, "width": 32, "shortest": 32}}, {}, {"method.discriminator.layers": 1}),
    ({"both": {"orientation": 0.4}}, {}, {"data.flip": False}),
    ({"a": {"statistics": {**PHOTOS.statistics, "brightness": (0.1, 0.1)}}}, {}, {"method.identity_weight": 5.0}),
    ({"both": {"images": 40}}, {}, {"training.augment": ["colour", "translation", "cutout"]}),
    ({"both": {"images": 40}}, {"training.max_images": 700}, {"training.augment": []}),
    ({"both": {**GREY12, "images": 40}}, {}, {"training.augment": ["translation", "cutout"]}),
    ({"both": {"images": 40}}, {}, {"training.epochs": 750, "training.decay_epochs": 750}),
    (
        {"both": {"images": 10**6}},
        {},
        {"training.epochs": 1, "training.decay_epochs": 0, "training.max_images": 300_000},
    ),
    ({"both": NO_TESTS}, {}, {"data.held_out": 0.1}),
    (
        {"both": {**NO_TESTS, "groups": 24}, "group_rule": "{group}_*"},
        {},
        {"data.held_out": 0.2, "data.group": "{group}_*"},
    ),
    ({"both": {**NO_TESTS, "images": 2}}, {}, {"data.held_out": None}),
    # what the user gave stays, and the rest fits it
    ({}, {"data.crop_size": 64}, {"data.crop_size": 64, "data.load_size": None, "training.batch_size": 4}),
    ({}, {"data.flip": False, "method.name": "cut"}, {"data.flip": False, "method.identity_weight": None}),
    ({}, {"data.preprocess": "none"}, {"data.crop_size": None, "training.batch_size": 1}),
    ({}, {"training.max_images": 5000}, {"training.epochs": 3, "training.decay_epochs": 2}),
    ({}, {"training.epochs": 7}, {"training.epochs": 7, "training.decay_epochs": None}),
    ({}, {"method.name": "simgan"}, {"method.generator.family": None}),
    ({"both": GREY12}, {"data.range_a": "file"}, {"data.range_a": "file", "data.range_b": [0, 4095]}),
]


@pytest.mark.parametrize(("changes", "given", "decided"), CASES)
def test_rules(changes: dict[str, Any], given: dict[str, Any], decided: dict[str, Any]) -> None:
    plan = plan_by_rules(facts(**changes), [Given(given, "{name}")])
    assert {name: plan.settings.get(name) for name in decided} == decided
    for name, each in plan.by_name.items():
        assert each.by == ("user" if name in given else "rule")
        assert (0 < len(each.reason) <= 120) == (name not in given)


def test_given_settings_that_contradict_one_another_are_refused() -> None:
    with pytest.raises(UserError, match="range"):
        plan_by_rules(FACTS, [Given({"data.range_a": [3, 2]}, "{name}")])


@pytest.mark.parametrize(
    ("changes", "kind", "severity"),
    [
        ({"both": {"in_test": 2}}, "test-in-train", "warning"),
        ({"shared_groups": 2}, "shared-groups", "warning"),
        ({"overlap": 30}, "overlap", "warning"),
        ({"distance": (0.001, 0.0)}, "alike", "warning"),
        ({"both": {"unusable": 3}}, "unusable", "warning"),
        ({"both": {"images": 20}}, "few-images", "warning"),
        ({"both": {"images": 150}}, "few-images", "note"),
        ({"both": {"dtypes": {"uint8": 3, "uint16": 4}}}, "mixed-types", "warning"),
        ({"both": {"aspect_spread": 2.0, "sizes": 40}}, "mixed-sizes", "note"),
        ({"both": {"duplicates": 400}}, "duplicates", "note"),
        ({"both": {"missing": 0.1}}, "missing", "note"),
        ({"both": {"test_images": 0}}, "no-tests", "note"),
        ({"a": {"labels": (0, 1)}}, "labels", "note"),
        ({"pairs": "position", "alignment": 0.9}, "undeclared-pairs", "note"),
        ({"pairs": "name", "alignment": 0.9}, "pairs", "note"),
        ({"outside": (Outside(property="brightness", side="a", share=0.3, more=False),)}, "one-sided", "note"),
    ],
)
def test_findings(changes: dict[str, Any], kind: str, severity: str) -> None:
    found = {each.kind: each.severity for each in findings(facts(**changes))}
    assert found == {kind: severity}


def test_nothing_is_suspicious_about_two_usual_sets() -> None:
    assert findings(FACTS) == ()
    # What separates all of A from all of B is what is to be translated.
    assert findings(facts(outside=(Outside(property="brightness", side="a", share=1.0, more=False),))) == ()


def test_a_budget_chooses_size_and_length_by_the_time_of_a_step() -> None:
    def timing(config: RunConfig, facts: Fingerprint) -> float:
        timed.append(config.data.crop_size)
        return 1e-6 * config.settings.generator.width * (config.data.crop_size**2) / 64

    for budget, side in ((60.0, 64), (330.0, 128), (3600.0, 256)):
        timed = list[Any]()
        limits = fitted(facts(device="cpu"), Plan(), budget, timing)
        assert limits.level.side == side
        assert timed[0] == 64
        assert len(timed) <= 4
        seconds = 1e-6 * limits.level.width * limits.level.side**2 / 64
        assert limits.images == pytest.approx(0.85 * budget / seconds, rel=0.05)


def test_where_memory_is_short_the_smallest_level_is_taken() -> None:
    limits = fitted(FACTS, Plan(), 1e6, lambda config, facts: 0.01 if config.data.crop_size == 64 else float("inf"))
    assert limits.level == LEVELS[-2]
    assert default_limits(facts(memory=0)).level == LEVELS[-1]


def test_steps_are_timed_by_the_trainer() -> None:
    small = {"data.crop_size": 16, "method.generator.width": 2, "method.generator.blocks": 1, "training.device": "cpu"}
    given = [Given({**small, "method.name": "fastcut", "method.nce_layers": [0, 4]}, "{name}")]
    plan = plan_by_rules(facts(device="cpu"), given)
    assert 0 < seconds_per_image(plan.config(), FACTS) < 60


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5 d", 129600), ("5min", 300)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert read_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "0h", "-3m", "2 weeks", "1e3s", "nan"])
def test_wrong_budgets(text: str) -> None:
    with pytest.raises(UserError, match="such as 90s, 30m"):
        read_budget(text)
