"""What the figures of an audit say: a verdict of one sentence, and a paragraph; the words are in `templates`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from unpaired.audit.disturb import DEFAULT_QUALITY, HEADLINE, INVISIBLE_DB, SNAP
from unpaired.audit.findings import LEVELS, Findings, carried, psnr
from unpaired.core.text import percent as whole_percent
from unpaired.core.text import plural

LITTLE = 0.1
"""Below this share next to nothing is hidden."""
MUCH = 0.5
"""Above this share most of it is."""


def verdict(found: Findings) -> str:
    """Return one sentence: whether the translations hide their inputs; two standard errors decide."""
    return " ".join(_words(found).verdict().split())


def summary(found: Findings) -> str:
    """Return the paragraph of one direction."""
    return " ".join(_words(found).summary().split())


def percent(value: float) -> str:
    """Return a share in per cent, with one decimal where it is small."""
    text = whole_percent(value, 1 if abs(value) < 0.095 else 0)
    return text.removeprefix("-") if text.startswith(("-0.0 ", "-0 ")) else text


def _words(found: Findings) -> Any:
    measured, lost = found.reconstructions, found.shares.lost
    exchange = next((each for each in measured.exchanges if each.name == "jpeg"), None)
    share, copied = (None, None) if exchange is None else carried(exchange)
    forward, back = found.sensitivity
    return _template("summary.txt").make_module(
        {
            "found": found,
            "measured": measured,
            "images": plural(len(measured.clean.error), "image"),
            "share": found.shares.headline,
            "jpeg": found.shares.jpeg,
            "snapped": lost.get(SNAP),
            "noise_db": psnr(next(each.change for each in measured.effects if each.disturbance == HEADLINE)),
            "exchange": exchange,
            "exchange_db": None if exchange is None else psnr(exchange.change),
            "carried": share,
            "copied": copied,
            # A clear part of the reconstruction follows the detail, more than in a plain copy.
            "follows": share is not None and share.low - (copied or 0.0) >= LITTLE,
            "forward": forward,
            "back": back,
        }
    )


def words(template: str, facts: Mapping[str, Any]) -> tuple[str, str]:
    """Return the verdict and the summary of a template, filled with facts."""
    made: Any = _template(template).make_module(dict(facts))
    return " ".join(made.verdict().split()), " ".join(made.summary().split())


@cache
def _template(name: str) -> Any:
    loader = PackageLoader("unpaired.audit", "templates")
    made = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False)
    made.filters["percent"] = percent
    made.globals.update(LITTLE=LITTLE, MUCH=MUCH, LEVELS=LEVELS, HEADLINE=HEADLINE, QUALITY=DEFAULT_QUALITY)
    made.globals["INVISIBLE_DB"] = INVISIBLE_DB
    return made.get_template(name)
