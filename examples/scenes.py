"""Makes scenes like those of Sentinel-2, and slides: `python examples/scenes.py satellite FOLDER`, or `slides FOLDER`.

The scenes are drawn by random numbers, 15-bit reflectance in four bands, fields in summer (A) and in winter (B). The
slides are tiles of the picture of tissue that comes with scikit-image, as it is stained (A) and with the brown of its
second stain turned to pink (B), laid on glass.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

BANDS = ("B02", "B03", "B04", "B08")
SUMMER = np.array([[480, 700, 520, 3400], [900, 1150, 1500, 2300], [350, 420, 280, 180]])
WINTER = np.array([[700, 850, 900, 1500], [1300, 1400, 1550, 1900], [380, 430, 300, 200]])
"""Reflectance x 10,000 of crops, soil and water in the four bands."""


def satellite(root: Path, size: int = 2048) -> None:
    """Write one scene a season for training, and one for tests, the same ground in both seasons.

    Tiled GeoTIFF with overviews, and nodata outside the swath.
    """
    import rasterio

    for number, (folder, kinds, place) in enumerate(
        [("trainA", SUMMER, 0), ("trainB", WINTER, 1), ("testA", SUMMER, 2), ("testB", WINTER, 2)]
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        land, rng = np.random.default_rng(place), np.random.default_rng(number + 10)
        ground = land.choice(3, (size // 64, size // 64), p=(0.6, 0.3, 0.1)).repeat(64, 0).repeat(64, 1)
        shade = land.normal(1, 0.15, (size // 64, size // 64)).repeat(64, 0).repeat(64, 1)[..., None]
        scene = np.clip(kinds[ground] * shade + rng.normal(0, 40, (size, size, 4)), 1, 15000).astype(np.uint16)
        rows, columns = np.mgrid[:size, :size]
        scene[columns + rows // 4 < size // 5] = 0  # outside of the swath
        options = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 399960, 0, -10, 5000040), "nodata": 0}
        tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
        shape = {"height": size, "width": size, "count": 4, "dtype": "uint16"}
        with rasterio.open(root / folder / f"scene{place}.tif", "w", **shape, **options, **tiles) as file:
            file.write(np.moveaxis(scene, 2, 0))
            file.descriptions = BANDS
            file.update_tags(ORIGIN="made by a random generator, no satellite")
            file.build_overviews([2, 4, 8])


def slides(root: Path, tiles: int = 6) -> None:
    """Write one slide a stain for training and one for tests: a pyramid of JPEG tiles as Aperio's scanners write it."""
    import tifffile
    from skimage.color import hed2rgb, rgb2hed
    from skimage.data import immunohistochemistry

    tissue: np.ndarray[Any, Any] = immunohistochemistry()
    stains = rgb2hed(tissue)
    eosin = np.stack([stains[..., 0], stains[..., 2] * 0.6, np.zeros(stains.shape[:2])], axis=-1)
    pink = (hed2rgb(eosin) * 255).round().astype(np.uint8)
    for number, (folder, piece) in enumerate(
        {"trainA": tissue, "trainB": pink, "testA": tissue, "testB": pink}.items()
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        slide = np.full((tiles * 512, tiles * 512, 3), 243, np.uint8)
        for row, column in rng.permutation([(r, c) for r in range(tiles) for c in range(tiles)])[: tiles * 2]:
            turned = np.rot90(piece, rng.integers(4))
            slide[row * 512 : (row + 1) * 512, column * 512 : (column + 1) * 512] = turned
        side = len(slide)
        text = f"Aperio Image Library\r\n{side}x{side} (256x256) JPEG/RGB Q=90|AppMag = 40|MPP = 0.25"
        options = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 90}, "metadata": None}
        with tifffile.TiffWriter(root / folder / f"slide{number}.svs") as file:
            file.write(slide, tile=(256, 256), description=text, **options)
            file.write(slide[::8, ::8].copy(), description="Aperio Image Library\r\nthumbnail", **options)
            file.write(slide[::2, ::2].copy(), tile=(256, 256), description=text, **options)
            file.write(slide[::4, ::4].copy(), tile=(256, 256), description=text, **options)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("satellite", "slides"):
        sys.exit(__doc__)
    {"satellite": satellite, "slides": slides}[sys.argv[1]](Path(sys.argv[2]))
