"""The rules of a plan: each reads facts and what is decided so far, and decides with a reason in plain English.

Numbers come from the publications of the methods (Zhu et al. 2017, Isola et al. 2017, Park et al. 2020, and for
augmentation Zhao et al. 2020) and from docs/performance.md; others are choices of this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from unpaired.core.text import listing, number, percent, plural
from unpaired.data.directions import Side
from unpaired.plan.document import Decision, Plan
from unpaired.plan.fingerprint import ALIGNED, DomainFacts, Fingerprint

Values = Mapping[str, Any]
"""What is decided so far, by dotted names."""
SIDES: tuple[Side, Side] = ("a", "b")
KEPT, ORIENTED, ONE_SHAPE, LONG = 0.01, 0.15, 1.3, 2.0
ENOUGH = 10_000
"""Images that a training must see within its budget, or its images and networks are made smaller."""
PASSES = 20
"""Over the images, in fewer of which no discriminator learns them by heart, so that none is augmented."""
STEP_BYTES = 3.2 * 2**30
"""Of a step of CycleGAN at 256 x 256 with width 64 (docs/performance.md)."""


class Level(NamedTuple):
    """How large images and networks may be."""

    side: int
    width: int
    blocks: int

    @property
    def cost(self) -> float:
        """Arithmetic of a step, relative; a generator of 9 blocks has 1/10.2 of its own in each."""
        return self.side**2 * self.width**2 * (1.2 + self.blocks)


LEVELS = (
    *(Level(256, 64, 9), Level(256, 32, 9), Level(128, 64, 6)),
    *(Level(128, 32, 6), Level(64, 32, 6), Level(64, 16, 6)),
)


class Limits(NamedTuple):
    """What the machine, or a budget, allows."""

    level: Level
    why: str
    images: int | None = None
    """Training images, where a budget allows so many."""
    why_images: str = ""


Rule = Callable[[Fingerprint, Values, Limits], Iterator[Decision]]


def by_rules(facts: Fingerprint, plan: Plan, limits: Limits) -> Plan:
    """Return the plan with what the rules decide, in their order; what the user decided stays."""
    for rule in RULES:
        plan = plan.decided(*rule(facts, plan.settings, limits))
    return plan


def default_limits(facts: Fingerprint) -> Limits:
    """Return what a training without a budget may take: the published size on a GPU, a small one on the CPU."""
    if facts.device == "cpu":
        return Limits(Level(128, 32, 6), "without a GPU larger ones take weeks")
    room = (each for each in LEVELS if STEP_BYTES * (each.side / 256) ** 2 * each.width / 64 < 0.8 * facts.memory)
    level = next(room, LEVELS[-1])
    free = f"{facts.memory / 2**30:.0f} GiB of GPU memory are free"
    return Limits(level, f"as published; {free}" if level == LEVELS[0] else f"more does not fit: {free}")


def _is(setting: str, value: Any, reason: str) -> Decision:
    return Decision(setting=setting, value=value, reason=reason)


def _is_measured(domain: DomainFacts) -> bool:
    """Say whether values or pixels have a physical meaning, or a range of their own."""
    return bool(domain.unit or domain.suggested_range or domain.spacing_unit)


def _is_labelled(facts: Fingerprint, values: Values, side: Side) -> bool:
    return facts.side(side).declared_labels or f"data.labels_{side}.kind" in values


def _channels(facts: Fingerprint, values: Values, side: Side) -> int:
    domain = facts.side(side)
    if f"data.channels_{side}" in values:
        return int(values[f"data.channels_{side}"])
    if _is_labelled(facts, values, side):
        return 3
    return 1 if domain.grey and set(domain.channels) <= {1, 3} else max(domain.channels)


# --------------------------------------------------------------------------------------------------------- the images


def sources(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Halves of side-by-side files, files that cannot be read, label maps."""
    if facts.side_by_side and "data.side_by_side" not in values:
        yield _is("data.side_by_side", facts.side_by_side, "files are two images wide; A is taken to be the left one")
    if bad := facts.a.unusable + facts.b.unusable:
        yield _is("data.on_bad_image", "skip", f"{plural(bad, 'file')} cannot be read")
    for side, domain in facts.domains.items():
        if domain.labels and f"data.range_{side}" not in values:
            reason = f"{len(domain.labels)} values in flat areas, as class indices have them"
            yield _is(f"data.labels_{side}.kind", "index", reason)
            if domain.void:
                yield _is(f"data.labels_{side}.void", domain.void, "beside the classes: the mark of unlabelled pixels")


def method(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """pix2pix for pairs, else CycleGAN, where no probe decides."""
    if facts.pairs in ("name", "file") and (facts.alignment or 0) >= ALIGNED:
        how = "files of one name" if facts.pairs == "name" else "both halves of a file"
        text = f"{how} show the same: {percent(facts.alignment)} of A are most like their partner, of 60 images of B"
        yield _is("method", "pix2pix", text)
    elif _channels(facts, values, "a") != _channels(facts, values, "b"):
        yield _is("method", "cyclegan", "A and B differ in channels, which CUT and FastCUT do not take")
    elif any(_is_labelled(facts, values, side) for side in SIDES):
        yield _is("method", "cyclegan", "no pairs; label maps in both directions")
    else:
        yield _is("method", "cyclegan", "no pairs; both directions. Only probes tell whether CUT is better here")


def direction(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Which way a method of one direction translates."""
    if values["method.name"] in ("pix2pix", "cut", "fastcut"):
        yield _is("method.direction", "a2b", f"{values['method.name']} learns one direction: b2a for the other one")


def channels(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Grey or colour."""
    for side, domain in facts.domains.items():
        if _is_labelled(facts, values, side) or not set(domain.channels) <= {1, 3} or "data.neighbours" in values:
            continue
        count = _channels(facts, values, side)
        reason = "grey images" if count == 1 else "colour images"
        if count == 1 and 3 in domain.channels:
            reason = "three channels, and none of the inspected images has colours"
        elif count == 3 and 1 in domain.channels:
            reason = f"colour, but for {plural(domain.channels[1], 'grey image')}"
        yield _is(f"data.channels_{side}", count, reason)


def ranges(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Which values become -1 and 1; one range for two domains of one type and unit."""
    found = {side: domain for side, domain in facts.domains.items() if not _is_labelled(facts, values, side)}
    spans = {side: domain.suggested_range for side, domain in found.items() if domain.suggested_range}
    alike = len(spans) == 2 and (facts.a.unit, set(facts.a.dtypes)) == (facts.b.unit, set(facts.b.dtypes))
    for side, span in spans.items():
        domain, kinds = found[side], listing(sorted(found[side].dtypes))
        whole = [each for one in spans.values() for each in one] if alike else [*span]
        value: Any = [int(each) if each == int(each) else each for each in (min(whole), max(whole))]
        reason = f"{kinds} files use {number(domain.low)} to {number(domain.high)} {domain.unit}".rstrip()
        reason += "; one range for A and B" if alike else ""
        if domain.unit == "HU":
            value, reason = "ct", f"{reason.partition(';')[0]}; -1024 to 3071 is what 12 bits hold"
        elif not domain.unit and "uint" not in kinds:
            value, reason = "p0.1..p99.9", f"{reason.partition(';')[0]}; percentiles leave outliers out"
        yield _is(f"data.range_{side}", value, reason)


# --------------------------------------------------------------------------------------------------------- their size


def _down(side: float, multiple: int = 4) -> int:
    return max(multiple, int(side) // multiple * multiple)


def _kept_side(domain: DomainFacts) -> int:
    """Return the shorter side behind which a reduction would lose detail."""
    factors = [2**step for step, lost in enumerate(domain.lost, 1) if lost < KEPT]
    return min(domain.height, domain.width) // max(factors, default=1)


def size(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """How an image becomes a training image: at its own scale or resized, and which part of it."""
    given = values.get("data.preprocess")
    if given in ("none", "scale_width") or "data.crop_size" in values:
        return
    domains, most = list(facts.domains.values()), limits.level.side
    shortest, short = min(each.shortest for each in domains), min(min(each.height, each.width) for each in domains)
    aspect = math.sqrt(facts.a.aspect * facts.b.aspect)
    odd_shapes = max(aspect, 1 / aspect) > LONG or max(each.aspect_spread for each in domains) > ONE_SHAPE
    own_scale = given == "crop" or any(each.large or _is_measured(each) for each in domains)
    if given == "crop" or (given is None and (own_scale or (odd_shapes and shortest <= 1.25 * most))):
        scale = next((each.spacing_unit for each in domains if each.spacing_unit), "")
        reason = "images of long or different shapes, which a resize to squares would distort"
        if own_scale:
            reason = f"a pixel stays as many {scale} as it is" if scale else "measured or large images keep their scale"
        yield _is("data.preprocess", "crop", reason)
        side = _down(min(most, shortest))
        yield _is("data.crop_size", side, limits.why if side == most else f"the shortest side of all is {shortest}")
        if any(each.large for each in domains):
            yield _is("data.sampling", "area", "large images count by their area")
        return
    multiple = 32 if values["method.name"] == "pix2pix" and short >= 64 else 4
    useful = min(map(_kept_side, domains))
    side = _down(min(most, useful), multiple)
    why = f"the shorter side of the images is {short}"
    if side == most:
        why = limits.why
    elif useful < short:
        why = f"reduced from {short} to {useful} pixels, images lose less than 1 %"
    if odd_shapes and given != "resize_and_crop":
        reason = "images of long or different shapes, which a resize to squares would distort"
        yield _is("data.preprocess", "scale_width_and_crop", reason)
        yield _is("data.crop_size", side, why)
        load = _down(side * 1.12 * max(1.0, aspect))
        yield _is("data.load_size", load, "the width; the shorter side is 1.12 x the crop")
        return
    crop = [side, side]
    if max(aspect, 1 / aspect) > 1.15:
        long = max(side, round(side * max(aspect, 1 / aspect) / multiple) * multiple)
        crop = [side, long] if aspect > 1 else [long, side]
    square = crop[0] == crop[1]
    reason = "images of one shape" + (", as published" if square else ", which is kept")
    yield _is("data.preprocess", "resize_and_crop", reason)
    yield _is("data.crop_size", side if square else crop, why)
    load_size = [each * 112 // 100 for each in crop]
    yield _is("data.load_size", load_size[0] if square else load_size, "1.12 x the crop, as published (286 for 256)")


def _crop(values: Values) -> tuple[int, int]:
    given = values.get("data.crop_size", 256)
    return (given, given) if isinstance(given, int) else (given[0], given[1])


def batch(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Images per step."""
    pixels = math.prod(_crop(values))
    if pixels > 64 * 64 or values.get("data.preprocess") in ("none", "scale_width"):
        yield _is("training.batch_size", 1, "as published: most steps for the images seen")
    else:
        value = 4 if pixels > 32 * 32 else 16
        yield _is("training.batch_size", value, "one image of this size leaves most of a step idle")


def flip(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Whether images may be flipped from left to right."""
    oriented = max(domain.orientation for domain in facts.domains.values())
    if any(domain.unit == "HU" or domain.spacing_unit == "mm" for domain in facts.domains.values()):
        yield _is("data.flip", False, "scans: left and right of a body differ")
    elif oriented > ORIENTED:
        reason = f"the mean image is unlike itself flipped (correlation {oriented:.2f} lower)"
        yield _is("data.flip", False, reason)
    else:
        yield _is("data.flip", True, "left and right look alike; text is not detected: false where there is some")


# ------------------------------------------------------------------------------------------------------- the networks


def generator(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Family, width and blocks of the generator, and of the discriminator."""
    name, crop = values["method.name"], _crop(values)
    if name not in ("cyclegan", "cut", "fastcut", "pix2pix"):
        return
    halved = min(crop) >= 64 and all(side % 32 == 0 for side in crop)
    if name == "pix2pix" and halved and values.get("data.preprocess") not in ("none", "scale_width"):
        yield _is("method.generator.family", "unet", "as published for pairs: skips carry what A and B share")
    else:
        reason = (
            f"{crop[0]} x {crop[1]} cannot be halved often enough for a U-Net" if name == "pix2pix" else "as published"
        )
        yield _is("method.generator.family", "resnet", reason)
        blocks = 9 if min(crop) >= 200 and limits.level.blocks == 9 else 6
        reason = f"as published for images {'of 256' if blocks == 9 else 'below 256'}"
        yield _is("method.generator.blocks", blocks, reason)
    width = limits.level.width
    reason = "as published" if width == 64 else f"1/{(64 // width) ** 2} of the arithmetic of the published 64"
    yield _is("method.generator.width", width, reason)
    layers = 3 if min(crop) >= 100 else 2 if min(crop) >= 48 else 1
    field = {3: 70, 2: 34, 1: 16}[layers]
    yield _is("method.discriminator.layers", layers, f"judges patches of {field} x {field}")
    yield _is("method.discriminator.width", width, "as the generator's")


def upsampling(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """How the generator doubles sizes."""
    if "method.generator.family" not in values:
        return
    value, reason = "transposed", "as published"
    if values["method.name"] in ("cut", "fastcut"):
        value, reason = "blur", "as published for CUT: anti-aliased"
    elif any(_is_measured(domain) for domain in facts.domains.values()):
        value, reason = "nearest", "measured values: transposed convolutions leave checkerboards"
    yield _is("method.generator.upsampling", value, reason)


def identity(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Weight of CycleGAN's identity loss."""
    if values["method.name"] != "cyclegan":
        return
    value, reason = 5.0, "keeps tones (section 5.2 of the paper), and bright and dark from being exchanged"
    if _channels(facts, values, "a") != _channels(facts, values, "b"):
        value, reason = 0.0, "A and B differ in channels"
    elif any(_is_labelled(facts, values, side) for side in SIDES):
        value, reason = 0.0, "as published for label maps and photos"
    yield _is("method.identity_weight", value, reason)


# ------------------------------------------------------------------------------------------------------- the training


def augment(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Augmentation of what discriminators see."""
    least, kinds = min(facts.a.images, facts.b.images), ["translation", "cutout"]
    passes = values.get("training.epochs", 100) + values.get("training.decay_epochs", 100)
    if least >= 400:
        yield _is("training.augment", [], f"{number(least)} images or more: discriminators do not learn them by heart")
    elif passes < PASSES:
        yield _is("training.augment", [], f"seen {plural(passes, 'time')}, {least} images are not learned by heart")
    elif any(_is_measured(domain) for domain in facts.domains.values()):
        yield _is(
            "training.augment", kinds, f"{least} images, which a discriminator learns by heart; values are measured"
        )
    else:
        yield _is("training.augment", ["colour", *kinds], f"{least} images, which a discriminator learns by heart")


def _epoch(facts: Fingerprint, values: Values) -> int:
    """Return the images of an epoch, without those that are held out."""
    return max(1, round(max(facts.a.images, facts.b.images) * (1 - float(values.get("data.held_out", 0)))))


def length(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """How long to train, in images seen, as epochs at the full rate and epochs of decay."""
    if "training.epochs" in values or "training.decay_epochs" in values:
        return
    epoch = _epoch(facts, values)
    images, reason = min(max(200 * epoch, 60_000), 300_000), "between 60,000 and 300,000, as publications have it"
    if (most := values.get("training.max_images")) not in (None, "none"):
        images, reason = int(most), "as many as you gave"
    elif limits.images is not None:
        images, reason = limits.images, limits.why_images
    elif facts.device == "cpu":
        images, reason = 20_000, "a first result on a CPU; --budget 2h fits it to this machine"
    epochs = max(1, -(-images // epoch))
    decay = epochs // 2
    yield _is("training.epochs", epochs - decay, f"{number(images)} images in all: {reason}")
    yield _is("training.decay_epochs", decay, "the learning rate falls to zero over half of the length")
    if images < epochs * epoch:
        yield _is("training.max_images", images, f"the last epoch is not whole: {reason}")


def evaluation(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """How often held-out images are translated, measured and shown."""
    epochs = values.get("training.epochs", 100) + values.get("training.decay_epochs", 100)
    total, most = epochs * _epoch(facts, values), values.get("training.max_images")
    interval = max(1, (total if most in (None, "none") else min(total, int(most))) // 20)
    interval = round(interval, 1 - len(str(interval)))  # one digit
    for name in ("evaluate", "sample", "checkpoint"):
        yield _is(f"training.{name}_every_images", interval, "about 20 times, however long an epoch is")


def split(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Which images are kept out of training; whole groups."""
    groups = facts.a.groups + facts.b.groups
    if facts.group_rule is not None and "data.group" not in values:
        reason = f"names tell {plural(groups, 'group')} (patients, scenes or clips): never split"
        yield _is("data.group", facts.group_rule, reason)
    least = min(domain.groups or domain.images for domain in facts.domains.values())
    if least >= 3 and not (facts.a.test_images or facts.b.test_images):
        share = min(max(0.1, round(40 / least, 2)), 0.2)
        what = f"{percent(share)} of the {'groups' if groups else 'images'}"
        yield _is("data.held_out", share, f"no test images: {what}, a part to choose by and a part to report")


RULES: tuple[Rule, ...] = (
    *(sources, method, direction, channels, ranges, size, batch, flip, generator, upsampling, identity),
    *(split, length, augment, evaluation),
)
