"""Runs whose files say anything: pages and reports are written, nothing of a file runs in them, no traceback."""

from __future__ import annotations

import copy
import io
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from report.examples import audit, evaluation, put, write_run
from unpaired.core.errors import UserError
from unpaired.report.results import Evaluation
from unpaired.report.run_log import METRICS, read_metrics
from unpaired.report.run_page import write_page
from unpaired.report.run_report import write_report
from unpaired.report.tables import render

SCRIPT = "<script>alert(1)</script>"
NUMBERS = st.sampled_from(
    [0, -1, 1e-320, 1e308, -1e308, 10**15, 10**40, 10**400, float("nan"), float("inf"), -0.0, 2**63]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([SCRIPT, "\ud800", "\x1b[2J", "\u202e", "../../x", "", "\x00", "a2b", "]]>", "{{ 7 * 7 }}"]),
)
WILD = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LEAVES.map(str), inner, max_size=3),
    max_leaves=6,
)


def places(document: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where every part of a document lies."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [here] * bool(here) + [place for key, value in inner for place in places(value, (*here, key))]


@st.composite
def forged(draw: st.DrawFn, document: Any) -> Any:
    """Return a document of which a few parts are something else, or missing."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(document)))
        part = document
        for key in way:
            part = part[key]
        if draw(st.booleans()) and isinstance(part, dict):
            del part[last]
        else:
            part[last] = draw(WILD)
        if not places(document):
            break
    return document


def show(run: Path) -> None:
    """Write everything that is made of a run, and check that no text of it became a part of a page."""
    out = run.parent / "report.html"
    try:
        pages = [write_page(run), write_report([run], out, data=out.with_suffix(".json")).page]
    except UserError as error:
        assert str(error)
        return
    json.loads(out.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert SCRIPT not in text
        assert not re.search("[\x00-\x08\x0b-\x1f]", text)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("hostile") / "run", records=6, grids=1, evaluations=3)
    put(folder, "evaluation", "best", evaluation())
    put(folder, "audit", "best", audit())
    return folder


WITHOUT_HASTE = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@WITHOUT_HASTE
@given(data=st.data(), kind=st.sampled_from(["evaluation", "audit"]))
def test_documents(run: Path, data: st.DataObject, kind: str) -> None:
    document = {"evaluation": evaluation, "audit": audit}[kind]()
    put(run, kind, "best", json.dumps(data.draw(forged(document))))
    show(run)
    put(run, kind, "best", document)


@WITHOUT_HASTE
@given(data=st.data())
def test_settings(run: Path, data: st.DataObject) -> None:
    path = run / "config.json"
    before = path.read_text()
    path.write_text(json.dumps(data.draw(forged(json.loads(before)))))
    show(run)
    path.write_text(before)


@WITHOUT_HASTE
@given(data=st.data())
def test_the_log(run: Path, data: st.DataObject) -> None:
    path = run / METRICS
    before = path.read_bytes()
    lines = [json.loads(line) for line in before.splitlines()]
    lines = data.draw(forged(lines))
    torn = data.draw(st.binary(max_size=6))
    path.write_bytes(b"\n".join(json.dumps(line).encode() for line in lines) + torn)
    show(run)
    path.write_bytes(before)


@WITHOUT_HASTE
@given(data=st.data())
def test_a_document_in_a_terminal(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("document")
    (folder / "evaluation.json").write_text(json.dumps(data.draw(forged(evaluation()))))
    try:
        document = Evaluation.read(folder)
    except UserError:
        return
    json.loads(document.to_json())
    Console(width=80, file=io.StringIO()).print(render(document))


@pytest.mark.parametrize("name", ["config.json", METRICS, "evaluations/best/evaluation.json", "samples/000000000.png"])
@pytest.mark.parametrize("what", ["folder", "fifo", "device", "link to nowhere", "half", "deep"])
def test_files_that_are_something_else(tmp_path: Path, name: str, what: str) -> None:
    run = write_run(tmp_path / "run", records=6, grids=2, evaluations=3)
    put(run, "evaluation", "best", evaluation())
    path = run / name
    content = path.read_bytes()
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "half":
        path.write_bytes(content[: len(content) // 2])
    elif what == "deep":
        path.write_bytes(b"[" * 200_000)
    else:
        path.symlink_to("/dev/zero" if what == "device" else tmp_path / "nowhere")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        show(run)
        assert (run / "index.html").is_file()
        assert (tmp_path / "report.html").is_file(), "the rest of the run is reported"


def test_a_log_that_is_cut_in_mid_line_is_read_up_to_there(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", records=6, grids=0, evaluations=0)
    content = (run / METRICS).read_bytes()
    records = read_metrics(run)
    for end in range(0, len(content), 13):
        (run / METRICS).write_bytes(content[:end])
        assert read_metrics(run) == records[: content[:end].count(b"\n") + (content[end : end + 1] == b"\n")]


def test_names_that_are_not_unicode_are_kept_as_json_has_them(run: Path) -> None:
    document = evaluation() | {"title": "\ud800", "command": "unpaired evaluate \udcff"}
    put(run, "evaluation", "best", document)
    show(run)
    read = Evaluation.read(run / "evaluations" / "best")
    assert json.loads(read.to_json())["title"] == "\ud800"
    put(run, "evaluation", "best", evaluation())
