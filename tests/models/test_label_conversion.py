from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.decode import decode
from unpaired.data.encode import encode_indices
from unpaired.data.labels import VOID, Labels, distinct_colours, paint
from unpaired.data.values import Domain
from unpaired.models.files import translate_files
from unpaired.models.folder import ModelCard, card_to_json, read_card, write_model
from unpaired.models.translator import Translator

MakeTranslator = Callable[..., Translator]
RNG = np.random.default_rng(0)
INDEX = Labels(kind="index", palette=distinct_colours(5), void=(255,))
COLOUR = Labels(kind="colour", palette=distinct_colours(5))
ONE_HOT = Labels(kind="index", palette=distinct_colours(3), feed="one_hot")
PHOTO = Domain(channels=3)


def domain(labels: Labels) -> Domain:
    return Domain(channels=labels.channels, labels=labels)


def noisy(labels: Labels, size: tuple[int, int] = (9, 12)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return class indices, and their picture with noise that changes no class."""
    indices = RNG.integers(0, len(labels.palette), size).astype(np.uint8)
    picture = np.clip(paint(indices, labels).astype(int) + RNG.integers(-30, 31, (*size, 3)), 0, 255)
    return indices, picture.astype(np.uint8)


# --------------------------------------------------------------------------------------------------- into label maps


def test_arrays_become_indices_or_palette_colours(make_identity: MakeTranslator) -> None:
    indices, photo = noisy(INDEX)
    result = make_identity(PHOTO, domain(INDEX))(photo)
    assert (result.dtype, result.shape) == (np.uint8, (9, 12))
    np.testing.assert_array_equal(result, indices)
    indices, photo = noisy(COLOUR)
    np.testing.assert_array_equal(make_identity(PHOTO, domain(COLOUR))(photo), paint(indices, COLOUR))


def test_one_hot_takes_the_largest_channel(make_identity: MakeTranslator) -> None:
    photo = RNG.permuted(np.broadcast_to(np.array([10, 200, 100], np.uint8), (6, 7, 3)), axis=2)
    result = make_identity(PHOTO, domain(ONE_HOT))(photo)
    np.testing.assert_array_equal(result, photo.argmax(axis=2))


def test_pictures_show_the_colours_and_hold_the_classes(make_identity: MakeTranslator) -> None:
    indices, photo = noisy(INDEX)
    picture = make_identity(PHOTO, domain(INDEX))(PIL.Image.fromarray(photo))
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), indices)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), paint(indices, INDEX))
    assert make_identity(PHOTO, domain(COLOUR))(PIL.Image.fromarray(photo)).mode == "RGB"


def test_tensors_stay_as_they_are(make_identity: MakeTranslator) -> None:
    image = torch.rand(2, 3, 8, 8) * 2 - 1
    assert torch.equal(make_identity(PHOTO, domain(INDEX))(image), image)
    assert torch.equal(make_identity(domain(INDEX), PHOTO)(image), image)


@pytest.mark.parametrize("suffix", ["png", "tiff", "npy"])
def test_files_hold_class_indices(make_identity: MakeTranslator, tmp_path: Path, suffix: str) -> None:
    indices, photo = noisy(INDEX)
    PIL.Image.fromarray(photo).save(tmp_path / "x.png")
    translator = make_identity(PHOTO, domain(INDEX))
    report = translate_files(translator, [tmp_path / "x.png"], tmp_path / "out", format=suffix)
    assert (report.written, report.failed) == (1, [])
    path = tmp_path / "out" / f"x.{suffix}"
    np.testing.assert_array_equal(decode(path, stored=True)[:, :, 0], indices)
    if suffix == "png":
        with PIL.Image.open(path) as picture:
            assert picture.mode == "P"
            np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), paint(indices, INDEX))
    if suffix == "npy":
        assert np.load(path).shape == (9, 12)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "npy"])
def test_files_hold_exact_palette_colours(make_identity: MakeTranslator, tmp_path: Path, suffix: str) -> None:
    indices, photo = noisy(COLOUR)
    PIL.Image.fromarray(photo).save(tmp_path / "x.png")
    translate_files(make_identity(PHOTO, domain(COLOUR)), [tmp_path / "x.png"], tmp_path / "out", format=suffix)
    np.testing.assert_array_equal(decode(tmp_path / "out" / f"x.{suffix}"), paint(indices, COLOUR))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (INDEX, {"format": "jpg"}, "JPEG is lossy"),
        (COLOUR, {"format": "JPEG"}, "JPEG is lossy"),
        (INDEX, {"format": "webp"}, "WebP, always coloured, cannot hold"),
        (COLOUR, {"bit_depth": 16}, "label maps, which have 8 bits; received --bit-depth 16"),
        (INDEX, {"format": "pgn"}, r'Did you mean "\.png"'),
    ],
)
def test_what_cannot_hold_label_maps(
    make_identity: MakeTranslator, tmp_path: Path, labels: Labels, options: dict[str, Any], message: str
) -> None:
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match=message):
        translate_files(make_identity(PHOTO, domain(labels)), [tmp_path / "x.png"], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------------------------------------- from label maps


def test_every_form_of_one_label_map_gives_one_translation(make_identity: MakeTranslator, tmp_path: Path) -> None:
    indices, _ = noisy(INDEX)
    indices[0, 0] = VOID
    translate = make_identity(domain(INDEX), PHOTO)
    expected = paint(indices, INDEX)
    assert expected[0, 0].tolist() == [0, 0, 0]
    palette_picture = PIL.Image.fromarray(indices)
    palette_picture.putpalette([7, 7, 7] * 256)
    for given in (indices, indices[:, :, None], indices.astype(np.int64), expected):
        np.testing.assert_array_equal(translate(given).astype(np.uint8), expected)
    for picture in (palette_picture, PIL.Image.fromarray(indices), PIL.Image.fromarray(expected)):
        np.testing.assert_array_equal(np.asarray(translate(picture)), expected)
    palette_picture.save(tmp_path / "x.png")
    translate_files(translate, [tmp_path / "x.png"], tmp_path / "out")
    np.testing.assert_array_equal(decode(tmp_path / "out" / "x.png"), expected)


def test_noise_of_colour_maps_is_snapped_away_before_the_network(make_identity: MakeTranslator) -> None:
    indices, picture = noisy(COLOUR)
    np.testing.assert_array_equal(make_identity(domain(COLOUR), PHOTO)(picture), paint(indices, COLOUR))


def test_what_is_no_label_map(make_identity: MakeTranslator, tmp_path: Path) -> None:
    translate = make_identity(domain(INDEX), PHOTO)
    with pytest.raises(UserError, match=r"no class: 5 \(classes are 0 to 4 and void 255\)\. Pass class indices 0 to 4"):
        translate(np.full((4, 4), 5, np.uint8))
    with pytest.raises(UserError, match="far from all 5 colours"):
        translate(np.full((4, 4, 3), (60, 60, 140), np.uint8))
    with pytest.raises(UserError, match="shape H x W or H x W x C, and pixels; received 2 x 0"):
        translate(np.zeros((2, 0), np.uint8))
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    report = translate_files(translate, [tmp_path / "x.png"], tmp_path / "out")
    assert report.failed[0].reason == "no label map: 3 channels, where a map of class indices has one"


# -------------------------------------------------------------------------------------------------- what models store


def card(**domains: Domain) -> ModelCard:
    return ModelCard(origin="made by a test", domains=domains, translators={})


def test_a_model_remembers_its_labels(tmp_path: Path) -> None:
    named = Labels(kind="index", palette=distinct_colours(2), names=("a", "b"), void=(-1, 255), feed="one_hot")
    written = card(a=domain(named), b=PHOTO)
    write_model(tmp_path / "model", written, {})
    assert read_card(tmp_path / "model") == written


def test_models_of_pictures_are_what_they_were(tmp_path: Path) -> None:
    document = card_to_json(card(a=PHOTO, b=PHOTO))
    assert document["domains"] == {name: {"channels": 3, "dtype": "uint8", "range": None} for name in "ab"}
    write_model(tmp_path / "model", card(a=PHOTO, b=PHOTO), {})
    assert read_card(tmp_path / "model").domains["a"].labels is None


def test_a_domain_of_label_maps_has_the_channels_of_its_feed() -> None:
    with pytest.raises(ValueError, match="has 3 channels of uint8 and no range; received 4"):
        Domain(channels=4, labels=INDEX)


def test_indices_have_formats_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="WebP cannot hold class indices"):
        encode_indices(np.zeros((2, 2), np.uint8), ".webp", INDEX.palette)
    assert list(tmp_path.iterdir()) == []
