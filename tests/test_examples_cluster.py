"""The examples for SLURM and Kubernetes: valid, their options known, and run as far as that needs no cluster."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from unpaired.cli.app import app

yaml = pytest.importorskip("yaml")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SLURM = sorted((EXAMPLES / "slurm").glob("*.sbatch"))
KUBERNETES = sorted((EXAMPLES / "kubernetes").glob("*.yaml"))
VERSIONS = ("1.31", "1.34")


def name(path: Path) -> str:
    return path.stem


def require_known(tokens: list[str]) -> None:
    """Fail unless the command line takes these tokens; nothing is run."""
    _, bound, *_ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    assert bound.arguments


@pytest.mark.parametrize("script", SLURM, ids=name)
def test_shellcheck_has_no_complaint(script: Path) -> None:
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


STUB = """#!/usr/bin/env bash
printf '%s ' "$(basename "$0")" "$@" >> "$LOG"; echo >> "$LOG"
"""
WAITING = """
trap 'echo saved >> "$LOG"; exit 143' TERM
echo training >> "$LOG"
while true; do sleep 0.02; done
"""


def stubs(folder: Path, training: str) -> dict[str, str]:
    """Write programs in place of SLURM's and torchrun; return an environment that finds them."""
    folder.mkdir()
    programs = {
        "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
        "scontrol": "echo node7",
        "torchrun": training,
    }
    for program, body in {**programs, "unpaired": training}.items():
        (folder / program).write_text(STUB + body)
        (folder / program).chmod(0o755)
    job = {"SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2"}
    places = {"DATA": "images", "RUN": "runs/x", "RUNS": "runs", "SLURM_ARRAY_TASK_ID": "3"}
    return {**os.environ, **job, **places, "PATH": f"{folder}:{os.environ['PATH']}", "LOG": str(folder / "log")}


@pytest.mark.parametrize("script", SLURM, ids=name)
def test_a_job_trains_and_ends_as_the_training_does(script: Path, tmp_path: Path) -> None:
    for code in (0, 2):
        environment = stubs(tmp_path / str(code), f"exit {code}")
        done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        lines = Path(environment["LOG"]).read_text().splitlines()
        assert not any("requeue" in line for line in lines)
        command = shlex.split(next(line for line in lines if line.startswith(("torchrun", "unpaired"))))
        tokens = command[command.index("unpaired") + 1 :]
        assert tokens[-2:] == ["--resume", "auto"]
        require_known(tokens)
    if script.stem == "multi-node":
        assert "--rdzv-endpoint node7:23456" in " ".join(command)


@pytest.mark.parametrize("script", SLURM, ids=name)
def test_a_preempted_job_saves_and_is_requeued(script: Path, tmp_path: Path) -> None:
    environment = stubs(tmp_path / "stubs", WAITING)
    job = subprocess.Popen(["bash", str(script)], env=environment, stdout=subprocess.DEVNULL)
    log = Path(environment["LOG"])
    while not log.is_file() or "training\n" not in log.read_text():
        assert job.poll() is None
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)  # as --signal=B:TERM@180 does: to the script alone
    assert job.wait() == 0
    lines = log.read_text().splitlines()
    assert lines.index("saved") < lines.index("scontrol requeue 123456 ")
    directives = re.findall(r"(?m)^#SBATCH (\S+)", script.read_text())
    assert {"--requeue", "--signal=B:TERM@180", "--open-mode=append"} <= set(directives)


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", KUBERNETES, ids=name)
def test_manifests_are_valid_and_fit_together(path: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    found = documents(path)
    for document in found:
        for version in VERSIONS:
            validate.validate(document, version, strict=True)
    claims = {each["metadata"]["name"] for file in KUBERNETES for each in documents(file) if "Claim" in each["kind"]}
    for document in found:
        if document["kind"] not in ("Job", "Deployment"):
            continue
        pod = document["spec"]["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        used = {v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["volumes"]}
        assert used - {None} <= claims | {"images"}, "a claim that no example makes"
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        tokens = [str(token) for token in pod["containers"][0]["args"]]
        require_known(tokens[2:] if tokens[0] == "-m" else tokens)


def test_time_to_end_suffices() -> None:
    for document in (each for path in KUBERNETES for each in documents(path)):
        pod = document["spec"].get("template", {}).get("spec", {})
        if document["kind"] == "Job":
            assert pod["terminationGracePeriodSeconds"] > 30, "torchrun waits 30 seconds for its processes"
        if document["kind"] == "Deployment":
            serve = pod["containers"][0]
            pause = int(serve["lifecycle"]["preStop"]["exec"]["command"][1])
            timeout = int(serve["args"][serve["args"].index("--timeout") + 1])
            assert pod["terminationGracePeriodSeconds"] > pause + timeout
            probes = {
                kind: serve[kind]["httpGet"]["path"] for kind in ("readinessProbe", "livenessProbe", "startupProbe")
            }
            assert probes == {"readinessProbe": "/ready", "livenessProbe": "/health", "startupProbe": "/health"}


def test_the_indexed_job_meets_at_its_first_pod() -> None:
    found = {each["kind"]: each for each in documents(EXAMPLES / "kubernetes" / "train-indexed-job.yaml")}
    job, service = found["Job"], found["Service"]
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    port = service["spec"]["ports"][0]["port"]
    assert f"--rdzv-endpoint={job['metadata']['name']}-0.{service['metadata']['name']}:{port}" in command
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert f"--nnodes={job['spec']['completions']}" in command
