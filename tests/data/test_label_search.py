from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.errors import UserError
from unpaired.data.config import LabelsConfig
from unpaired.data.label_search import settled_labels
from unpaired.data.labels import Labels, distinct_colours, paint, to_indices

INDEX, COLOUR = LabelsConfig(kind="index"), LabelsConfig(kind="colour")


def found(paths: list[Path], config: LabelsConfig, half: Any = None) -> Labels:
    return settled_labels("a", config, paths, half, max_pixels=10**6, workers=2)


def save(path: Path, values: NDArray[Any], palette: list[int] | None = None) -> Path:
    picture = PillowImage.fromarray(values)
    if palette is not None:
        picture.putpalette(palette)
    picture.save(path)
    return path


def blocks(rng: np.random.Generator, classes: int, cell: int = 16) -> NDArray[np.uint8]:
    return np.kron(rng.integers(0, classes, (6, 6)), np.ones((cell, cell), int)).astype(np.uint8)


def test_classes_are_counted_by_the_largest_value_of_all_files(tmp_path: Path) -> None:
    one = save(tmp_path / "one.png", np.array([[0, 1, 255]], np.uint8))
    two = save(tmp_path / "two.png", np.array([[4, 0, 0]], np.uint8))
    labels = found([one, two], LabelsConfig(kind="index", void=(255,), feed="one_hot"))
    assert labels == Labels(kind="index", palette=distinct_colours(5), void=(255,), feed="one_hot")


def test_numpy_and_tiff_files(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.array([[0, 1, -1]]))
    save(tmp_path / "two.tif", np.array([[2, 0]], np.uint8))
    labels = found([tmp_path / "one.npy", tmp_path / "two.tif"], LabelsConfig(kind="index", void=(-1,)))
    assert len(labels.palette) == 3


def test_a_palette_that_all_files_share_is_kept(tmp_path: Path) -> None:
    colours = [10, 20, 30, 200, 0, 0, 0, 200, 0]
    paths = [save(tmp_path / f"{n}.png", np.array([[0, 1, 2]], np.uint8), colours) for n in range(2)]
    assert found(paths, INDEX).palette == ((10, 20, 30), (200, 0, 0), (0, 200, 0))
    paths.append(save(tmp_path / "other.png", np.array([[0, 1]], np.uint8), [1, 1, 1, 2, 2, 2, 3, 3, 3]))
    assert found(paths, INDEX).palette == distinct_colours(3)


def test_a_palette_with_equal_colours_cannot_tell_classes_apart(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.array([[0, 1]], np.uint8), [9, 9, 9, 9, 9, 9])
    assert found([path], INDEX).palette == distinct_colours(2)


def test_a_grey_ramp_cannot_tell_classes_apart(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.array([[0, 1, 2]], np.uint8), [value for n in range(256) for value in (n, n, n)])
    assert found([path], INDEX).palette == distinct_colours(3)


def test_names_leave_the_colours_of_palette_files_as_they_are(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.array([[0, 1]], np.uint8), [10, 20, 30, 200, 0, 0, 0, 200, 0])
    config = LabelsConfig(kind="index", names=("a", "b", "c"))
    assert found([path], config).palette == ((10, 20, 30), (200, 0, 0), (0, 200, 0))


def test_indices_in_jpeg_files_do_not_count(tmp_path: Path) -> None:
    sound = save(tmp_path / "x.png", np.array([[0, 1]], np.uint8))
    noisy = save(tmp_path / "y.jpg", np.array([[0, 90]], np.uint8))
    assert len(found([sound, noisy], INDEX).palette) == 2
    with pytest.raises(UserError, match=r"hold no class indices.*y\.jpg: JPEG, which is lossy"):
        found([noisy], INDEX)


def test_names_fix_the_number_of_classes(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.array([[0]], np.uint8))
    assert len(found([path], LabelsConfig(kind="index", names=("a", "b", "c"))).palette) == 3


def test_a_value_too_large_for_a_class_names_file_and_remedy(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.array([[0, 255]], np.uint8))
    with pytest.raises(UserError, match=r"255 \(such as in .*x\.png.*data\.labels_a\.void, such as \[255\]"):
        found([path], INDEX)


def test_colour_pictures_hold_no_indices(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError, match=r"hold no class indices.*data\.labels_a\.kind = colour"):
        found([path], INDEX)


def test_a_given_palette_is_not_searched_for(tmp_path: Path) -> None:
    config = LabelsConfig(kind="colour", palette=((1, 2, 3), (4, 5, 6)))
    assert found([tmp_path / "missing.png"], config).palette == config.palette


def test_exact_colours_of_lossless_files_are_all_found_however_rare_and_near(tmp_path: Path) -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:20] = (0, 0, 142)
    image[5, 5] = (0, 0, 143)
    path = save(tmp_path / "x.png", image)
    assert found([path], COLOUR).palette == ((0, 0, 0), (0, 0, 142), (0, 0, 143))


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_noise_is_snapped_away(tmp_path: Path, quality: int) -> None:
    palette = distinct_colours(8)
    labels, rng = Labels(kind="colour", palette=palette), np.random.default_rng(3)
    maps = [blocks(rng, 8) for _ in range(4)]
    paths = []
    for number, indices in enumerate(maps):
        buffer = io.BytesIO()
        PillowImage.fromarray(paint(indices, labels)).save(buffer, "JPEG", quality=quality)
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(buffer.getvalue())
    result = found(paths, COLOUR)
    assert len(result.palette) == len(palette)
    order = [int(np.abs(np.array(result.palette) - colour).max(axis=1).argmin()) for colour in palette]
    assert sorted(order) == list(range(8)), "one found colour for each"
    nearest = np.array(result.palette)[order]
    assert np.abs(nearest - np.array(palette)).max() <= 12
    for path, indices in zip(paths, maps, strict=True):
        read = to_indices(np.asarray(PillowImage.open(path)), result)
        assert (read == np.array(order)[indices]).mean() > 0.9, "all but the edges"


def test_noise_is_no_label_map(tmp_path: Path) -> None:
    small = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    PillowImage.fromarray(small).resize((256, 256), PillowImage.Resampling.BICUBIC).save(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"plainly no label maps.*too many colours.*data\.labels_a\.palette"):
        found([tmp_path / "x.png"], COLOUR)
    with pytest.raises(UserError, match=r"other half of the files: see data\.side_by_side"):
        found([tmp_path / "x.png"], COLOUR, "left")


def test_published_facades(shared: Path) -> None:
    paths = sorted((shared / "data/facades/test").iterdir())
    result = found(paths, COLOUR, "right")
    # The twelve colours of the CMP base: nine on the edge of the colour cube from blue over cyan and yellow to red, ...
    known = [(0, 0, 221), (0, 48, 255), (0, 128, 255), (0, 207, 255), (32, 255, 224), (112, 255, 143)]
    known += [(192, 255, 63), (255, 240, 0), (255, 160, 0), (255, 80, 0), (255, 0, 0), (175, 0, 0)]
    assert len(result.palette) == 12
    for colour in known:
        assert np.abs(np.array(result.palette) - colour).max(axis=1).min() <= 4, colour
    with pytest.raises(UserError, match="plainly no label maps"):
        found(paths, COLOUR, "left")


@pytest.mark.parametrize("first", [0, 50])
def test_few_of_the_published_facades(shared: Path, first: int) -> None:
    paths = sorted((shared / "data/facades/test").iterdir())[first : first + 10]
    assert len(found(paths, COLOUR, "right").palette) == 12, "no colour of a blurred edge is among them"


def test_similar_colours_of_blurred_files_stay_apart(tmp_path: Path) -> None:
    """The dark blues of Cityscapes differ by 20 in one channel alone."""
    colours = [(0, 0, 70), (0, 0, 90), (0, 0, 110), (0, 0, 142), (0, 60, 100), (0, 80, 100), (128, 64, 128)]
    table = np.array(colours, np.uint8)
    paths = []
    for seed in range(4):
        shares = [0.5, 0.1, 0.05, 0.1, 0.1, 0.1, 0.05]  # unlike one another, as classes are
        cells = np.random.default_rng(seed).choice(7, (12, 12), p=shares)
        paths.append(tmp_path / f"{seed}.jpg")
        PillowImage.fromarray(table[np.kron(cells, np.ones((20, 20), int))]).save(paths[-1], quality=75)
    palette = np.array(found(paths, COLOUR).palette)
    assert len(palette) == len(colours)
    for colour in colours:
        assert np.abs(palette - colour).max(axis=1).min() <= 3, colour
