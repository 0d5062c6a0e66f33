"""What tests of the service send and receive."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from unpaired.serve.app import make_app
from unpaired.serve.settings import ServeSettings

QUICK: dict[str, Any] = {"engine": "torch", "precision": "fp32", "device": "cpu", "batch_window": 0.0}


@contextlib.contextmanager
def client(*models: str | Path, **settings: Any) -> Iterator[TestClient]:
    """Yield a client of a service that is ready, without a network between them."""
    app = make_app([str(model) for model in models], ServeSettings(**QUICK | settings))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as found:
        while found.get("/ready").json()["status"] == "loading":
            time.sleep(0.01)
        yield found


def noise(height: int = 20, width: int = 26, channels: int = 3, dtype: str = "uint8") -> NDArray[Any]:
    """Return random pixels [H, W, C]."""
    random = np.random.default_rng(height * width)
    return random.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype)


def png(pixels: NDArray[Any] | None = None) -> bytes:
    """Return pixels of 8 bits as PNG."""
    content, pixels = io.BytesIO(), noise() if pixels is None else pixels
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG")
    return content.getvalue()
