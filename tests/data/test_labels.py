from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.errors import UserError
from unpaired.data.config import LabelsConfig
from unpaired.data.labels import (
    VOID,
    Labels,
    as_picture,
    classes_of,
    distinct_colours,
    encoded,
    from_colours,
    nearest,
    paint,
    to_indices,
)

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
THREE = Labels(kind="index", palette=(RED, GREEN, BLUE), void=(255,))

channel = st.integers(0, 255)
colour = st.tuples(channel, channel, channel).filter(lambda rgb: rgb != (0, 0, 0))
palettes = st.lists(colour, min_size=1, max_size=12, unique=True).map(tuple)
pixels = arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


def by_hand(rgb: NDArray[Any], palette: tuple[tuple[int, int, int], ...]) -> NDArray[np.int64]:
    """The definition, pixel by pixel: squared distance in RGB, the first of equals."""
    answer = np.zeros(rgb.shape[:2], np.int64)
    for row, column in np.ndindex(*rgb.shape[:2]):
        distances = [sum((int(v) - c) ** 2 for v, c in zip(rgb[row, column], entry, strict=True)) for entry in palette]
        answer[row, column] = distances.index(min(distances))
    return answer


@given(rgb=pixels, palette=palettes)
@settings(max_examples=100, deadline=None)
def test_nearest_is_its_definition(rgb: NDArray[np.uint8], palette: Any) -> None:
    np.testing.assert_array_equal(nearest(rgb, palette), by_hand(rgb, palette))


def test_nearest_of_more_pixels_than_are_done_at_once() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (200, 301, 3), dtype=np.uint8)
    palette = distinct_colours(20)
    expected = ((rgb[:, :, None].astype(int) - np.array(palette)) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(nearest(rgb, palette), expected)


@given(data=st.data(), palette=palettes, kind=st.sampled_from(["index", "colour"]))
@settings(max_examples=100, deadline=None)
def test_painting_and_snapping_give_back_every_class_and_void(data: st.DataObject, palette: Any, kind: Any) -> None:
    void: tuple[int, ...] = (255,) if kind == "index" else (0,)
    if kind == "colour" and len(palette) == 1:
        void = ()
    labels = Labels(kind=kind, palette=palette, void=void)
    choices = [*labels.classes, VOID] if void else labels.classes
    drawn = data.draw(st.lists(st.sampled_from(choices), min_size=12, max_size=12))
    indices = np.array(drawn, np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(from_colours(paint(indices, labels), labels), indices)
    if kind == "colour":
        np.testing.assert_array_equal(to_indices(paint(indices, labels), labels), indices)
    real = indices != VOID
    np.testing.assert_array_equal(classes_of(paint(indices, labels), labels)[real], indices[real])
    one_hot = Labels(kind=kind, palette=palette, void=void, feed="one_hot")
    np.testing.assert_array_equal(classes_of(encoded(indices, one_hot), one_hot)[real], indices[real])
    np.testing.assert_array_equal(as_picture(encoded(indices, one_hot), one_hot), paint(indices, labels))


@given(
    palette=st.lists(st.tuples(*[st.sampled_from([0, 128, 255])] * 3), min_size=1, max_size=12, unique=True).map(tuple),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_noise_that_stays_near_a_colour_is_snapped_away(palette: Any, seed: int) -> None:
    labels = Labels(kind="colour", palette=palette)
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, len(palette), (8, 8)).astype(np.uint8)
    noisy = np.clip(paint(indices, labels).astype(int) + rng.integers(-18, 19, (8, 8, 3)), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(to_indices(noisy, labels), indices)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int64"])
def test_class_indices_of_every_width(dtype: str) -> None:
    values = np.array([[0, 1, 2, 255]], dtype)
    for image in (values, values[:, :, None]):
        indices = to_indices(image, THREE)
        assert indices.dtype == np.uint8
        assert indices.tolist() == [[0, 1, 2, VOID]]


def test_negative_and_large_values_may_be_void() -> None:
    labels = Labels(kind="index", palette=(RED, GREEN), void=(-1, 1000))
    assert to_indices(np.array([[-1, 0, 1, 1000]]), labels).tolist() == [[VOID, 0, 1, VOID]]
    with pytest.raises(UserError, match=r"no class: -2, 5 \(classes are 0 to 1 and void -1, 1000\)"):
        to_indices(np.array([[-2, 5, 0]]), labels)


def test_a_class_in_the_middle_may_be_void() -> None:
    labels = Labels(kind="index", palette=(RED, GREEN, BLUE), void=(1,))
    assert labels.classes == [0, 2]
    assert to_indices(np.array([[0, 1, 2]], np.uint8), labels).tolist() == [[0, VOID, 2]]
    assert paint(np.array([[0, VOID, 2]], np.uint8), labels).tolist() == [[[255, 0, 0], [0, 0, 0], [0, 0, 255]]]
    green = np.array([[GREEN]], np.uint8)
    assert classes_of(green, labels).tolist() == [[0]], "void is never the answer; of equals the first"


def test_what_is_no_map_of_indices() -> None:
    with pytest.raises(UserError, match=r"no class: 3, 4, 5, 6, 7, 8, 9, 10, \.\.\."):
        to_indices(np.arange(20, dtype=np.uint8)[None], THREE)
    with pytest.raises(UserError, match="3 channels, where a map of class indices has one"):
        to_indices(np.zeros((2, 2, 3), np.uint8), THREE)
    with pytest.raises(UserError, match="float32, where class indices are whole numbers"):
        to_indices(np.zeros((2, 2), np.float32), THREE)


def test_what_is_no_map_of_this_palette() -> None:
    labels = Labels(kind="colour", palette=(RED, BLUE))
    image = np.zeros((10, 10, 3), np.uint8)
    image[:] = RED
    image[:4] = (120, 255, 130)
    assert to_indices(image, labels).shape == (10, 10), "two fifths of blurred edges are still a label map"
    image[:6] = (120, 255, 130)
    with pytest.raises(UserError, match="60% of the pixels are far from all 2 colours"):
        to_indices(image, labels)
    with pytest.raises(UserError, match="channels of uint16"):
        to_indices(image.astype(np.uint16), labels)


def test_grey_files_are_colours_too() -> None:
    labels = Labels(kind="colour", palette=((0, 0, 0), (255, 255, 255)))
    assert to_indices(np.array([[0, 255, 250]], np.uint8), labels).tolist() == [[0, 1, 1]]


def test_one_hot_by_hand() -> None:
    labels = Labels(kind="index", palette=(RED, GREEN, BLUE), void=(9,), feed="one_hot")
    assert labels.channels == 3
    assert encoded(np.array([[2, 0, VOID]], np.uint8), labels).tolist() == [[[0, 0, 255], [255, 0, 0], [0, 0, 0]]]
    assert classes_of(np.array([[[3, 7, 7]]], np.uint8), labels).tolist() == [[1]]


@pytest.mark.parametrize("count", [1, 11, 63, 64, 254])
def test_made_colours_differ_and_none_is_black(count: int) -> None:
    colours = distinct_colours(count)
    assert len(set(colours)) == count
    everything = np.array([(0, 0, 0), *colours], float)
    distances = np.linalg.norm(everything[:, None] - everything, axis=-1) + np.eye(count + 1) * 1000
    assert distances.min() >= (85 if count <= 63 else 42)
    assert distinct_colours(count) == colours


def test_few_classes_keep_their_colours_when_more_are_added() -> None:
    assert distinct_colours(30)[:11] == distinct_colours(11)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "index", "palette": (RED, RED)}, "more than once"),
        ({"kind": "index", "palette": ()}, "1 to 254 colours"),
        ({"kind": "index", "palette": (RED,), "names": ("a", "b")}, "2 names and 1 colours"),
        ({"kind": "index", "names": ()}, "received 0 names"),
        ({"kind": "colour", "palette": (RED,), "void": (1,)}, "positions in the palette, 0 to 0"),
        ({"kind": "colour", "void": (1,)}, "follow the order of the palette"),
        ({"kind": "colour", "names": ("a",)}, "follow the order of the palette"),
        ({"kind": "index", "names": ("a", "b"), "void": (0, 1, 255)}, "at least one class"),
    ],
)
def test_settings_that_contradict_themselves(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):  # pydantic's own error, of which the command makes one sentence
        LabelsConfig(**settings)


def test_without_any_class_there_is_nothing_to_learn() -> None:
    with pytest.raises(ValueError, match="at least one class"):
        Labels(kind="colour", palette=(RED,), void=(0,))


def test_in_words() -> None:
    assert THREE.in_words() == "label maps of 3 classes, fed as colours"
    one = Labels(kind="index", palette=(RED,), feed="one_hot")
    assert one.in_words() == "label maps of 1 class, fed as one channel per class"


CAMVID = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip


@pytest.mark.parametrize(
    "labels",
    [
        Labels(kind="colour", palette=CAMVID),
        Labels(kind="colour", palette=(*CAMVID, (0, 0, 0)), void=(11,)),
        Labels(kind="index", palette=CAMVID, void=(11,)),
        Labels(kind="index", palette=distinct_colours(11), void=(11,)),
        Labels(kind="index", palette=distinct_colours(33)),
    ],
    ids=["colour", "colour and void", "index", "distinct colours", "many colours"],
)
def test_photos_are_no_label_maps_of_wide_palettes(shared: Path, labels: Labels) -> None:
    for path in sorted((shared / "data/camvid/test").glob("*.jpg"))[::30]:
        with PillowImage.open(path) as photo, pytest.raises(UserError, match="far from all"):
            from_colours(np.asarray(photo), labels)
