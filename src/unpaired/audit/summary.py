"""What the figures of an audit say: a verdict of one sentence, and a paragraph."""

from __future__ import annotations

from unpaired.audit.disturb import DEFAULT_QUALITY, HEADLINE, INVISIBLE_DB, SNAP
from unpaired.audit.findings import LEVELS, Findings, Share, carried, psnr
from unpaired.audit.measure import Exchange
from unpaired.core.text import percent as whole_percent
from unpaired.core.text import plural

LITTLE = 0.1
"""Below this share next to nothing is hidden."""
MUCH = 0.5
"""Above this share most of it is."""


def verdict(found: Findings) -> str:
    """Return one sentence: whether the translations hide their inputs; two standard errors decide."""
    share, jpeg, exchange = found.shares.headline, found.shares.jpeg, _jpeg_exchange(found)
    if share is None:
        return f"Whether the translations hide their inputs cannot be measured: {found.shares.reason}."
    part = "Most" if share.low >= MUCH else "Part" if share.low >= LITTLE else None
    if part is not None:
        return f"{part} of the reconstruction relies on hidden detail: invisible noise destroys {_amount(share)} of it."
    if share.high > LITTLE:
        return (
            "It is uncertain whether the reconstruction relies on hidden detail: invisible noise destroys between "
            f"{percent(max(share.low, 0.0))} and {percent(share.high)} of it. Use more images (--images)."
        )
    snapped, faint = found.shares.lost.get(SNAP), "Next to nothing is hidden in invisible detail"
    if snapped is not None and snapped.low >= LITTLE:
        return f"{faint}, but reconstructions from the classes of the label maps alone lose {percent(snapped.value)}."
    if jpeg is None or exchange is None or jpeg.low < LITTLE:
        return f"{faint}: invisible noise destroys {_amount(share)} of the reconstruction."
    if _follows(exchange):
        return (
            f"{faint}, but the way back also reads fine texture: an ordinary JPEG file of the translation loses it, "
            f"and with it {percent(jpeg.value)} of the reconstruction."
        )
    return f"{faint}, but an ordinary JPEG file of the translation misleads the way back."


def summary(found: Findings) -> str:
    """Return the paragraph of one direction."""
    images = plural(len(found.reconstructions.clean.error), "image")
    parts = (f"{found.heading}, {images}.", _errors(found), _noise(found), _jpeg(found), _others(found))
    return " ".join(part for part in parts if part)


def percent(value: float) -> str:
    """Return a share in per cent, with one decimal where it is small."""
    text = whole_percent(value, 1 if abs(value) < 0.095 else 0)
    return text.removeprefix("-") if text.startswith(("-0.0 ", "-0 ")) else text


def _amount(share: Share) -> str:
    error = "" if share.error is None else f" (standard error {percent(share.error)})"
    return ("nothing" if share.value <= 0 else percent(share.value)) + error


def _errors(found: Findings) -> str:
    measured = found.reconstructions
    text = (
        f"Translated back to {found.names[0]}, a translation differs from its input by "
        f"{measured.clean.error.mean():.1f} {LEVELS} on average"
    )
    if measured.chance is not None:
        text += f", another image's translation by {measured.chance.mean():.1f}"
    return f"{text}." if found.shares.headline is None else f"{text}; the difference is what comes back."


def _noise(found: Findings) -> str:
    share = found.shares.headline
    if share is None:
        return ""
    change = psnr(next(each.change for each in found.reconstructions.effects if each.disturbance == HEADLINE))
    decibel = "" if change is None else f", {change:.0f} dB"
    text = (
        f"Invisible noise ({HEADLINE.strength:g} levels{decibel}) destroys {_amount(share)} of what comes back, beyond "
        "what a plain copy of the input loses."
    )
    if share.value > 1:
        text += " More than all means that the noise misleads the way back: it does worse than from another image."
    if found.shares.half_at is not None:
        text += f" Noise of {found.shares.half_at:.1f} levels destroys half."
    return text


def _jpeg(found: Findings) -> str:
    """Return what a JPEG file destroys, and whether the reconstruction follows the detail that the file loses."""
    lost, exchange = found.shares.jpeg, _jpeg_exchange(found)
    if lost is None or exchange is None:
        return ""
    share, copy = carried(exchange)
    text = f"A JPEG file of quality {DEFAULT_QUALITY} destroys {_amount(lost)}."
    if share is None:
        return text
    beside = "" if copy is None else f"; in the inputs themselves that detail carries {percent(copy)}"
    misled = " The file destroys more than that: it may also mislead the way back." if lost.low > share.high else ""
    return (
        f"{text} When what such a file loses is exchanged between two translations, {_amount(share)} of the "
        f"reconstruction follows it{beside}: {_relies_on(lost, share, copy or 0.0, exchange)}.{misled}"
    )


def _relies_on(lost: Share, follows: Share, copy: float, exchange: Exchange) -> str:
    """Return what the share lost with such detail and the share that follows it say together.

    A reconstruction that follows foreign detail, and loses nothing without any, could do without it.
    """
    change = psnr(exchange.change)
    seen = "" if change is None else f" ({change:.0f} dB; {INVISIBLE_DB:g} and more cannot be seen)"
    if _follows(exchange) and lost.low >= LITTLE:
        return f"the reconstruction relies on fine texture of the translation{seen}, not on the visible picture alone"
    if _follows(exchange):
        return f"foreign texture{seen} changes the reconstruction, but the visible picture alone is nearly enough"
    if follows.high - copy >= LITTLE / 2:
        return f"some of it relies on fine texture of the translation{seen}"
    return "next to nothing of it relies on such detail"


def _jpeg_exchange(found: Findings) -> Exchange | None:
    return next((each for each in found.reconstructions.exchanges if each.name == "jpeg"), None)


def _follows(exchange: Exchange) -> bool:
    """Whether a clear part of the reconstruction follows the detail, more than in a plain copy."""
    share, copy = carried(exchange)
    return share is not None and share.low - (copy or 0.0) >= LITTLE


def _others(found: Findings) -> str:
    """Return what snapping to the palette destroys, the energy in high frequencies, and the sensitivity."""
    lost, ratio, parts = found.shares.lost.get(SNAP), found.ratio, list[str]()
    if lost is not None:
        parts.append(
            f"Snapping label maps to their palette, so that only the classes remain, destroys {_amount(lost)}."
        )
    if ratio is not None:
        real = f"real images of {found.names[1]}"
        parts.append(f"The share of energy in high frequencies is {ratio.value:.1f} times that of {real}.")
    forward, back = found.sensitivity
    parts.append(
        "For a change of one level at every value of the input, which cannot be seen, the translation changes by "
        f"{forward.random.mean():.1f} levels (random signs) or {forward.worst.mean():.1f} (the most effective signs "
        f"found), and for such a change of the translation the reconstruction changes by {back.random.mean():.1f} or "
        f"{back.worst.mean():.1f}."
    )
    return " ".join(parts)
