"""What each process of tests/training/test_distributed.py does: `torchrun worker.py TASK OUT`; results go to OUT."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from contract import batches
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.cyclegan import Config, CycleGAN
from unpaired.networks import PatchganConfig, ResnetConfig
from unpaired.training.config import TrainingConfig
from unpaired.training.distributed import ALONE, World, process_group, synchronize_batch_norm
from unpaired.training.trainer import Trainer

ROWS, STEPS, SIZE = 4, 3, 16


def train(world: World, **settings: object) -> dict[str, Tensor]:
    """Take steps in double precision, each process with its part of the same batches; return losses and weights."""
    config = Config(
        generator=ResnetConfig(width=4, blocks=1), discriminator=PatchganConfig(width=4, layers=1), pool_size=0
    )
    torch.manual_seed(1 + world.rank)  # the first process's weights count
    method = CycleGAN(config, ImageShapes(channels_a=3, channels_b=3, size=(SIZE, SIZE))).double()
    trainer = Trainer(method, TrainingConfig(precision="fp32", **settings), torch.device("cpu"), world=world)  # type: ignore[arg-type]
    rows = ROWS // world.size
    own = slice(world.rank * rows, (world.rank + 1) * rows)

    def stream() -> Iterator[Batch]:
        for x, y in itertools.islice(batches(3, 3, SIZE, ROWS), 100):
            yield Batch(x.double()[own], y.double()[own])

    source = stream()
    results: dict[str, Tensor] = {}
    for step in range(STEPS):
        results |= {f"loss.{step}.{name}": value.clone() for name, value in trainer.step(source).items()}
    return results | {name: value for name, value in method.state_dict().items() if name.endswith("weight")}


def normalize(world: World) -> dict[str, Tensor]:
    """Send a batch through a synchronised batch norm and back, each process with its part."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 3)).double()
    synchronize_batch_norm(network, world)
    images = torch.randn(ROWS, 3, 8, 8, dtype=torch.float64) + 3
    rows = ROWS // world.size
    images = images[world.rank * rows : (world.rank + 1) * rows].requires_grad_()
    output = network(images)
    (output.square().mean() / world.size).backward()
    gradients = {f"gradient.{name}": parameter.grad for name, parameter in network.named_parameters()}
    for gradient in gradients.values():
        assert gradient is not None
        world.average(gradient)
        gradient.mul_(world.size)
    results = {name: value for name, value in gradients.items() if value is not None}
    whole = {"output": world.collect(output.detach()), "images": world.collect(images.grad)}
    return results | {name: torch.cat(parts) for name, parts in whole.items()} | dict(network.named_buffers())


def compare_everything(out: Path) -> None:
    """Write what two processes make of it."""
    with process_group("cpu") as (world, _):
        results = {f"train.{name}": value for name, value in train(world).items()}
        results |= {f"clipped.{name}": value for name, value in train(world, clip_norm=0.05).items()}
        results |= {f"normalize.{name}": value for name, value in normalize(world).items()}
        if world.is_first:
            save_file({name: value.contiguous() for name, value in results.items()}, out)


def expected() -> dict[str, Tensor]:
    """Return what one process makes of the whole batches."""
    results = {f"train.{name}": value for name, value in train(ALONE).items()}
    results |= {f"clipped.{name}": value for name, value in train(ALONE, clip_norm=0.05).items()}
    return results | {f"normalize.{name}": value for name, value in normalize(ALONE).items()}


if __name__ == "__main__":
    compare_everything(Path(sys.argv[1]))
