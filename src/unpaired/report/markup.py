"""Small pieces of HTML; all text that comes in is escaped here or by who calls."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape

NONE = "–"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def text(value: object) -> str:
    """Return text that stands for itself in HTML and XML, attributes too; what neither can hold becomes `?`."""
    return escape(_CONTROL.sub("?", str(value)))


def anchor(*parts: object) -> str:
    """Return an id made of letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", "-".join(str(part) for part in parts))
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "part"


def section(title: str, body: str, name: str) -> str:
    """Return a part of the page under its heading; `body` is HTML."""
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{text(title)}</h2>\n{body}\n</section>\n'


def folded(title: str, body: str) -> str:
    """Return HTML that opens on a click."""
    return f"<details><summary>{text(title)}</summary>{body}</details>\n"


def notice(body: str) -> str:
    """Return a remark in a box; `body` is HTML."""
    return f'<p class="notice">{body}</p>\n'


def empty(body: str) -> str:
    """Return what stands where there is nothing; `body` is HTML."""
    return f'<p class="empty">{body}</p>\n'


def table(label: str, head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "figures") -> str:
    """Return a table that scrolls inside itself; cells are HTML, the first of each row is its heading."""
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'
        for first, *cells in rows
    )
    return f"""<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}"><table class="{kind}">
<thead><tr>{columns}</tr></thead>
<tbody>
{lines}</tbody>
</table></div>
"""


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits, thousands apart and without an exponent where one can read it.

    None is a dash.
    """
    if value is None:
        return NONE
    if value == 0:
        return "0"
    if not 1e-5 <= abs(value) < 1e7:
        return f"{value:.{digits}g}".replace("-", "−")
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) >= 1000:
        return f"{rounded:,.0f}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    shown = f"{rounded:.{decimals}f}"
    shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    return shown.replace("-", "−")


def percent(share: float) -> str:
    """Return a share in per cent; one that sampling made negative is none."""
    return f"{100 * share:.{0 if share >= 0.095 else 1}f} %" if share > 0 else "0 %"


def with_error(value: float | None, error: float | None) -> str:
    """Return `75.2 ± 1.3`: the error with two digits, the value with as many decimals."""
    if value is None or not error or error < 0:
        return number(value)
    two = f"{error:.1e}"
    decimals = max(0, 1 - int(two.partition("e")[2]))
    if decimals > 6:
        return f"{number(value)} ± {number(error, 2)}"
    return f"{value:,.{decimals}f} ± {float(two):.{decimals}f}".replace("-", "−")
