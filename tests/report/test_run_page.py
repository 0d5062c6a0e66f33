from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from unpaired.core.errors import UserError
from unpaired.models.best import keep_best
from unpaired.models.folder import write_folder
from unpaired.report import embedding
from unpaired.report.image_grid import grid, save_grid, stack
from unpaired.report.run_log import METRICS, MetricsLog, event, read_metrics
from unpaired.report.run_page import write_page
from unpaired.training.config import TrainingConfig
from unpaired.training.selection import Selection

HOSTILE = "</script><script>document.documentElement.dataset.error='run'</script><!--"
LOSSES = ("gan_a2b", "gan_b2a", "cycle_a", "cycle_b", "identity_a", "identity_b", "discriminator_a", "discriminator_b")
CURVES = len(LOSSES) + 4  # and two learning rates, the speed, the time spent waiting


class Page(HTMLParser):
    """The elements of a page, the text of its data and of its visible parts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.charts: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
        """Chart -> line -> x and y as the script reads them."""
        self.visible = ""
        self._plot = ""
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        self._inside = "chart" if tag == "title" and self._plot == "begun" else tag
        if tag == "svg" and found.get("class") == "plot":
            self._plot = "begun"
        if tag == "polyline" and "data-x" in found:
            line = json.loads(found["data-x"] or ""), json.loads(found["data-y"] or "")
            self.charts[self._plot][found["data-name"] or ""] = line

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "chart":
            self._plot = data
            self.charts[data] = {}
        elif self._inside not in ("script", "style"):
            self.visible += data

    def count(self, tag: str) -> int:
        return Counter(name for name, _ in self.elements)[tag]


def fill(run: Path, *, records: int = 60, grids: int = 3, last: str | None = None) -> Path:
    """Write what a training leaves in a run's folder."""
    run.mkdir(parents=True, exist_ok=True)
    config = {
        "method": {"name": "cyclegan", "generator": {"family": "resnet", "blocks": 9}, "note": HOSTILE},
        "data": {"root": "horse & zebra", "crop_size": [64, 128]},
        "training": {"epochs": 100, "decay_epochs": 100, "schedule": "linear", "max_images": None},
    }
    (run / "config.json").write_text(json.dumps(config))
    log = MetricsLog(run, tensorboard=False)
    for number in range(1, records + 1):
        losses = {name: 1 + place + math.sin(number / 9) for place, name in enumerate(LOSSES)}
        losses["gan_a2b"] = math.nan if number == 30 else losses["gan_a2b"]
        log.write(
            {
                "images": number * 100,
                "epoch": number / 10,
                "step": number * 100,
                "seconds": number * 4.0,
                "images_per_second": 25.0,
                "waiting_share": 0.02,
                "learning_rates": {"generators": 2e-4, "discriminators": 1e-4},
                "losses": losses,
            }
        )
    log.write(event("warning", 500, f"collapse {HOSTILE}"))
    log.write(event("warning", 700, f"collapse {HOSTILE}"))
    if last == "finished":
        log.write(event("finished", records * 100, "done"))
    elif last == "interrupted":
        log.write(event("interrupted", records * 100, "SIGINT"))
    log.close()
    for number in range(grids):
        picture = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        both = [grid([{"input": picture, "translation": 255 - picture}], ["input", "translation"], t) for t in "AB"]
        save_grid(run, number * 1000, stack(both))
    return run


def read(run: Path) -> str:
    return write_page(run).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------- without a browser


def test_the_page_says_what_the_run_is(tmp_path: Path) -> None:
    page = Page(read(fill(tmp_path / "my run")))
    words = " ".join(page.visible.split())
    for part in (
        "my run",
        "cyclegan",
        "running",
        "3 %",
        "6,000 of 200,000",
        "6.0 of 200",
        "generator.blocks",
        "[64, 128]",
    ):
        assert part in words
    assert "unpaired train --resume '" in words
    assert "my run' IMAGES --out TRANSLATED" in words
    assert page.count("img") == 6
    assert "1 warning" in words
    assert "2 times, from 500 to 700 images" in words


@pytest.mark.parametrize("last", ["finished", "interrupted"])
def test_the_page_says_how_the_run_ended(tmp_path: Path, last: str) -> None:
    page = Page(read(fill(tmp_path / "run", last=last)))
    header = next(attributes for tag, attributes in page.elements if tag == "header")
    assert header["data-state"] == last
    assert ("The training was interrupted after 6,000 images." in page.visible) == (last == "interrupted")
    assert "time left" not in page.visible


def test_a_training_that_ended_early_says_why(tmp_path: Path) -> None:
    run = fill(tmp_path / "run")
    log = MetricsLog(run, tensorboard=False)
    log.write(event("finished", 6000, "6000 of 200000 images; 3 evaluations without a better SWD"))
    log.close()
    words = Page(read(run)).visible
    assert "The training ended early: 6000 of 200000 images; 3 evaluations without a better SWD." in words
    config = json.loads((run / "config.json").read_text())
    config["training"]["max_images"] = 6000
    (run / "config.json").write_text(json.dumps(config))
    assert "ended early" not in Page(read(run)).visible


def test_a_training_that_failed_says_why(tmp_path: Path) -> None:
    run = fill(tmp_path / "run")
    log = MetricsLog(run, tensorboard=False)
    log.write(event("failed", 6000, "the loss cycle_a is not finite at step 6001."))
    log.close()
    assert "The training stopped: the loss cycle_a is not finite at step 6001." in Page(read(run)).visible


def with_evaluations(run: Path) -> Path:
    """Add evaluations to a run, and the best of them."""
    log = MetricsLog(run, tensorboard=False)
    selection = Selection(
        TrainingConfig(best="swd"),
        directions=("a2b", "b2a"),
        paired=False,
        searches=False,
        epoch_images=1,
        total_images=9,
    )
    for number, value in enumerate([9.0, 7.5, math.nan, 8.0], 1):
        figures = {"swd_a2b": value, "swd_b2a": value, "reconstruction_l1_a2b": 1 / number}
        best = selection.observe(figures, number * 1500)
        record = {"images": number * 1500, "evaluation": figures, "seconds": number * 60.0}
        log.write({**record, "evaluation_seconds": 0.6, "evaluation_share": 0.0123, "best": best})
    log.close()
    write_folder(run / "checkpoints" / "000003000", {}, {"model.json": {"translators": {"a2b": {}}}})
    best = selection.best_checkpoint(run, images={"a": 2, "b": 2}, held_out_from="test")
    assert best is not None
    keep_best(best)
    return run


def test_the_page_says_which_checkpoint_is_best(tmp_path: Path) -> None:
    before = Page(read(fill(tmp_path / "run")))
    assert "Best checkpoint" not in before.visible
    page = Page(read(with_evaluations(tmp_path / "run")))
    words = " ".join(page.visible.split())
    assert "after 3,000 images: 7.5, the lowest SWD (mean of a2b and b2a) of the first 2 evaluations." in words
    assert "4 evaluations on held-out images so far. Evaluation took 1.2 % of the training time." in words
    assert "with the best checkpoint" in words
    assert f"{tmp_path / 'run' / 'best'} IMAGES --out TRANSLATED --direction a2b" in words
    swd = page.charts["Sliced Wasserstein distance (lower is better)"]
    assert swd["a2b"] == ([1500, 3000, 6000], [9.0, 7.5, 8.0])
    assert list(page.charts).index("Sliced Wasserstein distance (lower is better)") == 4, "right after the losses"
    assert page.count("circle") == 3, "the best is ringed"
    assert "6,000 of 200,000" in words, "evaluations do not change how far the run is"


def test_evaluations_are_drawn_before_any_loss_is_logged(tmp_path: Path) -> None:
    page = Page(read(with_evaluations(tmp_path / "run")))
    assert "Nothing has been logged yet" not in page.visible
    assert [line[0] for chart in page.charts.values() for line in chart.values()] == [
        *[[1500, 3000, 6000]] * 2,
        [1500, 3000, 4500, 6000],
    ]


def test_nothing_that_a_run_holds_becomes_markup(tmp_path: Path) -> None:
    tame = Page(read(fill(tmp_path / "run")))
    run = fill(tmp_path / "<script>x" / "<img src=x onerror=y>")
    (run / METRICS).write_text((run / METRICS).read_text().replace('"cycle_a"', '"<b>cycle</b>"'))
    wild = Page(read(run))
    assert wild.count("script") == tame.count("script") == 2, "those of the page"
    assert wild.count("img") == tame.count("img")
    assert (wild.count("b"), tame.count("b")) == (len(wild.charts), len(tame.charts)), "the titles of charts"
    assert "<img src=x onerror=y>" in wild.visible
    assert HOSTILE in wild.visible
    assert "<b>cycle</b>" in [name for chart in wild.charts.values() for name in chart]


def test_the_page_asks_no_other_file(tmp_path: Path) -> None:
    text = read(fill(tmp_path / "run"))
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        assert not {"srcset", "action", "background", "poster"} & attributes.keys()
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert set(re.findall(r"https?://[^\s\"'<)]*", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy


def test_numbers_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    xs, ys = Page(read(fill(tmp_path / "run"))).charts["Generators: adversarial loss"]["a2b"]
    assert 3000 not in xs
    assert len(xs) == len(ys) == 59


def test_the_page_of_a_run_that_is_on_reloads_itself(tmp_path: Path) -> None:
    on, off = (Page(read(fill(tmp_path / name, last=last))) for name, last in (("on", None), ("off", "finished")))
    assert [a["content"] for t, a in on.elements if t == "meta" and a.get("http-equiv") == "refresh"] == ["30"]
    assert not [a for t, a in off.elements if t == "meta" and a.get("http-equiv") == "refresh"]
    headers = [next(a for t, a in page.elements if t == "header")["data-refresh"] for page in (on, off)]
    assert headers == ["30", "0"]


def test_what_the_method_declares_decides_where_a_loss_is_shown(tmp_path: Path) -> None:
    run = fill(tmp_path / "run")
    log = MetricsLog(run, tensorboard=False)
    log.write({"declared": {"terms": {"gan_a2b": "regularization", "cycle_a": "of a later version"}}, "images": 6000})
    log.close()
    charts = Page(read(run)).charts
    assert len(charts["Regularization loss"]) == len(charts["Other losses"]) == 1


@pytest.mark.parametrize("parts", [(), ("config.json",), (METRICS,), ("samples",), ("config.json", "samples")])
def test_a_run_that_has_not_everything_yet(tmp_path: Path, parts: tuple[str, ...]) -> None:
    whole, run = fill(tmp_path / "whole"), tmp_path / "run"
    run.mkdir()
    for part in parts:
        copy = shutil.copytree if (whole / part).is_dir() else shutil.copy
        copy(whole / part, run / part)
    page = Page(read(run))
    assert ("No sample grid has been drawn yet." in page.visible) == ("samples" not in parts)
    assert ("Nothing has been logged yet." in page.visible) == (METRICS not in parts)
    assert ("Settings" in page.visible) == ("config.json" in parts)


def test_damaged_files_do_not_keep_the_page_from_being_written(tmp_path: Path) -> None:
    run = fill(tmp_path / "run")
    (run / "config.json").write_text('{"method": ')
    with (run / METRICS).open("a") as file:
        file.write('{"images": 61')
    (run / "samples" / "000002000.png").write_bytes(b"\x89PNG")
    (run / "checkpoints" / "000006000").mkdir(parents=True)
    (run / "checkpoints" / "000006000" / "model.json").write_text("[]")
    page = Page(read(run))
    assert "6,000" in page.visible
    assert page.count("img") == 4


def test_the_directions_of_the_newest_checkpoint_are_offered(tmp_path: Path) -> None:
    run = fill(tmp_path / "run")
    folder = run / "checkpoints" / "000006000"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps({"translators": {"b2a": {}, "a2b": {}}}))
    text = Page(read(run)).visible
    assert "--out TRANSLATED --direction a2b" in text
    assert "--out TRANSLATED --direction b2a" in text


def test_thinned_samples_are_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MOST_SNAPSHOTS", 3)
    page = Page(read(fill(tmp_path / "run", grids=5)))
    assert "3 of 5 sample grids are in this page" in page.visible


def test_a_long_run_makes_a_bounded_page(tmp_path: Path) -> None:
    run = fill(tmp_path / "run", records=1, grids=0)
    one = read_metrics(run)[0]
    lines = (json.dumps({**one, "images": n, "epoch": n / 500, "seconds": n / 25}) for n in range(1, 100_001))
    (run / METRICS).write_text("\n".join(lines) + "\n")
    text = read(run)
    assert "100,000 of 100,000" in Page(text).visible
    assert max(len(line[0]) for chart in Page(text).charts.values() for line in chart.values()) <= 300
    assert len(text) < 400_000


def test_the_page_is_replaced_in_one_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fill(tmp_path / "run")
    before = read(run)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"index\.html: No space left on device"):
        write_page(run)
    assert (run / "index.html").read_text(encoding="utf-8") == before
    assert not [path for path in run.iterdir() if "writing" in path.name]


# ---------------------------------------------------------------------------------------------------- in a browser

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
    "--dump-dom",
]


@pytest.fixture
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Page]:
    """Open a page in a real browser and return what its script has made of it."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("needs a browser on PATH: chromium or google-chrome")

    def open_page(path: Path, width: int = 1280) -> Page:
        profile = tmp_path_factory.mktemp("profile")
        command = [program, *OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},900", path.as_uri()]
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        return Page(done.stdout.decode("utf-8"))

    return open_page


def root_of(page: Page) -> dict[str, str | None]:
    return next(attributes for tag, attributes in page.elements if tag == "html")


@pytest.mark.slow
def test_the_browser_draws_every_curve_and_runs_nothing_else(tmp_path: Path, browse: Callable[..., Page]) -> None:
    run = fill(tmp_path / "<script>x" / "<img src=x onerror=y> #1 %41")
    page = browse(write_page(run))
    root = root_of(page)
    assert "data-error" not in root
    assert root["data-ready"] == "yes"
    assert root["data-charts"] == str(len(page.charts))
    assert root["data-snapshots"] == "3"
    drawn = [a["points"] for tag, a in page.elements if tag == "polyline" and "data-x" in a]
    assert len(drawn) == CURVES
    assert not [path for path in drawn if "NaN" in (path or "") or len(path or "") < 300]
    for tag, attributes in page.elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), tag


@pytest.mark.slow
def test_the_browser_marks_the_best_and_reads_the_nearest_evaluation(
    tmp_path: Path, browse: Callable[..., Page]
) -> None:
    page = write_page(with_evaluations(fill(tmp_path / "run")))
    script = """<script>
const keys = {bubbles: true, cancelable: true};
document.querySelectorAll(".plot")[0].dispatchEvent(new KeyboardEvent("keydown", {key: "Home", ...keys}));
const state = document.documentElement.dataset;
const read = () => [...document.querySelectorAll(".reading")].map((node) => node.textContent);
state.first = read()[0]; state.evaluation = read()[4];
document.querySelectorAll(".plot")[4].dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", ...keys}));
state.moved = read()[4]; state.followed = read()[0];
</script></body>"""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("</body>", script), encoding="utf-8")
    opened = browse(changed)
    root = root_of(opened)
    assert root.get("data-error") is None
    assert (root["data-first"] or "").startswith("100 images seen, epoch 0.1: a2b ")
    assert root["data-evaluation"] == "1,500 images seen, epoch 1.5: a2b 9, b2a 9"
    assert root["data-moved"] == "3,000 images seen, epoch 3.0: a2b 7.5, b2a 7.5"
    assert (root["data-followed"] or "").startswith("2,900 images seen") or (root["data-followed"] or "").startswith(
        "3,000 images seen"
    )
    assert len([a for tag, a in opened.elements if tag == "circle"]) == 3
    assert not [a for _, a in opened.elements if "NaN" in (a.get("d") or a.get("cx") or "")]


@pytest.mark.slow
def test_the_browser_follows_keys_and_slider(tmp_path: Path, browse: Callable[..., Page]) -> None:
    page = write_page(fill(tmp_path / "run"))
    script = """<script>
const chart = document.querySelector(".plot"), keys = {bubbles: true, cancelable: true};
chart.dispatchEvent(new KeyboardEvent("keydown", {key: "Home", ...keys}));
chart.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", ...keys}));
const state = document.documentElement.dataset;
const byId = (id) => document.getElementById(id);
state.read = [...document.querySelectorAll(".reading")].map((node) => node.textContent.split(":")[0]).join("|");
byId("smoothing").value = 0; byId("smoothing").dispatchEvent(new Event("input"));
const smoothed = document.querySelector("polyline[data-smooth]"), faint = smoothed.parentNode.querySelector(".faint");
const place = (line) => line.getAttribute("points").split(" ")[7];
state.raw = place(smoothed) === place(faint);
byId("moment").value = 1; byId("moment").dispatchEvent(new Event("input"));
state.shown = byId("shown").textContent;
byId("previous").click();
state.current = document.querySelector("figure.current figcaption").textContent;
// The browser's clock is simulated and decoding is not: it would be a race.
HTMLImageElement.prototype.decode = () => Promise.resolve();
byId("play").click();
state.overflow = document.documentElement.scrollWidth > document.documentElement.clientWidth;
</script></body>"""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("</body>", script), encoding="utf-8")
    opened = browse(changed, width=500)
    root = root_of(opened)
    assert "data-error" not in root
    assert set((root["data-read"] or "").split("|")) == {"200 images seen, epoch 0.2"}
    assert root["data-raw"] == "true"
    assert root["data-shown"] == "1,000 images · epoch 1.0 (2 of 3)"
    assert root["data-current"] == "0 images · epoch 0.0"
    assert root["data-overflow"] == "false"
    assert "2,000 images · epoch 2.0 (3 of 3)" in opened.visible, "playing ends with the last snapshot"


@pytest.mark.slow
def test_the_browser_opens_the_page_of_a_run_that_has_only_begun(tmp_path: Path, browse: Callable[..., Page]) -> None:
    (tmp_path / "run").mkdir()
    root = root_of(browse(write_page(tmp_path / "run")))
    assert "data-error" not in root
    assert (root["data-ready"], root.get("data-charts"), root["data-snapshots"]) == ("yes", None, "0")
    root = root_of(browse(write_page(with_evaluations(tmp_path / "run"))))  # and of one that logged no losses yet
    assert "data-error" not in root
    assert (root["data-ready"], root["data-charts"]) == ("yes", "2")
