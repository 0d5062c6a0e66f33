"""What a translator adds and removes, by the classes of its inputs and translations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unpaired.audit import classes
from unpaired.audit.audit import audit
from unpaired.audit.classes import LEAST, compared
from unpaired.audit.options import AuditOptions
from unpaired.core.errors import UserError
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.evaluation.segmentation.segmenter import Description, build_network, write_segmenter
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.networks import Generator, ResnetConfig, build_generator, describe_generator
from unpaired.networks.segmentation_unet import SegmentationUnetConfig
from unpaired.report.results import Audit

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LABELS = Labels(kind="colour", palette=(RED, GREEN, BLUE), names=("red", "green", "blue"))


def test_shares_by_hand() -> None:
    before = np.zeros((2, 4, 4), np.uint8)
    before[:, :2] = 1  # class 1 above, class 0 below
    after = before.copy()
    after[0, 0] = 2  # invents a row of class 2
    after[1][before[1] == 1] = 0  # loses class 1
    found = compared(before, after, 3)
    np.testing.assert_allclose(found.source, [[0.5, 0.5, 0]] * 2)
    np.testing.assert_allclose(found.translated, [[0.5, 0.25, 0.25], [1, 0, 0]])
    np.testing.assert_allclose(found.added, [[0, 0, 0.25], [0.5, 0, 0]])
    np.testing.assert_allclose(found.removed, [[0, 0.25, 0], [0, 0.5, 0]])
    np.testing.assert_allclose(found.parts["invented"], [[0, 0, 0.25], [0, 0, 0]])
    np.testing.assert_allclose(found.parts["lost"], [[0, 0, 0], [0, 0.5, 0]])


def test_rough_borders_are_no_content() -> None:
    before = np.zeros((1, 20, 20), np.uint8)
    before[0, 0, 0] = 1
    after = np.zeros((1, 20, 20), np.uint8)
    assert LEAST > 1 / 400
    assert (compared(before, after, 2).parts["lost"] >= LEAST).sum() == 0


class Flip(Generator):
    """Shows green where the input is red."""

    def __init__(self) -> None:
        super().__init__(None, 3, 3, size_multiple=4, minimum_size=8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, [1, 0, 2]]


@pytest.fixture
def maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model between two domains of label maps, and its images: red and blue halves, or blue alone."""
    for folder, count in {"trainA": 2, "trainB": 2, "testA": 4, "testB": 2}.items():
        (tmp_path / "data" / folder).mkdir(parents=True)
        for number in range(count):
            picture = np.full((16, 16, 3), BLUE, np.uint8)
            picture[: 8 if number % 2 else 0] = RED
            Image.fromarray(picture).save(tmp_path / "data" / folder / f"{number}.png")
    network = build_generator(ResnetConfig(width=2, blocks=0), 3, 3)
    card = ModelCard(
        origin="made by a test",
        method="cyclegan",
        training_size=(16, 16),
        domains={"a": Domain(channels=3, labels=LABELS), "b": Domain(channels=3, labels=LABELS)},
        translators={"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")},
    )
    write_model(tmp_path / "model", card, {"a2b.safetensors": network.state_dict()})
    flip = Flip()

    def translate(self: Any, images: torch.Tensor) -> torch.Tensor:
        return flip(images)

    monkeypatch.setattr("unpaired.models.translator.Translator.translate_tensor", translate)
    return tmp_path


def _audited(root: Path, **options: Any) -> Audit:
    places = {"model": root / "model", "data": root / "data", "out": root / "out"}
    return audit(AuditOptions(**places, checks="classes", size=16, **options)).document


def test_what_is_added_and_removed_is_told_with_its_baselines(maps: Path) -> None:
    found = _audited(maps).directions["a2b"]
    values = {figure.name: figure.value for figure in found.figures}
    # Two of four images are half red, which becomes green.
    assert values["invented_share"] == values["lost_share"] == pytest.approx(0.25)
    assert values["invented_images"] == values["lost_images"] == pytest.approx(0.5)
    assert values["invented_share_identity"] == values["lost_images_identity"] == 0
    assert values["invented_share_other"] is not None
    assert {figure.group for figure in found.figures} == {"classes"}
    (check,) = found.checks
    rows = {row[0]: row for row in check.tables[0].rows}
    assert rows["green"][2].value == pytest.approx(25)  # type: ignore[union-attr]
    assert rows["green"][6].value == rows["red"][7].value == pytest.approx(50)  # type: ignore[union-attr]
    assert "green" not in check.verdict or "invented" in check.verdict
    with Image.open(maps / "out" / "classes_a2b.png") as picture:
        assert picture.width > 300
    read = Audit.read(maps / "out").directions["a2b"]
    assert read.checks[0].tables == check.tables
    assert read.figures == found.figures


def test_photos_need_a_segmenter_of_the_same_classes(make_model: Any, images: Path, tmp_path: Path) -> None:
    model, asked = make_model(), {"data": images, "out": tmp_path / "out", "size": 16}
    with pytest.raises(UserError, match=r"classes images of A and B show; give segmenter_a = FOLDER and"):
        audit(AuditOptions(model=model, checks="classes", **asked))
    with pytest.raises(UserError, match="segmenter_a: add classes to checks"):
        AuditOptions(model=model, checks="planted", segmenter_a=tmp_path)
    given = {}
    for side, names in {"a": ("sky", "road"), "b": ("sky", "car")}.items():
        labels = Labels(kind="index", palette=(RED, BLUE), names=names)
        config = SegmentationUnetConfig(width=2)
        training = {"images_seen": 1, "pairs": 1}
        described = Description(
            network=config,
            labels=labels,
            photos=Domain(channels=3),
            size=(16, 16),
            origin="",
            training=training,
            held_out={},
        )
        write_segmenter(tmp_path / side, build_network(config, 3, 2), described)
        given[f"segmenter_{side}"] = tmp_path / side
    with pytest.raises(UserError, match="sky and road; sky and car"):
        audit(AuditOptions(model=model, checks="classes", **given, **asked))
    given["segmenter_b"] = given["segmenter_a"]
    found = audit(AuditOptions(model=model, checks="classes", against=make_model("against"), **given, **asked)).document
    assert set(found.directions) == {"a2b", "b2a"}
    assert found.directions["a2b"].figure("lost_share_against") is not None
    for direction in found.directions.values():
        assert all(0 <= figure.value <= 1 for figure in direction.figures if figure.value is not None)
        assert direction.figures[0].protocol["segmenter_a"]


def test_least_is_said(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "LEAST", 0.9)
    values = {figure.name: figure.value for figure in _audited(maps).directions["a2b"].figures}
    assert values["invented_images"] == 0
