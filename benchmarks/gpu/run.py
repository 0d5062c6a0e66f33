"""The measurements of `run.sh`: each a command of its own with a time limit, its figures as JSON, and one report.

python benchmarks/gpu/run.py PART... --out OUT [--packed build/gpu] [--device cuda] [--recipe best] [--tiny]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from unpaired.core.given import Given
from unpaired.training.config import Recipe
from unpaired.training.settings import RECIPE, resolve

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "benchmarks"
TESTS = ("tests/training/test_on_gpu.py", "tests/training/test_graph.py", "tests/data/test_delivery.py")
TINY_STEP = ("--size=32", "--width=8", "--blocks=6", "--rounds=1")
FASTEST = "bf16-graph"
"""The mode of training by which the number of images of part 3 is chosen."""
TRAINING_SECONDS = 400
RECIPES = get_args(Recipe)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One command; its standard output goes into OUT/NAME.json where it is JSON, and everything into OUT/NAME.log."""

    part: int
    name: str
    seconds: int
    """Its limit."""
    command: Callable[[Namespace], Sequence[str]]
    table: Callable[[Any], list[str]] | None = None
    """Makes lines of Markdown of its JSON."""


# ------------------------------------------------------------------------------------------------------------ commands


def tests(arguments: Namespace) -> list[str]:
    """Return the command of all tests that need a GPU."""
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]


def steps(batch: int, *more: str) -> Callable[[Namespace], list[str]]:
    """Return the command of the table of steps at a batch size."""

    def command(arguments: Namespace) -> list[str]:
        place = [f"--peer={arguments.packed / 'peer'}", f"--device={arguments.device}", f"--batch-size={batch}"]
        own = TINY_STEP if arguments.tiny else ("--rounds=15", *more)
        return [sys.executable, str(HERE / "train_step.py"), *place, *own, "--json"]

    return command


def profile(arguments: Namespace) -> list[str]:
    """Return the command of a profile of one mode's step."""
    return [sys.executable, __file__, "profile", f"--device={arguments.device}", *(["--tiny"] * arguments.tiny)]


def translation(batch: int, size: int) -> Callable[[Namespace], list[str]]:
    """Return the command of translation's table."""

    def command(arguments: Namespace) -> list[str]:
        place = [f"--peer={arguments.packed / 'peer'}", f"--device={arguments.device}", f"--batch-size={batch}"]
        tiny = ("--size=32", "--width=8", "--blocks=6", "--rounds=1", "--files=2")
        own = tiny if arguments.tiny else (f"--size={size}", "--rounds=15")
        return [sys.executable, str(HERE / "translate.py"), *place, *own, "--json"]

    return command


def train(recipe: str) -> Callable[[Namespace], list[str]]:
    """Return the command of a training by a recipe, as long as the time for it lasts at the speed measured before."""

    def command(arguments: Namespace) -> list[str]:
        batch = 1 if arguments.tiny else resolve([Given({RECIPE: recipe}, "--recipe")]).training.batch_size
        found, seconds = arguments.out / f"steps-{1 if batch < 8 else 16}.json", None
        if found.is_file():
            measured = json.loads(found.read_text())
            row = measured["figures"].get(FASTEST)
            seconds = None if row is None else row["median_seconds"] / measured["setting"]["batch_size"]
        images = 8 if arguments.tiny else int(TRAINING_SECONDS / (1.3 * (seconds or 0.02)))
        epochs = max(1, images // (2 * 1334))
        settings = {
            "training.epochs": epochs,
            "training.decay_epochs": epochs,
            "training.max_images": images,
            "training.evaluate_every_images": max(1, images // 8),
            "training.checkpoint_every_images": max(1, images // 4),
        }
        if arguments.tiny:
            settings |= {"data.load_size": 36, "data.crop_size": 32, "training.evaluate_images": 4}
            settings |= {"training.batch_size": batch, "method.generator.width": 4, "method.generator.blocks": 1}
            settings |= {"method.discriminator.width": 4}
        chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        place = ["--data", str(arguments.packed / "data"), "--out", str(arguments.out / f"run-{recipe}")]
        own = ["--recipe", recipe, "--resume", "auto", "--device", arguments.device]
        return [sys.executable, "-m", "unpaired", "train", "cyclegan", *place, *own, *chosen]

    return command


def evaluate(recipe: str) -> Callable[[Namespace], list[str]]:
    """Return the command of its evaluation."""

    def command(arguments: Namespace) -> list[str]:
        own = ["--images", "6"] if arguments.tiny else ["--class", "sorrel,zebra"]
        return [sys.executable, "-m", "unpaired", "evaluate", str(arguments.out / f"run-{recipe}"), *own]

    return command


# -------------------------------------------------------------------------------------------------------------- tables


def step_table(result: Any) -> list[str]:
    """Return the table of steps."""
    setting = result["setting"]
    lines = [
        f"ResNet-{setting['blocks']}, width {setting['width']}, {setting['size']} x {setting['size']}, batch "
        f"{setting['batch_size']}; {setting['device']}, PyTorch {setting['torch']}; medians of {setting['rounds']} "
        "rounds",
        "",
        "| | ms | speedup | of the matrix product | peak memory | difference of losses |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in result["figures"].items():
        share, memory, differs = (
            row[key] for key in ("share_of_matrix_product", "peak_memory_bytes", "first_step_difference")
        )
        cells = [
            "the authors'" if name == "peer" else f"ours, {name}",
            f"{1000 * row['median_seconds']:.2f}",
            f"{row['ratio']:.2f}",
            "" if share is None else f"{share:.0%}",
            "" if memory is None else f"{memory / 2**30:.2f} GiB",
            "" if differs is None else f"{differs:.0e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def translation_table(result: Any) -> list[str]:
    """Return the table of translation."""
    setting = result["setting"]
    lines = [
        f"{setting['size']} x {setting['size']}, batch {setting['batch_size']}, {setting['device']}",
        "",
        "| | images per second | speedup | PSNR against float32 |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in result["figures"].items():
        label = "the authors', eager float32" if name == "peer" else name
        exact = f"{row['psnr']:.1f} dB" if row.get("psnr") else ""
        lines.append(f"| {label} | {row['images_per_second']:.2f} | {row['ratio']:.2f} | {exact} |")
    return lines


def profile_table(result: Any) -> list[str]:
    """Return the kernels by time."""
    lines = ["| kernel | ms per step | calls per step |", "| --- | --- | --- |"]
    return lines + [f"| `{row['name'][:80]}` | {row['ms']:.3f} | {row['calls']:.0f} |" for row in result]


MEASUREMENTS = (
    Measurement(1, "tests", 200, tests),
    Measurement(1, "steps-1", 330, steps(1, "--modes", "all"), step_table),
    Measurement(2, "steps-16", 240, steps(16), step_table),
    Measurement(2, "profile", 90, profile, profile_table),
    Measurement(2, "translation-256", 100, translation(16, 256), translation_table),
    Measurement(2, "translation-1024", 100, translation(1, 1024), translation_table),
    *(Measurement(3, f"training-{recipe}", 470, train(recipe)) for recipe in RECIPES),
    *(Measurement(3, f"evaluation-{recipe}", 70, evaluate(recipe)) for recipe in RECIPES),
)


# ------------------------------------------------------------------------------------------------------------- running


def carry_out(measurement: Measurement, arguments: Namespace) -> dict[str, Any]:
    """Run one command and return what became of it."""
    out: Path = arguments.out
    command = [*measurement.command(arguments)]
    environment = {**os.environ, "UNPAIRED_TEST_DEVICE": arguments.device, "PYTHONWARNINGS": "ignore"}
    begun = time.monotonic()
    with (out / f"{measurement.name}.log").open("w") as log, (out / f"{measurement.name}.out").open("w+") as printed:
        try:
            done = subprocess.run(
                command, stdout=printed, stderr=log, timeout=measurement.seconds, cwd=ROOT, env=environment
            )
            ended = f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {measurement.seconds} s"
        printed.seek(0)
        text = printed.read()
    start = text.find("{") if measurement.table is not profile_table else text.find("[")
    if measurement.table is not None and ended == "exit code 0":
        (out / f"{measurement.name}.json").write_text(text[start:])
    return {"name": measurement.name, "ended": ended, "seconds": time.monotonic() - begun, "printed": _shortened(text)}


def _shortened(text: str) -> str:
    """Return the beginning and the end of what a command printed."""
    return text.strip() if len(text) < 4000 else f"{text[:3000].strip()}\n...\n{text[-800:].strip()}"


def report(arguments: Namespace, done: list[dict[str, Any]]) -> str:
    """Return the report, of all parts that have been carried out into this folder."""
    kept = arguments.out / "done.json"
    before = json.loads(kept.read_text()) if kept.is_file() else {}
    before |= {each["name"]: each for each in done}
    kept.write_text(json.dumps(before, indent=2))
    lines = [f"# Measured on {card(arguments.device)}", "", f"PyTorch {torch.__version__}", ""]
    for measurement in MEASUREMENTS:
        found = before.get(measurement.name)
        if found is None:
            continue
        lines += [f"## {measurement.name}", "", f"{found['ended']}, {found['seconds']:.0f} s", ""]
        document = arguments.out / f"{measurement.name}.json"
        if measurement.table is not None and document.is_file():
            lines += [*measurement.table(json.loads(document.read_text())), ""]
        else:
            lines += ["```", found["printed"], "```", ""]
    return "\n".join(lines)


def card(device: str) -> str:
    """Return what the device is called."""
    return torch.cuda.get_device_name() if device == "cuda" else f"a CPU, {torch.get_num_threads()} threads"


def show_profile(arguments: Namespace) -> None:
    """Print the 20 kernels that take most of a step, as JSON."""
    sys.path.insert(0, str(HERE))
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recording

    import train_step
    from unpaired.methods import ImageShapes
    from unpaired.methods.cyclegan import Config, CycleGAN
    from unpaired.networks import PatchganConfig, ResnetConfig
    from unpaired.training.config import TrainingConfig
    from unpaired.training.trainer import Trainer

    size, width, blocks = (32, 8, 1) if arguments.tiny else (256, 64, 9)
    device = torch.device(arguments.device)
    mode = train_step.MODES[FASTEST if arguments.device == "cuda" else "fp32"]
    config = Config(generator=ResnetConfig(width=width, blocks=blocks), discriminator=PatchganConfig(width=width))
    method = CycleGAN(config, ImageShapes(channels_a=3, channels_b=3, size=(size, size)))
    trainer = Trainer(method, TrainingConfig(**{"compile": "off", "graph": "off", **mode}), device)
    stream = train_step.batches(Namespace(batch_size=1, size=size), device)
    for _ in range(8):
        trainer.step(stream)
    steps, on_cuda = 5, arguments.device == "cuda"
    with recording(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] * on_cuda)]) as recorded:
        for _ in range(steps):
            trainer.step(stream)
        if on_cuda:
            torch.cuda.synchronize()
    field = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    rows = sorted(recorded.key_averages(), key=lambda event: getattr(event, field), reverse=True)[:20]
    found = [{"name": e.key, "ms": getattr(e, field) / 1000 / steps, "calls": e.count / steps} for e in rows]
    print(json.dumps(found, indent=2))


def main() -> None:
    """Carry out the parts and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=("1", "2", "3", "profile"))
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--packed", type=Path, default=ROOT / "build" / "gpu", help="what pack.py put together")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--recipe", choices=RECIPES, default=RECIPES[0], help="that part 3 trains with")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, which measure nothing")
    arguments = parser.parse_args()
    if arguments.parts == ["profile"]:
        show_profile(arguments)
        return
    if arguments.out is None:
        parser.error("--out FOLDER is missing")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("this PyTorch sees no GPU; --device cpu --tiny is a rehearsal")
    arguments.out = arguments.out.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    done = []
    for measurement in MEASUREMENTS:
        of_part = measurement.part != 3 or measurement.name.endswith(f"-{arguments.recipe}")
        if str(measurement.part) in arguments.parts and of_part:
            done.append(carry_out(measurement, arguments))
            print(f"{measurement.name}: {done[-1]['ended']}, {done[-1]['seconds']:.0f} s", flush=True)
            (arguments.out / "report.md").write_text(report(arguments, done))


if __name__ == "__main__":
    main()
