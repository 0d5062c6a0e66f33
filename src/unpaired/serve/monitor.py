"""What happens in a service: metrics for Prometheus, and one line of JSON for each request, without images or names."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unpaired.core.terminal import note

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


@final
class Monitor:
    """The metrics of one service."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        requests = ("path", "model", "status")
        self._requests = Counter("unpaired_requests", "Requests answered.", requests, registry=registry)
        self._seconds = Histogram(
            "unpaired_request_seconds", "Time to answer.", ("path", "model"), registry=registry, buckets=_SECONDS
        )
        self._refused = Counter("unpaired_refused", "Requests not granted.", ("reason",), registry=registry)
        self._images = Histogram(
            "unpaired_batch_images", "Images translated together.", ("model",), registry=registry, buckets=_SIZES
        )
        self._computing = Counter(
            "unpaired_computing_seconds", "Time spent in networks.", ("model",), registry=registry
        )
        self._loads = Counter("unpaired_model_loads", "Networks loaded.", ("model", "outcome"), registry=registry)
        self._open = Gauge("unpaired_requests_open", "Requests that are being answered.", registry=registry)
        self._queue = Gauge("unpaired_queue_images", "Images that wait.", ("model",), registry=registry)

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self.registry)

    def watch_queue(self, model: str, length: Callable[[], float]) -> None:
        """Ask for the length of a queue whenever metrics are read."""
        self._queue.labels(model).set_function(length)

    def opened(self, change: int) -> None:
        """Count a request that begins (1) or ends (-1)."""
        self._open.inc(change)

    def batch(self, model: str, images: int, seconds: float) -> None:
        """Count images that were translated together."""
        self._images.labels(model).observe(images)
        self._computing.labels(model).inc(seconds)

    def loaded(self, model: str, checkpoint: str, error: str = "") -> None:
        """Count and log a network that was loaded, or why it was not."""
        self._loads.labels(model, "failed" if error else "loaded").inc()
        log("load", model=model, checkpoint=checkpoint, **({"error": error} if error else {}))

    def answered(self, entry: dict[str, Any], path: str, status: int, seconds: float) -> None:
        """Count and log a request."""
        model = str(entry.get("model", ""))
        self._requests.labels(path, model, str(status)).inc()
        self._seconds.labels(path, model).observe(seconds)
        if status >= 400:
            self._refused.labels(str(entry.get("error", status))).inc()
        log("request", path=path, status=status, ms=round(1000 * seconds, 1), **entry)


def log(event: str, **entry: Any) -> None:
    """Write one line of JSON to stderr."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    note(json.dumps({"time": now, "event": event, **entry}))


@final
class LogLines(logging.Handler):
    """Writes what libraries log as lines of the same kind."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, with the error's type and place where it is one."""
        error = record.exc_info[1] if record.exc_info else None
        found: dict[str, Any] = {"error": repr(error)} if error is not None else {}
        log("message", level=record.levelname.lower(), text=record.getMessage().strip(), **found)


@final
class Journal:
    """Logs and counts every request to an application; whoever answers adds to `request.state.journal`."""

    def __init__(self, app: ASGIApp, monitor: Monitor, paths: Collection[str]) -> None:
        self._app, self._monitor, self._paths = app, monitor, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry: dict[str, Any] = {"method": scope["method"]}
        scope.setdefault("state", {})["journal"] = entry
        status, sent, started = 500, 0, time.monotonic()

        async def send_counted(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"  # whatever a stranger may ask for
            status = entry.pop("gone", status)
            self._monitor.answered({**entry, "bytes": sent}, path, status, time.monotonic() - started)
