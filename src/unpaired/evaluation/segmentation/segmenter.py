"""A trained segmenter: a folder that describes itself, and the function from photos to class indices that it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass
from torch import Tensor

from unpaired import __version__
from unpaired.core.device import find_device
from unpaired.core.errors import UserError
from unpaired.core.settings import STRICT
from unpaired.core.text import number, plural
from unpaired.data.labels import Indices, Labels, distinct_colours
from unpaired.data.transforms import resize_nearest
from unpaired.data.values import Domain
from unpaired.evaluation.segmentation.config import NetworkConfig
from unpaired.models.folder import read_document, read_tensors, verify, write_folder
from unpaired.networks.fcn import Fcn8s
from unpaired.networks.segmentation_unet import SegmentationUnet

WEIGHTS, DOCUMENT = "segmenter.safetensors", "segmenter.json"
BEST = "best"
"""The folder of a training that holds the segmenter with the highest class IoU on the held-out photos."""
FORMAT, VERSION = "unpaired-segmenter", 1
IMAGES_PER_BATCH = 8
FROM_NOTHING = "none: every weight began at random"
Network = Fcn8s | SegmentationUnet


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Description:
    """What a segmenter is; the content of `segmenter.json`."""

    network: Annotated[NetworkConfig, Field(discriminator="family")]
    labels: Labels
    """The classes that it names: palette, names, void."""
    photos: Domain
    """What the photos' files hold."""
    size: tuple[int, int]
    """(height, width) of the photos that it was trained on."""
    origin: str
    """One sentence: what its weights began with."""
    training: dict[str, Any]
    """Settings, images seen, number of pairs and digest of their files."""
    held_out: dict[str, Any]
    """Its scores on held-out photos when it was saved; empty where it was not evaluated."""

    @property
    def summary(self) -> str:
        """What a score made with it must say: "FCN-8s ... trained on 367 photos of 11 classes at 96 x 128 ..."."""
        own = self.network
        network = f"FCN-8s (fc6 and fc7 of {own.fc_width})" if own.family == "fcn8s" else f"U-Net (width {own.width})"
        return (
            f"{network} trained on {plural(self.training['pairs'], 'photo')} of "
            f"{plural(len(self.labels.classes), 'class', 'classes')} at {self.size[0]} x {self.size[1]} for "
            f"{plural(self.training['images_seen'], 'image')}; weights: {self.origin}"
        )


def build_network(config: NetworkConfig, channels: int, classes: int, seed: int = 0) -> Network:
    """Return a network with random weights, drawn on the CPU whatever device it is for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.family == "fcn8s":
            return Fcn8s(config, channels, classes)
        return SegmentationUnet(config, channels, classes)


@final
class Segmenter:
    """Photos [N, C, H, W] in [-1, 1] to class indices, uint8 [N, H, W]."""

    def __init__(
        self,
        network: Network,
        description: Description,
        device: torch.device,
        *,
        fingerprint: str = "",
        precision: str = "fp32",
    ) -> None:
        self.network = network.to(device).eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.description, self.device, self.precision = description, device, precision
        self.size, self.summary, self.classes = description.size, description.summary, network.classes
        self.fingerprint = fingerprint
        """SHA-256 of what it is and of its weights."""
        void = [index for index in description.labels.void if 0 <= index < network.classes]
        self._void = torch.tensor(void, dtype=torch.long, device=device)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        defaults: Mapping[str, Any] | None = None,
    ) -> Segmenter:
        """Read a segmenter, or the best one of a training; `precision` is "fp32" or "bf16".

        `defaults` is what the earliest comparisons did not write down of theirs. Raises `UserError` where there is no
        segmenter, `DamagedError` where its files are not what was written.
        """
        place = find_segmenter(Path(folder))
        description = read_description(place, defaults)
        shape = description.network, description.photos.channels, len(description.labels.palette)
        weights = read_tensors(place, WEIGHTS)
        try:
            with torch.device("meta"):  # what is described may be larger than any memory
                expected = {name: value.shape for name, value in build_network(*shape).state_dict().items()}
            if {name: value.shape for name, value in weights.items()} != expected:
                raise RuntimeError("other tensors, or other shapes")
            network = build_network(*shape)
            network.load_state_dict(weights)
        except (RuntimeError, ValueError, OverflowError, ZeroDivisionError) as error:
            raise UserError(f"{place} is not a segmenter: its weights do not fit its description ({error}).") from error
        fingerprint = str(read_document(place, DOCUMENT).get("fingerprint"))
        return cls(network, description, find_device(device), fingerprint=fingerprint, precision=precision)

    def notice_for(self, size: tuple[int, int] | None) -> str | None:
        """Return one sentence where photos of this (height, width) are not of the size of its training, else None."""
        if size is None or size == self.size:
            return None
        return (
            f"the photos are {size[0]} x {size[1]} and the segmenter was trained at {self.size[0]} x {self.size[1]} "
            "(height x width): they are resized to that (bicubic), labelled, and compared at their own size"
        )

    def require_fitting(self, labels: Labels, channels: int) -> None:
        """Raise `UserError` unless label maps have its classes in its order, and photos the channels it knows."""
        own = self.description.labels
        of_indices = own.kind == labels.kind == "index" and len(own.palette) == len(labels.palette)
        # Colours of indices are for looking at.
        if own.void != labels.void or not (own.palette == labels.palette or of_indices):
            raise UserError(
                f"the segmenter names {plural(len(own.classes), 'class', 'classes')} and the label maps have other "
                f"ones: its palette is {_palette(own)}, theirs is {_palette(labels)}. Give label maps of the same "
                "classes, or train a segmenter on these."
            )
        trained = self.description.photos.channels
        if channels != trained:
            raise UserError(
                f"the segmenter was trained on photos of {plural(trained, 'channel')}, and these have {channels}. Give "
                "a segmenter of the same kind of photos, or set data.channels_a or data.channels_b."
            )

    @torch.inference_mode()
    def __call__(self, photos: NDArray[np.float32] | Tensor, size: tuple[int, int] | None = None) -> Indices:
        """Return the most likely class of every pixel at `size`, by default that of the photos; never void.

        Photos of another size than those of the training are resized to it (bicubic, antialiased where they shrink,
        clipped to [-1, 1]), since a network knows one scale; classes are resized to `size` by the nearest pixel. The
        CycleGAN authors' script does so too.
        """
        given = torch.from_numpy(photos) if isinstance(photos, np.ndarray) else photos
        size = size or (given.shape[2], given.shape[3])
        if given.shape[2:] != self.size:
            given = nnf.interpolate(given.float(), self.size, mode="bicubic", align_corners=False, antialias=True)
            given = given.clamp(-1, 1)
        found = torch.cat([self._label(batch) for batch in torch.split(given, IMAGES_PER_BATCH)]).cpu().numpy()
        return np.asarray(found if found.shape[1:] == size else np.stack([resize_nearest(row, size) for row in found]))

    def _label(self, photos: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.network(photos.to(self.device, memory_format=torch.channels_last))
        classes: Tensor = logits.index_fill(1, self._void, -torch.inf).argmax(1)
        return classes.to(torch.uint8)


# -------------------------------------------------------------------------------------------------------------- folders


def is_segmenter(folder: Path) -> bool:
    """Say whether a folder is a segmenter, or a training that holds one."""
    return any((place / name).is_file() for place in (folder, folder / BEST) for name in (DOCUMENT, WEIGHTS))


def find_segmenter(folder: Path) -> Path:
    """Return the folder of a segmenter: the given one, or the best of a training; UserError where there is none."""
    if is_segmenter(folder):
        return folder if any((folder / name).is_file() for name in (DOCUMENT, WEIGHTS)) else folder / BEST
    missing = f"{folder} is not a segmenter: it holds neither {DOCUMENT} nor a folder {BEST} with one."
    raise UserError(
        f"{missing if folder.exists() else f'there is no segmenter at {folder}.'} Give the folder that a training has "
        "written: unpaired segment train --data LABELLED --out DIR."
    )


def read_description(place: Path, defaults: Mapping[str, Any] | None = None) -> Description:
    """Return what a segmenter's folder says of itself, after checking that all files are what was written."""
    verify(place)
    document = {**(defaults or {}), **read_document(place, DOCUMENT)}
    if "training_pairs" in document and "format" not in document:
        document = _of_earlier_comparison(document)
    version = document.get("version")
    if document.get("format") != FORMAT or not isinstance(version, int):
        raise UserError(f"{place / DOCUMENT} does not describe a segmenter: its format is {document.get('format')!r}.")
    if version > VERSION:
        raise UserError(f"{place} was written by a newer version of unpaired (format {version}). Update unpaired.")
    try:
        content = {each.name: document[each.name] for each in fields(Description)}
        content["network"] = {"family": "fcn8s", **content["network"]}  # before 0.2 there was no other one
        found = _DESCRIPTION.validate_json(json.dumps(content), strict=True)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{place / DOCUMENT} is not a valid description of a segmenter: {error}.") from error
    counts = [found.training.get("pairs"), found.training.get("images_seen")]
    scores = [found.held_out.get(name) for name in ("photos", "pixel_accuracy", "class_accuracy", "class_iou")]
    if not all(isinstance(count, int) for count in counts) or not all(
        isinstance(x, int | float | None) for x in scores
    ):
        raise UserError(f"{place / DOCUMENT} is not a valid description of a segmenter: its training is not described.")
    return found


def write_segmenter(folder: Path, network: Network, description: Description) -> str:
    """Write a segmenter's folder atomically, in place of one that is there; return its fingerprint."""
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    document = {"format": FORMAT, "version": VERSION, **_DESCRIPTION.dump_python(description, mode="json")}
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for key in sorted(weights):
        digest.update(key.encode())
        digest.update(weights[key].contiguous().numpy().tobytes())
    fingerprint = digest.hexdigest()
    versions = {"unpaired": __version__, "torch": torch.__version__}
    write_folder(folder, {WEIGHTS: weights}, {DOCUMENT: {**document, "versions": versions, "fingerprint": fingerprint}})
    return fingerprint


def describe_segmenter(folder: Path) -> dict[str, Any]:
    """Return what a segmenter is, for `unpaired info`. Raises `DamagedError` where its files are not intact."""
    place = find_segmenter(folder)
    description, document = read_description(place), read_document(place, DOCUMENT)
    return {
        "kind": "segmenter",
        "path": str(place),
        "summary": description.summary,
        "channels": description.photos.channels,
        "size": list(description.size),
        "classes": [class_name(description.labels, index) for index in description.labels.classes],
        "void": list(description.labels.void),
        "held_out": description.held_out,
        "versions": document.get("versions", {}),
        "fingerprint": document.get("fingerprint"),
    }


def render_segmenter(found: Mapping[str, Any]) -> str:
    """Return the description of a segmenter as a person reads it."""
    held = found["held_out"]
    photos = plural(held.get("photos") or 0, "held-out photo")
    scores = f"{photos} ({held.get('from')}): {three_scores(held)}" if held else "none"
    return (
        f"{found['path']}: {found['summary']}\nPhotos: {plural(found['channels'], 'channel')}\n"
        f"Classes: {', '.join(found['classes'])}; void: {', '.join(map(str, found['void'])) or 'none'}\n"
        f"Scores: {scores}\nWritten by {', '.join(f'{name} {version}' for name, version in found['versions'].items())}"
    )


def three_scores(scores: Mapping[str, Any]) -> str:
    """Return the three scores in one line."""
    names = {"pixel_accuracy": "per-pixel", "class_accuracy": "per-class", "class_iou": "class IoU"}
    return ", ".join(f"{title} {number(scores.get(name), 3)}" for name, title in names.items())


def class_name(labels: Labels, index: int) -> str:
    """Return what a person calls a class."""
    return labels.names[index] if labels.names is not None else f"class {index}"


_DESCRIPTION = TypeAdapter(Description)


def _of_earlier_comparison(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what comparisons before 0.2 wrote of their U-Net, in the present form."""
    settings = document["settings"]
    training = {"settings": settings, "images_seen": settings["images"], "pairs": document["training_pairs"]}
    palette = document.get("palette") or distinct_colours(document["classes"])
    return {
        "format": FORMAT,
        "version": VERSION,
        "network": {"family": "unet", "width": settings["width"]},
        "labels": {"kind": "index", "palette": palette, "void": document.get("void", [])},
        "photos": {"channels": document["channels"]},
        "size": document.get("size"),
        "origin": FROM_NOTHING,
        "training": {**training, "comparison": dict(document)},
        "held_out": {},
    }


def _palette(labels: Labels) -> str:
    shown = ", ".join(str(list(colour)) for colour in labels.palette[:4])
    more = f", ... ({len(labels.palette)} in all)" if len(labels.palette) > 4 else ""
    return f"{shown}{more} with void {list(labels.void)}"
