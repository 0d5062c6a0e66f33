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
KEPT, ORIENTED, DISTINCT, ONE_SHAPE = 0.01, 0.15, 1.5, 1.3
MEASURED_UNITS = ("mm", "um", "m")
ENOUGH = 10_000
"""Images that a training must see within its budget, or its images and networks are made smaller."""
STEP_BYTES = 3.2 * 2**30
"""Of a step of CycleGAN at 256 x 256 with width 64 (docs/performance.md)."""


class Level(NamedTuple):
    """How large images and networks may be."""

    side: int
    width: int
    blocks: int

    @property
    def cost(self) -> float:
        """Arithmetic of a step, relative: that of a residual block is 1/10.2 of all at 9 blocks."""
        return self.side**2 * self.width**2 * (1.2 + self.blocks)


LEVELS = (
    Level(256, 64, 9),
    Level(256, 32, 9),
    Level(128, 64, 6),
    Level(128, 32, 6),
    Level(64, 32, 6),
    Level(64, 16, 6),
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
        return Limits(Level(128, 32, 6), "without a GPU the published size takes weeks")
    fitting = (each for each in LEVELS if STEP_BYTES * (each.side / 256) ** 2 * each.width / 64 < 0.8 * facts.memory)
    level = next(fitting, LEVELS[-1])
    free = f"{facts.memory / 2**30:.0f} GiB of GPU memory are free"
    return Limits(level, f"as published; {free}" if level == LEVELS[0] else f"more does not fit: {free}")


def _is_measured(facts: DomainFacts) -> bool:
    return bool(facts.unit) or facts.spacing_unit in MEASURED_UNITS


def are_pairs(facts: Fingerprint) -> bool:
    """Say whether images of A and B belong together, by their names (or files) and by their content."""
    return facts.pairs in ("name", "file") and (facts.alignment or 0) >= ALIGNED


def _labelled(facts: Fingerprint, values: Values, side: Side) -> bool:
    return facts.side(side).declared_labels or f"data.labels_{side}.kind" in values


def _both(facts: Fingerprint, values: Values) -> bool:
    return any(_labelled(facts, values, side) for side in SIDES)


# --------------------------------------------------------------------------------------------------------- the images


def sources(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Halves of side-by-side files, files that cannot be read, label maps."""
    if facts.side_by_side and "data.side_by_side" not in values:
        reason = "every file is two images wide; A is taken to be the left one (ba: the right one)"
        yield Decision(setting="data.side_by_side", value=facts.side_by_side, reason=reason)
    if bad := facts.a.unusable + facts.b.unusable:
        reason = f"{plural(bad, 'file')} cannot be read"
        yield Decision(setting="data.on_bad_image", value="skip", reason=reason)
    for side in SIDES:
        domain = facts.side(side)
        if domain.labels and f"data.range_{side}" not in values:
            reason = f"{len(domain.labels)} values in flat areas, as class indices have them"
            yield Decision(setting=f"data.labels_{side}.kind", value="index", reason=reason)
            if domain.void:
                reason = "beside the classes, as the mark for unlabelled pixels"
                yield Decision(setting=f"data.labels_{side}.void", value=domain.void, reason=reason)


def method(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """pix2pix for pairs; else by channels, labels and the machine, where no probe decides."""
    if are_pairs(facts):
        how = "files of one name" if facts.pairs == "name" else "the halves of a file"
        reason = f"{how} show the same: the partner is the most alike of 60 in {percent(facts.alignment)} of the images"
        yield Decision(setting="method", value="pix2pix", reason=reason)
    elif _channels(facts, values, "a") != _channels(facts, values, "b"):
        reason = "A and B have different channels, which CUT and FastCUT do not take"
        yield Decision(setting="method", value="cyclegan", reason=reason)
    elif _both(facts, values):
        reason = "label maps; CycleGAN learns both directions"
        yield Decision(setting="method", value="cyclegan", reason=reason)
    elif facts.device == "cpu":
        reason = "no pairs, no GPU: a step of FastCUT costs a third of CycleGAN's; it learns A to B alone"
        yield Decision(setting="method", value="fastcut", reason=reason)
    else:
        reason = "no pairs; it learns both directions. Only probes tell whether CUT is better here"
        yield Decision(setting="method", value="cyclegan", reason=reason)


def _channels(facts: Fingerprint, values: Values, side: Side) -> int:
    domain = facts.side(side)
    if (given := values.get(f"data.channels_{side}")) is not None:
        return int(given)
    if _labelled(facts, values, side):
        return 3
    return 1 if domain.grey and set(domain.channels) <= {1, 3} else max(domain.channels)


def channels(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Grey or colour."""
    for side in SIDES:
        domain = facts.side(side)
        if _labelled(facts, values, side) or not set(domain.channels) <= {1, 3} or "data.neighbours" in values:
            continue
        count = _channels(facts, values, side)
        reason = "grey images" if count == 1 else "colour images"
        if count == 1 and 3 in domain.channels:
            reason = "files of three channels, and none of the images looked at has colours"
        elif count == 3 and 1 in domain.channels:
            reason = f"colour, but for {plural(domain.channels[1], 'grey image')}"
        yield Decision(setting=f"data.channels_{side}", value=count, reason=reason)


def ranges(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Which values become -1 and 1; one range for two domains of one type and unit."""
    found = {side: facts.side(side) for side in SIDES if not _labelled(facts, values, side)}
    spans = {side: domain.suggested_range for side, domain in found.items() if domain.suggested_range}
    alike = len(spans) == 2 and facts.a.unit == facts.b.unit and set(facts.a.dtypes) == set(facts.b.dtypes)
    for side, span in spans.items():
        domain = found[side]
        assert span is not None
        used = f"{listing(sorted(domain.dtypes))} files use {number(domain.low)} to {number(domain.high)}"
        value: Any = (
            [min(each[0] for each in spans.values()), max(each[1] for each in spans.values())] if alike else span
        )
        reason = f"{used}{f' {domain.unit}' if domain.unit else ''}{'; the same for A and B' if alike else ''}"
        if domain.unit == "HU":
            value, reason = "ct", f"{used} HU: -1024 to 3071"
        elif "uint" not in "".join(domain.dtypes) and not domain.unit:
            value, reason = "p0.1..p99.9", f"{used}: percentiles leave outliers out"
        yield Decision(setting=f"data.range_{side}", value=value, reason=reason)


# --------------------------------------------------------------------------------------------------------- their size


def _kept_side(domain: DomainFacts) -> int:
    """Return the shorter side behind which a reduction would lose detail."""
    factors = [2**step for step, lost in enumerate(domain.lost, 1) if lost < KEPT]
    return min(domain.height, domain.width) // max(factors, default=1)


def _down(side: float, multiple: int = 4) -> int:
    return max(multiple, int(side) // multiple * multiple)


def size(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """How an image becomes a training image: at its own scale or resized, and which part of it."""
    if values.get("data.preprocess") in ("none", "scale_width") or "data.crop_size" in values:
        return
    domains, most = list(facts.domains.values()), limits.level.side
    useful = min(_kept_side(domain) for domain in domains)
    shortest = min(domain.shortest for domain in domains)
    aspect = math.sqrt(facts.a.aspect * facts.b.aspect)
    side = _down(min(most, useful), 32 if values.get("method.name") == "pix2pix" else 4)
    why = limits.why if side == most else f"the shorter side of the images is {useful}"
    if side < most and useful < min(min(domain.height, domain.width) for domain in domains):
        why = f"reduced to a shorter side of {useful}, images lose less than 1 %"
    mode, crop, load, reason = "resize_and_crop", [side, side], None, "images of one shape, as published"
    long = max(aspect, 1 / aspect)
    if any(domain.large or _is_measured(domain) for domain in domains) or values.get("data.preprocess") == "crop":
        side = _down(min(most, shortest))
        mode, crop = "crop", [side, side]
        scale = next((domain.spacing_unit for domain in domains if domain.spacing_unit in MEASURED_UNITS), "")
        reason = f"a pixel stays as many {scale} as it is" if scale else "large or measured images keep their scale"
        why = limits.why if side == most else f"the shortest side of all images is {shortest}"
    elif (long > 2 or max(domain.aspect_spread for domain in domains) > ONE_SHAPE) and shortest <= 1.25 * most:
        side = _down(min(most, shortest))
        mode, crop = "crop", [side, side]
        reason = f"squares of images of {number(long, 2)} : 1; resizing these to a square would distort them"
        why = limits.why if side == most else f"the shortest side of all images is {shortest}"
    elif long > 2 or max(domain.aspect_spread for domain in domains) > ONE_SHAPE:
        mode, load = "scale_width_and_crop", _down(side * 1.12 * max(1.0, aspect))
        reason = "images of different or long shapes, which resizing to a square would distort"
    elif long > 1.15:
        crop = [side, _down(side * aspect)] if aspect > 1 else [_down(side / aspect), side]
        reason = "images of one shape, which is kept"
    yield Decision(setting="data.preprocess", value=mode, reason=reason)
    yield Decision(setting="data.crop_size", value=crop[0] if crop[0] == crop[1] else crop, reason=why)
    if mode == "resize_and_crop":
        load_size = [each * 112 // 100 for each in crop]
        value = load_size[0] if crop[0] == crop[1] else load_size
        yield Decision(setting="data.load_size", value=value, reason="1.12 x the crop, as published (286 for 256)")
    elif load is not None:
        yield Decision(setting="data.load_size", value=load, reason="the width; the shorter side is 1.12 x the crop")
    elif any(domain.large for domain in domains):
        reason = "large images count by their area"
        yield Decision(setting="data.sampling", value="area", reason=reason)


def _crop(values: Values) -> tuple[int, int] | None:
    given = values.get("data.crop_size", 256)
    if values.get("data.preprocess") in ("none", "scale_width"):
        return None
    return (given, given) if isinstance(given, int) else (given[0], given[1])


def batch(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Images per step."""
    crop = _crop(values)
    if crop is None or crop[0] * crop[1] > 64 * 64:
        yield Decision(setting="training.batch_size", value=1, reason="as published: most steps for the images seen")
    else:
        reason = "one image of this size leaves most of a step idle"
        yield Decision(setting="training.batch_size", value=4 if crop[0] * crop[1] > 32 * 32 else 16, reason=reason)


def flip(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Whether images may be flipped from left to right."""
    domains = list(facts.domains.values())
    oriented = max(domain.orientation for domain in domains)
    if any(domain.unit == "HU" or domain.spacing_unit == "mm" for domain in domains):
        yield Decision(setting="data.flip", value=False, reason="scans: left and right of a body differ")
    elif oriented > ORIENTED:
        reason = f"left and right differ in all images alike (correlation with the mirror image {oriented:.2f} lower)"
        yield Decision(setting="data.flip", value=False, reason=reason)
    else:
        reason = "left and right look alike; text is not detected: set false where there is some"
        yield Decision(setting="data.flip", value=True, reason=reason)


# ------------------------------------------------------------------------------------------------------- the networks


def generator(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Family, width and blocks of the generator, and of the discriminator."""
    name, crop = values["method.name"], _crop(values) or (256, 256)
    if name not in ("cyclegan", "cut", "fastcut", "pix2pix"):
        return
    fits = min(crop) >= 64 and all(side % 32 == 0 for side in crop)
    if name == "pix2pix" and fits and values.get("data.preprocess") not in ("none", "scale_width"):
        reason = "as published for pairs; skips carry what A and B share"
        yield Decision(setting="method.generator.family", value="unet", reason=reason)
    else:
        reason = (
            "as published" if name != "pix2pix" else f"{crop[0]} x {crop[1]} cannot be halved often enough for a U-Net"
        )
        yield Decision(setting="method.generator.family", value="resnet", reason=reason)
        blocks = 9 if min(crop) >= 200 and limits.level.blocks == 9 else 6
        reason = f"as published for images {'of 256' if blocks == 9 else 'below 256'}"
        yield Decision(setting="method.generator.blocks", value=blocks, reason=reason)
    width = limits.level.width
    reason = "as published" if width == 64 else f"narrower than the published 64: {limits.why}"
    yield Decision(setting="method.generator.width", value=width, reason=reason)
    layers = 3 if min(crop) >= 100 else 2 if min(crop) >= 48 else 1
    field = {3: 70, 2: 34, 1: 16}[layers]
    yield Decision(setting="method.discriminator.layers", value=layers, reason=f"judges patches of {field} x {field}")
    yield Decision(setting="method.discriminator.width", value=width, reason="as the generator's")


def upsampling(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """How the generator doubles sizes."""
    if "method.generator.family" not in values:
        return
    if values["method.name"] in ("cut", "fastcut"):
        value, reason = "blur", "as published for CUT: anti-aliased"
    elif any(_is_measured(domain) or domain.suggested_range for domain in facts.domains.values()):
        value, reason = "nearest", "measured values: transposed convolutions leave checkerboards"
    else:
        value, reason = "transposed", "as published"
    yield Decision(setting="method.generator.upsampling", value=value, reason=reason)


def identity(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Weight of CycleGAN's identity loss."""
    if values["method.name"] != "cyclegan":
        return
    apart = max(
        abs(one[0] - two[0]) / (math.hypot(one[1], two[1]) / math.sqrt(2) + 0.01)
        for name, one in facts.a.statistics.items()
        if (two := facts.b.statistics[name]) is not None
    )
    if _channels(facts, values, "a") != _channels(facts, values, "b"):
        value, reason = 0.0, "A and B have different channels"
    elif _both(facts, values):
        value, reason = 0.0, "as published for label maps and photos"
    elif apart > DISTINCT:
        value, reason = (
            0.0,
            f"A and B differ in tone ({number(apart, 2)} standard deviations): it would hold tones back",
        )
    else:
        value, reason = 5.0, "A and B have like tones, which it keeps (section 5.2 of the paper)"
    yield Decision(setting="method.identity_weight", value=value, reason=reason)


# ------------------------------------------------------------------------------------------------------- the training


def augment(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Augmentation of what discriminators see."""
    least = min(facts.a.images, facts.b.images)
    if least >= 400:
        yield Decision(setting="training.augment", value=[], reason="enough images: discriminators do not learn them")
        return
    measured = any(_is_measured(domain) or domain.suggested_range for domain in facts.domains.values())
    kinds = ["translation", "cutout"] if measured else ["colour", "translation", "cutout"]
    reason = f"{least} images, which a discriminator learns by heart"
    yield Decision(
        setting="training.augment",
        value=kinds,
        reason=reason + ("; no colours: values are measured" if measured else ""),
    )


def length(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """How long to train, in images seen, as epochs at the full rate and epochs of decay."""
    if "training.epochs" in values or "training.decay_epochs" in values:
        return
    epoch = max(facts.a.images, facts.b.images)
    if limits.images is not None:
        images, reason = limits.images, limits.why_images
    elif facts.device == "cpu":
        images, reason = 20_000, "for a first result on a CPU; --budget 2h fits it to this machine"
    else:
        images = min(max(200 * epoch, 60_000), 300_000)
        reason = "200 epochs, as published" if images == 200 * epoch else "between 60,000 and 300,000 images"
    epochs = max(1, images // epoch)
    decay = max(1, epochs // 2)
    reason = f"{number(min(images, epochs * epoch))} images in all: {reason}"
    yield Decision(setting="training.epochs", value=epochs - decay, reason=reason)
    yield Decision(
        setting="training.decay_epochs", value=decay, reason="the rate falls to zero over half of the length"
    )
    if images < epoch:
        yield Decision(setting="training.max_images", value=images, reason="less than one epoch")


def evaluation(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """How often held-out images are translated, measured and shown."""
    epoch = max(facts.a.images, facts.b.images)
    total = (values.get("training.epochs", 100) + values.get("training.decay_epochs", 100)) * epoch
    total = min(total, values.get("training.max_images") or total)
    interval = max(10, total // 20)
    interval = round(interval, 1 - len(str(interval)))  # one digit
    reason = "about 20 evaluations, samples and checkpoints, however long an epoch is"
    for name in ("evaluate", "sample", "checkpoint"):
        yield Decision(setting=f"training.{name}_every_images", value=interval, reason=reason)


def split(facts: Fingerprint, values: Values, limits: Limits) -> Iterator[Decision]:
    """Which images are kept out of training; whole groups."""
    if facts.group_rule is not None and "data.group" not in values:
        groups = facts.a.groups + facts.b.groups
        reason = f"names tell {plural(groups, 'group')} (patient, scene, clip), which are never split"
        yield Decision(setting="data.group", value=facts.group_rule, reason=reason)
    least = min(domain.groups or domain.images for domain in facts.domains.values())
    if facts.a.test_images or facts.b.test_images or least < 3:
        return
    share = min(max(0.1, round(20 / least, 2)), 0.2)
    what = "groups" if facts.a.groups or facts.b.groups else "images"
    reason = f"no test images: {percent(share)} of the {what}, one part to choose by and one to report"
    yield Decision(setting="data.held_out", value=share, reason=reason)


RULES: tuple[Rule, ...] = (
    *(sources, method, channels, ranges, size, batch, flip, generator, upsampling, identity, augment),
    *(length, evaluation, split),
)
