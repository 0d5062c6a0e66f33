"""Decoders that neither warn nor log: what is wrong with a file is reported once, by us."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


class _Thread(threading.local):
    decoding = 0


class _WhileDecoding(logging.Filter):
    """Drops what a thread logs while it decodes."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _thread.decoding == 0


_thread = _Thread()
_lock = threading.Lock()
_entered = 0
_IGNORED = ("ignore", None, Warning, re.compile(r"(PIL|unpaired\.data\.formats)\."), 0)
logging.getLogger("tifffile").addFilter(_WhileDecoding())


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings (odd metadata, old formats) and tifffile's log while an image is decoded.

    `warnings.catch_warnings` swaps the filters of the whole process and is not safe with several threads; here one
    filter for Pillow's own modules is put in by the first thread that decodes and taken out by the last.
    """
    global _entered
    _thread.decoding += 1
    with _lock:
        _entered += 1
        filters = cast("list[Any]", warnings.filters)
        if not filters or filters[0] != _IGNORED:
            filters.insert(0, _IGNORED)
    try:
        yield
    finally:
        _thread.decoding -= 1
        with _lock:
            _entered -= 1
            if _entered == 0:
                filters = cast("list[Any]", warnings.filters)
                filters[:] = [item for item in filters if item != _IGNORED]
