"""Time the authors' CUT step and ours in one process, alternating: same networks, same weights, same batches.

    python benchmarks/cut_step.py --peer CHECKOUT [--fast] [--size 256] [--width 64] [--blocks 9] [--threads 2] [--json]

CHECKOUT is a checkout of the authors' PyTorch code, taesungp/contrastive-unpaired-translation. `--fast` takes FastCUT.
Each round takes one step of either side; the figure of a mode is the median over the rounds, and its ratio the median
over the rounds of theirs divided by ours in the same round. The losses of the first step are compared as well (those
that do not depend on which patches are drawn), so that equal work is timed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import random
import statistics
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

import torchvision_stand_in
from train_step import MODES, batches, prepared_device, timed
from unpaired.methods import ImageShapes
from unpaired.methods.cut import CUT, Config, FastConfig
from unpaired.models.convert.weights import official_discriminator, official_generator
from unpaired.training.config import TrainingConfig
from unpaired.training.trainer import Trainer


def peer_model(arguments: Namespace, device: torch.device) -> Any:
    """Return the authors' model with the settings of their training script, its embedding network built."""
    sys.path.insert(0, str(arguments.peer))
    if importlib.util.find_spec("torchvision") is None:
        torchvision_stand_in.install()  # their helpers import it; a training step does not use it
    module = importlib.import_module("models.cut_model")
    common = {"input_nc": 3, "output_nc": 3, "ngf": arguments.width, "ndf": arguments.width, "netD": "basic"}
    networks = {"netG": f"resnet_{arguments.blocks}blocks", "n_layers_D": 3, "no_dropout": True, "netF": "mlp_sample"}
    norms = {"normG": "instance", "normD": "instance", "init_type": "xavier", "init_gain": 0.02, "netF_nc": 256}
    plain = {"no_antialias": False, "no_antialias_up": False, "amp": False, "verbose": False, "pretrained_name": None}
    losses = {"lambda_GAN": 1.0, "gan_mode": "lsgan", "pool_size": 0, "nce_T": 0.07, "num_patches": 256}
    nce = {"nce_layers": "0,4,8,12,16", "nce_includes_all_negatives_from_minibatch": False}
    fast = {"CUT_mode": "FastCUT", "lambda_NCE": 10.0, "nce_idt": False, "flip_equivariance": True}
    full = {"CUT_mode": "CUT", "lambda_NCE": 1.0, "nce_idt": True, "flip_equivariance": False}
    training = {"lr": 2e-4, "beta1": 0.5, "beta2": 0.999, "lr_policy": "linear", "isTrain": True}
    place = {"checkpoints_dir": ".", "name": "peer", "preprocess": "none", "direction": "AtoB", "epoch": ""}
    gpus = [device.index or 0] if device.type == "cuda" else []
    more = {"continue_train": False, "gpu_ids": gpus, "device": device, "batch_size": arguments.batch_size}
    chosen = fast if arguments.fast else full
    model = module.CUTModel(
        Namespace(**common, **networks, **norms, **plain, **losses, **nce, **chosen, **training, **place, **more)
    )
    x, y = next(batches(arguments, device))
    model.data_dependent_initialize({"A": x, "B": y, "A_paths": "", "B_paths": ""})
    return model


def our_trainer(peer: Any, mode: str, arguments: Namespace, device: torch.device) -> Trainer:
    """Return a trainer of our method that starts from the weights of the authors' model."""
    generator, _, _, g = official_generator(peer.netG.state_dict())
    discriminator, _, d = official_discriminator(peer.netD.state_dict())
    kind = FastConfig if arguments.fast else Config
    size = arguments.size
    config = kind(generator=generator, discriminator=discriminator)  # type: ignore[arg-type]
    method = CUT(config, ImageShapes(channels_a=3, channels_b=3, size=(size, size)))
    method.G.load_state_dict(g)
    method.D.load_state_dict(d)
    embedding = {f"layers.{key.removeprefix('mlp_')}": value for key, value in peer.netF.state_dict().items()}
    method.H.load_state_dict(embedding)
    plain: dict[str, Any] = {"compile": "off", "graph": "off", "memory_format": "contiguous"}
    return Trainer(method, TrainingConfig(**{**plain, **MODES[mode]}), device)


def measure(arguments: Namespace) -> dict[str, Any]:
    """Run all rounds and return the figures."""
    device = prepared_device(arguments)
    torch.manual_seed(0)
    random.seed(0)
    peer = peer_model(arguments, device)
    trainers = {mode: our_trainer(peer, mode, arguments, device) for mode in arguments.modes}
    streams = {side: batches(arguments, device) for side in ["peer", *arguments.modes]}

    def peer_step() -> dict[str, float]:
        x, y = next(streams["peer"])
        peer.set_input({"A": x, "B": y, "A_paths": "", "B_paths": ""})
        peer.optimize_parameters()
        return {"discriminator": float(peer.loss_D), "gan": float(peer.loss_G_GAN)}

    def our_step(mode: str) -> dict[str, float]:
        return {name: float(value) for name, value in trainers[mode].step(streams[mode]).items()}

    theirs = peer_step()
    # Either side mirrors by a coin of its own, so FastCUT's first losses may be of mirrored images.
    first = {mode: our_step(mode) for mode in arguments.modes}
    difference = {mode: max(abs(ours[name] / theirs[name] - 1) for name in theirs) for mode, ours in first.items()}
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds + 1):
        taken = {"peer": timed(peer_step, device)}
        taken |= {mode: timed(lambda mode=mode: our_step(mode), device) for mode in arguments.modes}
        if number:  # the first one chooses kernels
            rounds.append(taken)
    return {
        "method": "FastCUT" if arguments.fast else "CUT",
        "size": arguments.size,
        "width": arguments.width,
        "blocks": arguments.blocks,
        "batch_size": arguments.batch_size,
        "seconds": {side: statistics.median(taken[side] for taken in rounds) for side in rounds[0]},
        "ratios": {m: statistics.median(taken["peer"] / taken[m] for taken in rounds) for m in arguments.modes},
        "first_losses_differ": difference,
        "torch": torch.__version__,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--modes", type=lambda text: text.split(","), default=["fp32", "bf16"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.modes) - set(MODES):
        parser.error(f"no such modes: {', '.join(unknown)}. There are: {', '.join(MODES)}")
    found = measure(arguments)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['method']}, {found['size']} px, width {found['width']}, {found['blocks']} blocks")
    print(f"theirs          {found['seconds']['peer']:.3f} s")
    for mode in arguments.modes:
        seconds, ratio, apart = (found[key][mode] for key in ("seconds", "ratios", "first_losses_differ"))
        print(f"{mode:15} {seconds:.3f} s   {ratio:.2f} x   (first losses differ by {apart:.1e})")


if __name__ == "__main__":
    main()
