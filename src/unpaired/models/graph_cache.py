"""Graphs and what was measured of them, kept in the user's cache: each is made once per model.

Everything in the folder can be deleted at any time. Several processes may use it at once: files appear whole or not at
all, and one process makes a graph while the others wait for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import torch

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import user_cache_folder
from unpaired.models.exactness import Exactness
from unpaired.models.graph import trace_onnx
from unpaired.networks import Generator

KEPT_BYTES = 2 << 30
"""Graphs beyond this are deleted, least recently used first."""
_FOLDER = "graphs"
_FORMAT = 1
"""Changes with the way in which graphs are made or exactness is measured: older ones are made again."""


def has_graph(fingerprint: str | None) -> bool:
    """Say whether the graph of a network is there already; False also where the cache cannot be used."""
    with contextlib.suppress(UserError):
        return fingerprint is not None and _whole(_graph_path(fingerprint))
    return False


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
    path = _graph_path(fingerprint)
    if not _whole(path):
        with _one_at_a_time(path):
            if not _whole(path):  # nobody else has made it in the meantime
                _make(network, path)
                _prune(path)
    with contextlib.suppress(OSError):
        os.utime(path)
    yield path


def recall_exactness(
    setting: Mapping[str, str], fingerprint: str | None, measure: Callable[[], Exactness]
) -> Exactness:
    """Return what was measured of a network in a setting (engine, precision, ...), or measure it now."""
    if fingerprint is None:
        return measure()
    content = json.dumps([_FORMAT, fingerprint, dict(setting)], sort_keys=True)
    name = f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.exactness.json"
    try:
        return Exactness.from_json(json.loads((_folder() / name).read_text(encoding="utf-8")))
    except (UserError, OSError, ValueError, KeyError, TypeError):
        exactness = measure()
    with contextlib.suppress(UserError, OSError):  # what cannot be kept is measured again
        _write(_folder() / name, json.dumps(exactness.to_json()).encode())
    return exactness


def _folder() -> Path:
    folder = user_cache_folder() / _FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise _cannot_write(error) from error
    return folder


def _graph_path(fingerprint: str) -> Path:
    made_with = json.dumps([_FORMAT, fingerprint, __version__, torch.__version__])
    return _folder() / f"{hashlib.sha256(made_with.encode()).hexdigest()[:32]}.onnx"


def _whole(path: Path) -> bool:
    """Say whether the file is what was written."""
    try:
        expected: Any = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with path.open("rb") as file:
            return bool(hashlib.file_digest(file, "sha256").hexdigest() == expected["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


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
    try:
        _write(path, content)
        _write(path.with_suffix(".json"), json.dumps({"sha256": hashlib.sha256(content).hexdigest()}).encode())
    except OSError as error:
        raise _cannot_write(error) from error


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{uuid.uuid4().hex}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _cannot_write(error: OSError) -> UserError:
    return UserError(
        f"cannot keep the model's graph in the cache folder: {error.strerror}. Make room there, set UNPAIRED_CACHE to "
        "a folder on another disk, or choose --engine torch, which needs no graph."
    )


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock among processes; where the file system knows no locks, go on without: each makes its own."""
    lock = filelock.FileLock(path.with_suffix(".lock"))
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, NotImplementedError):
            held.enter_context(lock)
        yield


def _prune(keep: Path) -> None:
    """Delete the graphs that do not fit; what was measured is small and stays."""
    kept = KEPT_BYTES
    with contextlib.suppress(OSError):
        graphs = sorted(((path.stat().st_mtime, path) for path in keep.parent.glob("*.onnx")), reverse=True)
        for _, path in graphs:
            kept -= path.stat().st_size
            if kept < 0 and path != keep:
                for suffix in (".json", ".onnx", ".lock"):
                    path.with_suffix(suffix).unlink(missing_ok=True)
