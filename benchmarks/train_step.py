"""Time the authors' CycleGAN step and ours in one process, alternating: same networks, same weights, same batches.

    python benchmarks/train_step.py --peer CHECKOUT [--size 256] [--width 64] [--blocks 9] [--threads 2] [--json]

CHECKOUT is a checkout of the authors' PyTorch code: taesungp/contrastive-unpaired-translation, which carries their
CycleGAN, or junyanz/pytorch-CycleGAN-and-pix2pix. Each round takes one step of every mode in turn; the figure of a mode
is the median over the rounds, and its ratio the median over the rounds of theirs divided by ours in the same round.
The losses of the first step are compared as well, so that equal work is timed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from unpaired.convert import official_discriminator, official_generator
from unpaired.device import find_device
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.cyclegan import Config, CycleGAN
from unpaired.training.config import TrainingConfig
from unpaired.training.trainer import Trainer

Step = Callable[[], dict[str, torch.Tensor]]
MODES = ("fp32", "bf16")
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


def our_trainer(peer: Any, precision: str, size: int, device: torch.device) -> Trainer:
    """Return a trainer of our CycleGAN that starts from the weights of the authors' model."""
    generator, _, _, g = official_generator(peer.netG_A.state_dict())
    discriminator, _, d_y = official_discriminator(peer.netD_A.state_dict())
    config = Config(generator=generator, discriminator=discriminator)  # type: ignore[arg-type]
    method = CycleGAN(config, ImageShapes(channels_a=3, channels_b=3, size=(size, size)))
    method.G.load_state_dict(g)
    method.F.load_state_dict(official_generator(peer.netG_B.state_dict())[3])
    method.D_Y.load_state_dict(d_y)
    method.D_X.load_state_dict(official_discriminator(peer.netD_B.state_dict())[2])
    return Trainer(method, TrainingConfig(precision=precision), device)  # type: ignore[arg-type]


def steps_of(arguments: Namespace, device: torch.device) -> dict[str, Step]:
    """Return a function for each side and mode that takes one step on the next batch and returns its losses."""
    torch.manual_seed(0)
    random.seed(0)
    shape = (arguments.batch_size, 3, arguments.size, arguments.size)
    pictures = [(torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1) for _ in range(4)]
    peer = peer_model(arguments.peer, arguments, device)
    trainers = {mode: our_trainer(peer, mode, arguments.size, device) for mode in arguments.modes}

    def batches() -> Iterator[Batch]:
        while True:
            for x, y in pictures:
                yield Batch(x.to(device), y.to(device))

    peer_batches = batches()

    def peer_step() -> dict[str, torch.Tensor]:
        x, y = next(peer_batches)
        peer.set_input({"A": x, "B": y, "A_paths": "", "B_paths": ""})
        peer.optimize_parameters()
        return {ours: peer.__dict__[theirs].detach() for theirs, ours in LOSSES.items()}

    def our_step(trainer: Trainer) -> Step:
        stream = batches()
        return lambda: trainer.step(stream)

    return {"peer": peer_step, **{mode: our_step(trainer) for mode, trainer in trainers.items()}}


def timed(step: Step, device: torch.device) -> float:
    """Return the seconds that one step takes, the device's work included."""
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def measure(arguments: Namespace) -> dict[str, Any]:
    """Run all rounds and return the figures."""
    device = find_device(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    steps = steps_of(arguments, device)
    first = {name: step() for name, step in steps.items()}
    difference = {
        mode: max(float((first[mode][name] - value).abs() / value.abs()) for name, value in first["peer"].items())
        for mode in arguments.modes
    }
    for step in steps.values():
        step()
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds):
        order = list(steps) if number % 2 == 0 else list(reversed(steps))
        rounds.append({name: timed(steps[name], device) for name in order})
    figures = {
        name: {
            "median_seconds": statistics.median(seconds[name] for seconds in rounds),
            "ratio": statistics.median(seconds["peer"] / seconds[name] for seconds in rounds),
            "first_step_difference": difference.get(name),
        }
        for name in steps
    }
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    setting = {key: vars(arguments)[key] for key in ("size", "width", "blocks", "batch_size", "rounds")}
    return {"setting": {**setting, "device": f"{device.type}, {card}", "torch": torch.__version__}, "figures": figures}


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
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not (arguments.peer / "models" / "cycle_gan_model.py").is_file():
        parser.error(
            f"--peer {arguments.peer}: no models/cycle_gan_model.py there; give a checkout of the authors' code"
        )
    result = measure(arguments)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(", ".join(f"{name} {value}" for name, value in result["setting"].items()))
    print(f"{'':14}{'median s':>10}{'theirs / ours':>16}{'losses of step 1 differ by':>30}")
    for name, row in result["figures"].items():
        label = "the authors'" if name == "peer" else f"ours, {name}"
        differs = "" if row["first_step_difference"] is None else f"{row['first_step_difference']:.1e}"
        print(f"{label:14}{row['median_seconds']:10.3f}{row['ratio']:15.2f}x{differs:>30}")


if __name__ == "__main__":
    main()
