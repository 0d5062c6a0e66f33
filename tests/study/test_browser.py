"""A real browser goes through whole studies."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from study.browser import Browse, Browser
from study.studies import Server, make_study
from unpaired.study.report import make_report
from unpaired.study.store import Store

STATE = """(() => {
  const screen = document.documentElement.dataset.screen;
  if (screen !== "trial") return screen === "loading" ? null : screen;
  if (document.querySelector("#stage.asking")) return "asking";
  return document.querySelector("#next").hidden ? null : "told";
})()"""
OVERFLOWS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
TEXT = "document.querySelector('main > section:not([hidden])').innerText"


def answer(browser: Browser, side: int, by: str) -> None:
    browser.run("window.asked = document.querySelector('#count').textContent")
    if by == "keyboard":
        browser.press(random.choice([("ArrowLeft", "ArrowRight"), ("f", "j"), ("ArrowUp", "ArrowDown")])[side])
    else:
        browser.click(f'.picture[data-side="{side}"]', touch=by == "touch")
    browser.until("!document.querySelector('#stage.asking')")


def go_through(browser: Browser, by: str, stop_at: str | None = None) -> list[str]:
    """Take part until the end, or until the text `stop_at` can be read; return the screens that were met."""
    met, count = list[str](), 0
    while True:
        state = browser.until(STATE)
        met.append(state)
        assert not browser.run(OVERFLOWS), f"{state} is wider than the screen"
        if state in ("thanks", "trouble") or (stop_at is not None and stop_at in browser.run(TEXT)):
            return met
        if state == "welcome":
            browser.click("#agree button", touch=by == "touch")
            assert browser.run("document.documentElement.dataset.screen") == "welcome", "consent is needed"
            browser.click("#consent", touch=by == "touch")
            browser.click("#agree button", touch=by == "touch")
            browser.until("document.documentElement.dataset.screen !== 'welcome'")
        elif state == "pause":
            browser.click("#continue", touch=by == "touch")
            browser.until("document.documentElement.dataset.screen !== 'pause'")
        elif state == "told":
            assert browser.run("document.activeElement.id") == "next", "the keyboard goes on from here"
            assert browser.run("document.querySelector('#feedback').textContent")[0] in "✓✗"
            browser.press("Enter", "\r")
            browser.until("document.querySelector('#next').hidden || document.querySelector('#trial').hidden")
        else:
            assert browser.run("document.querySelectorAll('.shown').length") == 0
            answer(browser, count % 2, by)
            count += 1


@pytest.mark.slow
def test_a_whole_study_with_mouse_and_keys(tmp_path: Path, serve: Callable[[Path], Server], browse: Browse) -> None:
    folder, study = make_study(tmp_path, exposure=0.1)
    server, browser = serve(folder), browse()
    address = f"http://127.0.0.1:{server.port}/?participant=worker-7"
    browser.size(1280, 800)
    browser.open(address)
    met = go_through(browser, "mouse", stop_at="Pair 3 of 7")
    assert met == ["welcome", "pause", "asking", "told", "asking", "told", "pause", "asking", "asking", "asking"]

    server.kill()  # the answer is given while the server is away, and arrives when it is back
    answer(browser, 0, "keyboard")
    browser.until("document.querySelector('#notice').textContent.includes('nothing is lost')")
    server.start()
    go_through(browser, "keyboard", stop_at="Pair 5 of 7")
    browser.open(address)  # loaded again in the middle of a trial
    assert browser.until(STATE) == "pause"
    assert "Welcome back" in browser.run(TEXT)
    assert go_through(browser, "keyboard")[-1] == "thanks"
    code = browser.run("document.querySelector('#code').textContent")
    browser.open(address)
    browser.until("document.documentElement.dataset.screen === 'thanks'")
    assert browser.run("document.querySelector('#code').textContent") == code

    store = Store(folder)
    report = make_report(study, store)
    store.close()
    (person,) = report.people
    assert (person.external, person.code) == ("worker-7", code)
    assert person.finished is not None
    assert len(person.answers) == 9
    assert [answer.views for answer in person.answers] == [1] * 6 + [2] + [1] * 2
    assert {answer.input for answer in person.answers} == {"mouse", "keyboard"}
    for given in person.answers:
        assert 0.08 < given.exposure_first == given.exposure_second < 2.0
        assert given.frames >= 1
        assert not given.hidden
        assert given.waited > given.exposure_first
    own = (f"http://127.0.0.1:{server.port}/", f"blob:http://127.0.0.1:{server.port}/", "data:")
    assert all(url.startswith(own) for url in browser.requests), "no request to anybody else"
    assert not [problem for problem in browser.problems if "ERR_CONNECTION" not in problem]


@pytest.mark.slow
def test_a_whole_study_on_a_phone_without_a_link(
    tmp_path: Path, serve: Callable[[Path], Server], browse: Browse
) -> None:
    folder, study = make_study(tmp_path, show="in-turn", practice=1, trials=2, catch=0, exposure=0.06)
    server, browser = serve(folder), browse()
    browser.size(390, 844, phone=True)
    browser.open(f"http://127.0.0.1:{server.port}/")
    go_through(browser, "touch", stop_at="Pair 2 of 2")
    assert {"First", "Second"} <= set(browser.run(TEXT).split())
    browser.open(f"http://127.0.0.1:{server.port}/")
    assert "pause" in go_through(browser, "touch"), "the browser remembers an anonymous participant"
    code = browser.run("document.querySelector('#code').textContent")

    store = Store(folder)
    (person,) = make_report(study, store).people
    store.close()
    assert (person.external, person.code) == (None, code)
    assert {answer.input for answer in person.answers} == {"touch"}
    assert all(given.exposure_first > 0.04 and given.exposure_second > 0.04 for given in person.answers)
    assert not browser.problems


@pytest.mark.slow
def test_the_report_opens_under_its_policy(tmp_path: Path, serve: Callable[[Path], Server], browse: Browse) -> None:
    folder, _ = make_study(tmp_path)
    server, browser = serve(folder), browse()
    browser.open(f"http://127.0.0.1:{server.port}/report?token={server.token}")
    browser.until("!!document.querySelector('table')")
    assert browser.run("location.search") == "", "the token has left the address"
    assert browser.run("getComputedStyle(document.querySelector('main')).maxWidth") == "1000px", "styles are admitted"
    assert not browser.problems
