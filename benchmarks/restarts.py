"""What is lost when processes and machines of a distributed training die, and whether it ends with the same weights.

Two agents of torchrun stand for two machines: `python benchmarks/restarts.py`, or as root in two network namespaces
with a virtual cable between them: `python benchmarks/restarts.py --namespaces`. Linux; takes some minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from runs import TINY, arguments, write_images  # noqa: E402
from unpaired.core.text import number  # noqa: E402
from unpaired.models.folder import checkpoints_of  # noqa: E402
from unpaired.report.run_log import read_metrics  # noqa: E402

IMAGES = 400
SETTINGS = {
    **TINY,
    "training.num_samples": 0,
    "training.evaluate_images": 0,
    "training.log_every_images": 2,
    "training.checkpoint_every_images": 20,
    "training.epochs": 1000,
    "training.max_images": IMAGES,
}
Agents = list[subprocess.Popen[bytes]]


class Machines:
    """Two machines that start agents of torchrun."""

    def __init__(self, folder: Path, names: tuple[str, str] | None) -> None:
        self.folder, self.names, self.jobs = folder, names, 0
        self.data = write_images(folder / "data", {"trainA": 6, "trainB": 6})

    def start(self, machine: int, run: Path) -> subprocess.Popen[bytes]:
        """Start an agent on a machine."""
        address = f"10.77.0.{machine + 1}" if self.names else "127.0.0.1"
        head = "10.77.0.1" if self.names else "127.0.0.1"
        inside = ["ip", "netns", "exec", self.names[machine]] if self.names else []
        command = [*inside, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{head}:{29400 + self.jobs}", "--rdzv-id", run.name]
        command += ["--local-addr", address, "--max-restarts", "5", "-m", "unpaired", "train", "cyclegan"]
        command += ["--data", str(self.data), "--out", str(run), "--resume", "auto", *arguments(SETTINGS)]
        interface = {"GLOO_SOCKET_IFNAME": f"cable{machine}"} if self.names else {}
        paths = {"PYTHONPATH": str(ROOT / "src"), "UNPAIRED_CACHE": str(self.folder), "OMP_NUM_THREADS": "1"}
        log = (self.folder / f"{run.name}-{machine}.log").open("ab")
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **interface, **paths})

    def start_both(self, run: Path) -> Agents:
        """Start an agent on each machine; a new job has a port of its own."""
        self.jobs += 1
        return [self.start(machine, run) for machine in (0, 1)]


def workers(agent: subprocess.Popen[bytes]) -> list[int]:
    """Return the training processes of an agent."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    return [int(child) for child in children if b"RANK=" in Path(f"/proc/{child}/environ").read_bytes()]


def _rank_of(agent: subprocess.Popen[bytes]) -> int:
    environment = Path(f"/proc/{workers(agent)[0]}/environ").read_bytes().split(b"\0")
    return next(int(value[5:]) for value in environment if value.startswith(b"RANK="))


def _kill_machine(agent: subprocess.Popen[bytes]) -> None:
    for process in (agent.pid, *workers(agent)):
        os.kill(process, signal.SIGKILL)
    agent.wait()


# ------------------------------------------------------------------------------------------------------------- faults


def _worker_of_rank(rank: int) -> Callable[[Machines, Agents, Path], Agents]:
    def fault(machines: Machines, agents: Agents, run: Path) -> Agents:
        os.kill(workers(next(agent for agent in agents if _rank_of(agent) == rank))[0], signal.SIGKILL)
        return agents

    return fault


def _lose_second_machine(machines: Machines, agents: Agents, run: Path) -> Agents:
    _kill_machine(agents[1])
    return [agents[0], machines.start(1, run)]


def _lose_first_machine(machines: Machines, agents: Agents, run: Path) -> Agents:
    _kill_machine(agents[0])
    agents[1].wait()  # the rendezvous is gone: the scheduler starts the job again
    return machines.start_both(run)


def _preempt(machines: Machines, agents: Agents, run: Path) -> Agents:
    for agent in agents:
        agent.send_signal(signal.SIGTERM)
    for agent in agents:
        agent.wait()
    return machines.start_both(run)


def _die_together(machines: Machines, agents: Agents, run: Path) -> Agents:
    for agent in agents:
        _kill_machine(agent)
    return machines.start_both(run)


FAULTS: dict[str, Callable[[Machines, Agents, Path], Agents]] = {
    "the process of rank 0 is killed": _worker_of_rank(0),
    "the process of rank 1 is killed": _worker_of_rank(1),
    "the second machine is lost and comes back": _lose_second_machine,
    "the first machine is lost; the job is started again": _lose_first_machine,
    "both are preempted (SIGTERM); the job is started again": _preempt,
    "both are lost; the job is started again": _die_together,
}


def _last_images(run: Path) -> int:
    return max((record["images"] for record in read_metrics(run) if "losses" in record), default=0)


def _weights(run: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted((run / "checkpoints" / f"{IMAGES:09d}").glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _measure(name: str, machines: Machines, wanted: str) -> dict[str, object]:
    run = machines.folder / name.replace(" ", "-").replace(";", "").replace("(", "").replace(")", "")
    agents = machines.start_both(run)
    while len(checkpoints_of(run)) < 3:
        if any(agent.poll() is not None for agent in agents):
            raise SystemExit(f"an agent has ended: see {machines.folder}")
        time.sleep(0.01)
    before, at = _last_images(run), time.monotonic()
    agents = FAULTS[name](machines, agents, run)
    resumed: list[dict[str, object]] = []
    while not resumed:
        time.sleep(0.05)
        resumed = [record for record in read_metrics(run) if record.get("event") == "resumed"]
    recovery = time.monotonic() - at
    codes = [agent.wait() for agent in agents]
    lost = max(0, before - int(str(resumed[-1]["images"])))
    return {"fault": name, "codes": codes, "lost": lost, "seconds": recovery, "exact": _weights(run) == wanted}


@contextlib.contextmanager
def namespaces() -> Iterator[tuple[str, str]]:
    """Make two network namespaces with a virtual cable between them; needs root."""

    def ip(*tokens: str) -> None:
        subprocess.run(["ip", *tokens], check=True)

    names = (f"unpaired{os.getpid()}a", f"unpaired{os.getpid()}b")
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "cable0", "netns", names[0], "type", "veth", "peer", "name", "cable1", "netns", names[1])
        for number_, name in enumerate(names):
            inside = ("-n", name)
            ip(*inside, "addr", "add", f"10.77.0.{number_ + 1}/24", "dev", f"cable{number_}")
            for device in ("lo", f"cable{number_}"):
                ip(*inside, "link", "set", device, "up")
        yield names
    finally:
        for name in made:
            ip("netns", "delete", name)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespaces", action="store_true", help="two network namespaces in place of loopback")
    parser.add_argument("--only", type=int, help="number of one fault")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        namespaces() if given.namespaces else contextlib.nullcontext() as names,
    ):
        machines = Machines(Path(folder), names)
        unbroken = machines.folder / "unbroken"
        began = time.monotonic()
        codes = [agent.wait() for agent in machines.start_both(unbroken)]
        print(f"unbroken: {time.monotonic() - began:.0f} s, exit codes {codes}", flush=True)
        wanted = _weights(unbroken)
        for name in list(FAULTS) if given.only is None else [list(FAULTS)[given.only]]:
            found = _measure(name, machines, wanted)
            print(json.dumps({**found, "seconds": number(float(str(found["seconds"])), 3)}), flush=True)


if __name__ == "__main__":
    _main()
