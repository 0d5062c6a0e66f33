"""Sample grids: held-out images, what the translators make of them, and what comes back, in one labelled picture."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unpaired.core.files import write_atomic

Picture = NDArray[np.uint8]
"""[H, W, C] uint8."""

SAMPLES = "samples"
"""Name of the folder of sample grids in a run's folder."""
INPUTS = f"{SAMPLES}/inputs"
"""Name of the folder of the held-out images themselves: `a-0.png`, `b-0.png`, ..."""
MOST_INPUTS = 6
"""Of each domain."""
LARGEST_CELL = 256
"""Pixels; larger images are reduced to it."""
TINY = 97
"""Images smaller than this are magnified in whole steps, each pixel a square, up to `TINY_CELL`."""
TINY_CELL = 128
TITLE = 22
LABEL = 16
"""Sizes of the text, in pixels."""
WORDS = 640
"""A grid is made wider for its title and captions, up to so many pixels; longer ones are shortened."""
MARGIN = 12
GAP = 6
MOST_PIXELS = 64_000_000
"""Of a picture that is read; larger ones are not decoded."""
PAPER = 247
INK = 34
ARROW = "\N{RIGHTWARDS ARROW}"


def heading(direction: str, names: tuple[str, str] | None = None) -> str:
    """Return the heading of a direction's grid: `A → B`, or `A → B: horse → zebra` where the domains have `names`."""
    source, target = direction.split("2")
    text = f"{source.upper()} {ARROW} {target.upper()}"
    if names is None:
        return text
    called = dict(zip("ab", names, strict=True))
    return f"{text}: {called[source]} {ARROW} {called[target]}"


def grid(
    rows: Sequence[Mapping[str, Picture]], columns: Sequence[str], title: str, captions: Sequence[str] | None = None
) -> Picture:
    """Return a labelled grid, [H, W, 3] uint8: one row per held-out image, one column per name in `columns`.

    All pictures are brought to one common cell, at most 256 pixels, keeping their proportions: where none has a side
    of 97 or more they are magnified in whole steps, so that single pixels show. One channel is shown as grey, two as
    the grey of their mean, more than three by their first three. A row may lack a column (identity is not defined
    where A and B have different channels): its cell stays empty, and a column that no row has is left out. `captions`
    are written below the rows, one each.
    """
    columns = [name for name in columns if any(name in row for row in rows)]
    side = _cell_side([picture for row in rows for picture in row.values()])
    cells = [{name: _fit(_shown(row[name]), side) for name in columns if name in row} for row in rows]
    flat = [cell for row in cells for cell in row.values()]
    cell_height = max((cell.height for cell in flat), default=0)
    cell_width = max([cell.width for cell in flat] + [_text_width(name, LABEL) for name in columns], default=0)

    top = MARGIN + _line_height(TITLE) + GAP + _line_height(LABEL) + GAP
    words = max([_text_width(title, TITLE), *(_text_width(caption, LABEL) for caption in captions or ())])
    width = max(2 * MARGIN + len(columns) * (cell_width + GAP) - GAP, 2 * MARGIN + 100, 2 * MARGIN + min(words, WORDS))
    below = 0 if captions is None else _line_height(LABEL) + GAP
    row_height = cell_height + below + GAP
    canvas = Image.new("RGB", (width, top + len(rows) * row_height - GAP + MARGIN), (PAPER,) * 3)
    draw = ImageDraw.Draw(canvas)
    _write(draw, (MARGIN, MARGIN), _shorten(title, TITLE, width - 2 * MARGIN), TITLE)
    for column, name in enumerate(columns):
        left = MARGIN + column * (cell_width + GAP)
        label = _shorten(name, LABEL, cell_width)
        indent = (cell_width - _text_width(label, LABEL)) // 2
        _write(draw, (left + indent, top - GAP - _line_height(LABEL)), label, LABEL)
        for row, pictures in enumerate(cells):
            cell = pictures.get(name)
            if cell is not None:
                upper = top + row * row_height
                canvas.paste(cell, (left + (cell_width - cell.width) // 2, upper + (cell_height - cell.height) // 2))
    for row, caption in enumerate(captions or ()):
        place = (MARGIN, top + row * row_height + cell_height + GAP // 2)
        _write(draw, place, _shorten(caption, LABEL, width - 2 * MARGIN), LABEL)
    return np.asarray(canvas)


def stack(grids: Sequence[Picture]) -> Picture:
    """Return grids, [H, W, 3] each, one below the other in a picture as wide as the widest."""
    width = max(picture.shape[1] for picture in grids)
    sheet = np.full((sum(picture.shape[0] for picture in grids), width, 3), PAPER, np.uint8)
    upper = 0
    for picture in grids:
        sheet[upper : upper + picture.shape[0], : picture.shape[1]] = picture
        upper += picture.shape[0]
    return sheet


def png(picture: Picture) -> bytes:
    """Return a picture, [H, W, 3] uint8, as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def is_image(path: Path) -> bool:
    """Return whether a file is a whole image of the sizes that this package writes."""
    try:
        with Image.open(path) as image:
            image.verify()
            return image.width * image.height <= MOST_PIXELS
    except Exception:  # Pillow raises anything for a damaged file
        return False


def save_grid(run: Path, images_seen: int, grid: Picture) -> Path:
    """Write a grid to `RUN/samples/000012000.png` atomically and return the path; `UserError` on a full disk."""
    path = run / SAMPLES / f"{images_seen:09d}.png"
    content = io.BytesIO()
    # Level 3 takes a third of the default's time for files a few per cent larger.
    Image.fromarray(grid).save(content, "PNG", compress_level=3)
    write_atomic(path, content.getvalue())
    return path


def grids_of(run: Path) -> list[tuple[int, Path]]:
    """Return the images seen and the file of every sample grid of a run, in order."""
    return sorted((int(path.stem), path) for path in (run / SAMPLES).glob("*.png") if path.stem.isdecimal())


# ---------------------------------------------------------------------------------------------------------- pictures


def _cell_side(pictures: Sequence[Picture]) -> int:
    longest = max((max(picture.shape[:2]) for picture in pictures), default=0)
    if 0 < longest < TINY:
        return longest * (TINY_CELL // longest)
    return min(longest, LARGEST_CELL)


def _shown(picture: Picture) -> Picture:
    """Return one or three channels that stand for any number of them."""
    channels = picture.shape[2]
    if channels == 2:
        mean: Picture = np.rint(picture.mean(axis=2, keepdims=True)).astype(np.uint8)
        return mean
    return picture[:, :, :3] if channels > 3 else picture


def _fit(picture: Picture, side: int) -> Image.Image:
    """Return a picture whose longer side is `side`."""
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else np.ascontiguousarray(picture))
    longest = max(image.size)
    size = (max(1, round(image.width * side / longest)), max(1, round(image.height * side / longest)))
    if size != image.size:
        nearest = longest < TINY
        image = image.resize(size, Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS)
    return image.convert("RGB")


# -------------------------------------------------------------------------------------------------------------- text


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _line_height(size: int) -> int:
    return round(size * 1.3)


def _drawable(text: str) -> str:
    """Return text in the letters that Pillow's built-in font has: accents are dropped, others become `?`."""
    pieces = unicodedata.normalize("NFKD", text).split(ARROW)
    plain = ("".join(c for c in piece if not unicodedata.combining(c)) for piece in pieces)
    return ARROW.join("".join(c if " " <= c <= "~" else "?" for c in piece) for piece in plain)


def _text_width(text: str, size: int) -> int:
    pieces = _drawable(text).split(ARROW)
    return round(sum(_font(size).getlength(piece) for piece in pieces)) + size * (len(pieces) - 1)


def _shorten(text: str, size: int, width: int) -> str:
    if _text_width(text, size) <= width:
        return text
    while text and _text_width(text + "...", size) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _write(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size: int) -> None:
    """Draw text from its upper left corner; the font has no arrow, so arrows are drawn as lines, `size` wide."""
    left, upper = float(corner[0]), corner[1]
    middle, head = upper + round(size * 0.6), size // 5
    for number, piece in enumerate(_drawable(text).split(ARROW)):
        if number:
            start, tip = left + size * 0.1, left + size * 0.9
            draw.line([(start, middle), (tip, middle)], fill=(INK,) * 3, width=max(1, size // 12))
            for side in (-head, head):
                draw.line([(tip - head, middle + side), (tip, middle)], fill=(INK,) * 3, width=max(1, size // 12))
            left += size
        draw.text((left, upper), piece, font=_font(size), fill=(INK,) * 3)
        left += _font(size).getlength(piece)
