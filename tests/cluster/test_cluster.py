"""A real cluster: processes are killed, and every output is there once, byte for byte."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import ray

from processes import start
from sinks import contents, recorded
from unpaired.cluster.manifest import FAILURES, MANIFEST
from unpaired.cluster.run import translate_on_cluster
from unpaired.cluster.worker import BatchSettings
from unpaired.core import extensions
from unpaired.core.errors import UserError
from unpaired.models.files import translate_files
from unpaired.models.translator import Translator

SETTINGS = BatchSettings(device="cpu", engine="torch", precision="fp32")
pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(autouse=True)
def _forget_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions, "_allowed", set())


def test_a_killed_command_goes_on_and_a_killed_worker_changes_nothing(
    model: Path, photos: Path, gates: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (photos / "9").mkdir()
    (photos / "9" / "last.wait").write_bytes(b"1234567")
    (photos / "9" / "x.kill").write_bytes(b"12345")
    out, named = tmp_path / "out", ["gated_readers:Waiting", "gated_readers:KilledOnce"]
    options = ["--device", "cpu", "--engine", "torch", "--precision", "fp32"]
    options += [word for name in named for word in ("--extension", name)]
    here = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    first = start("translate", model, photos, "--out", out, *options, "--cluster", "auto", environment=here)
    while not ((gates / "waiting").exists() and len(list(out.glob(f"{MANIFEST}/*"))) >= 2):
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    with pytest.raises(UserError, match="another process is writing"):
        translate_on_cluster(model, str(photos), str(out), SETTINGS, extensions=named)
    assert 0 < len(list(out.rglob("*.png"))) < 53
    first.kill()
    first.wait()
    (gates / "open").touch()

    capfd.readouterr()
    done: list[tuple[int, int]] = []
    report = translate_on_cluster(
        model, str(photos), str(out), SETTINGS, extensions=named, progress=lambda *counts: done.append(counts)
    )
    assert int((gates / "killed").read_text()) != os.getpid()
    assert capfd.readouterr() == ("", ""), "Ray is silent"
    assert (report.written + report.skipped, report.failed) == (53, 1)
    assert report.skipped >= 16, "what was recorded is not done again"
    assert done[-1] == (54, 54)
    assert "0/bad.png" in (out / FAILURES).read_text()

    translate_files(Translator.load(model, device="cpu", engine="torch"), photos, tmp_path / "plain")
    assert contents(out) == contents(tmp_path / "plain")
    assert sorted(recorded(out)) == sorted(contents(out))
