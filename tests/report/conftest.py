"""Fixtures of the report's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import TINY, arguments, unpaired, write_images
from study.conftest import browse

__all__ = ["browse", "real_run"]


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the commands wrote: a tiny training of named domains, then an evaluation and an audit of its best."""
    folder = tmp_path_factory.mktemp("real")
    data = write_images(folder / "data", {"trainA": 4, "trainB": 4, "testA": 5, "testB": 5}, size=40)
    settings = TINY | {"data.crop_size": 32, "data.load_size": 36, "data.name_a": "horse", "data.name_b": "zebra"}
    run = folder / "small"
    unpaired("train", "cyclegan", "--data", data, "--out", run, *arguments(settings), "--quiet")
    unpaired("evaluate", run, "--data", data, "--quiet")
    unpaired("audit", run, "--data", data, "--quiet")
    return run
