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
from runs import TINY, arguments, unpaired, write_images
from unpaired.cli import main
from unpaired.core.errors import UserError
from unpaired.report import embedding
from unpaired.report.run_report import write_report

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
        "About a third of what the way back restores",
        "The hidden signal, 30 times amplified",
        "Generators: adversarial loss",
        "0.50 GiB of memory",
        "the discriminators have learned to tell everything apart",
        "unpaired evaluate runs/h2z --data horse2zebra",
    ):
        assert told in page.text, told
    assert "level of 64 px" not in page.text  # the note of the mean has it
    assert page.tags["img"] == 6 * 2 + 2 + 1
    assert all(each.get("alt") for each in page.attributes if "src" in each)
    assert all(str(each["src"]).startswith("data:image/") for each in page.attributes if "src" in each)
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", source)


def test_pictures_come_first_then_the_verdict_then_figures(tmp_path: Path) -> None:
    _, source = report(tmp_path, full(tmp_path))
    places = [
        source.index(f'id="{name}"') for name in ("pictures", "verdict", "figures", "curves", "audit", "settings")
    ]
    assert places == sorted(places)


def test_ids_are_unique_and_labels_lead_somewhere(tmp_path: Path) -> None:
    page, _ = report(tmp_path, full(tmp_path), full(tmp_path, "other"))
    ids = page.ids()
    assert len(ids) == len(set(ids))
    labelled = {name for each in page.attributes if (by := each.get("aria-labelledby")) for name in by.split()}
    assert labelled <= set(ids)


def test_the_policy_admits_the_own_style_and_script_and_nothing_else(tmp_path: Path) -> None:
    page, source = report(tmp_path, full(tmp_path))
    (policy,) = [each["content"] for each in page.attributes if each.get("http-equiv") == "Content-Security-Policy"]
    for kind, tag in (("style", "style"), ("script", "script")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none'")
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
    page, _ = report(tmp_path, full(tmp_path), second, write_run(tmp_path / "third", records=5, evaluations=0))
    assert "Settings that differ" in page.text
    assert "training.batch_size" in page.text
    assert "images: 100 (P1), 50 (P3)" in page.text
    assert "FID (protocol P3)" in page.text
    assert page.text.count("Only 100 images") == 1, "once, whichever direction or run gave it"
    assert f"unpaired evaluate {tmp_path / 'third'} --data 'horse & zebra'" in page.text


def test_nothing_that_a_run_says_becomes_part_of_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "<b>run<b>", records=6, grids=1, warning=HOSTILE, settings={"schedule": HOSTILE})
    content = json.loads(json.dumps(evaluation()).replace("FID", json.dumps(HOSTILE)[1:-1]))
    content["directions"] = {HOSTILE: content["directions"]["a2b"]}
    hostile = content["directions"][HOSTILE]
    hostile["verdict"] = HOSTILE
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
    assert page.tags["script"] == 1
    assert page.tags["i"] == 0
    assert not [each for each in page.attributes if "onerror" in each]
    assert page.text.count(HOSTILE) > 12
    assert f"{broken / 'audit.json'} is damaged" in page.text


@pytest.mark.parametrize(
    ("families", "auditable"),
    [
        ({"a2b": "resnet", "b2a": "resnet"}, True),
        ({"a2b": "resnet"}, True),
        ({"a2b": "latent_search", "b2a": "latent_search"}, False),
    ],
)
def test_no_audit_is_proposed_that_would_be_refused(families: dict[str, str], auditable: bool, tmp_path: Path) -> None:
    run = write_run(tmp_path / "h2z", records=2, grids=0)
    card = run / "checkpoints" / "000000200" / "model.json"
    networks = {name: {"network": {"family": family}, "weights": ""} for name, family in families.items()}
    card.write_text(json.dumps(json.loads(card.read_text()) | {"translators": networks}))
    page, _ = report(tmp_path, run)
    assert ("unpaired audit" in page.text) == auditable


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "new", records=0, grids=0, last=None)
    page, _ = report(tmp_path, run)
    for told in (
        "Nothing has been logged yet.",
        "not evaluated yet",
        f"unpaired audit {run} --data 'horse & zebra'",
        "No samples yet.",
    ):
        assert told in page.text, told


def test_pictures_without_room_and_unreadable_ones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = full(tmp_path)
    (run / "audits" / "best" / "hidden.png").write_bytes(b"no picture")
    monkeypatch.setattr(embedding, "MOST_PICTURES", 3)
    page, _ = report(tmp_path, run)
    assert page.tags["img"] == 4  # a picture that both directions list stands twice
    assert "pictures were left out" in page.text
    assert f"not shown ({run / 'audits' / 'best' / 'hidden.png'})" in page.text
    assert str(run / "samples" / "000000000.png") in page.text


@pytest.mark.slow
def test_a_report_of_what_the_real_commands_wrote(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", {"trainA": 4, "trainB": 4, "testA": 3, "testB": 3})
    names = {"data.name_a": "horse", "data.name_b": "zebra"}
    run = tmp_path / "h2z"
    unpaired("train", "cyclegan", "--data", data, "--out", run, *arguments({**TINY, **names, "training.epochs": 1}))
    for command in ("evaluate", "audit"):
        unpaired(command, run, "--quiet")
    unpaired("report", run, "--out", tmp_path / "report.html", "--json", tmp_path / "report.json")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    found = content["runs"][0]["evaluations"][0]["directions"]["a2b"]
    assert found["heading"] == "horse to zebra"
    assert found["heading"] in page.text
    assert found["verdict"]
    assert found["verdict"] in page.text
    assert content["runs"][0]["audits"][0]["directions"]["b2a"]["verdict"] in page.text
    assert {row["name"] for row in content["figures"]["a2b"]["rows"]} >= {"swd", "reconstruction_l1"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "h2z", records=20, grids=2, evaluations=4)
    put(folder, "evaluation", "best", evaluation())
    put(folder, "audit", "best", audit())
    return folder


def test_the_data_is_what_the_page_shows(tmp_path: Path, run: Path) -> None:
    other = write_run(tmp_path / "other", records=20, grids=0, settings={"batch_size": 4})
    put(other, "evaluation", "best", evaluation(fid=60.0, images=50))
    written = write_report([run, other], tmp_path / "report.html", data=tmp_path / "report.json", title="Both")
    assert written.data is not None

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(written.data.read_text(encoding="utf-8"), parse_constant=refuse)
    assert (content["format"], content["version"], content["title"]) == ("unpaired-report", 1, "Both")
    assert [each["name"] for each in content["runs"]] == ["h2z", "other"]
    first = content["runs"][0]
    assert first["status"]["images"] == 2000
    assert first["config"]["method"]["cycle_weight"] == 10.0
    assert len(first["training_evaluations"]) == 4
    assert first["curves"]["charts"][0]["lines"]["gan_a2b"][0] is not None
    assert first["samples"][1]["file"] == str(run / "samples" / "000001000.png")
    assert first["audits"][0]["directions"]["a2b"]["figures"][1]["value"] == 0.613
    picture = first["evaluations"][0]["directions"]["a2b"]["pictures"][0]["file"]
    assert (first["evaluations"][0]["folder"], picture) == (str(run / "evaluations" / "best"), "worst.png")
    assert content["settings"]["differing"] == {"training.batch_size": ["–", "4"]}
    figures = content["figures"]["a2b"]
    assert figures["columns"] == [{"run": 1, "checkpoint": "best"}, {"run": 2, "checkpoint": "best"}]
    fid = [row for row in figures["rows"] if row["name"] == "fid"]
    assert [row["values"] for row in fid] == [[75.2, None], [None, 60.0]]
    assert [content["protocols"][row["protocol"]]["images"] for row in fid] == [100, 50]
    assert len(figures["differences"]) == 1


def test_a_report_is_replaced_and_nothing_else(tmp_path: Path, run: Path) -> None:
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    write_report([run], page, data=data)
    before = page.read_bytes()
    write_report([run], page, data=data, title="Again")
    assert b"<h1>Again</h1>" in page.read_bytes() != before
    theirs = run / "index.html"
    theirs.write_text('<meta name="generator" content="unpaired">')  # the page of the training is no report
    with pytest.raises(UserError, match="so it is not replaced"):
        write_report([run], theirs)
    with pytest.raises(UserError, match=r"data = .*config.json exists and is none that this command"):
        write_report([run], tmp_path / "new.html", data=run / "config.json")
    assert not (tmp_path / "new.html").exists()
    assert json.loads((run / "config.json").read_text())["method"]["name"] == "cyclegan"


def test_places_that_would_mislead_are_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UserError, match=r"out = .*report.pdf: expected a file that ends in .htm or .html"):
        write_report([run], tmp_path / "report.pdf")
    with pytest.raises(UserError, match=r"data = .*report.html: expected a file that ends in .json"):
        write_report([run], tmp_path / "a.html", data=tmp_path / "report.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UserError, match=r"is a folder. Give a file, such as"):
        write_report([run], tmp_path / "folder.html")
    with pytest.raises(UserError, match="--title is empty"):
        write_report([run], tmp_path / "a.html", title=" ")
    with pytest.raises(UserError, match="no run is given"):
        write_report([], tmp_path / "a.html")


def test_nothing_is_left_behind_where_it_cannot_be_written(tmp_path: Path, run: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        write_report([run], blocked / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "h2z"]


def test_the_command(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(run, "evaluation", "000000100", "{")
    out = tmp_path / "out" / "report.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run), "--out", str(out), "--json", str(tmp_path / "report.json")])
    told = capsys.readouterr()
    assert ended.value.code == 0
    assert told.out.startswith(f"Report: {out} (")
    assert told.out.endswith(f"Data: {tmp_path / 'report.json'}\n")
    assert told.err.startswith("warning: ")
    assert "evaluation.json is damaged" in told.err
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "none"), "--out", str(out)])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: there is no run at {tmp_path / 'none'}. Give folders that `unpaired train` wrote.\n"
    )
