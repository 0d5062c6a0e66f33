"""What a person should know of the data before anything slow begins: each finding a function of the fingerprint."""

from __future__ import annotations

from collections.abc import Iterator

from unpaired.core.text import number, percent, plural
from unpaired.plan.document import Finding
from unpaired.plan.fingerprint import ALIGNED, DomainFacts, Fingerprint

_WORDS = {
    "brightness": ("brighter", "darker"),
    "saturation": ("more colourful", "paler"),
    "contrast": ("richer in contrast", "flatter"),
    "height": ("larger", "smaller"),
    "aspect": ("wider", "narrower"),
}
_FEW, _VERY_FEW, _NEAR = 200, 30, 0.01


def findings(facts: Fingerprint) -> tuple[Finding, ...]:
    """Return what is suspicious about the data, warnings first."""
    found = [*_of_both(facts), *(each for domain in facts.domains.values() for each in _of_domain(domain))]
    return tuple(sorted(found, key=lambda each: each.severity != "warning"))


def _of_domain(domain: DomainFacts) -> Iterator[Finding]:
    title = domain.title
    if domain.in_test:
        text = f"{plural(domain.in_test, 'test image')} of {title} (nearly) among its training images"
        yield _warning(
            "test-in-train", f"{text}: what is measured on them is too good. Remove them from one of the two"
        )
    if domain.unusable:
        yield _warning("unusable", f"{plural(domain.unusable, 'file')} of {title} cannot be read and will be left out")
    if domain.duplicates > max(2, 0.02 * domain.images):
        text = f"{domain.duplicates:,} of {plural(domain.images, 'image')} of {title} look like another one"
        yield _note("duplicates", f"{text}: {title} shows less than its number says (neighbouring frames, copies)")
    if domain.images < _FEW:
        text = f"{title} has {plural(domain.images, 'training image')}"
        if domain.images < _VERY_FEW:
            yield _warning("few-images", f"{text}: translators learn these by heart. Look at held-out ones")
        else:
            yield _note("few-images", f"{text}, where publications have a thousand")
    if domain.labels and not domain.declared_labels:
        yield _note("labels", f"{title} looks like maps of {len(domain.labels)} class indices, and is read as such")
    if len(domain.dtypes) > 1:
        kinds = ", ".join(f"{count:,} {dtype}" for dtype, count in domain.dtypes.items())
        yield _warning("mixed-types", f"{title} mixes types of values ({kinds}), each mapped by its own range")
    if domain.aspect_spread > 1.3:
        text = f"{title} has {domain.sizes:,} sizes; width / height differs {number(domain.aspect_spread, 2)}-fold"
        yield _note("mixed-sizes", text)
    if domain.missing:
        yield _note("missing", f"{percent(domain.missing, 1)} of the pixels of {title} have no value")


def _of_both(facts: Fingerprint) -> Iterator[Finding]:
    a, b = facts.a, facts.b
    if facts.overlap:
        text = f"{plural(facts.overlap, 'image')} of A {'is' if facts.overlap == 1 else 'are'} (nearly) in B, too"
        share = facts.overlap / a.images
        same = ": A and B are nearly the same set, and there is nothing to translate" if share > 0.5 else ""
        yield _warning("overlap", f"{text} ({percent(share)}){same or ': a discriminator cannot tell them apart'}")
    if facts.shared_groups:
        text = (
            f"{plural(facts.shared_groups, 'group')} with training and test images ({facts.group_rule or 'by files'})"
        )
        yield _warning("shared-groups", f"{text}: what is measured on them is too good. Move whole groups")
    if facts.distance is not None and facts.distance[0] - max(facts.distance[1], 0) < _NEAR and not facts.overlap:
        text = f"features can hardly tell A from B (kernel distance {number(facts.distance[0], 2)})"
        yield _warning("alike", f"{text}: is there anything to translate?")
    if facts.pairs == "position" and (facts.alignment or 0) >= ALIGNED:
        text = "images of equal position in A and B show the same, and their names differ"
        yield _note("undeclared-pairs", f"{text}: give both files of a pair one name, and pix2pix learns from them")
    if facts.pairs == "name" and (facts.alignment or 0) >= ALIGNED:
        yield _note("pairs", "files of one name in A and B show the same: they are pairs, from which pix2pix learns")
    if not (a.test_images and b.test_images):
        yield _note("no-tests", "there are no test images of both domains; some training images are held out")
    labelled = any(domain.labels or domain.declared_labels for domain in (a, b))
    for each in () if labelled or (facts.alignment or 0) >= ALIGNED else facts.outside:
        if each.share < 0.95:  # all of a domain is what a translation changes
            mine, other = (a, b) if each.side == "a" else (b, a)
            word = _WORDS[each.property][0 if each.more else 1]
            text = f"{percent(each.share)} of {mine.title} are {word} than all of {other.title}"
            yield _note("one-sided", f"{text}: what only one domain has (such as night) is invented or lost")


def _warning(kind: str, text: str) -> Finding:
    return Finding(kind=kind, text=text, severity="warning")


def _note(kind: str, text: str) -> Finding:
    return Finding(kind=kind, text=text)
