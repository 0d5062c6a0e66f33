"""The size at which a network sees an image, and the way back to the image's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

import unpaired
from evaluations import pictures, write_data, write_pictures, write_small_model, write_small_run
from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig
from unpaired.data.labels import Labels
from unpaired.data.scale import Scale, scale_of
from unpaired.data.transforms import prepared_size
from unpaired.data.values import Domain
from unpaired.models.folder import ModelCard
from unpaired.models.loading import load_generator
from unpaired.models.sizing import choose_sizing
from unpaired.models.translator import Translator
from unpaired.networks import Generator

COLOUR, GREY = Domain(channels=3), Domain(channels=1)
LABELS = Domain(channels=3, labels=Labels(kind="colour", palette=((0, 0, 0), (255, 0, 0), (0, 0, 255))))
SMALL = Scale(preprocess="resize_and_crop", load_size=(16, 16), crop_size=(16, 16))


class Brighter(Generator):
    """Adds a constant and remembers the sizes that it saw."""

    def __init__(self, channels: int = 3, by: float = 0.25) -> None:
        super().__init__(None, channels, channels, size_multiple=4, minimum_size=8)
        self.by, self.sizes = by, list[tuple[int, ...]]()

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape[-2:]))
        return (image + self.by).clamp(-1, 1)


def card(scale: Scale | None = SMALL, a: Domain = COLOUR, b: Domain = COLOUR) -> ModelCard:
    return ModelCard(origin="made by a test", domains={"a": a, "b": b}, translators={}, scale=scale)


def translator(scale: Scale | None = SMALL, by: float = 0.25, **options: Any) -> tuple[Translator, Brighter]:
    network = Brighter(by=by)
    return Translator(network, card(scale), "a2b", device="cpu", **options), network


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, (16, 16)),
        ({"size": "trained"}, (16, 16)),
        ({"size": "native"}, (64, 48)),
        ({"size": 24}, (32, 24)),
        ({"size": "24"}, (32, 24)),
    ],
)
def test_the_network_sees_the_size_that_was_chosen_and_the_user_gets_his_own(
    options: dict[str, Any], seen: tuple[int, int]
) -> None:
    brighter, network = translator(**options)
    result = brighter(np.full((64, 48, 3), 100, np.uint8))
    assert network.sizes == [seen]
    np.testing.assert_array_equal(result, np.full((64, 48, 3), 132))
    tensor = brighter(torch.zeros(2, 3, 64, 48))
    assert (tensor.shape, float(tensor.mean())) == ((2, 3, 64, 48), 0.25)


def test_a_model_that_does_not_know_its_scale_sees_images_as_they_are() -> None:
    unknown, network = translator(None)
    unknown(np.zeros((64, 48, 3), np.uint8))
    assert network.sizes == [(64, 48)]
    with pytest.raises(UserError, match=r"does not say at which size it was trained.*native"):
        translator(None, size="trained")


@pytest.mark.parametrize("size", ["0", "-3", "1.5", "all", True, 0])
def test_sizes_that_are_none_are_refused(size: Any) -> None:
    with pytest.raises(UserError, match="allowed are native, trained or the pixels"):
        translator(size=size)


def test_the_inputs_detail_is_kept_and_can_be_left() -> None:
    image = np.indices((64, 64)).sum(0)[..., None] % 2 * np.full(3, 100) + 50  # a chessboard, gone at 16 x 16
    kept = translator()[0](image.astype(np.uint8))
    np.testing.assert_allclose(kept, image + 32, atol=1)
    smooth = translator(detail=False)[0](image.astype(np.uint8))
    np.testing.assert_allclose(smooth, 132, atol=1)
    assert not translator()[0].card.domains["a"].labels
    with pytest.raises(UserError, match="pictures of the same channels"):
        choose_sizing(card(b=GREY), "a2b", size=None, detail=True, searches=False)


def test_label_maps_are_resized_by_the_nearest_pixel_both_ways() -> None:
    assert LABELS.labels is not None
    colours = np.array(LABELS.labels.palette, np.uint8)
    image = colours[np.random.default_rng(0).integers(0, 3, (48, 64))]
    network = Brighter(by=0.0)
    made = Translator(network, card(a=LABELS, b=LABELS), "a2b", device="cpu")(image)
    rows, columns = (((np.arange(16) + 0.5) * length / 16).astype(int) for length in image.shape[:2])
    small = image[rows][:, columns]
    up = [((np.arange(length) + 0.5) * 16 / length).astype(int) for length in image.shape[:2]]
    np.testing.assert_array_equal(made, small[up[0]][:, up[1]])


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["native", "trained", 1, 7, 40]), st.booleans())
def test_every_image_comes_back_at_its_own_size(height: int, width: int, size: Any, detail: bool) -> None:
    made = translator(size=size, detail=detail)[0](np.full((height, width, 3), 7, np.uint8))
    np.testing.assert_allclose(made, 39, atol=1)


@given(
    st.sampled_from(["resize_and_crop", "scale_width", "scale_width_and_crop", "crop", "none"]),
    st.integers(1, 500),
    st.integers(1, 500),
)
def test_the_scale_is_the_arithmetic_of_the_preparation(preprocess: Any, height: int, width: int) -> None:
    sized = {} if preprocess in ("none", "crop") else {"load_size": 40}
    cropped = {} if preprocess in ("none", "scale_width") else {"crop_size": 32}
    config = DataConfig(preprocess=preprocess, **sized, **cropped)
    scale = scale_of(config)
    expected = {
        "resize_and_crop": (32, 32),  # whole, as the authors' test does
        "crop": (height, width),
        "none": (height, width),
    }.get(preprocess) or prepared_size(height, width, config)
    assert scale.size(height, width) == expected


def test_the_scale_of_an_older_run_is_read_from_its_settings(tmp_path: Path) -> None:
    run = write_small_run(tmp_path / "run", {"root": "somewhere", "crop_size": 24, "load_size": 27})
    loaded = load_generator(run, "a2b")
    assert loaded.card.scale == Scale(preprocess="resize_and_crop", load_size=(24, 24), crop_size=(24, 24))
    assert str(Translator.load(run, device="cpu").sizing).startswith("24 x 24; the change")
    (run / "config.json").write_text("{")
    assert load_generator(run, "a2b").card.scale is None, "a damaged record is no reason not to translate"


def test_translate_says_where_scales_differ_and_what_was_done(tmp_path: Path) -> None:
    write_pictures(tmp_path / "large", pictures(2, 64))
    write_pictures(tmp_path / "near", pictures(2, 20))
    model = write_small_model(tmp_path / "model", scale=SMALL)
    report = unpaired.translate(model, tmp_path / "large", tmp_path / "out")
    assert report.rescaled is not None
    assert (report.rescaled.images, report.rescaled.factor) == (2, 4.0)
    assert "4 times as large" in str(report.rescaled)
    assert "translated at 16 x 16; the change" in str(report.rescaled)
    with Image.open(tmp_path / "out" / "0.png") as image:
        assert image.size == (64, 64)
    assert unpaired.translate(model, tmp_path / "near", tmp_path / "out2").rescaled is None
    native = unpaired.translate(Translator.load(model, size="native"), tmp_path / "large", tmp_path / "out3")
    assert "at their own size" in str(native.rescaled)
    cut = Scale(preprocess="crop", load_size=(18, 18), crop_size=(16, 16), typical={"a": (200, 128)})
    cropped = write_small_model(tmp_path / "cropped", scale=cut)
    found = unpaired.translate(cropped, tmp_path / "large", tmp_path / "out4").rescaled
    assert found is not None
    assert found.factor == pytest.approx(0.4)
    assert "1/2.5 the size of" in str(found)


@pytest.mark.parametrize("preprocess", ["resize_and_crop", "scale_width", "scale_width_and_crop", "crop", "none"])
def test_a_model_folder_is_measured_at_the_size_of_its_training_wherever_it_lies(
    tmp_path: Path, preprocess: Any
) -> None:
    data = write_data(tmp_path / "data", size=48)
    sized = {} if preprocess in ("none", "crop") else {"load_size": 36}
    cropped = {} if preprocess in ("none", "scale_width") else {"crop_size": 32}
    scale = scale_of(DataConfig(preprocess=preprocess, **sized, **cropped))
    found = unpaired.evaluate(write_small_model(tmp_path / "model", scale=scale), data=data, device="cpu")
    expected = {"resize_and_crop": "32 x 32", "scale_width": "36 x 36", "none": "48 x 48"}.get(preprocess, "32 x 32")
    assert found.directions["a2b"].figure("swd").protocol["size"] == expected
