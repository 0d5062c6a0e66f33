"""What tests of the playground's page do in a browser."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.browser import Browser

IDLE = "document.documentElement.dataset.state === 'done'"


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def smooth(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture of broad colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def give(browser: Browser, content: bytes, name: str = "photo.png", kind: str = "image/png") -> None:
    """Choose a file, as its dialog would."""
    data = base64.b64encode(content).decode()
    browser.run(
        f"(() => {{ const bytes = Uint8Array.from(atob('{data}'), c => c.charCodeAt(0)), held = new DataTransfer();"
        f"held.items.add(new File([bytes], '{name}', {{type: '{kind}'}}));"
        "const input = document.querySelector('#file'); input.files = held.files;"
        "input.dispatchEvent(new Event('change')); })()"
    )


def downloaded(browser: Browser) -> NDArray[np.uint8]:
    """Return the picture that the download link holds."""
    text = browser.run(
        "(async () => { const image = new Image(); image.src = document.querySelector('#download').href;"
        "await image.decode(); const canvas = document.createElement('canvas');"
        "canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;"
        "canvas.getContext('2d').drawImage(image, 0, 0); return canvas.toDataURL('image/png').split(',')[1]; })()"
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def dark(browser: Browser, scheme: str = "dark") -> None:
    browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
