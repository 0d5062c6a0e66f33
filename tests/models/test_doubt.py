"""Maps of doubt: where they point, and how they are written beside translations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from audits import Affine, both, copying, hiding, random_images
from identity import write_identity
from unpaired.core.errors import UserError
from unpaired.data.encode import write_image
from unpaired.data.values import Domain, Signed
from unpaired.models.doubt import SCALE, WHITE, Doubt, Map
from unpaired.models.files import translate_files
from unpaired.models.translator import Translator
from unpaired.networks import Generator

MakeModel = Callable[..., Path]


def inputs(count: int = 2, channels: int = 3, size: int = 32) -> list[Signed]:
    images = random_images(count, channels, size, coarse=8).images
    return [image.permute(1, 2, 0).numpy() for image in images]


def maps_of(translators: tuple[Translator, Translator], images: list[Signed]) -> list[Map]:
    forward, backward = translators
    return Doubt(forward, backward).maps(images, forward.translate_values(images))


class Eraser(Generator):
    """Paints its middle grey."""

    def __init__(self) -> None:
        super().__init__(None, 3, 3, size_multiple=1, minimum_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        erased = image.clone()
        erased[:, :, 12:20, 12:20] = 0
        return erased


def test_a_copy_leaves_next_to_none_and_what_is_erased_stands_out() -> None:
    images = inputs()
    copied = maps_of(copying(), images)
    assert [found.shape for found in copied] == [(32, 32)] * 2
    assert max(float(found.max()) for found in copied) < 0.02
    erased = np.stack(maps_of(both(Eraser(), Affine(torch.eye(3))), images))
    assert erased.dtype == np.float32
    within = np.zeros((32, 32), bool)
    within[12:20, 12:20] = True
    assert np.mean(erased[:, within]) > 10 * np.mean(erased[:, ~within])
    pairs = erased[:, within][:, :, None] > erased[:, ~within][:, None]
    assert pairs.mean() > 0.95, "area under the ROC curve, pixel by pixel"


def test_nothing_that_is_hidden_hides_doubt() -> None:
    images = inputs()
    forward, backward = hiding(1.0)
    back = backward.translate_values([made.values for made in forward.translate_values(images)])
    assert max(np.abs(one.values - image).max() for one, image in zip(back, images, strict=True)) < 0.02
    assert np.mean(maps_of((forward, backward), images)) > 0.1


def test_a_map_is_that_of_its_image_in_any_batch_and_missing_where_it_has_no_value() -> None:
    images = inputs()
    images[0][3:5, 6:9] = np.nan
    one, other = maps_of(copying(), images)
    assert np.isnan(one[3:5, 6:9]).all()
    assert np.isnan(one).sum() == 6
    assert np.array_equal(maps_of(copying(), images[1:])[0], other)


@pytest.mark.parametrize("channels", [1, 3])
def test_features_add_to_it(channels: int) -> None:
    forward, backward = copying(channels)

    class Loud:
        minimum_size = 8

        def maps(self, pair: torch.Tensor) -> torch.Tensor:
            assert pair.shape == (2, channels, 32, 32)
            return torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1).expand(2, 4, 2, 2)

    images = inputs(1, channels)
    made = forward.translate_values(images)
    loud: Any = Loud()
    assert Doubt(forward, backward, loud).maps(images, made)[0].min() >= 0.2


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos" / "day"
    folder.mkdir(parents=True)
    for number, size in enumerate([(24, 20), (16, 16)]):
        levels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.v1.jpg")
    return tmp_path / "photos"


def test_a_map_lies_beside_every_output_and_says_its_scale(make_model: MakeModel, photos: Path, tmp_path: Path) -> None:
    translator, out = Translator.load(make_model(), device="cpu"), tmp_path / "out"
    report = translate_files(translator, photos, out, doubt=True)
    assert report.written == 2
    names = sorted(path.name for path in (out / "day").iterdir())
    assert names == ["0.v1.doubt.png", "0.v1.png", "1.v1.doubt.png", "1.v1.png"]
    with Image.open(out / "day" / "0.v1.doubt.png") as image:
        assert image.mode == "L"
        assert image.size == (20, 24)
        assert image.getexif()[270] == SCALE
        levels = np.asarray(image)
    pixels = np.asarray(Image.open(photos / "day" / "0.v1.jpg").convert("RGB")).astype(np.float32) / 127.5 - 1
    expected = Doubt.of(translator).maps([pixels], translator.translate_values([pixels]))[0]
    assert np.abs(levels - np.clip(expected / WHITE, 0, 1) * 255).max() <= 1
    with pytest.raises(UserError, match="exist"):
        translate_files(translator, photos, out, doubt=True)
    (out / "day" / "0.v1.doubt.png").unlink()
    assert translate_files(translator, photos, out, doubt=True, existing="skip").skipped == 1
    assert (out / "day" / "0.v1.doubt.png").exists()


def test_deep_files_get_the_values_themselves(tmp_path: Path) -> None:
    model = write_identity(tmp_path / "model", Domain(channels=1, dtype="uint16", range=(0.0, 4095.0)))
    write_image(np.full((20, 24, 1), 700, np.uint16), tmp_path / "scan.png")
    translate_files(Translator.load(model, device="cpu"), tmp_path / "scan.png", tmp_path / "out", doubt=True)
    found = tifffile.imread(tmp_path / "out" / "scan.doubt.tif")
    assert found.shape == (20, 24)
    assert found.dtype == np.float32
    assert 0 < found.mean() < 0.1, "the noise alone"


def test_what_can_have_no_map_is_refused(make_model: MakeModel, photos: Path, tmp_path: Path) -> None:
    one = Translator.load(make_model("one", directions=("a2b",)), device="cpu")
    with pytest.raises(UserError, match=r"has no b2a to make one"):
        translate_files(one, photos, tmp_path / "out", doubt=True)
    translator = Translator.load(make_model(), device="cpu")
    (photos / "day" / "0.v1.doubt.jpg").write_bytes((photos / "day" / "0.v1.jpg").read_bytes())
    with pytest.raises(UserError, match="is another translation"):
        translate_files(translator, photos, tmp_path / "out", doubt=True)
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 16, 16, 3), np.uint8), photometric="rgb")
    with pytest.raises(UserError, match="it holds 3 images"):
        translate_files(translator, tmp_path / "stack.tif", tmp_path / "out", doubt=True)
    assert not (tmp_path / "out").exists()
