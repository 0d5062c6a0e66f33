"""What an audit found, in one paragraph that says no more than the figures do."""

from __future__ import annotations

from unpaired.audit.disturb import EVERYDAY_QUALITY, HEADLINE, INVISIBLE_DB
from unpaired.audit.findings import Found
from unpaired.audit.hidden import Share, carried, visible_db
from unpaired.audit.measure import Exchange

LITTLE = 0.1
"""Below this share next to nothing is hidden."""
MUCH = 0.5
"""Above this share most of it is."""
_LEVELS = "levels of 255"


def summary(found: Found) -> str:
    """Return the paragraph of one direction."""
    parts = [_what_comes_back(found), _hidden(found), _everyday(found), _high(found), _sensitivity(found)]
    return " ".join(part for part in parts if part)


def verdict(share: Share) -> str:
    """Return what a share with its uncertainty allows to say: two standard errors decide between three answers."""
    if share.high <= LITTLE:
        return "so next to nothing of it is hidden in detail that nobody sees"
    if share.low >= MUCH:
        return "so most of it is hidden in detail that nobody sees"
    if share.low >= LITTLE and share.high <= MUCH:
        return "so a part of it is hidden in detail that nobody sees"
    low, high = max(share.low, 0.0), share.high
    return (
        f"which is too uncertain for a clear answer (between {percent(low)} and {percent(high)} by two standard "
        "errors): between the answers, more images (--images) decide"
    )


def percent(value: float) -> str:
    """Return a share in per cent, with one digit behind the point where it is small."""
    digits = 1 if abs(value) < 0.095 else 0
    text = f"{100 * value:.{digits}f}"
    return f"{text.removeprefix('-') if float(text) == 0 else text} %"


def _told(share: Share) -> str:
    error = "" if share.error is None else f" (standard error {percent(share.error)})"
    return ("nothing" if share.value <= 0 else percent(share.value)) + error


def _what_comes_back(found: Found) -> str:
    source, target = found.names
    measured = found.measured
    count = len(measured.clean.error)
    images = f"{count:,} image{'s' if count != 1 else ''}"
    chance = (
        "" if measured.chance is None else f"; another image's reconstruction misses it by {measured.chance.mean():.1f}"
    )
    return (
        f"{source} to {target}, {images}: brought back to {source}, a translation misses its input by "
        f"{measured.clean.error.mean():.1f} {_LEVELS} on average{chance}."
    )


def _hidden(found: Found) -> str:
    share = found.hidden.headline
    if share is None:
        return f"How much is hidden cannot be told: {found.hidden.reason}."
    change = next(o.change for o in found.measured.outcomes if o.disturbance == HEADLINE)
    visible = visible_db(change)
    shown = "" if visible is None else f", {visible:.0f} dB"
    beyond = ""
    if share.value > 1:
        beyond = " More than all means that the noise misleads the way back: it does worse than from another image."
    half = ""
    if found.hidden.half_at is not None:
        half = f" Noise of {found.hidden.half_at:.1f} levels takes half."
    return (
        f"Invisible noise ({HEADLINE.strength:g} levels{shown}) takes {_told(share)} of what comes back, beyond what "
        f"an honest copy would lose, {verdict(share)}.{beyond}{half}"
    )


def _everyday(found: Found) -> str:
    """Tell what an ordinary file takes, and whether the detail that it loses carries the input."""
    lost = found.hidden.everyday
    exchange = next((each for each in found.measured.exchanges if each.name == "jpeg"), None)
    if lost is None or exchange is None:
        return ""
    share, honest = carried(exchange)
    text = f"A JPEG file of quality {EVERYDAY_QUALITY} takes {_told(lost)}."
    if share is None:
        return text
    against = "" if honest is None else f"; in the inputs themselves that detail carries {percent(honest)}"
    confused = ""
    if lost.low > share.high:
        confused = " The file takes more than that: such files may also confuse the way back."
    return (
        f"{text} When what such a file loses is exchanged between two translations, {_told(share)} of the "
        f"reconstruction follows it{against}: {_rests_on(lost, share, honest or 0.0, exchange)}.{confused}"
    )


def _rests_on(lost: Share, follows: Share, honest: float, exchange: Exchange) -> str:
    """Return what the shares that are lost with such detail and that follow it, together, allow to say.

    A reconstruction that follows foreign detail and yet loses nothing without any reads there what it could read from
    the visible picture too.
    """
    visible = visible_db(exchange.change)
    seen = "" if visible is None else f" ({visible:.0f} dB; {INVISIBLE_DB:g} and more cannot be seen)"
    follows_it = follows.low - honest >= LITTLE
    if follows_it and lost.low >= LITTLE:
        return f"the reconstruction rests on fine texture of the translation{seen}, not on its picture alone"
    if follows_it:
        return f"foreign texture{seen} sways the way back, but it needs none: the picture alone is nearly enough"
    if follows.high - honest >= LITTLE / 2:
        return f"some of it rests on fine texture of the translation{seen}"
    return "next to nothing of it rests on such detail"


def _high(found: Found) -> str:
    ratio = found.ratio
    if ratio is None:
        return ""
    target = found.names[1]
    return (
        f"The translations hold {ratio.value:.1f} times the share of energy in high frequencies that real images of "
        f"{target} hold."
    )


def _sensitivity(found: Found) -> str:
    forward, back = found.sensitivity
    return (
        f"One level of change everywhere in the input moves the translation by {forward.random.mean():.1f} levels "
        f"where it is random and by {forward.worst.mean():.1f} where it is chosen; one level everywhere in the "
        f"translation moves the reconstruction by {back.random.mean():.1f} and {back.worst.mean():.1f}."
    )
