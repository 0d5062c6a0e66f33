"""What is installed is what is declared, and the repository holds nothing that it should not."""

from __future__ import annotations

import email.parser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import unpaired
from unpaired.cli import app

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement.strip())[0].lower()


def _listed(name: str) -> set[str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {_name(line) for line in lines if line and not line.startswith(("#", "-"))}


def _declared(*extras: str) -> set[str]:
    optional = PROJECT["optional-dependencies"]
    return {_name(line) for line in [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]}


def test_requirements_are_those_of_the_package() -> None:
    assert _listed("test.txt") == _declared("test") | {"hatchling", "editables"}  # the last two build the package
    assert _listed("serve.txt") == _declared("serve", "hub", "onnxruntime")


def test_extras_are_complete() -> None:
    extras = PROJECT["optional-dependencies"]
    products = set(extras) - {"all", "docs", "test"}
    named = re.fullmatch(r"unpaired\[(.*)\]", extras["all"][0])
    assert named is not None
    assert set(named[1].split(",")) == products
    assert _declared(*products, "docs") - _declared("test") <= {"aiohttp"}, "tests need what users can install"


def test_every_pinned_version_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements" / "constraints.txt").read_text()
    assert "://" not in text
    entries = re.findall(r"(?m)^([a-z0-9][^\s=]*)==\S+.*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", text)
    assert len(entries) == len(re.findall(r"(?m)^[a-z0-9]", text))
    pinned = {name for name, _ in entries}
    assert {_name(line) for line in PROJECT["dependencies"]} <= pinned


def test_the_version_is_the_packages() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", unpaired.__version__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = unpaired.trian  # type: ignore[attr-defined]


def test_nothing_large_is_tracked() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    large = [path.name for path in files if path.is_file() and path.stat().st_size > 1_500_000]
    assert not large


@pytest.mark.slow
def test_wheel_and_source_are_built_and_fit_for_pypi(tmp_path: Path) -> None:
    source = tmp_path / "source"
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, done.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    out = tmp_path / "dist"
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    wheel, sdist = sorted(out.iterdir(), key=lambda path: path.suffix != ".whl")
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = email.parser.BytesParser().parsebytes(
            archive.read(f"unpaired-{unpaired.__version__}.dist-info/METADATA")
        )
    package = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*") if path.is_file()}
    tracked = {name.removeprefix("src/") for name in done.stdout.decode().split("\0") if name.startswith("src/")}
    assert tracked & package <= names
    assert "unpaired/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert metadata["Version"] == unpaired.__version__
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    picture = ROOT / "docs" / "demo.png"
    translate = [
        sys.executable,
        "-m",
        "unpaired",
        "translate",
        "demo/fish",
        str(picture),
        "--out",
        "out",
        "--engine",
        "torch",
    ]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    subprocess.run(translate, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "out" / "demo.png").is_file(), "the model that comes with the package translates"
    with tarfile.open(sdist) as source_archive:
        held = {name.split("/", 1)[-1] for name in source_archive.getnames()}
    assert {"pyproject.toml", "tests/test_packaging.py", "docs/index.md", "notebooks/paper.ipynb"} <= held


def test_container_files_are_sound() -> None:
    found = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    text = (ROOT / "Dockerfile").read_text()
    last_user = re.findall(r"(?m)^(FROM|USER) (\S+)", text)
    assert last_user[-1] == ("USER", "10001")
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    commands = [service["command"] for service in services.values()]
    commands += [yaml.safe_load(line) for line in re.findall(r"(?m)^CMD (\[.*\])$", text)]
    assert len(commands) == 3
    for command in commands:
        function, bound, _ = app.parse_args(command, exit_on_error=False, print_error=False)
        assert function.__name__ == "serve"
        assert len(bound.arguments["models"]) == 2
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "open to this machine alone"
        assert service["read_only"]
        assert f"AS {service['build']['target']}\n" in text


def test_the_citation_is_that_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == unpaired.__version__
    assert citation["license"] == PROJECT["license"]
    assert [reference["doi"] for reference in citation["references"]] == ["10.1109/ICCV.2017.244"]
