"""Labels of translations against counts by hand: by the nearest colour, and by a segmenter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from comparisons import write_labelled
from evaluations import batch_of, images_of, made_for, task_of, write_small_model
from unpaired.core.errors import UserError
from unpaired.data.labels import Labels, encoded, paint
from unpaired.data.values import Domain
from unpaired.evaluation import Options, evaluate
from unpaired.evaluation.dataset import at_size, signed
from unpaired.evaluation.metrics.labels import FCNScores, LabelScores
from unpaired.evaluation.segmentation.segmenter import Description, Segmenter, write_segmenter
from unpaired.networks.fcn import Fcn8s, FcnConfig

LABELS = Labels(
    kind="index",
    palette=((250, 0, 0), (0, 250, 0), (0, 0, 250), (9, 9, 9)),
    names=("sky", "road", "tree", "void"),
    void=(3,),
)
PHOTOS, MAPS = Domain(channels=3), Domain(channels=3, labels=LABELS)
TRUTHS = [np.array([[0, 0], [1, 3]], np.uint8), np.array([[2, 2], [1, 1]], np.uint8)]
"""Two label maps of four pixels; the last pixel of the first is void."""


class ByBrightest(nn.Module):
    """Labels a photo by its brightest channel."""

    classes = 4

    def forward(self, photos: Tensor) -> Tensor:
        return torch.cat([photos, torch.full_like(photos[:, :1], -9.0)], 1)


def by_brightest() -> Segmenter:
    description = Description(
        network=FcnConfig(),
        labels=LABELS,
        photos=PHOTOS,
        size=(2, 2),
        origin="brightness",
        training={"pairs": 1, "images_seen": 1},
        held_out={},
    )
    network: Fcn8s = ByBrightest()  # type: ignore[assignment]
    return Segmenter(network, description, torch.device("cpu"), fingerprint="brightest")


def painted(indices: Any) -> Any:
    return paint(np.where(np.array(indices) == 3, 255, np.array(indices)).astype(np.uint8), LABELS)


def values(found: Any) -> list[float | None]:
    return [one.value for one in found]


def test_labels_by_the_nearest_colour() -> None:
    maps = images_of([painted(one) for one in TRUTHS], MAPS)
    task = task_of(images_of([painted(one) for one in TRUTHS], PHOTOS), maps)
    metric = made_for(LabelScores, task)
    # Sky: 1 of 2 right. Road: 2 of 3. Tree: 2 of 2. What the first image has at its void pixel does not count.
    metric.update(batch_of(task, [painted([[0, 1], [1, 0]]), painted([[2, 2], [0, 1]])]))
    iou = (1 / 3 + 2 / 4 + 1) / 3
    assert values(metric.compute()) == pytest.approx([5 / 7, (1 / 2 + 2 / 3 + 1) / 3, iou])
    [table] = metric.tables()
    assert table.rows[1] == ("road", 3 / 7, pytest.approx(2 / 3), 0.5)
    assert len(table.rows) == 3  # void is no class
    # The other image's true labels as an answer: right at (1, 0) of both, void in either counts for neither.
    assert metric.bounds().keys() == {"shuffled_labels"}
    assert metric.bounds()["shuffled_labels"][0].value == pytest.approx(2 / 6)


def test_the_fcn_score_lies_between_its_bounds() -> None:
    task = task_of(
        images_of([painted(one) for one in TRUTHS], MAPS),
        images_of([painted(one) for one in TRUTHS], PHOTOS),  # its brightest channel is its class
    )
    metric = made_for(FCNScores, task, segmenter=by_brightest())
    metric.update(batch_of(task, [painted([[0, 1], [1, 0]]), painted([[2, 2], [0, 1]])]))
    found = metric.compute()
    assert [one.name for one in found] == ["fcn_pixel_accuracy", "fcn_class_accuracy", "fcn_class_iou"]
    assert found[0].value == pytest.approx(5 / 7)
    assert found[0].protocol["segmenter_fingerprint"] == "brightest"
    bounds = metric.bounds()
    assert values(bounds["real_photos"]) == [1, 1, 1]
    assert bounds["shuffled_labels"][0].value < found[0].value
    columns = ("class", "share of pixels", "accuracy", "IoU", "real photos: accuracy", "real photos: IoU")
    assert metric.tables()[0].columns == columns


def test_only_void_is_said_and_not_a_number() -> None:
    maps = images_of([painted([[3, 3], [3, 3]])] * 2, MAPS)
    task = task_of(images_of([painted(one) for one in TRUTHS], PHOTOS), maps)
    metric = made_for(LabelScores, task)
    metric.update(batch_of(task, [painted(one) for one in TRUTHS]))
    assert values(metric.compute()) == [None, None, None]
    assert all(one.note for one in metric.compute())
    assert metric.tables()[0].rows == ()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"), test=3)


def write_fcn(folder: Path, labels: Labels) -> Path:
    config = FcnConfig(fc_width=4)
    description = Description(
        network=config,
        labels=labels,
        photos=PHOTOS,
        size=(32, 32),
        origin="none",
        training={"pairs": 6, "images_seen": 0},
        held_out={},
    )
    torch.manual_seed(0)
    write_segmenter(folder, Fcn8s(config, 3, len(labels.palette)), description)
    return folder


def test_label_maps_of_other_sizes_than_their_photos(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "data"
    for folder in ("test", "testannot"):
        (other / folder).mkdir(parents=True)
        for path in sorted((root / folder).iterdir()):
            with Image.open(path) as image:
                size = (48, 40) if folder == "test" else image.size
                image.resize(size, Image.Resampling.NEAREST).save(other / folder / path.name)
    model = write_small_model(tmp_path / "model", {"a": MAPS, "b": PHOTOS})
    found = evaluate(Options(model=model, data=other, device="cpu", direction="b2a")).directions["b2a"]
    assert found.figure("class_iou").value is not None
    assert "label maps: nearest pixel" in str(found.figure("class_iou").protocol["resize_filter"])
    assert any("resized to them" in warning for warning in found.warnings)


@pytest.mark.parametrize("feed", ["colour", "one_hot"])
def test_label_maps_are_never_blended(feed: Literal["colour", "one_hot"]) -> None:
    labels = replace(LABELS, feed=feed)
    maps = Domain(channels=3 if feed == "colour" else 4, labels=labels)
    image = encoded(np.array([[0, 1], [2, 255]], np.uint8).repeat(8, 0).repeat(8, 1), labels)
    large = at_size([image], maps, (31, 29))
    assert large.shape == (1, maps.channels, 31, 29)
    held = [{tuple(pixel) for pixel in one.flatten(1).T.tolist()} for one in (large[0], signed([image], maps)[0])]
    assert held[0] == held[1]


@pytest.mark.slow
def test_an_fcn_in_a_folder(root: Path, tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "model", {"a": MAPS, "b": PHOTOS})
    fcn = write_fcn(tmp_path / "fcn", LABELS)
    found = evaluate(Options(model=model, data=root, fcn=fcn, device="cpu")).directions
    assert found["a2b"].figure("fcn_class_iou").value is not None
    nameless = write_small_model(
        tmp_path / "nameless", {"a": replace(MAPS, labels=replace(LABELS, names=None)), "b": PHOTOS}
    )
    again = evaluate(Options(model=nameless, data=root, fcn=fcn, device="cpu", direction="a2b", metrics=("fcn",)))
    table = next(one for one in again.directions["a2b"].tables if one.title.startswith("FCN"))
    assert {row[0] for row in table.rows} <= {"sky", "road", "tree"}  # the segmenter knows what they are called
    assert {"real_photos", "shuffled_labels"} <= set(found["a2b"].bounds)
    assert "FCN-8s" in str(found["a2b"].figure("fcn_class_iou").protocol["labelled_by"])
    assert not any(one.name.startswith("fcn") for one in found["b2a"].figures)
    other = Labels(kind="index", palette=((1, 1, 1), (2, 2, 2)))
    with pytest.raises(UserError, match="names 2 classes and the label maps have other ones"):
        evaluate(Options(model=model, data=root, fcn=write_fcn(tmp_path / "other", other), device="cpu"))
    grey = write_small_model(tmp_path / "grey", {"a": MAPS, "b": Domain(channels=1)})
    with pytest.raises(UserError, match="photos of 3 channels, and these have 1"):
        evaluate(Options(model=grey, data=root, fcn=fcn, device="cpu"))
    plain = write_small_model(tmp_path / "plain")
    with pytest.raises(UserError, match="fcn: it labels photos that were made of label maps"):
        evaluate(Options(model=plain, data=root, fcn=fcn, device="cpu"))
