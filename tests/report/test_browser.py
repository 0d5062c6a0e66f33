"""A real browser opens reports: wide and narrow, light and dark, on screen and on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from report.examples import audit, evaluation, put, write_run
from study.browser import Browse, Browser
from unpaired.report.run_report import write_report

WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
READY = "document.readyState === 'complete' && !!document.querySelector('#settings')"
COLOUR = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("report")
    runs = [
        write_run(tmp_path / name, records=60, grids=4, warning="w" * 300)
        for name in ("<script>document.title='x'<", "long-" * 30, "third", "fourth")
    ]
    for number, run in enumerate(runs[:3]):
        put(run, "evaluation", "best", evaluation(fid=70.0 + number, images=100 - number))
        put(run, "audit", "best", audit())
    return write_report(runs, tmp_path / "report.html").page


def look(browser: Browser, page: Path, width: int, *, scheme: str = "light", media: str = "screen") -> None:
    browser.size(width, 900, phone=width < 500)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.command("Emulation.setEmulatedMedia", media=media, features=features)
    browser.open(page.as_uri())
    browser.until(READY)


@pytest.mark.slow
def test_a_report_fits_asks_for_nothing_and_follows_the_screen(page: Path, browse: Browse) -> None:
    browser = browse()
    colours = set()
    for width, scheme in ((1280, "light"), (360, "dark")):
        look(browser, page, width, scheme=scheme)
        inner, outer = browser.run(WIDTHS)
        assert inner <= outer, f"wider than a screen of {width} pixels"
        assert browser.run("getComputedStyle(document.querySelector('main')).maxWidth") == "1240px", (
            "styles are admitted"
        )
        assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        colours.add(browser.run(COLOUR))
    assert len(colours) == 2
    assert "Metrics" in browser.run("document.body.innerText")
    small = browser.run(
        "Math.min(...[...document.querySelectorAll('.plot text')].map(t => parseFloat(getComputedStyle(t).fontSize)"
        " * t.ownerSVGElement.getScreenCTM().a))"
    )
    assert small > 9, "labels of charts can be read on a phone"
    assert {url for url in browser.requests if not url.startswith("data:")} == {page.as_uri()}
    assert not browser.problems


@pytest.mark.slow
def test_labels_of_charts_stay_inside_and_apart(page: Path, browse: Browse) -> None:
    browser = browse()
    for width in (1280, 360):
        look(browser, page, width)
        outside = browser.run(
            "[...document.querySelectorAll('.plot text')].filter(t => { const b = t.getBoundingClientRect(),"
            " s = t.ownerSVGElement.getBoundingClientRect();"
            " return b.left < s.left - 1 || b.right > s.right + 1 || b.top < s.top - 1 || b.bottom > s.bottom + 1; })"
            ".map(t => t.textContent)"
        )
        assert outside == []


@pytest.mark.slow
def test_the_picture_of_an_audit_scrolls_on_a_phone(page: Path, browse: Browse) -> None:
    browser = browse()
    look(browser, page, 360)
    browser.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    image, box = browser.run(
        "(() => { const i = document.querySelector('.gallery .wide img');"
        " return [i.getBoundingClientRect().width, i.closest('.scroll').clientWidth]; })()"
    )
    assert image >= 400, "not reduced"
    assert box < 360


@pytest.mark.slow
def test_on_paper_everything_is_open(page: Path, browse: Browse) -> None:
    browser = browse()
    look(browser, page, 800, media="print")
    assert browser.run(COLOUR) == "rgb(255, 255, 255)"
    hidden = browser.run(
        "[...document.querySelectorAll('details > *:last-child')].filter(e => !e.checkVisibility("
        "{contentVisibilityAuto: true})).length"
    )
    assert hidden == 0


@pytest.mark.slow
def test_wide_tables_fit_on_paper(tmp_path: Path, browse: Browse) -> None:
    runs = [write_run(tmp_path / f"a-run-of-{number}", records=4, grids=0) for number in range(9)]
    browser = browse()
    look(browser, write_report(runs, tmp_path / "report.html").page, 720, media="print")
    inner, outer = browser.run(WIDTHS)
    assert inner <= outer, "what is wider than the paper is cut"
