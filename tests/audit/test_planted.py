"""What is measured of planted structures, by translators of known behaviour, and the check in an audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from audits import Affine, Forgetful, Stored, random_images, translator
from runs import write_images
from unpaired.audit.audit import audit
from unpaired.audit.options import AuditOptions
from unpaired.audit.plant import drawn
from unpaired.audit.planted import INPUT, TRANSLATION, Planted, measure_planted, views_of
from unpaired.core.errors import UserError
from unpaired.data.values import Domain
from unpaired.networks import Generator


def smooth_images(count: int = 8, channels: int = 3) -> Stored:
    coarse = random_images(count, channels, 48, coarse=6).images
    return Stored(torch.nn.functional.avg_pool2d(coarse, 9, stride=1, padding=4) * 0.5)


def measured(network: Generator, images: Stored | None = None, **more: Any) -> Planted:
    images = images or smooth_images()
    return measure_planted(views_of(translator(network)), images, drawn([4]), (0.1, 0.4), **{"real": images, **more})


def test_a_copy_keeps_everything() -> None:
    found = measured(Affine(torch.eye(3)))
    seen, bound = found.views[TRANSLATION], found.views[INPUT]
    assert seen.area().value == bound.area().value > 0.9
    assert np.allclose(seen.response, 1, atol=0.02)
    assert seen.spill.max() < 1e-6
    assert seen.difference_area.value == 1
    assert found.lost().value == pytest.approx(0)  # type: ignore[union-attr]
    assert found.false_alarms(seen.clean).mean() == pytest.approx(0.05, abs=0.02)
    assert found.real is not None
    assert np.allclose(found.real, bound.clean, atol=0.05)
    assert np.diff([seen.area(contrast=k).value for k in range(2)])[0] >= 0


def test_what_forgets_its_input_loses_all() -> None:
    found = measured(Forgetful())
    assert found.views[TRANSLATION].area().value == 0.5
    assert found.lost().value == pytest.approx(1)  # type: ignore[union-attr]
    assert found.views[TRANSLATION].response.max() == 0
    assert np.isnan(found.views[TRANSLATION].spill).all()
    assert 0 < found.lost("blurred input").value < 1  # type: ignore[union-attr]


def test_inverting_is_not_losing_and_its_sign_is_seen() -> None:
    found = measured(Affine(-torch.eye(3) * 0.5))
    assert np.allclose(found.views[TRANSLATION].response, -0.5, atol=0.05)
    assert abs(found.lost().value) < 0.05  # type: ignore[union-attr]


class Painter(Generator):
    """Draws a disc at every place of a grid, over whatever it gets."""

    def __init__(self) -> None:
        super().__init__(None, 3, 3, size_multiple=1, minimum_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        painted = image.clone()
        for top in range(4, image.shape[2] - 8, 12):
            for left in range(4, image.shape[3] - 8, 12):
                painted[:, :, top : top + 4, left : left + 4] = drawn([4])[0].put(painted[:, :, :4, :4] * 0 - 0.9, 0.9)
        return painted


def test_what_appears_where_nothing_was_planted_is_counted() -> None:
    found = measured(Painter())
    assert found.false_alarms(found.views[TRANSLATION].clean).mean() > 0.15


def test_any_channels_and_batches_say_the_same() -> None:
    one = Domain(channels=1, dtype="uint16", range=(0.0, 4095.0))
    network = Affine(torch.ones(2, 1) * 0.5)
    forward = translator(network, one, Domain(channels=2, dtype="float32"))
    found = measure_planted(views_of(forward), smooth_images(9, 1), drawn([4]), (0.4,), floor=0.001)
    assert np.allclose(found.views[TRANSLATION].response, 0.5, atol=0.01)
    assert found.views[INPUT].clean.shape[1] == 9, "more than a batch"


@pytest.fixture
def larger(tmp_path: Path) -> Path:
    return write_images(tmp_path / "larger", {"trainA": 2, "trainB": 2, "testA": 3, "testB": 3}, size=40)


def test_a_model_of_one_direction_is_asked(make_model: Any, larger: Path, tmp_path: Path) -> None:
    model = make_model("one", directions=("a2b",), size=(40, 40))
    result = audit(AuditOptions(model=model, data=larger, out=tmp_path / "out", against=model, size=40))
    assert any(text.startswith("left out: hidden: the model has no b2a") for text in result.document.notices)
    found = result.document.directions["a2b"]
    assert not found.verdict
    (check,) = found.checks
    assert check.name == "planted"
    assert check.verdict
    assert "None" not in check.summary
    assert {path.name for path in result.folder.iterdir()} == {"audit.json", "audit.svg", "planted_a2b.png"}
    figures = {figure.name: figure for figure in found.figures}
    assert figures["planted_auc"].value == figures["planted_auc_other"].value
    assert {figure.group for figure in found.figures} == {"planted"}
    assert figures["planted_auc_disc_5_0.1"].detail


def test_ones_own_structure_in_an_audit(make_model: Any, larger: Path, tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.array([0, 255], np.uint8), (4, 2))).save(tmp_path / "own.png")
    options: dict[str, Any] = {"data": larger, "out": tmp_path / "out", "size": 40, "checks": "planted"}
    model = make_model(size=(40, 40))
    result = audit(AuditOptions(model=model, plant_mask=tmp_path / "own.png", direction="a2b", **options))
    assert "own, 4 px" in result.document.directions["a2b"].checks[0].summary
    with pytest.raises(UserError, match="has the size of its file"):
        AuditOptions(model=model, plant=tmp_path / "own.png", plant_sizes=(4,))
    with pytest.raises(UserError, match="add planted or classes to checks"):
        AuditOptions(model=model, checks="hidden", against=model)
    with pytest.raises(UserError, match="no room for 1 structure"):
        audit(AuditOptions(model=model, plant=larger / "testA" / "0.png", **options))
    with pytest.raises(UserError, match="allowed are hidden, planted"):
        AuditOptions(model=model, checks="planted,everything")
