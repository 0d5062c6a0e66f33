"""The picture shows what it says, for photos, label maps and any number of channels."""

from __future__ import annotations

import numpy as np
import torch

from audits import Affine, Stored, both, copying, random_images
from unpaired.audit.charts import displayed, draw
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.report.image_grid import png

TWO_CLASSES = Labels(kind="index", palette=((255, 0, 0), (0, 0, 255)), feed="one_hot")


def test_columns_are_named_and_explained() -> None:
    picture, columns = draw(*copying(), random_images(3), seed=0, title="A to B")
    assert [column.split(":")[0] for column in columns] == [
        "input",
        "translation",
        "JPEG 75 of it",
        "detail x 8",
        "reconstruction",
        "rec., noise 2",
        "rec., JPEG 75",
        "lost x 2",
        "other's detail",
        "other input",
    ]
    assert picture.dtype == np.uint8
    assert png(picture).startswith(b"\x89PNG")


def test_other_channels_have_no_jpeg_and_one_image_no_other() -> None:
    _, columns = draw(*copying(4), random_images(2, 4), seed=0, title="A to B")
    assert not any("JPEG" in column for column in columns)
    _, columns = draw(*copying(), random_images(1), seed=0, title="A to B")
    assert columns[-1].startswith("lost x 2")


def test_detail_of_an_even_image_is_grey() -> None:
    picture, _ = draw(*copying(), Stored(torch.full((1, 3, 16, 16), 0.5)), seed=0, title="t")
    # Columns are as wide as the widest cell: the fourth holds the detail, in the middle grey of 128.
    across = picture[-60, :, :]
    assert (across == 128).all(axis=1).sum() > 100


def test_label_maps_are_shown_in_their_colours() -> None:
    one_hot = torch.tensor([-1.0, 1.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert (displayed(one_hot, Domain(channels=2, labels=TWO_CLASSES)) == (0, 0, 255)).all()
    labels = Domain(channels=2, labels=TWO_CLASSES)
    there, back = both(Affine(torch.ones(3, 2) / 2), Affine(torch.ones(2, 3) / 3), labels, Domain(channels=3))
    picture, _ = draw(there, back, Stored(one_hot.repeat(2, 1, 4, 4)), seed=0, title="t")
    assert (picture == (0, 0, 255)).all(axis=2).any()
