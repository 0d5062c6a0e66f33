"""The documentation site builds with strict links and anchors, is complete, and asks no other host for anything."""

from __future__ import annotations

import html.parser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import unpaired

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NAVIGATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


def build(folder: Path) -> tuple[int, str]:
    """Build the site of a folder with `mkdocs.yml` and `docs/` into its `site/`; return exit code and output."""
    (folder / "src").symlink_to(ROOT / "src")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(DOCS, folder / "docs")
    code, output = build(folder)
    assert code == 0, output
    return folder / "site"


def pages_of(navigation: Any) -> Iterator[str]:
    match navigation:
        case str():
            yield navigation
        case list():
            for part in navigation:
                yield from pages_of(part)
        case dict():
            yield from pages_of(list(navigation.values()))


def test_every_page_is_in_the_navigation_once() -> None:
    listed = sorted(pages_of(NAVIGATION))
    assert listed == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")), (
        "add your page to nav in mkdocs.yml"
    )


class _Page(html.parser.HTMLParser):
    """What a page loads, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.add(given.get("id", ""))
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.loads += [given.get("src", ""), given.get("srcset", "")]
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given.get("href", ""))


@pytest.mark.slow
def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    for path in site.glob("*.html"):
        outside = [target for target in _Page(path).loads if re.match(r"(?:[a-z]+:)?//", target)]
        assert not outside, path.name
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_links_of_the_site_and_anchors_of_the_readme_lead_somewhere(site: Path) -> None:
    pages = {path.name: _Page(path) for path in site.glob("*.html")}
    for name, page in pages.items():
        for target in page.links:
            if name != "404.html" and not re.match(r"[a-z]+:|/?#|$", target):
                assert (site / target.split("#")[0]).exists(), f"{name}: {target} is not part of the site"
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    for page_name, anchor in re.findall(r"\(docs/([a-z0-9-]+)\.md#([^)]+)\)", text):
        assert anchor in pages[f"{page_name}.html"].anchors, f"README: {page_name}.md#{anchor}"


@pytest.mark.slow
def test_the_reference_has_every_public_name_and_the_search_finds_it(site: Path) -> None:
    anchors = _Page(site / "api.html").anchors
    modules = {"audit", "evaluation", "losses", "methods", "metrics", "networks"}
    for name in set(unpaired.__all__) - {"__version__"}:
        end = f".{name}"
        assert any(anchor.endswith(end) for anchor in anchors), f"docs/api.md has no {name}"
    assert all(any(anchor.startswith(f"unpaired.{module}.") for anchor in anchors) for module in modules - {"losses"})
    found = (site / "search.json").read_text(encoding="utf-8")
    assert "translate_images" in found
    assert "checkerboards" in found


def test_a_broken_link_and_a_broken_anchor_fail_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text("site_name: x\ntheme: {name: material, font: false}\nnav: [index.md, b.md]\n")
    (tmp_path / "docs" / "index.md").write_text("# A\n[x](nowhere.md) [y](b.md#nowhere)\n")
    (tmp_path / "docs" / "b.md").write_text("# B\n")
    code, output = build(tmp_path)
    assert code != 0
    assert "page does not exist" in output
    assert "anchor does not exist" in output


def test_generated_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "scripts" / "write_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, text in module.pages().items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"{name}: run python scripts/write_docs.py"
