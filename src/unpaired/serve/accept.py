"""In which format an answer is sent: what the header `Accept` prefers of what can hold the image."""

from __future__ import annotations

import re
from collections.abc import Sequence

MEDIA = {
    "image/png": "png",
    "image/webp": "webp",
    "image/jpeg": "jpg",
    "image/tiff": "tif",
    "application/x-npy": "npy",
    "application/octet-stream": "npy",
}
"""Media type -> format; the first of those that a client takes equally is sent."""
_RANGE = re.compile(r"\s*([\w!#$&^.+*-]+)/([\w!#$&^.+*-]+)\s*(?:;.*)?", re.ASCII | re.DOTALL)
_QUALITY = re.compile(r";\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*(?:;|$)", re.ASCII | re.IGNORECASE)


def choose(accept: str | None, able: Sequence[str]) -> str | None:
    """Return which media type of `able` (the server's favourite first) a client prefers; None where it takes none.

    RFC 9110, 12.5.1: of the ranges that a type falls into the most specific one says how much it is wanted (`q`).
    What is no range is passed over; without any header everything is taken.
    """
    if accept is None or not accept.strip():
        return able[0] if able else None
    ranges = {name: quality for name, quality in map(_read, accept.lower().split(",")) if name}
    best, found = 0.0, None
    for media in able:
        keys = (media, f"{media.partition('/')[0]}/*", "*/*")
        quality = next((ranges[key] for key in keys if key in ranges), 0.0)
        if quality > best:
            best, found = quality, media
    return found


def _read(text: str) -> tuple[str, float]:
    """Return a range and how much it is wanted, 0 to 1; no name where the text is none."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return "", 0.0
    wanted = _QUALITY.search(text)
    return f"{match[1]}/{match[2]}", min(float(wanted[1]), 1.0) if wanted else 1.0
