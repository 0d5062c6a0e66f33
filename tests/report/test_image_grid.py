from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unpaired.report.image_grid import MARGIN, PAPER, WORDS, Picture, grid, grids_of, heading, save_grid, stack

COLUMNS = ["input", "translation", "reconstruction", "identity"]


def plain(height: int, width: int, *values: int) -> Picture:
    return np.full((height, width, len(values)), values, np.uint8)


def area(picture: Picture, *colour: int) -> int:
    return int((picture == np.array(colour, np.uint8)).all(axis=2).sum())


def test_every_picture_is_there_in_rows_and_columns() -> None:
    colours = [[(200, 10 * column, 40 * row) for column in range(4)] for row in range(3)]
    rows = [dict(zip(COLUMNS, (plain(128, 128, *c) for c in row), strict=True)) for row in colours]
    picture = grid(rows, COLUMNS, "A to B")
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    places = {}
    for row in range(3):
        for column in range(4):
            assert area(picture, *colours[row][column]) == 128 * 128
            ys, xs = np.nonzero((picture == colours[row][column]).all(axis=2))
            places[row, column] = (ys.min(), xs.min())
    assert len({places[row, 2][1] for row in range(3)}) == 1
    assert len({places[1, column][0] for column in range(4)}) == 1
    assert places[0, 0] < places[1, 0] < places[2, 0]
    assert places[0, 0][1] < places[0, 1][1] < places[0, 2][1]


def test_captions_stand_below_their_rows() -> None:
    rows = [{"input": plain(128, 128, 200, 10, 10)}, {"input": plain(128, 128, 10, 200, 10)}]
    picture = grid(rows, ["input"], "A", ["first", ""])
    assert area(picture, 200, 10, 10) == area(picture, 10, 200, 10) == 128 * 128
    first, second = (
        np.nonzero((picture == colour).all(axis=2).any(axis=1))[0] for colour in ((200, 10, 10), (10, 200, 10))
    )
    assert (picture[first.max() + 1 : second.min()] < 128).any()  # the words
    assert (picture[second.max() + 1 :] == PAPER).all()


@pytest.mark.parametrize(
    ("side", "cell"), [(1, 128), (32, 128), (33, 99), (63, 126), (64, 128), (200, 200), (256, 256), (1000, 256)]
)
def test_cell_sizes(side: int, cell: int) -> None:
    picture = grid([{"input": plain(side, side, 255, 0, 0)}], ["input"], "A")
    assert area(picture, 255, 0, 0) == cell * cell


def test_tiny_images_are_magnified_pixel_by_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 200, (32, 32, 3), np.uint8)
    image[0, 0] = (1, 2, 3)
    picture = grid([{"input": image}], ["input"], "")
    top, left = (int(place[0]) for place in np.nonzero((picture == (1, 2, 3)).all(axis=2)))
    assert (picture[top : top + 128, left : left + 128] == image.repeat(4, axis=0).repeat(4, axis=1)).all()


def test_proportions_are_kept() -> None:
    picture = grid([{"input": plain(100, 200, 255, 0, 0), "translation": plain(400, 200, 0, 0, 255)}], COLUMNS, "")
    red, blue = (np.nonzero((picture == colour).all(axis=2)) for colour in ((255, 0, 0), (0, 0, 255)))
    assert (np.ptp(red[0]) + 1, np.ptp(red[1]) + 1) == (128, 256)
    assert (np.ptp(blue[0]) + 1, np.ptp(blue[1]) + 1) == (256, 128)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((70,), (70, 70, 70)),
        ((10, 31), (20, 20, 20)),
        ((1, 2, 3), (1, 2, 3)),
        ((1, 2, 3, 250), (1, 2, 3)),
        ((9, 8, 7, 6, 5, 4, 3), (9, 8, 7)),
    ],
)
def test_channels(values: tuple[int, ...], shown: tuple[int, int, int]) -> None:
    assert area(grid([{"input": plain(64, 64, *values)}], ["input"], ""), *shown) == 128 * 128


def test_a_column_that_no_row_has_is_left_out_and_a_missing_picture_leaves_its_cell_empty() -> None:
    row = {"input": plain(64, 64, 255, 0, 0)}
    with_identity = {**row, "identity": plain(64, 64, 0, 0, 255)}
    assert grid([row], COLUMNS, "").shape[1] < grid([with_identity], COLUMNS, "").shape[1]
    both = grid([row, with_identity], COLUMNS, "")
    assert area(both, 255, 0, 0) == 2 * 128 * 128
    assert area(both, 0, 0, 255) == 128 * 128


def test_labels_and_titles_are_drawn_and_long_ones_stay_inside() -> None:
    row = {name: plain(128, 128, 90, 90, 90) for name in COLUMNS}
    blank = grid([row], COLUMNS, "")
    titled = grid([row], COLUMNS, "A " * 400)
    assert titled.shape[0] == blank.shape[0]
    assert blank.shape[1] < titled.shape[1] <= WORDS + 2 * MARGIN, "wider for its words, up to a limit"
    assert (titled[:, : blank.shape[1]] != blank).any()
    margin = titled[:, -12:]
    assert (margin == PAPER).all()
    renamed = grid([{"input": row["input"]}], ["input"], "")
    assert (renamed != grid([{"output": row["input"]}], ["output"], "")).any()


def test_no_rows_make_a_picture_all_the_same() -> None:
    assert grid([], COLUMNS, "A to B").ndim == 3


def test_headings() -> None:
    assert heading("a2b") == "A → B"
    assert heading("b2a", ("horse", "zebra")) == "B → A: zebra → horse"


def test_an_arrow_is_drawn_and_letters_that_the_font_lacks_are_replaced() -> None:
    row = {"input": plain(256, 256, 9, 9, 9)}

    def drawn(title: str) -> bytes:
        return grid([row], ["input"], title).tobytes()

    assert drawn("A → B") not in (drawn("A ? B"), drawn("A B"), drawn("A  B"))
    assert drawn("zébra") == drawn("zebra")
    assert drawn("馬") == drawn("?")


@settings(max_examples=25)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 5)), min_size=1, max_size=4),
    title=st.text(max_size=30),
)
def test_any_sizes_channels_and_titles(sizes: list[tuple[int, int, int]], title: str) -> None:
    rows = [dict.fromkeys(COLUMNS[:2], np.zeros(size, np.uint8)) for size in sizes]
    picture = grid(rows, COLUMNS, title)
    assert picture.dtype == np.uint8
    assert picture.shape[0] <= 80 + len(sizes) * 262
    assert picture.shape[1] <= 24 + 2 * 262


def test_stack() -> None:
    sheet = stack([plain(10, 20, 1, 2, 3), plain(5, 30, 4, 5, 6)])
    assert sheet.shape == (15, 30, 3)
    assert (sheet[:10, :20] == (1, 2, 3)).all()
    assert (sheet[:10, 20:] == PAPER).all()
    assert (sheet[10:] == (4, 5, 6)).all()


def test_grids_are_saved_and_found_in_order(tmp_path: Path) -> None:
    picture = grid([{"input": plain(64, 64, 255, 0, 0)}], ["input"], "A")
    path = save_grid(tmp_path, 12_000, picture)
    save_grid(tmp_path, 500, picture)
    assert path == tmp_path / "samples" / "000012000.png"
    with Image.open(path) as image:
        assert (np.asarray(image) == picture).all()
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["000000500.png", "000012000.png"]
    (tmp_path / "samples" / "mine.png").write_bytes(b"")
    assert [images for images, _ in grids_of(tmp_path)] == [500, 12_000]
    assert grids_of(tmp_path / "nowhere") == []
