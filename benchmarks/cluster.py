"""Translate many small images on a cluster in this machine while its workers are killed, and count the outputs.

    RAY_worker_niceness=0 python benchmarks/cluster.py --out /tmp/cluster --images 100000 --kill-every 40

Writes a tiny model and a tree of PNG images of 32 x 32 pixels into --out, then translates them with `unpaired
translate` in one process, on a cluster, and on a cluster of which a random worker gets SIGKILL again and again: each
time that about so many parts more are done. Prints images per second, CPU seconds of all processes (which other work
on the machine changes less), the memory of driver and workers in the second and the last quarter of the run, and what
is in the sinks: every output once, the bytes of all runs equal, the manifest complete. Only processes that this
script has started are killed. Needs psutil. Ray gives its workers a low priority (nice 15), which matters where the
machine has other work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from unpaired.data.values import Domain
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.networks import ResnetConfig, build_generator, describe_generator

WORKER = "ray::MapWorker"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--kill-every", type=int, default=40, help="parts, on average")
    parser.add_argument("--runs", default="one,cluster,killed")
    given = parser.parse_args()
    make(given.out, given.images)
    results = {}
    for run in given.runs.split(","):
        results[run] = translate(given.out, run, given.images, given.kill_every if run == "killed" else None)
        print(json.dumps(results[run]), flush=True)
    digests = {run: result["digest"] for run, result in results.items()}
    print("outputs equal byte for byte:", len(set(digests.values())) == 1, digests)


def make(root: Path, count: int) -> None:
    """Write the model and the images."""
    if not (root / "model").exists():
        torch.manual_seed(0)
        network = build_generator(ResnetConfig(width=4, blocks=1), 3, 3)
        card = ModelCard(
            origin="made by a benchmark",
            domains={"a": Domain(channels=3), "b": Domain(channels=3)},
            translators={"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")},
        )
        write_model(root / "model", card, {"a2b.safetensors": network.state_dict()})
    rng = np.random.default_rng(0)
    for number in range(count):
        path = root / "photos" / f"{number // 1000:04}" / f"{number % 1000:03}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
            coarse.resize((32, 32), Image.Resampling.BICUBIC).save(path, compress_level=1)


def translate(root: Path, run: str, count: int, kill_every: int | None) -> dict[str, Any]:
    """Translate all images, watch the processes, and return what was seen."""
    out = root / run
    options = ["--device", "cpu", "--engine", "torch", "--precision", "fp32", "--batch-size", "32"]
    command = [sys.executable, "-m", "unpaired", "translate", root / "model", root / "photos", "--out", out, *options]
    began, cpu, memory, kills = time.monotonic(), dict[int, float](), list[tuple[float, float, float]](), 0
    process = subprocess.Popen([*map(str, command), *([] if run == "one" else ["--cluster"])])
    driver, next_kill = psutil.Process(process.pid), kill_every and random.randint(1, kill_every)
    while process.poll() is None:
        time.sleep(1)
        try:
            family = [driver, *driver.children(recursive=True)]
        except psutil.Error:
            continue
        workers = []
        resident = 0.0
        for each in family:
            try:
                cpu[each.pid] = sum(each.cpu_times()[:2])
                size = each.memory_full_info().uss / 2**20
                if each.pid == process.pid:
                    resident = size
                elif " ".join(each.cmdline()).startswith(WORKER):
                    workers.append((each, size))
            except (psutil.Error, IndexError):
                continue
        if workers or run == "one":
            memory.append((time.monotonic() - began, resident, max((size for _, size in workers), default=0.0)))
        if kill_every and workers and len(list(out.glob("_unpaired/manifest/*.jsonl"))) >= next_kill:
            random.choice(workers)[0].kill()
            kills, next_kill = kills + 1, next_kill + random.randint(kill_every // 2, kill_every * 3 // 2)
    seconds = time.monotonic() - began
    quarter = max(1, len(memory) // 4)
    quarters = (memory[quarter : 2 * quarter], memory[-quarter:])
    return {
        "run": run,
        "exit code": process.returncode,
        "images": count,
        "seconds": round(seconds, 1),
        "images per second": round(count / seconds, 1),
        "CPU seconds": round(sum(cpu.values()), 1),
        "workers killed": kills,
        "driver MiB": [round(statistics.median(row[1] for row in rows)) for rows in quarters],
        "largest worker MiB": [round(statistics.median(row[2] for row in rows)) for rows in quarters],
        **look(out),
    }


def look(out: Path) -> dict[str, Any]:
    """Return what is in a sink."""
    files = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    own = {name for name in files if name.startswith("_unpaired/")}
    digest, wrong, recorded = hashlib.sha256(), 0, list[str]()
    checksums = {
        name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in sorted(files) if name not in own
    }
    for name, checksum in checksums.items():
        digest.update(f"{name} {checksum}\n".encode())
    for name in sorted(own):
        if "/manifest/" in name:
            for line in files[name].read_text().splitlines()[1:]:
                entry = json.loads(line)
                recorded.append(entry["output"])
                wrong += entry["sha256"] != checksums.get(entry["output"])
    return {
        "outputs": len(checksums),
        "in the manifest": len(recorded),
        "of them twice": len(recorded) - len(set(recorded)),
        "with another checksum": wrong,
        "digest": digest.hexdigest()[:16],
    }


if __name__ == "__main__":
    main()
