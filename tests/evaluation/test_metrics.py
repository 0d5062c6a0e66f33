"""Measures of single images: what they compare, what they leave out, which images they show."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from evaluations import pictures
from labelled import Source
from unpaired.data.check import ImageInfo
from unpaired.data.values import Domain
from unpaired.evaluation.dataset import Pictures, Row
from unpaired.evaluation.metrics import EXAMPLES, Content, Paired, Reconstruction
from unpaired.evaluation.translations import Batch, signed
from unpaired.metrics.paired import l1

COLOUR = Domain(channels=3)


class Brightness:
    """In place of LPIPS: the difference of the means."""

    name, fingerprint, input = "LPIPS (brightness)", "1", "as it is"

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return (x.mean((1, 2, 3)) - y.mean((1, 2, 3))).abs()


def of(images: list[Any]) -> Pictures:
    infos = [ImageInfo(Path(f"{n}.png"), *image.shape, "uint8", b"", None, None) for n, image in enumerate(images)]
    return Pictures(
        source=Source(images),
        domain=COLOUR,
        files=tuple(infos),
        sizes=tuple((image.shape[0], image.shape[1]) for image in images),
        positions=tuple(range(len(images))),
        prepared="",
    )


def batch(made: list[Any], inputs: list[Any] | None = None, returned: list[Any] | None = None) -> Batch:
    def stacked(images: list[Any] | None) -> Tensor | None:
        return None if images is None else torch.stack([signed(image, COLOUR) for image in images])

    tensor = stacked(made)
    assert tensor is not None
    return Batch(
        rows=tuple(Row(n, None, n) for n in range(len(made))),
        names=tuple(f"{n}.png" for n in range(len(made))),
        images=tuple(made),
        made=tensor,
        input_images=None if inputs is None else tuple(inputs),
        inputs=stacked(inputs),
        returned=stacked(returned),
    )


def test_pairs_of_small_images_leave_out_what_needs_large_ones() -> None:
    real, made = pictures(3, 8), pictures(3, 8, seed=1)
    gauge = Paired(of(real), None, plain=True)
    gauge.add(batch(made))
    assert [one.name for one in gauge.figures({})] == ["l1", "psnr"]
    assert gauge.warnings() == ["SSIM is left out: it needs 11 pixels on the shorter side, and an image has 8"]


def test_true_images_of_other_sizes_are_brought_to_the_translations() -> None:
    real, made = pictures(2, 40), pictures(2, 24)
    gauge = Paired(of(real), Brightness(), plain=False)  # type: ignore[arg-type]
    gauge.add(batch(made))
    [found] = gauge.figures({"seed": 0})
    assert (found.name, found.title) == ("lpips", "LPIPS (brightness) to the true image")
    assert found.protocol["features_fingerprint"] == "1"
    assert "2 true images have other sizes" in gauge.warnings()[0]


def test_the_worst_reconstructions_are_shown_worst_first() -> None:
    inputs = [np.full((64, 64, 3), 100, np.uint8)] * 9
    returned = [np.full((64, 64, 3), 100 + step, np.uint8) for step in (3, 60, 1, 9, 40, 0, 20, 7, 5)]
    gauge = Reconstruction(COLOUR, COLOUR, "A to B")
    gauge.add(batch(inputs, inputs, returned))
    [picture] = gauge.pictures("a2b")
    assert picture.file == "worst_reconstruction_a2b.png"
    assert f"{EXAMPLES} rows" in picture.alt
    shown = np.asarray(Image.open(io.BytesIO(picture.content)))
    rows = [int(np.nonzero((shown == step).all(2).any(1))[0].mean()) for step in (60, 40, 20, 9, 7, 5)]  # differences
    assert rows == sorted(rows)
    assert not (shown == 3).all(2).any()
    figure = gauge.figures({})[0]
    expected = l1(*(torch.stack([signed(one, COLOUR) for one in images]) for images in (inputs, returned)))
    assert figure.value == pytest.approx(float(expected.mean()), rel=1e-5)


def test_content_is_compared_at_the_size_of_the_translation() -> None:
    sizes = list[tuple[int, ...]]()

    def distance(x: Tensor, y: Tensor) -> Tensor:
        sizes.append((*x.shape[1:], *y.shape[1:]))
        return (x - y).abs().mean((1, 2, 3))

    grey = Domain(channels=1)
    gauge = Content("structure", "Structure", distance, {"features": "none"}, (grey, COLOUR), "A to B")
    inputs = [image[:, :, :1] for image in pictures(2, 40)]
    gauge.add(batch(pictures(2, 24), inputs))
    assert sizes == [(3, 24, 24, 3, 24, 24)]
    [found] = gauge.figures({"seed": 0})
    assert found.protocol == {"seed": 0, "features": "none", "error": "standard error over the images"}
    assert [one.file for one in gauge.pictures("a2b")] == ["best_structure_a2b.png", "worst_structure_a2b.png"]
