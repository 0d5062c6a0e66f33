"""Images per second of every engine against the authors' generator in eager float32: same weights, same images.

    python benchmarks/translate.py --peer CHECKOUT [--size 256] [--model MODEL] [--images DIR] [--threads 2] [--json]
    python benchmarks/translate.py --peer CHECKOUT --device cuda [--batch-size 16]

CHECKOUT is a checkout of the authors' PyTorch code. MODEL is a run or model with a ResNet generator of 6 or 9 blocks;
without it the weights are random, which says nothing about how exact an engine is for trained ones. DIR holds photos to
translate; without it they are drawn. Each round translates one image with every engine in turn; the figure of an engine
is the median over the rounds, its ratio the median of theirs divided by ours in the same round. Differences are from
our float32 on all images. The last row translates a folder of files, decoding and encoding included, with engine and
precision "auto" as the command would choose them for many images.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.data.folders import list_images
from unpaired.data.values import Domain
from unpaired.models.convert.weights import to_official
from unpaired.models.exactness import compare, fixed_pictures
from unpaired.models.files import translate_files
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.models.translator import Translator
from unpaired.networks import InitConfig, ResnetConfig, build_generator, describe_generator, initialize

MODES = {
    "cpu": (
        *("torch fp32", "torch-winograd fp32", "torch bf16", "torch-winograd bf16"),
        *("onnxruntime fp32", "openvino fp32", "openvino bf16"),
    ),
    "cuda": ("torch fp32", "torch bf16", "torch fp16", "torch-compile bf16"),
}
SLOW_TO_START = ("torch-compile fp32", "torch-compile bf16")
MANY = 10_000


def random_model(folder: Path, width: int, blocks: int) -> Path:
    """Write a model with the authors' initial weights."""
    torch.manual_seed(0)
    network = build_generator(ResnetConfig(width=width, blocks=blocks), 3, 3)
    initialize(network, InitConfig())
    translators = {"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")}
    domains = {"a": Domain(channels=3), "b": Domain(channels=3)}
    card = ModelCard(origin="random weights for a benchmark", domains=domains, translators=translators)
    write_model(folder / "model", card, {"a2b.safetensors": network.state_dict()})
    return folder / "model"


def peer_network(checkout: Path, translator: Translator) -> nn.Module:
    """Return the authors' generator with the same weights."""
    sys.path.insert(0, str(checkout))
    networks = importlib.import_module("models.networks")
    config = translator.network.config
    plain: dict[str, Any] = {"no_antialias": True, "no_antialias_up": True} if hasattr(networks, "Downsample") else {}
    name = f"resnet_{config.blocks}blocks"
    network: nn.Module = networks.define_G(3, 3, config.width, name, config.norm, config.dropout, gpu_ids=[], **plain)
    network.load_state_dict(to_official(config, translator.network.state_dict()))
    return network.eval()


def pictures(arguments: Namespace) -> list[Tensor]:
    """Return batches [N, 3, size, size] in [-1, 1]."""
    size, batch = arguments.size, arguments.batch_size
    if arguments.images is None:
        return [image.expand(batch, -1, -1, -1) for image in fixed_pictures(3, [(size, size)] * 4)[:-1]]
    opened = [Image.open(path).convert("RGB").resize((size, size)) for path in list_images(arguments.images)[:8]]
    arrays = [np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1 for image in opened]
    return [torch.from_numpy(np.ascontiguousarray(array)).expand(batch, -1, -1, -1) for array in arrays]


def engines(model: Path, modes: list[str], device: str) -> dict[str, Translator]:
    """Return a translator for each mode that works here."""
    ready = {}
    for mode in modes:
        engine, precision = mode.split()
        try:
            ready[mode] = Translator.load(model, device=device, engine=engine, precision=precision)  # type: ignore[arg-type]
        except UserError as error:
            print(f"left out {mode}: {error}", file=sys.stderr)
    return ready


def timed(run: Callable[[Tensor], Tensor], image: Tensor) -> float:
    """Return the seconds that one translation takes."""
    started = time.perf_counter()
    run(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def files_per_second(model: Path, images: list[Tensor], count: int, device: str) -> tuple[float, str]:
    """Translate a folder of PNG files, and return images per second and what was chosen."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        folder.mkdir()
        for number, image in enumerate(islice(cycle(images), count)):
            pixels = ((image[0].permute(1, 2, 0).cpu().numpy() + 1) * 127.5).round().astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:04d}.png")
        translator = Translator.load(model, device=device, precision="auto", images=MANY)
        translator.translate_tensor(images[0][:1])
        started = time.perf_counter()
        report = translate_files(translator, [folder], Path(place) / "out")
        assert report.written == count
        return count / (time.perf_counter() - started), str(translator.engine)


def measure(arguments: Namespace, model: Path) -> dict[str, Any]:
    """Run all rounds and return the figures."""
    device = arguments.device
    chosen = arguments.modes or (*MODES[device], *(SLOW_TO_START if arguments.compiled else ()))
    modes = [*dict.fromkeys(("torch fp32", *chosen))]
    ready, images = engines(model, modes, device), [image.to(device) for image in pictures(arguments)]
    exact = ready["torch fp32"]
    peer = peer_network(arguments.peer, exact).to(device)
    runs: dict[str, Callable[[Tensor], Tensor]] = {"peer": peer}
    runs |= {mode: translator.translate_tensor for mode, translator in ready.items()}
    with torch.inference_mode():
        exactness = {name: compare(run, exact.translate_tensor, images) for name, run in runs.items()}
        rounds: list[dict[str, float]] = []
        for number, image in zip(range(arguments.rounds), cycle(images), strict=False):
            order = list(runs) if number % 2 == 0 else list(reversed(runs))
            rounds.append({name: timed(runs[name], image) for name in order})
    figures: dict[str, dict[str, Any]] = {
        name: {
            "images_per_second": arguments.batch_size / statistics.median(seconds[name] for seconds in rounds),
            "ratio": statistics.median(seconds["peer"] / seconds[name] for seconds in rounds),
            **exactness[name].to_json(),
        }
        for name in runs
    }
    speed, chosen = files_per_second(model, images, arguments.files, device)
    ratio = speed / figures["peer"]["images_per_second"]
    figures[f"files, {chosen}"] = {"images_per_second": speed, "ratio": ratio}
    setting = {"weights": exact.card.origin, "network": describe_generator(exact.network), "size": arguments.size}
    card = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    setting |= {"batch_size": arguments.batch_size, "device": f"{device}, {card}"}
    machine = {"torch": torch.__version__, "rounds": arguments.rounds}
    return {"setting": {**setting, **machine}, "figures": figures}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="checkout of the authors' PyTorch code")
    parser.add_argument("--model", type=Path, help="a run or model; random weights by default")
    parser.add_argument("--images", type=Path, help="folder of photos; drawn pictures by default")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=64, help="of the random network")
    parser.add_argument("--blocks", type=int, default=9, choices=(6, 9), help="of the random network")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--files", type=int, default=64, help="files of the last row")
    parser.add_argument("--device", choices=MODES, default="cpu")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="processor threads; PyTorch's choice by default")
    parser.add_argument("--modes", nargs="+", metavar="'ENGINE PRECISION'", help="instead of all of the device")
    parser.add_argument("--compiled", action="store_true", help="PyTorch compiled too, which takes minutes to start")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not (arguments.peer / "models" / "networks.py").is_file():
        parser.error(f"--peer {arguments.peer}: no models/networks.py there; give a checkout of the authors' code")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as place:
        model = arguments.model or random_model(Path(place), arguments.width, arguments.blocks)
        result = measure(arguments, model)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(", ".join(f"{name} {value}" for name, value in result["setting"].items()))
    print(f"{'':28}{'images/s':>10}{'theirs / ours':>15}{'largest':>10}{'typical':>10}{'PSNR dB':>9}")
    for name, row in result["figures"].items():
        label = "the authors', eager fp32" if name == "peer" else name
        largest = "" if "largest" not in row else f"{row['largest']:10.1e}{row['typical']:10.1e}"
        decibels = f"{row['psnr'] or math.inf:9.1f}" if largest else ""
        print(f"{label:28}{row['images_per_second']:10.2f}{row['ratio']:14.2f}x{largest}{decibels}")


if __name__ == "__main__":
    main()
