"""Commands and links in the README and the docs are real."""

from __future__ import annotations

import contextlib
import re
import shlex
import textwrap
from pathlib import Path

import pytest
from cyclopts.exceptions import MissingArgumentError

from unpaired.cli import app
from unpaired.compare.plan import read_plan
from unpaired.compare.trainings import trainings_of
from unpaired.configs import shipped
from unpaired.core.given import Given, read_overrides
from unpaired.training.settings import SECTIONS, resolve

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _commands(page: Path) -> list[list[str]]:
    """Return every `unpaired ...` command of a page's code blocks, as words."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```|((?:^    unpaired .*\n)+)", text, re.DOTALL | re.MULTILINE)
    blocks = [fenced or textwrap.dedent(indented) for fenced, indented in blocks]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.split("&&")]
    parts = [re.sub(r"^torchrun .* -m unpaired ", "unpaired ", part) for part in parts]
    words = [shlex.split(re.sub(r"\s#.*", "", part))[1:] for part in parts if part.startswith("unpaired ")]
    return [command for command in words if not command[0].startswith("-")]


def _mentioned(page: Path) -> list[list[str]]:
    """Return every `unpaired COMMAND ...` within the text of a page, as words; most lack what a real one needs."""
    text = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))
    found = re.findall(r"`(?:torchrun [^`]* -m )?unpaired ([a-z][^`]*)`", text)
    return [shlex.split(command.replace("\\|", "|")) for command in found if "..." not in command]


COMMANDS = [
    pytest.param(command, id=f"{page.name}: {' '.join(command)[:50]}") for page in PAGES for command in _commands(page)
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 12


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_and_settings_exist(command: list[str]) -> None:
    if any(word.startswith("[") for word in command):  # a synopsis with optional parts, not a command to copy
        command = list(command[: command.index(next(word for word in command if word.startswith("[")))])
    function, bound, _ = app.parse_args(command, exit_on_error=False, print_error=False)
    assert function.__name__ == command[1 if command[0] in ("study", "segment") else 0]
    # What stands for the reader's own code cannot be imported here.
    given = read_overrides(text for text in bound.arguments.get("set_") or [] if "my_package" not in text)
    if function.__name__ == "compare" and Path(bound.arguments["plan"]).stem in shipped("plan"):
        own = {name: value for name, value in given.values.items() if name.split(".")[0] not in SECTIONS}
        plan = read_plan(bound.arguments["plan"], own)
        others = Given({name: value for name, value in given.values.items() if name not in own}, given.origin)
        assert trainings_of(plan, {"data.root": "/data"}, others, {False: 1, True: 1})
    elif command[0] == "segment":
        assert {name.split(".")[0] for name in given.values} <= {"data", "segmenter"}
        resolve([Given({n: value for n, value in given.values.items() if n.startswith("data.")}, given.origin)])
    elif given.values:
        method = {"method.name": bound.arguments["method"]} if bound.arguments.get("method") else {}
        resolve([Given(method, "{name}"), given])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    for command in _mentioned(page):
        words = [word for word in command if word not in ("METHOD", "PLAN", "COMMAND")]
        with contextlib.suppress(MissingArgumentError):
            app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    block = re.search(r"<!-- test command -->\n```bash\n(.+)\n```", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert block is not None
    assert "pytest" in block[1]
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()
