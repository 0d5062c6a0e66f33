"""Numbers, durations, sizes and plurals as people read them, and text of others made safe to show."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable
from typing import Any

NONE = "–"
"""Stands where there is no number."""
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
"""Begins a text that a spreadsheet would take for a formula, or skip to get to one."""
_CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff"
"""What a terminal may obey, what turns the direction of other text, and what cannot be encoded."""
_UNSAFE = re.compile(f"[{_CONTROLS}\u061c\u200e\u200f]")
_NO_XML = re.compile(f"[{_CONTROLS}]")


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with `digits` significant digits and no exponent where it can be avoided: `0.1234`, `1,235`.

    Whole numbers (`int`) keep all their digits.
    """
    if value is None or not math.isfinite(value):
        return NONE
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    if abs(rounded) >= 10 ** (digits + 5) or abs(rounded) < 1e-5:
        return f"{value:.{digits}g}"
    text = f"{rounded:,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_error(value: float | None, error: float | None, digits: int = 4) -> str:
    """Return a value with its standard error, both to the error's second digit: `33.9 ± 1.2`."""
    if value is None or not math.isfinite(value) or error is None or not math.isfinite(error) or error <= 0:
        return number(value, digits)
    decimals = max(1 - math.floor(math.log10(error)), 0)
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"


def percent(share: float | None, decimals: int = 0) -> str:
    """Return a share of 1 as `54 %`."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.{decimals}f} %"


def small_percent(share: float) -> str:
    """Return a share of 1 that may be tiny: `54 %`, `0.02 %`, `under 0.01 %`."""
    return "under 0.01 %" if 0 < share < 1e-4 else percent(share, 0 if share >= 0.1 else 2)


def plural(count: int, noun: str, many: str | None = None) -> str:
    """Return `1 image`, `2,000 images`; `many` is an irregular plural."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def listing(names: list[str] | tuple[str, ...], last: str = "and") -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    return f" {last} ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def duration(seconds: float) -> str:
    """Return a length of time: `45 s`, `12:05 min`, `3:07 h` or `2 d 3 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    if whole < 100 * 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def memory(count: int) -> str:
    """Return bytes as `1.25 GiB`."""
    return f"{count / 2**30:.2f} GiB"


def megabytes(count: int) -> str:
    """Return bytes as a download shows them: `117 MB`, `1.48 GB`, `6.01 kB`."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return plural(count, "byte")


def safe(text: str) -> str:
    """Return text as a terminal may show it, over several lines: control and direction characters are escaped."""
    return _UNSAFE.sub(_escaped, text)


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path or name on one line that can always be shown, also where it is not valid Unicode."""
    return safe(os.fspath(path)).replace("\n", "\\n").replace("\t", "\\t")


def json_text(document: Any) -> str:
    """Return JSON that a terminal may show: what `safe` escapes is escaped as JSON has it. NaN is an error."""
    made = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", made)


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV: numbers with all digits, None and what is not finite as an empty cell.

    A text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([_csv_cell(cell) for cell in row] for row in rows)
    return content.getvalue()


def _csv_cell(cell: object) -> object:
    if isinstance(cell, str) and _FORMULA.match(cell):
        return f"'{cell}"
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def plain(text: object) -> str:
    """Return text with `?` in place of what HTML and XML cannot hold, or what turns the direction of text around it."""
    return _NO_XML.sub("?", str(text))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
