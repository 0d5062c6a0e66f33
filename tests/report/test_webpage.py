from __future__ import annotations

import base64
import hashlib
import re

from unpaired.report.webpage import generator_tag, webpage


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(page: str) -> str:
    (found,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    return str(found)


def test_styles_and_script_are_admitted_by_their_hash() -> None:
    page = webpage("t", "<p>é</p>", style="p { color: red }", script="1 < 2")
    assert policy(page) == (
        f"default-src 'none'; img-src data:; style-src {digest('p { color: red }')}; script-src {digest('1 < 2')}; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "<style>p { color: red }</style>" in page
    assert "<script>1 < 2</script>" in page


def test_without_a_script_none_is_admitted() -> None:
    page = webpage("t", "", style="")
    assert "script" not in page


def test_title_and_generator_are_text() -> None:
    page = webpage("</title><b>", "", style="", generator='"><b>')
    assert "<title>&lt;/title&gt;&lt;b&gt;</title>" in page
    assert generator_tag('"><b>') in page
    assert "<b>" not in page
