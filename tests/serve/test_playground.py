"""The playground in a real browser, before a real service."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from models.conftest import MakeModel
from serve.pages import IDLE, dark, downloaded, give, png_bytes, smooth
from study.browser import Browse, Browser
from unpaired.data.values import Domain
from unpaired.models.translator import Translator
from unpaired.serve.page.routes import routes
from unpaired.web.headers import SecurityHeaders

READY = "document.documentElement.dataset.ready && document.documentElement.dataset.state === 'empty'"
TROUBLE = "document.querySelector('#trouble').innerText"
NAMES = """[...document.querySelectorAll('button, input:not([type=file]), select, a, canvas, video')].filter(e =>
  !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels[0].textContent.trim()))).length"""

Serve = Callable[..., str]


@pytest.fixture
def service() -> Iterator[Serve]:
    """Start services, which end with the test; returns the address."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> str:
        command = [sys.executable, "-m", "unpaired", "serve", *words, "--port", "0", "--device", "cpu"]
        command += ["--engine", "torch", "--precision", "fp32", "--lazy"]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        output = started[-1].stdout
        assert output is not None
        found = re.search(r"http://\S+?/", output.readline())
        assert found is not None
        return found[0]

    yield start
    for process in started:
        process.terminate()
        process.communicate()


def show(browser: Browser, view: str) -> int:
    """Choose a view, and return how many figures it has when it is there."""
    browser.run(
        "window.before = document.querySelector('#panels').firstChild;"
        f"document.querySelector('#views [value={view}]').click()"
    )
    browser.until("document.querySelector('#panels').firstChild !== window.before")
    return int(browser.run("document.querySelectorAll('#panels figure').length"))


@pytest.fixture
def models(make_model: MakeModel) -> dict[str, Path]:
    """A model of both directions with names and samples, and one of one direction."""
    both = make_model("both", a=Domain(channels=3, name="day"), b=Domain(channels=3, name="night"))
    (both / "samples" / "inputs").mkdir(parents=True)
    Image.fromarray(smooth(24, 24, 5)).save(both / "samples" / "inputs" / "a-0.png")
    return {"both": both, "single": make_model("single", directions=("a2b",))}


@pytest.mark.slow
def test_a_picture_is_translated_looked_at_compared_and_kept(
    models: dict[str, Path], service: Serve, browse: Browse
) -> None:
    address = service(*(f"{name}={path}" for name, path in models.items()))
    browser, pixels = browse(), smooth(40, 56)
    browser.open(address)
    browser.until(READY)
    browser.until("document.querySelectorAll('#samples button').length === 1")
    give(browser, png_bytes(pixels))
    browser.until(IDLE)
    wanted = np.asarray(Translator.load(models["both"], device="cpu", engine="torch")(Image.fromarray(pixels)))
    assert np.abs(downloaded(browser).astype(int) - wanted).max() <= 1
    assert browser.run("document.querySelector('#download').download") == "photo-night.png"

    browser.run("document.querySelector('.compare input').focus()")
    for _ in range(3):
        browser.press("ArrowRight")
    assert browser.run("document.querySelector('.compare').style.getPropertyValue('--at')") == "53%"
    assert "53 percent" in browser.run("document.querySelector('.compare input').getAttribute('aria-valuetext')")

    assert show(browser, "difference") == 1
    assert show(browser, "back") == 1
    assert show(browser, "hidden") == 2
    assert show(browser, "slider") == 1
    browser.run(
        "(() => { const other = document.querySelector('#other'); other.selectedIndex = 1;"
        "other.dispatchEvent(new Event('change')); })()"
    )
    browser.until(f"{IDLE} && document.querySelectorAll('#panels figure').length === 2")
    captions = "[...document.querySelectorAll('#panels figcaption')].map(each => each.textContent)"
    assert browser.run(captions) == ["both", "single"]
    browser.until("document.querySelectorAll('#history button').length === 2")
    assert browser.run(NAMES) == 0, "everything that can be used has a name"

    browser.open(address)
    browser.until(f"{READY} && document.querySelectorAll('#history button').length === 2")
    browser.run("document.querySelector('#history button').click()")
    browser.until(IDLE)
    assert np.abs(downloaded(browser).astype(int) - wanted).max() <= 1
    browser.run("document.querySelector('#clear').click()")
    browser.until("document.querySelector('#past').hidden")
    assert all(url.startswith((address, "blob:", "data:")) for url in browser.requests), "nobody else is asked"
    assert not browser.problems


@pytest.mark.slow
def test_refusals_are_sentences_and_the_page_fits_a_phone(
    models: dict[str, Path], service: Serve, browse: Browse
) -> None:
    browser = browse()
    browser.size(390, 844, phone=True)
    dark(browser)
    browser.open(service(str(models["both"]), "--max-bytes", "6000"))
    browser.until(READY)
    give(browser, b"no picture at all")
    browser.until(f"{TROUBLE}.includes('no picture')")
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    give(browser, png_bytes(noise))
    browser.until(f"{TROUBLE}.includes('6,000 bytes')")
    busy = "new Response(JSON.stringify({message: 'The queue is full.'}), {status: 429, headers: {'retry-after': '1'}})"
    browser.run(
        "(() => { const real = fetch; window.fetch = async (...all) => { window.fetch = real;"
        f"setTimeout(() => window.told = document.querySelector('#status').innerText, 500); return {busy}; }}; }})()"
    )
    give(browser, png_bytes(smooth(30, 40)))
    browser.until(IDLE)
    assert browser.run("window.told").startswith("The queue is full. Trying again in 1 second")
    assert browser.run("document.querySelector('#trouble').hidden")
    assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_page_admits_the_camera_and_samples_are_for_those_who_are_admitted(models: dict[str, Path]) -> None:
    allowed = [False]

    def check(request: Request) -> None:
        if not allowed[0]:
            raise HTTPException(401)

    folder = models["both"]
    (folder / "samples" / "inputs" / "b-0.png").symlink_to(folder / "model.json")
    with TestClient(SecurityHeaders(Starlette(routes=[*routes({"m": folder}.get, check)]))) as client:
        page = client.get("/")
        assert "camera=(self)" in page.headers["permissions-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert "<script>" not in page.text
        for name in re.findall(r'(?:href|src)="(page/[^"]+)"', page.text):
            assert client.get(f"/{name}").status_code == 200
        assert client.get("/page/worker.js").status_code == 404
        assert client.get("/page/samples/m/a-0.png").status_code == 401
        allowed[0] = True
        assert client.get("/page/samples/m").json() == ["a-0.png", "b-0.png"]
        assert client.get("/page/samples/m/a-0.png").headers["content-type"] == "image/png"
        for name in ("b-0.png", "..%2f..%2fmodel.json", "a-1.png"):
            assert client.get(f"/page/samples/m/{name}").status_code == 404, name
        assert client.get("/page/samples/other").json() == []
    shutil.rmtree(folder)
