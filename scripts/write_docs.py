"""Write the generated parts of the documentation: commands.md, settings.md, tables of migration.md and formats.md.

python scripts/write_docs.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from unittest.mock import patch

from unpaired.cli import app
from unpaired.cli.app import ORDER
from unpaired.cli.formats import tables
from unpaired.cli.hints import authors_options
from unpaired.cli.settings import page as settings_page
from unpaired.report.tables import to_markdown

DOCS = Path(__file__).resolve().parents[1] / "docs"
INTRODUCTION = """# Commands

Written from the command line's own help by `python scripts/write_docs.py`; `unpaired COMMAND --help` shows the same.
"""


def commands_page() -> str:
    """Return docs/commands.md: every command with its options, in the order of `unpaired --help`."""
    with patch.object(sys, "argv", ["unpaired"]):  # whatever runs this
        _, *parts = re.split(r"(?m)^(?=## unpaired )", app.generate_docs())
    commands = {part.split(maxsplit=3)[2]: part for part in parts}
    text = "\n\n".join(commands[name].strip() for name in ORDER).replace("```console", "```text") + "\n"
    # Examples stand alone in paragraphs of the help; here they can be copied.
    text = re.sub(r"(?m)^((?:unpaired|torchrun) [^\n]*(?:\n {2,}[^\n]*)*)\n(?=\n)", r"```bash\n\1\n```\n", text)
    return f"{INTRODUCTION}\n{text}".replace("\n```\n\n```bash\n", "\n")


OPTION = r"--[a-z-]+(?:=\d| (?:[A-Za-z0-9_.]+=[^\s;)]+?(?=[ ;)]|$)|[A-Z]+|\d+|cuda:0|ab|resize_and_crop|a2b|best))?"
COMMAND = r"torchrun --nproc-per-node=2 -m unpaired train|RUN/index.html"
COMMAND += r"|unpaired (?:train(?: cyclegan)?|info RUN|translate|evaluate)"
"""What is shown as code in the table, of the texts that messages print."""


def options_table() -> str:
    """Return the options of the authors' code beside what stands in their place."""
    lines = ["| theirs | in its place |", "| --- | --- |"]
    for theirs, ours in authors_options().items():
        shown = re.sub(f"({COMMAND}|{OPTION})", r"`\1`", ours)
        lines.append(f"| `--{theirs}` | {shown} |")
    return "\n".join(lines) + "\n"


def between(text: str, name: str, content: str) -> str:
    """Return a page with the part between its two comments of this name replaced."""
    begin, end = f"<!-- {name}: written by scripts/write_docs.py -->\n", f"<!-- end of {name} -->"
    before, after = text.split(begin)[0], text.split(end, 1)[1]
    return f"{before}{begin}{content}{end}{after}"


def pages() -> dict[str, str]:
    """Return every page with generated parts as it should be, by its name."""
    formats = (DOCS / "formats.md").read_text(encoding="utf-8")
    kinds = "\n\n".join(to_markdown(table).strip() for table in tables(here=False)) + "\n"
    migration = (DOCS / "migration.md").read_text(encoding="utf-8")
    return {
        "commands.md": commands_page(),
        "settings.md": settings_page(),
        "formats.md": between(formats, "formats", kinds),
        "migration.md": between(migration, "options", options_table()),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
