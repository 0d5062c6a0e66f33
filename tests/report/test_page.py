from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from report.examples import audit, evaluation, put, write_run
from unpaired.report import pictures
from unpaired.report.write import write_report

HOSTILE = "</h1><script>document.title='run'</script><img src=x onerror=alert(1)>'\"&"
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """The elements of a page, its ids, and the text that can be read; elements must be closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[dict[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.append(dict(attrs))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def ids(self) -> list[str]:
        return [value for attributes in self.attributes if (value := attributes.get("id"))]


def report(tmp_path: Path, *runs: Path, title: str | None = None) -> tuple[Page, str]:
    out = tmp_path / "report.html"
    write_report(runs, out, title=title)
    source = out.read_text(encoding="utf-8")
    return Page(source), source


def full(tmp_path: Path, name: str = "h2z") -> Path:
    run = write_run(tmp_path / name, records=60, grids=8, evaluations=6)
    put(run, "evaluation", "000006000", evaluation())
    put(run, "evaluation", "best", evaluation(fid=70.1))
    put(run, "audit", "best", audit())
    return run


def test_one_run_tells_everything(tmp_path: Path) -> None:
    page, source = report(tmp_path, full(tmp_path))
    for told in (
        "cyclegan on horse & zebra, 64 x 64 pixels",
        "75.2 ± 1.3",
        "70.1 ± 1.3",
        "MS-SSIM",
        "Images below 161 pixels have none.",
        "untranslated",
        "Inception-v3 (FID)",
        "bicubic, antialiased",
        "Per class",
        "the covariance of 2048 features has no full rank",
        "Of what comes back, invisible noise takes 34 %, an ordinary JPEG file takes 61 %.",
        "Columns: input, translation, what is lost",
        "About a third of what the way back restores",
        "The hidden signal, 30 times amplified",
        "6 of 8 sample grids, evenly chosen",
        "Generators: adversarial loss",
        "0.50 GiB of memory",
        "the discriminators have learned to tell everything apart",
        "unpaired evaluate runs/h2z --data horse2zebra",
        "python 3.11.9",
    ):
        assert told in page.text, told
    assert "mean over the levels 64 px: 9" in page.text
    assert "level of 64 px" not in page.text  # the note of the mean has it
    assert page.tags["script"] == 0
    assert page.tags["img"] == 6 * 2 + 2 * 2 + 1
    assert all(each.get("alt") for each in page.attributes if "src" in each)
    assert all(str(each["src"]).startswith("data:image/") for each in page.attributes if "src" in each)
    assert "http" not in source.replace("http-equiv", "").replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_links_lead_somewhere_and_ids_are_unique(tmp_path: Path) -> None:
    page, _ = report(tmp_path, full(tmp_path), full(tmp_path, "other"))
    ids = page.ids()
    assert len(ids) == len(set(ids))
    links = {str(each["href"]) for each in page.attributes if str(each.get("href", "")).startswith("#")}
    assert links
    assert {link[1:] for link in links} <= set(ids)
    labelled = {name for each in page.attributes if (by := each.get("aria-labelledby")) for name in by.split()}
    assert labelled <= set(ids)


def test_the_policy_admits_the_styles_and_nothing_else(tmp_path: Path) -> None:
    page, source = report(tmp_path, full(tmp_path))
    (style,) = re.findall(r"<style>(.*?)</style>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [each["content"] for each in page.attributes if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not [each for each in page.attributes if "style" in each], "the policy would drop them"


def test_charts_are_well_formed_and_have_axes_with_units(tmp_path: Path) -> None:
    _, source = report(tmp_path, full(tmp_path))
    plots = re.findall(r"<svg xmlns.*?</svg>", source, re.DOTALL)
    assert len(plots) == 2 + 6 + 1
    for plot in plots:
        root = ElementTree.fromstring(plot)
        texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"images seen", "noise, levels of 255"} & set(texts)
        assert root.findtext("{http://www.w3.org/2000/svg}desc")


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    second = write_run(tmp_path / "other", records=60, grids=3, settings={"batch_size": 4})
    put(second, "evaluation", "best", evaluation(fid=60.0, images=50))
    page, source = report(tmp_path, full(tmp_path), second, write_run(tmp_path / "third", records=5, evaluations=0))
    assert "Settings that differ" in page.text
    assert "training.batch_size" in page.text
    assert "FID: measured by different protocols, which do not compare. images: 100 (P1), 50 (P3)." in page.text
    assert "FID by protocol P3" in page.text
    assert "Only 100 images" in page.text
    assert page.text.count("Only 100 images") == 2, "once per direction, whoever gave it"
    assert "No evaluation yet of" in page.text
    assert f"unpaired evaluate {tmp_path / 'third'} --data 'horse & zebra'" in page.text
    assert source.count('class="legend shared"') == 1


def test_nothing_that_a_run_says_becomes_part_of_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "<b>run<b>", records=6, grids=1, warning=HOSTILE, settings={"schedule": HOSTILE})
    content = json.loads(json.dumps(evaluation()).replace("FID", json.dumps(HOSTILE)[1:-1]))
    content["directions"] = {HOSTILE: content["directions"]["a2b"]}
    hostile = content["directions"][HOSTILE]
    hostile["tables"] = [{"title": HOSTILE, "columns": [HOSTILE], "rows": [[HOSTILE]]}]
    hostile["pictures"] = [{"file": "worst.png", "title": HOSTILE, "alt": HOSTILE}, {"file": f"../{HOSTILE}"}]
    hostile["warnings"] = [HOSTILE]
    hostile["figures"][0] |= {"protocol": {HOSTILE: HOSTILE}, "unit": HOSTILE, "group": HOSTILE, "note": HOSTILE}
    content |= {"command": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    put(run, "evaluation", "best", content)
    found = audit()
    found["directions"]["a2b"] |= {"summary": HOSTILE}
    found["directions"]["a2b"]["curves"][0] |= {"title": HOSTILE, "x_label": HOSTILE, "y_label": HOSTILE}
    found["directions"]["a2b"]["curves"][0]["lines"][0]["name"] = HOSTILE
    put(run, "audit", HOSTILE.replace("/", "-"), found)
    broken = put(run, "audit", "<i>", "{")
    page, _ = report(tmp_path, run, write_run(tmp_path / "b", records=3, grids=0), title=HOSTILE)
    assert page.tags["script"] == page.tags["b"] - 1 == page.tags["i"] == 0  # the one <b> is the hidden share's
    assert not [each for each in page.attributes if "onerror" in each]
    assert page.text.count(HOSTILE) > 15
    assert f"{broken / 'audit.json'} was left out" in page.text
    assert "named outside its folder" in page.text


@pytest.mark.parametrize(
    ("families", "auditable"),
    [
        ({"a2b": "resnet", "b2a": "resnet"}, True),
        ({"a2b": "resnet"}, False),
        ({"a2b": "latent_search", "b2a": "latent_search"}, False),
    ],
)
def test_no_audit_is_proposed_that_would_be_refused(families: dict[str, str], auditable: bool, tmp_path: Path) -> None:
    run = write_run(tmp_path / "h2z", records=2, grids=0)
    card = run / "checkpoints" / "000000200" / "model.json"
    networks = {name: {"network": {"family": family}} for name, family in families.items()}
    card.write_text(json.dumps(json.loads(card.read_text()) | {"translators": networks}))
    page, _ = report(tmp_path, run)
    assert ("unpaired audit" in page.text) == auditable
    assert ("it takes a network for either direction" in page.text) != auditable


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "new", records=0, grids=0, last=None)
    page, _ = report(tmp_path, run)
    for told in (
        "Nothing has been logged yet.",
        "No evaluation yet.",
        f"unpaired audit {run} --data 'horse & zebra'",
        "No sample grid has been drawn.",
        "No evaluation has chosen pictures yet.",
        "nothing has been logged yet",
    ):
        assert told in page.text, told


def test_pictures_without_room_and_unreadable_ones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = full(tmp_path)
    (run / "audits" / "best" / "hidden.png").write_bytes(b"no picture")
    monkeypatch.setattr(pictures, "MOST_PICTURES", 3)
    page, _ = report(tmp_path, run)
    assert page.tags["img"] == 4  # a picture that both directions list stands twice
    assert "6 pictures were left out: a report holds at most" in page.text
    assert "It cannot be read" in page.text
    assert str(run / "samples" / "000000000.png") in page.text
