"""Pages and tables drawn from what the commands wrote."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from unpaired.core.text import with_error
from unpaired.report.page import document_page
from unpaired.report.results import GROUPS, Audit, Check, Document, Evaluation
from unpaired.report.run_report import write_report
from unpaired.report.tables import is_detail, render


def documents(run: Path) -> list[Document]:
    (evaluation,), (audit,) = (list((run / name).iterdir()) for name in ("evaluations", "audits"))
    return [Evaluation.read(evaluation), Audit.read(audit)]


def test_a_report_shows_what_was_measured_of_the_best_checkpoint(real_run: Path, tmp_path: Path) -> None:
    written = write_report([real_run], tmp_path / "report.html")
    page = written.page.read_text(encoding="utf-8")
    evaluation, audit = documents(real_run)
    assert evaluation.model is not None
    assert evaluation.model.checkpoint == "best"
    assert evaluation.model.title in page
    for found in evaluation.directions.values():
        assert found.heading in page
        for figure in (each for each in found.figures if not is_detail(each) and each.value is not None):
            assert with_error(figure.value, figure.error) in page, figure.name
        assert all(picture.title in page for picture in found.pictures)
    assert all(found.verdict in page for found in audit.directions.values())
    assert [*evaluation.directions] == ["a2b", "b2a"]
    assert "horse" in page
    places = [page.index(f'id="{name}"') for name in ("pictures", "verdict", "figures", "curves", "settings")]
    assert places == sorted(places)
    assert not written.runs[0].damage


def test_the_page_of_the_run_has_the_same_charts(real_run: Path, tmp_path: Path) -> None:
    report = write_report([real_run], tmp_path / "report.html").page.read_text(encoding="utf-8")
    titles = re.findall(r"<b>([^<]*)</b></figcaption>", (real_run / "index.html").read_text(encoding="utf-8"))
    assert len(titles) >= 6
    assert all(f"<b>{title}</b></figcaption>" in report for title in titles)


@pytest.mark.parametrize("kind", [0, 1])
def test_a_document_is_a_page_and_fits_a_terminal_of_80_columns(real_run: Path, kind: int) -> None:
    document = documents(real_run)[kind]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(document))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    shown = " ".join(" ".join(lines).split())
    page = document_page(document, title="Found")
    for found in document.directions.values():
        assert found.heading in shown
        assert found.heading in page
        for part in found.answers:
            assert part.verdict in shown
            assert part.verdict in html.unescape(page)
            assert part.summary in html.unescape(page)
            assert all(f"<b>{chart.title}</b>" in page for chart in part.charts)
            assert not isinstance(part, Check) or GROUPS[part.name] in page
    assert kind == 0 or any(found.checks for found in document.directions.values())
    assert "Protocol" in shown
