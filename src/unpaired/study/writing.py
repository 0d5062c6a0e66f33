"""Write a study's report into a folder, and say it in a few lines."""

from __future__ import annotations

from pathlib import Path

from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.core.text import printable
from unpaired.study.description import read_study
from unpaired.study.export import answers_csv, participants_csv, report_json
from unpaired.study.page import report_page
from unpaired.study.report import Figure, Report, make_report
from unpaired.study.store import Store


def write_report(folder: Path, out: Path | None = None) -> tuple[Report, Path]:
    """Write `index.html`, `report.json`, `answers.csv` and `participants.csv`; return the report and the page's path.

    The study may be running. `out` is `STUDY/report` by default; files of an earlier report are replaced. Raises
    `UserError` where the study is not whole or the files cannot be written.
    """
    study = read_study(folder, verify=True)
    target = folder / "report" if out is None else out
    store = Store(folder)
    try:
        report = make_report(study, store)
    finally:
        store.close()
    contents = {
        "answers.csv": answers_csv(report),
        "participants.csv": participants_csv(report),
        "report.json": report_json(report),
        "index.html": report_page(folder, study, report),
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'cannot write "{printable(target)}": {error.strerror}. Choose another --out.') from error
    for name, text in contents.items():
        write_atomic(target / name, text.encode("utf-8", "replace"))
    return report, target / "index.html"


def summary(report: Report) -> str:
    """Return one line per method: the share taken for real, after the rules and of everybody."""
    wanted = report.study.settings.participants
    return "\n".join(
        f"{method.name}: {_told(method.kept)} after the rules, {_told(method.everybody)} of everybody "
        f"({method.finished} of {wanted} participants finished)"
        for method in report.methods
    )


def _told(figure: Figure | None) -> str:
    if figure is None:
        return "nothing yet"
    between = f" [{figure.interval.low:.1%}, {figure.interval.high:.1%}]" if figure.interval else ""
    return f"{figure.share:.1%}{between}"
