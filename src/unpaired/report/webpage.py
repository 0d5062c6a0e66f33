"""One HTML file that holds everything and asks for nothing: its policy admits its own styles and script, no others."""

from __future__ import annotations

import base64
import hashlib
from html import escape


def webpage(title: str, body: str, *, style: str, script: str = "", generator: str = "unpaired") -> str:
    """Return a whole page around `body`, which is HTML; `title` and `generator` are plain text.

    Styles and script are admitted by their hash, so nothing that a run, a file or a message is called can run in it.
    """
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
    policy += f"script-src {_hash(script)}; " if script else ""
    policy += "base-uri 'none'; form-action 'none'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{generator_tag(generator)}
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
{f"<script>{script}</script>" if script else ""}
</body>
</html>
"""


def generator_tag(generator: str) -> str:
    """Return the element that says which program wrote a page."""
    return f'<meta name="generator" content="{escape(generator)}">'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
