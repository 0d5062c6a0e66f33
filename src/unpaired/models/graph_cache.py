"""Graphs and what was measured of them, kept in the user's cache: each is made once per model."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from unpaired import __version__
from unpaired.core.cache import Cache, CacheError, cache_key
from unpaired.core.errors import UserError
from unpaired.models.exactness import Exactness
from unpaired.models.graph import trace_onnx
from unpaired.networks import Generator

GRAPHS = Cache(folder="graphs", suffix=".onnx", limit_bytes=2 << 30, checked=True)
EXACTNESS = Cache(folder="exactness", suffix=".json", limit_bytes=1 << 24)
_FORMAT = 1
"""Changes with the way in which graphs are made or exactness is measured: older ones are made again."""


def has_graph(fingerprint: str | None) -> bool:
    """Say whether the graph of a network is there already; False also where the cache cannot be used."""
    return fingerprint is not None and GRAPHS.find(_graph_key(fingerprint)) is not None


@contextmanager
def graph_file(network: Generator, fingerprint: str | None) -> Iterator[Path]:
    """Yield the ONNX file of a network, made first where it is not there; the file may vanish afterwards.

    Without a fingerprint the network is one that no model folder holds, and its graph is not kept. Raises `UserError`
    where the cache folder cannot be written or its disk is full.
    """
    if fingerprint is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "graph.onnx"
            _make(network, path)
            yield path
        return
    try:
        path = GRAPHS.get(_graph_key(fingerprint), lambda path: _make(network, path))
    except CacheError as error:
        raise UserError(f"{error} Or choose --engine torch, which needs no graph.") from error
    yield path


def recall_exactness(
    setting: Mapping[str, str], fingerprint: str | None, measure: Callable[[], Exactness]
) -> Exactness:
    """Return what was measured of a network in a setting (engine, precision, ...), or measure it now."""
    if fingerprint is None:
        return measure()
    key = cache_key([_FORMAT, fingerprint, dict(setting)])
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if path := EXACTNESS.find(key):
            return Exactness.from_json(json.loads(path.read_text(encoding="utf-8")))
    exactness = measure()
    EXACTNESS.put(key, json.dumps(exactness.to_json()).encode())
    return exactness


def _graph_key(fingerprint: str) -> str:
    return cache_key([_FORMAT, fingerprint, __version__, torch.__version__])


def _make(network: Generator, path: Path) -> None:
    import onnx_ir

    try:
        content = onnx_ir.to_proto(trace_onnx(network)).SerializeToString()
    except RuntimeError as error:  # what the exporters of PyTorch raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"the model's graph cannot be made with this version of PyTorch ({torch.__version__}): {reason} Choose "
            "--engine torch, which needs no graph."
        ) from error
    path.write_bytes(content)
