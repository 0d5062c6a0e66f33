"""A small network that labels photos, trained on real photos and their label maps, once per comparison.

What a labels-to-photos translator makes is scored by labelling it again: a photo that shows what its label map says is
labelled like it. The CycleGAN paper does so with an FCN-8s trained on Cityscapes ("FCN-score"); this is another network
trained on other data, so its figures are called the segmenter score and compare methods of one comparison only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from unpaired import __version__
from unpaired.compare.plan import SegmenterSettings
from unpaired.core.errors import UserError
from unpaired.data.held_out import Images, Side, truth_of
from unpaired.data.labels import VOID, Indices
from unpaired.data.values import Domain, Image, to_signed
from unpaired.models.folder import DamagedError, read_document, read_tensors, verify, write_folder

FOLDER = "segmenter"
WEIGHTS, DOCUMENT = "segmenter.safetensors", "segmenter.json"
LEVELS = 4
LARGEST_FACTOR = 8
"""Levels of the network have at most this many times the channels of the first."""
IMAGES_PER_BATCH = 8

Told = Callable[[int, int], None]
"""Called with the images seen and those to see."""


@final
class Network(nn.Module):
    """A U-Net: [N, channels, H, W] in [-1, 1] to logits [N, classes, H, W], for H and W of any size."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        widths = [width * min(2**level, LARGEST_FACTOR) for level in range(LEVELS + 1)]
        self.first = _double(channels, widths[0])
        self.down = nn.ModuleList(_double(widths[level], widths[level + 1]) for level in range(LEVELS))
        self.up = nn.ModuleList(_double(widths[level] + widths[level + 1], widths[level]) for level in range(LEVELS))
        self.last = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of every class at every pixel."""
        features = self.first(image)
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(nnf.max_pool2d(features, 2, ceil_mode=True))
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            wider = nnf.interpolate(features, size=skip.shape[-2:], mode="nearest")
            features = up(torch.cat([skip, wider], 1))
        logits: Tensor = self.last(features)
        return logits


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for count in (inputs, outputs):
        layers += [nn.Conv2d(count, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@final
class Segmenter:
    """A trained network as a function from photos to class indices."""

    def __init__(self, network: Network, device: torch.device, description: dict[str, Any]) -> None:
        self.network, self.device, self.description = network.to(device).eval(), device, description

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what it is and of its weights."""
        return str(self.description["fingerprint"])

    @torch.inference_mode()
    def __call__(self, photos: NDArray[np.float32]) -> Indices:
        """Return the most likely class of every pixel, uint8 [N, H, W], of photos [N, C, H, W] in [-1, 1]."""
        parts = [
            self.network(torch.from_numpy(photos[start : start + IMAGES_PER_BATCH]).to(self.device)).argmax(1).cpu()
            for start in range(0, len(photos), IMAGES_PER_BATCH)
        ]
        return torch.cat(parts).to(torch.uint8).numpy()


def segmenter_of(
    folder: Path,
    images: Images,
    domains: dict[Side, Domain],
    photos: Side,
    settings: SegmenterSettings,
    device: torch.device,
    *,
    size: tuple[int, int],
    told: Told | None = None,
) -> Segmenter:
    """Return the segmenter of a comparison: read from `folder`, or trained on the pairs of `images` and kept there.

    `photos` says which side holds the photos; the other one holds label maps. `size` is the images' (height, width).
    Raises `UserError` where the one that is
    there was made with other settings, `DamagedError` where its files are not intact.
    """
    labels = domains["b" if photos == "a" else "a"].labels
    assert labels is not None
    wanted: dict[str, Any] = {
        "settings": dataclasses.asdict(settings),
        "photos": photos,
        "channels": domains[photos].channels,
        "classes": len(labels.palette),
        "training_pairs": len(images.pairs),
        "size": list(size),
        "void": sorted(labels.void),
        "palette": [list(colour) for colour in labels.palette],
    }
    place = folder / FOLDER
    if place.is_dir():
        return _read(place, wanted, device)
    network = _train(images, domains, photos, settings, device, told)
    versions = {"unpaired": __version__, "torch": torch.__version__}
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode())
    for key in sorted(weights):
        digest.update(weights[key].contiguous().numpy().tobytes())
    description = {**wanted, "versions": versions, "fingerprint": digest.hexdigest()}
    write_folder(place, {WEIGHTS: weights}, {DOCUMENT: description})
    return Segmenter(network, device, description)


def _read(place: Path, wanted: dict[str, Any], device: torch.device) -> Segmenter:
    try:
        verify(place)
    except DamagedError as error:
        raise DamagedError(f"{error} Delete the folder to have the segmenter trained again.") from error
    description = read_document(place, DOCUMENT)
    # What an older version did not write down is taken to be as it is now.
    differing = [name for name, value in wanted.items() if description.get(name, value) != value]
    if differing:
        name = differing[0]
        raise UserError(
            f"the segmenter in {place} was trained with other settings: {name} was {description.get(name)} and is now "
            f"{wanted[name]}. Go on with those, choose another --out, or delete the folder to have it trained again "
            "(every method is then scored again)."
        )
    network = Network(wanted["channels"], wanted["classes"], wanted["settings"]["width"])
    network.load_state_dict(read_tensors(place, WEIGHTS))
    return Segmenter(network, device, description)


def _train(
    images: Images,
    domains: dict[Side, Domain],
    photos: Side,
    settings: SegmenterSettings,
    device: torch.device,
    told: Told | None,
) -> Network:
    """Minimise the cross entropy of the true classes, void left out, over shuffled pairs, half of them mirrored."""
    labels = domains["b" if photos == "a" else "a"].labels
    assert labels is not None
    inputs, truths = _decoded(images, domains, photos)
    steps = -(-settings.images // settings.batch_size)
    rng = np.random.default_rng(settings.seed)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(settings.seed)
        network = Network(domains[photos].channels, len(labels.palette), settings.width).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = _endless(rng, len(inputs))
    for step in range(steps):
        chosen = [next(order) for _ in range(settings.batch_size)]
        mirrored = rng.random(settings.batch_size) < 0.5
        rows = [to_signed(inputs[i], domains[photos].range).transpose(2, 0, 1) for i in chosen]
        x = np.stack([row[:, :, ::-1] if m else row for row, m in zip(rows, mirrored, strict=True)])
        y = np.stack([truths[i][:, ::-1] if m else truths[i] for i, m in zip(chosen, mirrored, strict=True)])
        logits = network(torch.from_numpy(x).to(device))
        target = torch.from_numpy(y.astype(np.int64)).to(device)
        # A batch of void alone has a sum of 0 over 0 pixels; the mean of it would be NaN.
        summed = nnf.cross_entropy(logits, target, ignore_index=VOID, reduction="sum")
        loss = summed / (target != VOID).sum().clamp(min=1)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        falling.step()
        if told is not None:
            told(min((step + 1) * settings.batch_size, settings.images), settings.images)
    if not all(bool(torch.isfinite(weight).all()) for weight in network.parameters()):
        raise UserError(
            "the segmenter's weights are not finite any more. Set a smaller segmenter.learning_rate in the plan."
        )
    return network


def _decoded(images: Images, domains: dict[Side, Domain], photos: Side) -> tuple[list[Image], list[Indices]]:
    """Return every photo, [H, W, C] in its own type, and the classes of its pixels, [H, W]."""
    label_side: Side = "b" if photos == "a" else "a"
    labels = domains[label_side].labels
    assert labels is not None
    inputs, truths = [], []
    for photo, partner in images.positions(photos):
        assert partner is not None
        inputs.append(images.of(photos)[photo])
        truths.append(truth_of(images.of(label_side)[partner], labels))
    return inputs, truths


def _endless(rng: np.random.Generator, count: int) -> Iterator[int]:
    """Yield positions without end, in a new order after every pass."""
    while True:
        yield from rng.permutation(count).tolist()
