"""What can be seen of a translation: itself, the reconstruction, what has changed, and its hidden signal."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from unpaired.audit.charts import amplified_detail
from unpaired.data.values import Domain, Signed, filled, to_signed
from unpaired.models.translation import Translation
from unpaired.web.refused import Refused

View = Literal["translation", "reconstruction", "difference", "hidden"]


def domain_of(view: View, source: Domain, target: Domain) -> Domain:
    """Return what a view's image is; raises `Refused` where there is no such view."""
    if view == "translation":
        return target
    if view == "reconstruction":
        return source
    if target.labels is not None or (view == "difference" and source.labels is not None):
        raise Refused(422, "view", f"view={view} shows pictures, and this model translates label maps.")
    if view == "difference" and source.channels != target.channels:
        raise Refused(422, "view", "view=difference needs domains of as many channels.")
    return Domain(channels=target.channels)


def draw(view: View, values: Signed, translation: Translation) -> Translation:
    """Return a picture of how a translation differs from its input `values`, or of its hidden signal.

    `difference` is the absolute difference, black where nothing has changed; `hidden` is the audit's amplified detail
    of the translation as a file holds it: the translation less a blur, around grey.
    """
    values = filled(values)[0]
    if view == "difference":
        shown: Signed = np.abs(translation.values - values) - np.float32(1)
    else:
        stored = filled(to_signed(translation.image, translation.domain.range))[0]
        detail = amplified_detail(torch.from_numpy(stored).permute(2, 0, 1)[None])
        shown = detail[0].permute(1, 2, 0).numpy()
    return Translation(shown, Domain(channels=shown.shape[2]))
