"""What of planted structures survives a translation, and what appears where none was planted.

Images are translated with and without structures. The observer of `observe` looks at the place in one translation
alone, as a person does who has no second one to compare with: its scores with the structure against those at all
places of translations without it give the ROC curve. The same observer looks at the inputs themselves (the bound: what
could be seen at all) and at blurred inputs. With both translations at hand it looks at their difference, against
places of the same difference where nothing was planted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.audit.disturb import LEVEL
from unpaired.audit.findings import Share
from unpaired.audit.measure import Images, OnProgress, batches
from unpaired.audit.observe import Area, area, error_of, mean_area, scores
from unpaired.audit.plant import Plan, Structure, box, plan_for
from unpaired.data.values import rounded
from unpaired.models.translator import Translator
from unpaired.networks.disturbance import blurred

View = Callable[[Tensor], Tensor]
"""Makes of images [N, C, H, W] in [-1, 1] what an observer sees of them, as files hold it."""
INPUT, BLURRED, TRANSLATION, OTHER = "input", "blurred input", "translation", "other model"
BLUR = 1 / 64
"""Standard deviation of the blur, as a share of the shorter side."""
FALSE_ALARMS = 0.05
"""At the score that this share of the places of inputs reaches, something is said to be seen."""
_Array = NDArray[np.float64]


def views_of(forward: Translator, other: Translator | None = None) -> dict[str, View]:
    """Return what is compared: the input, a blur of it, the translation and that of another model."""
    source = forward.source
    views: dict[str, View] = {
        INPUT: lambda images: rounded(images, source),
        BLURRED: lambda images: rounded(blurred(images, min(images.shape[-2:]) * BLUR), source),
        TRANSLATION: lambda images: rounded(forward.translate_tensor(images), forward.target),
    }
    if other is not None:
        views[OTHER] = lambda images: rounded(other.translate_tensor(images), other.target)
    return views


@dataclass(frozen=True, slots=True)
class Seen:
    """What one view shows of S structures at K contrasts in N images."""

    clean: _Array
    """[S, N, P]: scores at every place of images without structures."""
    planted: _Array
    """[S, K, N]: scores at the place of a structure."""
    response: _Array
    """[S, K, N]: change of the view at the place, as a multiple of the planted one; negative where bright became dark.
    NaN where nothing could be planted."""
    difference: _Array
    """[S, K, N]: scores of the difference to the view without structures, at the place."""
    controls: _Array
    """[S, K, N]: the same at a place where nothing was planted."""
    spill: _Array
    """[1, K, N]: share of the squared change outside of the windows of all structures."""

    def area(self, structure: int | None = None, contrast: int | None = None) -> Area:
        """Return the area of the observer who sees this view alone: of one structure and contrast, or the mean."""
        every = range(len(self.planted)), range(self.planted.shape[1])
        pairs = [(s, k) for s in every[0] for k in every[1] if structure in (s, None) and contrast in (k, None)]
        return mean_area([area(self.planted[pair], self.clean[pair[0]]) for pair in pairs])

    @property
    def difference_area(self) -> Area:
        """Return the mean area of the observer who has both views."""
        pairs = np.ndindex(*self.difference.shape[:2])
        return mean_area([area(self.difference[pair], self.controls[pair][:, None]) for pair in pairs])

    def hits(self, contrast: int, rates: _Array) -> _Array:
        """Return the rate of hits at rates of false alarms: the ROC curve, mean over structures."""
        limits = [np.quantile(clean, 1 - rates, method="higher") for clean in self.clean]
        return np.asarray((self.planted[:, contrast, :, None] > np.stack(limits)[:, None]).mean((0, 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What was measured of one direction."""

    structures: Sequence[Structure]
    contrasts: Sequence[float]
    views: Mapping[str, Seen]
    real: _Array | None = None
    """[S, N, P]: scores of real images of the target, which hold no planted structure either."""

    def lost(self, view: str = TRANSLATION, structure: int | None = None) -> Share | None:
        """Return the share of what can be seen in the inputs that is lost: 1 - (A - 1/2) / (A_input - 1/2).

        With the error of a ratio to first order; None where hardly anything can be seen in the inputs.
        """
        bound, seen = (self.views[name].area(structure) for name in (INPUT, view))
        could, can = bound.value - 0.5, seen.value - 0.5
        if could <= max(0.02, 2 * (bound.error or 0.0)):
            return None
        return Share(1 - can / could, error_of(bound.influence * can / could**2 - seen.influence / could))

    def false_alarms(self, clean: _Array) -> _Array:
        """Return for each image the share of places [S, N, P] where a structure seems to be and none was planted."""
        limits = np.quantile(self.views[INPUT].clean, 1 - FALSE_ALARMS, axis=(1, 2), method="higher")
        return np.asarray((clean > limits[:, None, None]).mean((0, 2)))


def measure_planted(
    views: Mapping[str, View],
    images: Images,
    structures: Sequence[Structure],
    contrasts: Sequence[float],
    *,
    seed: int = 0,
    real: Images | None = None,
    floor: float = LEVEL,
    progress: OnProgress | None = None,
) -> Planted:
    """Plant structures into images of one size and look for them in every view; memory does not grow with the images.

    `floor` is that of `observe.scores`. Raises `UserError` where the images are too small for the structures.
    """
    height, width = images.batch([0]).shape[-2:]
    plan = plan_for((height, width), structures, seed)
    parts: dict[str, list[dict[str, Tensor]]] = {name: [] for name in views}
    for numbers in batches(images):
        x = images.batch(numbers)
        planted = [plan.plant(x, numbers, contrast) for contrast in contrasts]
        for name, view in views.items():
            parts[name].append(_look(view, x, planted, plan, numbers, floor))
        if progress is not None:
            progress(numbers[-1] + 1, len(images))
    joined = {
        name: {key: torch.cat([part[key] for part in found], 1 if key == "clean" else 2).numpy() for key in found[0]}
        for name, found in parts.items()
    }
    of_real = [] if real is None else [_clean(real.batch(numbers), plan, floor) for numbers in batches(real)]
    return Planted(
        structures=structures,
        contrasts=contrasts,
        views={name: Seen(**found) for name, found in joined.items()},
        real=torch.cat(of_real, 1).numpy() if of_real else None,
    )


def _clean(images: Tensor, plan: Plan, floor: float) -> Tensor:
    """Return scores [S, N, P] of images at all places."""
    every, centres = images.repeat_interleave(len(plan.cells), dim=0), [*plan.cells] * len(images)
    return torch.stack([scores(every, centres, one, floor).reshape(len(images), -1) for one in plan.structures])


def _look(
    view: View, x: Tensor, planted: Sequence[Tensor], plan: Plan, numbers: Sequence[int], floor: float
) -> dict[str, Tensor]:
    """Return what a view shows of one batch, by the names of `Seen`'s fields."""
    clean, places, taken = view(x), [plan.places(number) for number in numbers], len(plan.structures)
    found = {name: torch.empty(taken, len(planted), len(x), dtype=torch.float64) for name in _OF_PLACES}
    spill = torch.empty(1, len(planted), len(x), dtype=torch.float64)
    for k, image in enumerate(planted):
        shown = view(image)
        change, made = (shown - clean).double(), (image - x).double()
        far = torch.ones_like(change[:, :1])
        for s, one in enumerate(plan.structures):
            centres, free = [each[s] for each in places], [each[taken + s % (len(each) - taken)] for each in places]
            found["planted"][s, k] = scores(shown, centres, one, floor)
            found["difference"][s, k] = scores(change, centres, one, floor)
            found["controls"][s, k] = scores(change, free, one, floor)
            for i, centre in enumerate(centres):
                within = box(centre, one.profile.shape)
                answer, asked = change[i][within].mean(0), made[i][within].mean(0)
                found["response"][s, k, i] = (answer * asked).sum() / asked.square().sum()
                far[i][box(centre, (one.window,) * 2)] = 0
        spill[0, k] = (change.square() * far).sum((1, 2, 3)) / change.square().sum((1, 2, 3))
    return {**found, "clean": _clean(clean, plan, floor), "spill": spill}


_OF_PLACES = ("planted", "response", "difference", "controls")
