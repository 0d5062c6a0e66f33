"""Small material for tests of evaluation: models with random weights, folders of pictures, a feature network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from labelled import Source
from unpaired.data.check import ImageInfo
from unpaired.data.values import Domain
from unpaired.evaluation.dataset import Batch, Images, Row, Task
from unpaired.evaluation.metrics.base import Context, Metric
from unpaired.evaluation.networks import Networks
from unpaired.evaluation.protocol import FULL, Protocol
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.networks import ResnetConfig, build_generator, describe_generator


class SmallNetwork(nn.Module):
    """Features of eight channels at every second position, always the same; torch.export can take it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images).relu()


class SmallVectors(SmallNetwork):
    """The same, averaged over the positions."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean((2, 3))


def small_network() -> nn.Module:
    """Return a network with features of positions, for `--features evaluations:small_network`."""
    return SmallNetwork()


def small_vectors() -> nn.Module:
    """Return a network with one vector for an image."""
    return SmallVectors()


def pictures(count: int, size: int | tuple[int, int] = 32, seed: int = 0, channels: int = 3) -> list[NDArray[np.uint8]]:
    """Return smooth random pictures, [H, W, C] uint8."""
    rng = np.random.default_rng(seed)
    height, width = (size, size) if isinstance(size, int) else size
    found = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = smooth + rng.integers(-12, 13, smooth.shape)
        found.append(np.clip(noisy, 0, 255).astype(np.uint8)[:, :, :channels])
    return found


def write_pictures(folder: Path, images: list[NDArray[np.uint8]], name: str = "{}.png") -> Path:
    """Write pictures into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(folder / name.format(index))
    return folder


def write_data(root: Path, test: int = 6, size: int = 32) -> Path:
    """Write two domains of pictures in the usual layout; return ROOT."""
    for seed, (part, count) in enumerate({"trainA": 2, "trainB": 2, "testA": test, "testB": test + 1}.items()):
        write_pictures(root / part, pictures(count, size, seed))
    return root


def write_small_model(
    folder: Path,
    domains: dict[str, Domain] | None = None,
    directions: tuple[str, ...] = ("a2b", "b2a"),
    broken: bool = False,
    **card: Any,
) -> Path:
    """Write a model folder with small translators of random weights; return it."""
    domains = domains or {"a": Domain(channels=3), "b": Domain(channels=3)}
    torch.manual_seed(3)
    networks = {
        name: build_generator(ResnetConfig(width=4, blocks=1), domains[name[0]].channels, domains[name[2]].channels)
        for name in directions
    }
    for network in networks.values():
        for parameter in network.parameters():  # far from zero, so that translations differ from one another
            torch.nn.init.normal_(parameter, std=0.2)
            if broken:
                torch.nn.init.constant_(parameter, float("nan"))
    cards = {
        name: TranslatorCard(network=describe_generator(network), weights=f"{name}.safetensors")
        for name, network in networks.items()
    }
    described = ModelCard(origin="made by a test", domains=domains, translators=cards, **card)
    write_model(folder, described, {f"{name}.safetensors": each.state_dict() for name, each in networks.items()})
    return folder


def write_small_run(run: Path, data: dict[str, Any], method: str = "cyclegan", **model: Any) -> Path:
    """Write what evaluation needs of a run: its settings and one checkpoint; return RUN."""
    checkpoint = write_small_model(run / "checkpoints" / "000000012", method=method, images_seen=12, **model)
    assert checkpoint.is_dir()
    document = {"method": {"name": method}, "data": {"workers": 1, **data}}
    (run / "config.json").write_text(json.dumps(document))
    return run


def images_of(images: list[Any], domain: Domain | None = None) -> Images:
    """Return arrays as one set of images of an evaluation."""
    infos = [ImageInfo(Path(f"{n}.png"), *one.shape, "uint8", bytes([n]), None, None) for n, one in enumerate(images)]
    return Images(
        source=Source(images),
        domain=domain or Domain(channels=images[0].shape[2]),
        sizes=[(image.shape[0], image.shape[1]) for image in images],
        positions=tuple(range(len(images))),
        files=infos,
    )


def task_of(inputs: Images, real: Images) -> Task:
    """Return a task whose inputs and true images belong together by position."""
    return Task(
        direction="a2b",
        heading="A to B",
        target_name="B",
        inputs=inputs,
        fakes=None,
        real=real,
        rows=tuple(Row(n, None, n) for n in inputs.positions),
        split="test",
    )


def batch_of(task: Task, fakes: list[Any], back: list[Any] | None = None) -> Batch:
    """Return all translations of a task as one batch."""
    assert task.inputs is not None
    inputs = task.inputs
    return Batch(
        task=task,
        rows=task.rows,
        first=0,
        names=tuple(f"{n}.png" for n in range(len(fakes))),
        fake_images=tuple(fakes),
        fake_domain=task.target,
        input_images=tuple(inputs.source[n] for n in inputs.positions),
        reconstruction_images=None if back is None else tuple(back),
    )


def made_for(metric: type[Metric], task: Task, protocol: Protocol = FULL, **networks: Any) -> Any:
    """Return a metric for a task."""
    return metric(Context(task=task, networks=Networks(**networks), protocol=protocol))
