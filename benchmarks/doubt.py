"""How well maps of doubt point at content that a translation lost or invented (docs/audit.md).

    python benchmarks/doubt.py runs/h2z [--images 24]             # planted structures that are lost
    python benchmarks/doubt.py RUN --scenes invented/data/65      # drawn scenes of benchmarks/hallucination.py

The figure is an area under the ROC curve over pixels: how often doubt is larger at a pixel of lost or invented content
than at another one. Baselines are the difference between input and translation, and the input's own edges.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.audit.inputs import HeldOutImages
from unpaired.audit.observe import scores
from unpaired.audit.plant import box, drawn, plan_for, sizes_for
from unpaired.data.values import rounded
from unpaired.evaluation.inputs import open_model
from unpaired.models.doubt import Doubt
from unpaired.models.translator import Translator

Values = NDArray[np.float64]
CONTRAST = 0.4
MAP = ((190, 208, 150), (244, 226, 190), (110, 160, 226), (222, 40, 60))
"""Colours of the classes in maps of benchmarks/hallucination.py."""
INVENTED = 3
"""The class that no photo has."""


def area(values: Values, truth: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve of values for a truth of the same shape."""
    order = np.argsort(values, axis=None, kind="stable")
    ranks = np.empty(order.size)
    ranks[order] = np.arange(1, order.size + 1)
    positive = int(truth.sum())
    if positive in (0, truth.size):
        return float("nan")
    return float((ranks[truth.ravel()].sum() - positive * (positive + 1) / 2) / (positive * (truth.size - positive)))


def edges(image: NDArray[np.float32]) -> Values:
    """Return the size of an image's gradient, [H, W]."""
    return np.hypot(*np.gradient(image.mean(axis=2).astype(np.float64)))


def maps_of(forward: Translator, images: list[NDArray[np.float32]]) -> dict[str, Values]:
    """Return the map of doubt of every image, its parts, and the baselines, [N, H, W]."""
    made = forward.translate_values(images)
    whole = Doubt.of(forward)
    both = forward.source.channels == forward.target.channels
    found = {
        "doubt": whole.maps(images, made),
        "without features": Doubt(forward, whole.backward).maps(images, made),
        "|translation - input|": [abs(one.values - x).mean(axis=2) for one, x in zip(made, images, strict=True)]
        if both
        else [],
        "edges of the input": [edges(x) for x in images],
    }
    return {name: np.asarray(values, np.float64) for name, values in found.items() if len(values)}


def planted(run: Path, count: int) -> None:
    """Print areas for structures that an observer of the translation finds less than half as well as in the input."""
    inputs = open_model(run, device="cpu")
    for direction in inputs.directions:
        forward = Translator.load(run, direction, device="cpu", engine="torch", precision="fp32")
        images = HeldOutImages(inputs, direction[0], count)  # type: ignore[arg-type]
        numbers = list(range(len(images)))
        x = images.batch(numbers)
        height, width = x.shape[-2:]
        plan = plan_for((height, width), drawn(sizes_for(height, width)), 0)
        with_them = plan.plant(x, numbers, CONTRAST)
        seen = rounded(forward.translate_tensor(with_them), forward.target)
        truth, lost = np.zeros((len(x), height, width), bool), 0
        for position, one in enumerate(plan.structures):
            centres = [plan.places(number)[position] for number in numbers]
            kept = scores(seen, centres, one) >= 0.5 * scores(with_them, centres, one)
            for number, centre, keeps in zip(numbers, centres, kept.tolist(), strict=True):
                truth[number][box(centre, one.profile.shape)[1:]] |= not keeps
                lost += not keeps
        values = maps_of(forward, [image.permute(1, 2, 0).numpy() for image in with_them])
        print(f"{forward.heading}: {lost} of {len(plan.structures) * len(x)} planted structures lost")
        report(values, {"lost": truth})


def drawn_scenes(run: Path, data: Path) -> None:
    """Print areas for pixels whose class in the translation is not that of the scene, and for the invented class."""
    forward = Translator.load(run, "a2b", device="cpu", engine="torch", precision="fp32", checkpoint="last")
    files = sorted((data / "testA").glob("*.png"))
    x = [np.asarray(Image.open(file).convert("RGB"), np.float32) / 127.5 - 1 for file in files]
    true = np.stack([np.asarray(Image.open(data / "classesA" / file.name)) for file in files])
    made = np.stack([np.asarray(one.image, np.float64) for one in forward.translate_values(x)])
    found = np.square(made[..., None, :] - np.array(MAP)).sum(-1).argmin(-1)
    print(f"{run.name}: {(found != true).mean():.1%} of the pixels wrong, {(found == INVENTED).mean():.1%} invented")
    report(maps_of(forward, x), {"wrong": found != true, "invented": found == INVENTED})


def report(values: Mapping[str, Values], truths: Mapping[str, NDArray[np.bool_]]) -> None:
    """Print a line for each map."""
    for name, each in values.items():
        print(f"  {name:24s}" + "".join(f"  {what} {area(each, truth):.3f}" for what, truth in truths.items()))


def main() -> None:
    """Measure a run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--scenes", type=Path)
    given = parser.parse_args()
    if given.scenes is None:
        planted(given.run, given.images)
    else:
        drawn_scenes(given.run, given.scenes)


if __name__ == "__main__":
    main()
