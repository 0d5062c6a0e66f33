"""A trained segmenter: a folder that describes itself, and the function from photos to class indices that it holds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from unpaired import __version__
from unpaired.core.device import find_device
from unpaired.core.errors import UserError
from unpaired.data.labels import Indices, Labels
from unpaired.data.values import Domain, domain_to_json
from unpaired.models.folder import MANIFEST, read_document, read_tensors, verify, write_folder
from unpaired.networks.fcn import Fcn8s, FcnConfig

WEIGHTS, DOCUMENT = "segmenter.safetensors", "segmenter.json"
BEST = "best"
"""The folder of a training that holds the segmenter which labelled the held-out photos best."""
FORMAT, VERSION = "unpaired-segmenter", 1
IMAGES_PER_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a segmenter is; the content of `segmenter.json`."""

    network: FcnConfig
    labels: Labels
    """The classes that it names: palette, names, void."""
    photos: Domain
    """What the photos' files hold."""
    size: tuple[int, int]
    """(height, width) of the photos that it was trained on."""
    origin: str
    """One sentence: what its weights began with."""
    training: Mapping[str, Any]
    """Settings, images seen, number of pairs and digest of their files."""
    held_out: Mapping[str, Any]
    """Its scores on held-out photos when it was kept."""

    def in_words(self) -> str:
        """Return what a figure made with it must say: "FCN-8s trained on 367 photos at 96 x 128 ..."."""
        height, width = self.size
        return (
            f"FCN-8s (fc6 and fc7 of {self.network.fc_width}) trained on {self.training['pairs']:,} photos of "
            f"{len(self.labels.classes)} classes at {height} x {width} for {self.training['images_seen']:,} images; "
            f"weights: {self.origin}"
        )


@final
class Segmenter:
    """Photos [N, C, H, W] in [-1, 1] to class indices [N, H, W]; made by `load`."""

    def __init__(
        self,
        network: Fcn8s,
        description: Description,
        device: torch.device,
        *,
        fingerprint: str,
        precision: str = "fp32",
    ) -> None:
        self.network = network.to(device).eval()
        self.description, self.device, self.fingerprint, self.precision = description, device, fingerprint, precision
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        void = [index for index in description.labels.void if 0 <= index < network.classes]
        self._void = torch.tensor(void, dtype=torch.long, device=device)

    @classmethod
    def load(cls, folder: str | Path, *, device: str | torch.device = "auto", precision: str = "fp32") -> Segmenter:
        """Read a segmenter, or the best one of a training; `precision` is "fp32" or "bf16".

        Raises `UserError` where there is none, `DamagedError` where its files are not what was written.
        """
        place = find_segmenter(Path(folder))
        description = read_description(place)
        network = Fcn8s(description.network, description.photos.channels, len(description.labels.palette))
        tensors = read_tensors(place, WEIGHTS)
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise UserError(f"{place} is not a segmenter: its weights do not fit its description ({error}).") from error
        return cls(
            network,
            description,
            find_device(device),
            fingerprint=str(read_document(place, DOCUMENT).get("fingerprint")),
            precision=precision,
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the photos that it was trained on."""
        return self.description.size

    def notice_for(self, size: tuple[int, int]) -> str | None:
        """Return one sentence where photos of this (height, width) are not of the size of its training, else None."""
        if size == self.size:
            return None
        return (
            f"the photos are {size[0]} x {size[1]} and the segmenter was trained at {self.size[0]} x {self.size[1]} "
            "(height x width): they are resized to that (bicubic), labelled, and compared at their own size"
        )

    @torch.inference_mode()
    def __call__(self, photos: NDArray[np.float32] | Tensor) -> Indices:
        """Label photos of any size as they are: the most likely class of every pixel, uint8 [N, H, W], never void."""
        given = torch.from_numpy(photos) if isinstance(photos, np.ndarray) else photos
        starts = range(0, len(given), IMAGES_PER_BATCH)
        found = torch.cat([self._labelled(given[start : start + IMAGES_PER_BATCH]) for start in starts])
        return np.asarray(found.cpu().numpy())

    def brought(self, photos: Tensor) -> Tensor:
        """Return photos at the size of the training: bicubic, antialiased where they shrink, clipped to [-1, 1].

        A network that knows one scale is asked at that scale, as the CycleGAN authors' script does.
        """
        if photos.shape[2:] == self.size:
            return photos
        resized = nnf.interpolate(photos.float(), self.size, mode="bicubic", align_corners=False, antialias=True)
        return resized.clamp(-1, 1)

    def _labelled(self, photos: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.network(photos.to(self.device, memory_format=torch.channels_last))
        classes: Tensor = logits.index_fill(1, self._void, -torch.inf).argmax(1)
        return classes.to(torch.uint8)


def find_segmenter(folder: Path) -> Path:
    """Return the folder of a segmenter: the given one, or the best of a training; UserError where there is none."""
    for place in (folder, folder / BEST):
        if (place / DOCUMENT).is_file() or ((place / MANIFEST).is_file() and (place / WEIGHTS).is_file()):
            return place
    if not folder.exists():
        raise UserError(
            f"there is no segmenter at {folder}. Train one: unpaired segment train --data LABELLED --out DIR."
        )
    raise UserError(
        f"{folder} is not a segmenter: it holds neither {DOCUMENT} nor a folder {BEST} with one. Give the folder that "
        "unpaired segment train has written."
    )


def read_description(place: Path) -> Description:
    """Return what a segmenter's folder says of itself, after checking that all files are what was written."""
    verify(place)
    return _from_json(place, read_document(place, DOCUMENT))


def write_segmenter(folder: Path, network: Fcn8s, description: Description) -> str:
    """Write a segmenter's folder atomically, in place of one that is there; return its fingerprint."""
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    document = _to_json(description)
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for key in sorted(weights):
        digest.update(key.encode())
        digest.update(weights[key].contiguous().numpy().tobytes())
    fingerprint = digest.hexdigest()
    versions = {"unpaired": __version__, "torch": torch.__version__}
    write_folder(folder, {WEIGHTS: weights}, {DOCUMENT: {**document, "versions": versions, "fingerprint": fingerprint}})
    return fingerprint


def require_classes(description: Description, labels: Labels) -> None:
    """Raise `UserError` unless label maps have the classes that the segmenter names, in the same order."""
    own = description.labels
    if own.palette == labels.palette and own.void == labels.void:
        return
    if own.kind == labels.kind == "index" and len(own.palette) == len(labels.palette) and own.void == labels.void:
        return  # colours of indices are for looking at
    raise UserError(
        f"the segmenter names {len(own.classes)} classes and the label maps have other ones: its palette is "
        f"{_few(own)}, theirs is {_few(labels)}. Give label maps of the same classes, or "
        "train a segmenter on these."
    )


def _few(labels: Labels) -> str:
    shown = ", ".join(str(list(colour)) for colour in labels.palette[:4])
    more = f", ... ({len(labels.palette)} in all)" if len(labels.palette) > 4 else ""
    return f"{shown}{more} with void {list(labels.void)}"


def _to_json(description: Description) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "network": dataclasses.asdict(description.network),
        "labels": dataclasses.asdict(description.labels),
        "photos": domain_to_json(description.photos),
        "size": list(description.size),
        "origin": description.origin,
        "training": dict(description.training),
        "held_out": dict(description.held_out),
    }


def _from_json(place: Path, document: Mapping[str, Any]) -> Description:
    if document.get("format") != FORMAT or not isinstance(document.get("version"), int):
        raise UserError(
            f"{place / DOCUMENT} does not describe a segmenter that this command reads: its format is "
            f"{document.get('format')!r}. Give the folder that unpaired segment train has written."
        )
    if document["version"] > VERSION:
        raise UserError(
            f"{place} was written by a newer version of unpaired (format {document['version']}; this version reads up "
            f"to {VERSION}). Update unpaired."
        )
    try:
        return Description(
            network=_part(FcnConfig, document["network"]),
            labels=_part(Labels, document["labels"]),
            photos=_part(Domain, document["photos"]),
            size=(int(document["size"][0]), int(document["size"][1])),
            origin=str(document["origin"]),
            training=document["training"],
            held_out=document["held_out"],
        )
    except (KeyError, IndexError, TypeError, ValidationError) as error:
        raise UserError(f"{place / DOCUMENT} is not a valid description of a segmenter: {error}.") from error


def _part(kind: type[Any], document: object) -> Any:
    return TypeAdapter(kind).validate_json(json.dumps(document), strict=True)
