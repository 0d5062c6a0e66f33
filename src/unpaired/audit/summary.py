"""What an audit found, in one paragraph that says no more than the figures do."""

from __future__ import annotations

from unpaired.audit.disturb import EVERYDAY_QUALITY, HEADLINE, INVISIBLE_DB, SNAP
from unpaired.audit.findings import Found
from unpaired.audit.hidden import Share, carried, visible_db
from unpaired.audit.measure import Exchange

LITTLE = 0.1
"""Below this share next to nothing is hidden."""
MUCH = 0.5
"""Above this share most of it is."""
_LEVELS = "levels of 255"


def summary(found: Found) -> str:
    """Return the paragraph of one direction, what it comes to first."""
    count = len(found.measured.clean.error)
    heading = f"{' to '.join(found.names)}, {count:,} image{'s' if count != 1 else ''}."
    told = (_hidden(found), _everyday(found), _classes(found), _high(found), _sensitivity(found))
    return " ".join(part for part in (heading, _in_short(found), _what_comes_back(found), *told) if part)


def _in_short(found: Found) -> str:
    """Return what all the tests together allow to say; invisible detail first, then what an ordinary file loses."""
    share, lost = found.hidden.headline, found.hidden.everyday
    if share is None:
        return ""
    if share.low >= MUCH:
        return "In short: most of what comes back is hidden in detail that nobody sees."
    if share.low >= LITTLE:
        return "In short: some of what comes back is hidden in detail that nobody sees."
    if share.high > LITTLE:
        return "In short: whether something is hidden in detail that nobody sees is not clear."
    snapped, exchange = found.hidden.lost.get(SNAP), _jpeg_exchange(found)
    faint = "In short: next to nothing is hidden in detail that nobody sees"
    if snapped is not None and snapped.low >= LITTLE:
        return f"{faint}, but the classes of the label maps alone bring back {percent(snapped.value)} less."
    if lost is None or exchange is None or lost.low < LITTLE:
        return f"{faint}."
    if _follows(exchange):
        return (
            f"{faint}, but the input is read from fine texture too: an ordinary JPEG file of the translation, which "
            f"loses it, takes {percent(lost.value)} of what comes back."
        )
    return f"{faint}, but an ordinary JPEG file of the translation spoils the way back."


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
    measured = found.measured
    text = (
        f"Brought back to {found.names[0]}, a translation misses its input by {measured.clean.error.mean():.1f} "
        f"{_LEVELS} on average"
    )
    if measured.chance is None:
        return f"{text}."
    other = f"{text}, another image's translation by {measured.chance.mean():.1f}"
    return f"{other}." if found.hidden.headline is None else f"{other}; the difference is what comes back."


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
    lost, exchange = found.hidden.everyday, _jpeg_exchange(found)
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
    follows_it = _follows(exchange)
    if follows_it and lost.low >= LITTLE:
        return f"the reconstruction rests on fine texture of the translation{seen}, not on its picture alone"
    if follows_it:
        return f"foreign texture{seen} sways the way back, but it needs none: the picture alone is nearly enough"
    if follows.high - honest >= LITTLE / 2:
        return f"some of it rests on fine texture of the translation{seen}"
    return "next to nothing of it rests on such detail"


def _jpeg_exchange(found: Found) -> Exchange | None:
    return next((each for each in found.measured.exchanges if each.name == "jpeg"), None)


def _follows(exchange: Exchange) -> bool:
    """Say whether a clear part of the reconstruction follows the detail, more than in an honest copy."""
    share, honest = carried(exchange)
    return share is not None and share.low - (honest or 0.0) >= LITTLE


def _classes(found: Found) -> str:
    """Tell what the classes alone bring back, where translations are label maps."""
    lost = found.hidden.lost.get(SNAP)
    if lost is None:
        return ""
    return f"A translation that is snapped to the palette, so that only the classes are left, loses {_told(lost)}."


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
        "Where every value of the input changes by one level, which nobody sees, the translation changes by "
        f"{forward.random.mean():.1f} levels if the changes are random and by {forward.worst.mean():.1f} if they are "
        "chosen to do most; where every value of the translation does, the reconstruction changes by "
        f"{back.random.mean():.1f} and {back.worst.mean():.1f}."
    )
