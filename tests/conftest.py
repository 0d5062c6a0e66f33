"""Fixtures that every test may use."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from unpaired.core import extensions

# A busy machine must fail no test: no example has a time limit, and slow drawing of examples is no error.
settings.register_profile("unpaired", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unpaired")

# Several workers share the cores; threads that wait for one another on busy cores make everything slow. Set before
# anything imports PyTorch, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference numbers and real images beside the repository; tests that need it skip without it."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("the reference numbers and real images (../shared) are not here")
    return SHARED


_tests = itertools.count()


@pytest.fixture(autouse=True)
def _no_installed_features(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure what needs no weights, as where the extra `features` is missing; tests marked `lite0` use it."""
    if request.node.get_closest_marker("lite0") is None:
        monkeypatch.setattr("unpaired.metrics.features.has_lite0", lambda: False)


@pytest.fixture(autouse=True)
def _own_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after every test which extensions it named."""
    monkeypatch.setattr(extensions, "_allowed", set(extensions._allowed))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's cache."""
    monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path_factory.getbasetemp() / "caches" / str(next(_tests))))
