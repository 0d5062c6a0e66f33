"""Time the authors' CycleGAN step and ours in one process, alternating: same networks, same weights, same batches.

    python benchmarks/train_step.py --peer CHECKOUT [--size 256] [--width 64] [--blocks 9] [--threads 2] [--json]
    python benchmarks/train_step.py --peer CHECKOUT --device cuda [--batch-size 16] [--modes all]

CHECKOUT is a checkout of the authors' PyTorch code: taesungp/contrastive-unpaired-translation, which carries their
CycleGAN, or junyanz/pytorch-CycleGAN-and-pix2pix. Each round takes one step of every mode in turn; the figure of a mode
is the median over the rounds, and its ratio the median over the rounds of theirs divided by ours in the same round.
The losses of the first step are compared as well, so that equal work is timed. The arithmetic of a step is counted, and
set against the speed of a large matrix product in the same precision. Peak memory is measured in a process for each.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from unpaired.core.device import find_device
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.cyclegan import Config, CycleGAN
from unpaired.models.convert.weights import official_discriminator, official_generator
from unpaired.training.config import TrainingConfig
from unpaired.training.modes import peak_memory
from unpaired.training.trainer import Trainer

Step = Callable[[], dict[str, torch.Tensor]]
GPU: dict[str, Any] = {"precision": "bf16", "graph": "on"}
MODES: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32", "convolution": "direct"},
    "fp32-winograd": {"precision": "fp32", "convolution": "winograd"},
    "bf16": {"precision": "bf16", "convolution": "direct"},
    "bf16-winograd": {"precision": "bf16", "convolution": "winograd"},
    "bf16-recompute": {"precision": "bf16", "recompute": True},
    "fp32-compiled": {"precision": "fp32", "compile": "on"},
    "bf16-compiled": {"precision": "bf16", "compile": "on"},
    "bf16-channels-last": {"precision": "bf16", "memory_format": "channels_last"},
    "bf16-compiled-channels-last": {"precision": "bf16", "compile": "on", "memory_format": "channels_last"},
    "fp32-graph": {"precision": "fp32", "graph": "on"},
    "fp16-graph": {"precision": "fp16", "graph": "on"},
    "bf16-graph": GPU,
    "bf16-channels-last-graph": {**GPU, "memory_format": "channels_last"},
    "bf16-compiled-graph": {**GPU, "compile": "on"},
    "bf16-compiled-channels-last-graph": {**GPU, "compile": "on", "memory_format": "channels_last"},
}
"""Settings of the training, by what the table calls them; what is not named is off."""
USUAL = {"cpu": ["fp32", "bf16"], "cuda": ["fp32", "bf16", "bf16-graph", "bf16-compiled-graph"]}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LOSSES = {
    "loss_D_A": "discriminator_b",
    "loss_G_A": "gan_a2b",
    "loss_cycle_A": "cycle_a",
    "loss_idt_A": "identity_b",
    "loss_D_B": "discriminator_a",
    "loss_G_B": "gan_b2a",
    "loss_cycle_B": "cycle_b",
    "loss_idt_B": "identity_a",
}


def peer_model(checkout: Path, arguments: Namespace, device: torch.device) -> Any:
    """Return the authors' CycleGAN model with the settings of their training script."""
    sys.path.insert(0, str(checkout))
    module = importlib.import_module("models.cycle_gan_model")
    common = {"input_nc": 3, "output_nc": 3, "ngf": arguments.width, "ndf": arguments.width, "netD": "basic"}
    networks = {"netG": f"resnet_{arguments.blocks}blocks", "n_layers_D": 3, "no_dropout": True}
    norms = {"norm": "instance", "normG": "instance", "normD": "instance", "init_type": "normal", "init_gain": 0.02}
    plain = {"no_antialias": True, "no_antialias_up": True, "amp": False, "verbose": False, "pretrained_name": None}
    losses = {"lambda_A": 10.0, "lambda_B": 10.0, "lambda_identity": 0.5, "gan_mode": "lsgan", "pool_size": 50}
    training = {"lr": 2e-4, "beta1": 0.5, "lr_policy": "linear", "isTrain": True, "continue_train": False}
    place = {"checkpoints_dir": ".", "name": "peer", "preprocess": "resize_and_crop", "direction": "AtoB", "epoch": ""}
    gpus = [device.index or 0] if device.type == "cuda" else []
    options = {**common, **networks, **norms, **plain, **losses, **training, **place, "gpu_ids": gpus, "device": device}
    return module.CycleGANModel(Namespace(**options))


def our_trainer(peer: Any, mode: str, size: int, device: torch.device) -> Trainer:
    """Return a trainer of our CycleGAN that starts from the weights of the authors' model."""
    generator, _, _, g = official_generator(peer.netG_A.state_dict())
    discriminator, _, d_y = official_discriminator(peer.netD_A.state_dict())
    config = Config(generator=generator, discriminator=discriminator)  # type: ignore[arg-type]
    method = CycleGAN(config, ImageShapes(channels_a=3, channels_b=3, size=(size, size)))
    method.G.load_state_dict(g)
    method.F.load_state_dict(official_generator(peer.netG_B.state_dict())[3])
    method.D_Y.load_state_dict(d_y)
    method.D_X.load_state_dict(official_discriminator(peer.netD_B.state_dict())[2])
    plain: dict[str, Any] = {"compile": "off", "graph": "off", "memory_format": "contiguous"}

    def refuse(reason: str) -> None:
        raise SystemExit(
            f"{mode}: {reason}. Leave the mode out (--modes), or take fewer of them: all share the memory."
        )

    return Trainer(method, TrainingConfig(**{**plain, **MODES[mode]}), device, warn=refuse)


def batches(arguments: Namespace, device: torch.device) -> Iterator[Batch]:
    """Yield the same four batches again and again, on the device."""
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.batch_size, 3, arguments.size, arguments.size)
    pictures = [[torch.rand(shape, generator=generator).to(device) * 2 - 1 for _ in range(2)] for _ in range(4)]
    while True:
        for x, y in pictures:
            yield Batch(x, y)


def steps_of(arguments: Namespace, sides: list[str], device: torch.device) -> dict[str, Step]:
    """Return a function for the peer and each mode that takes one step on the next batch and returns its losses."""
    torch.manual_seed(0)
    random.seed(0)
    peer = peer_model(arguments.peer, arguments, device)
    trainers = {mode: our_trainer(peer, mode, arguments.size, device) for mode in sides if mode != "peer"}
    peer_batches = batches(arguments, device)

    def peer_step() -> dict[str, torch.Tensor]:
        x, y = next(peer_batches)
        peer.set_input({"A": x, "B": y, "A_paths": "", "B_paths": ""})
        peer.optimize_parameters()
        return {ours: peer.__dict__[theirs].detach() for theirs, ours in LOSSES.items()}

    def our_step(trainer: Trainer) -> Step:
        stream = batches(arguments, device)
        return lambda: {name: value.clone() for name, value in trainer.step(stream).items()}

    ours = {mode: our_step(trainer) for mode, trainer in trainers.items()}
    return {"peer": peer_step, **ours} if "peer" in sides else ours


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that it takes, the device's work included."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def matrix_product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the floating-point operations per second of a large square matrix product, the best of several."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: left @ right, device) for _ in range(8))


def peak_memory_of(arguments: Namespace, side: str) -> int | None:
    """Return the bytes that a few steps take at most, in a process of their own."""
    own = [f"--{name.replace('_', '-')}={vars(arguments)[name]}" for name in ("size", "width", "blocks", "batch_size")]
    place = [f"--peer={arguments.peer}", f"--device={arguments.device}", f"--threads={arguments.threads}"]
    command = [sys.executable, __file__, *place, *own, f"--memory-of={side}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{side}: peak memory could not be measured: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return int(done.stdout.split()[-1])  # the peer prints as it is imported


def measure_memory(arguments: Namespace) -> int:
    """Take five steps of one side (a recorded step is recorded in the fourth) and return the peak in bytes."""
    device = prepared_device(arguments)
    step = steps_of(arguments, [arguments.memory_of], device)[arguments.memory_of]
    for _ in range(5 if device.type == "cuda" else 2):
        step()
    return peak_memory(device) or 0


def prepared_device(arguments: Namespace) -> torch.device:
    """Return the device, with the number of threads set."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return find_device(arguments.device)


def measure(arguments: Namespace) -> dict[str, Any]:
    """Run all rounds and return the figures."""
    device = prepared_device(arguments)
    sides = ["peer", *arguments.modes]
    memory = {side: peak_memory_of(arguments, side) for side in sides} if arguments.memory else {}
    rates = {name: matrix_product_rate(DTYPES[name], device) for name in {MODES[m]["precision"] for m in sides[1:]}}
    with FlopCounterMode(display=False) as counter:
        steps_of(arguments, ["fp32"], device)["fp32"]()
    operations = counter.get_total_flops()
    steps = steps_of(arguments, sides, device)
    first = {name: step() for name, step in steps.items()}
    difference = {
        mode: max(float((first[mode][name] - value).abs() / value.abs()) for name, value in first["peer"].items())
        for mode in arguments.modes
    }
    for step in steps.values():  # libraries choose their kernels, steps are recorded
        for _ in range(5 if device.type == "cuda" else 1):
            step()
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds):
        order = list(steps) if number % 2 == 0 else list(reversed(steps))
        rounds.append({name: timed(steps[name], device) for name in order})
    figures = {}
    for name in steps:
        median = statistics.median(seconds[name] for seconds in rounds)
        rate = rates.get(MODES[name]["precision"] if name != "peer" else "fp32")
        figures[name] = {
            "median_seconds": median,
            "ratio": statistics.median(seconds["peer"] / seconds[name] for seconds in rounds),
            "first_step_difference": difference.get(name),
            "peak_memory_bytes": memory.get(name),
            "share_of_matrix_product": operations / median / rate if rate else None,
        }
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    setting = {key: vars(arguments)[key] for key in ("size", "width", "blocks", "batch_size", "rounds")}
    counted = {"operations_per_step": operations, "matrix_product_per_second": rates}
    where = {"device": f"{device.type}, {card}", "torch": torch.__version__}
    return {"setting": {**setting, **where}, **counted, "figures": figures}


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(", ".join(f"{name} {value}" for name, value in result["setting"].items()))
    rates = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in result["matrix_product_per_second"].items())
    print(f"{result['operations_per_step'] / 1e12:.3g} TFLOP per step; matrix product in TFLOP/s: {rates}")
    print(
        f"{'':36}{'median s':>10}{'theirs / ours':>15}{'of matrix product':>19}{'peak memory':>13}{'losses differ':>15}"
    )
    for name, row in result["figures"].items():
        label = "the authors'" if name == "peer" else f"ours, {name}"
        differs = "" if row["first_step_difference"] is None else f"{row['first_step_difference']:.1e}"
        share = "" if row["share_of_matrix_product"] is None else f"{row['share_of_matrix_product']:.0%}"
        memory = "" if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 2**30:.2f} GiB"
        print(f"{label:36}{row['median_seconds']:10.4f}{row['ratio']:14.2f}x{share:>19}{memory:>13}{differs:>15}")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="checkout of the authors' PyTorch code")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=9, choices=(6, 9), help="6 or 9, as in the authors' code")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="processor threads; PyTorch's choice by default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--modes", nargs="+", help=f"{', '.join(MODES)}, or all that the device can do")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave peak memory unmeasured")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not (arguments.peer / "models" / "cycle_gan_model.py").is_file():
        parser.error(
            f"--peer {arguments.peer}: no models/cycle_gan_model.py there; give a checkout of the authors' code"
        )
    if arguments.memory_of:
        print(measure_memory(arguments))
        return
    kind = find_device(arguments.device).type
    able = [mode for mode, settings in MODES.items() if kind == "cuda" or settings.get("graph") != "on"]
    arguments.modes = able if arguments.modes == ["all"] else arguments.modes or USUAL.get(kind, ["fp32"])
    for mode in arguments.modes:
        if mode not in able:
            parser.error(f"--modes {mode}: on {kind} there are {', '.join(able)}")
    result = measure(arguments)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
