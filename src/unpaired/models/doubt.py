"""A map of doubt beside a translation: how little of each place of the input comes back from what the file holds.

The translation is rounded as its file is, gets noise that cannot be seen, so that nothing that it hides (Chu et al.
2017) makes the way back look good, and is translated back. Doubt is the difference to the input plus a tenth of the
difference of what EfficientNet-Lite0 sees in both, where its weights are installed. It points at lost content; what is
invented so that the way back removes it again has little doubt. docs/audit.md has figures of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from PIL.Image import Exif as PillowExif

from unpaired.core.errors import UserError
from unpaired.core.files import full_suffix
from unpaired.core.settings import option
from unpaired.core.text import printable
from unpaired.data.directions import reverse
from unpaired.data.encode import encode_image
from unpaired.data.metadata import Metadata
from unpaired.data.values import Domain, Signed, filled, rounded
from unpaired.metrics.features import Features, has_lite0, open_features
from unpaired.models.translation import Translation
from unpaired.models.translator import Translator
from unpaired.networks.disturbance import blurred

if TYPE_CHECKING:
    from unpaired.models.pipeline import Job

Map = NDArray[np.float32]
"""[H, W], as a share of the range of values: 0 is none; NaN where the input has no value."""
NOISE = 2 * 2 / 255
"""Standard deviation of the noise in units of [-1, 1]: 2 levels of 255, a change of 42 dB."""
FEATURES = 0.1
"""Weight of 1 - the cosine between the features of the input and of its reconstruction."""
SMOOTH = 1 / 64
"""Standard deviation of the blur of the map as a share of the shorter side, at least a pixel."""
WHITE = 0.25
"""Doubt that is white in an 8-bit picture, as is what is larger."""
SCALE = f"doubt from 0 (black) to {WHITE:g} of the range of values or more (white)"


@final
class Doubt:
    """Makes maps of doubt for the translations of one translator."""

    def __init__(self, forward: Translator, backward: Translator, features: Features | None = None) -> None:
        self.backward, self._target, self._features = backward, forward.target, features

    @classmethod
    def of(cls, forward: Translator) -> Doubt:
        """Open the way back, and features where they are installed; `UserError` for a model without a way back."""
        back = reverse(forward.direction)
        if forward.folder is None or back not in forward.card.translators or forward.search is not None:
            raise UserError(
                f"{option('doubt')}: the map compares an input with its reconstruction, and {forward.title} has no "
                f"{back} to make one. Give a model of two networks, as cyclegan trains them."
            )
        sizing: dict[str, Any] = {"size": forward.sizing.size, "memory": forward.tiler.budget}
        backward = Translator.load(forward.folder, back, device=forward.device, engine="torch", **sizing)
        pictures = forward.source.labels is None and forward.source.channels in (1, 3)
        features = open_features("lite0", device=forward.device) if pictures and has_lite0() else None
        return cls(forward, backward, features)

    def maps(self, images: Sequence[Signed], translations: Sequence[Translation]) -> list[Map]:
        """Return the maps of images [H, W, C] in [-1, 1] and their translations, at the images' own sizes."""
        returned = self.backward.translate_values([self._as_read(made.values) for made in translations])
        return [self._map(*filled(image), back.values) for image, back in zip(images, returned, strict=True)]

    def _as_read(self, made: Signed) -> Signed:
        stored = rounded(torch.from_numpy(made).permute(2, 0, 1)[None], self._target)[0].permute(1, 2, 0).numpy()
        noise = np.random.default_rng(0).standard_normal(made.shape, np.float32) * np.float32(NOISE)
        noisy: Signed = np.clip(stored + noise, -1, 1)
        return noisy

    def _map(self, image: Signed, missing: NDArray[np.bool_] | None, back: Signed) -> Map:
        height, width = image.shape[:2]
        sigma = max(1.0, min(height, width) * SMOOTH)
        apart = torch.from_numpy(np.abs(image - back).mean(axis=2) / 2)
        doubt = blurred(apart[None, None], sigma)[0, 0].numpy()
        if self._features is not None and min(height, width) >= self._features.minimum_size:
            pair = torch.from_numpy(np.stack([image, np.clip(back, -1, 1)])).permute(0, 3, 1, 2)
            seen = self._features.maps(pair)
            assert seen is not None
            apart = 1 - nnf.cosine_similarity(seen[:1], seen[1:])[:, None]
            doubt = doubt + FEATURES * nnf.interpolate(apart, (height, width), mode="bilinear")[0, 0].numpy()
        doubt = np.clip(doubt, 0, 1).astype(np.float32)
        return doubt if missing is None else np.where(missing, np.float32(np.nan), doubt)


def with_maps(jobs: Sequence[Job], written_as: Domain) -> list[Job]:
    """Return jobs with the places of their maps; `UserError` where one has none, or it is that of another output."""
    outputs = {job.output for job in jobs}
    suffix: str = "png" if written_as.dtype == "uint8" else "tif"
    found: list[Job] = []
    for job in jobs:
        name = job.output.name.removesuffix(full_suffix(job.output))
        place = job.output.with_name(f"{name}.doubt.{suffix}")
        if job.images > 1 or place in outputs:
            why = f"it holds {job.images} images" if job.images > 1 else f"{printable(place)} is another translation"
            raise UserError(
                f"{option('doubt')}: {printable(job.source)} can have no map, since {why}. Nothing was translated. "
                f"Translate it without {option('doubt')}."
            )
        found.append(job._replace(doubt=place))
    return found


def encode_doubt(doubt: Map, suffix: str) -> bytes:
    """Return the bytes of a map's file: .tif holds the values, .png grey from 0 (none) to 255 (`WHITE` or more)."""
    grey, text = suffix == ".png", SCALE if suffix == ".png" else "doubt, as a share of the range of values"
    levels = np.rint(np.clip(np.nan_to_num(doubt) / WHITE, 0, 1) * 255).astype(np.uint8) if grey else doubt
    exif = PillowExif()
    exif[270] = text
    return encode_image(levels[:, :, None], suffix, metadata=Metadata(exif=exif.tobytes(), texts=((270, text),)))
