"""How much memory large images take, in processes of their own."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from unpaired.data import parallel
from unpaired.data.decode import BadImage, decode

PEAK = """
import resource, sys
from unpaired.data.check import check_images
from unpaired.data.folders import list_images
from pathlib import Path
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
before = peak()
assert len(check_images(list_images(Path(sys.argv[1])), workers=4).good) == int(sys.argv[2])
print(peak() - before)
"""


def icon(png: bytes) -> bytes:
    entry = struct.pack("<BBBBHHII", 32, 32, 0, 0, 1, 32, len(png), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + png


def mac_icon(png: bytes) -> bytes:
    block = b"ic10" + struct.pack(">I", len(png) + 8) + png
    return b"icns" + struct.pack(">I", len(block) + 8) + block


@pytest.mark.skipif(sys.platform == "win32", reason="no resource usage")
@pytest.mark.parametrize(("count", "side", "bytes_per_pixel"), [(1, 6000, 9), (4, 3000, 10)])
def test_transparent_images_take_little_more_than_their_pixels(
    tmp_path: Path, count: int, side: int, bytes_per_pixel: int
) -> None:
    picture = PillowImage.new("RGBA", (side, side), (10, 200, 30, 128))
    for number in range(count):
        picture.save(tmp_path / f"{number}.png", compress_level=1)
    found = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path), str(count)], capture_output=True, text=True, check=True
    )
    assert int(found.stdout) < count * side * side * bytes_per_pixel + 80e6


@pytest.mark.parametrize("pack", [icon, mac_icon])
def test_images_inside_of_icons_are_refused_before_they_are_decoded(
    tmp_path: Path, pack: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    PillowImage.new("RGBA", (1300, 1300)).save(buffer, "PNG")
    assert callable(pack)
    path = tmp_path / "x.ico"
    path.write_bytes(pack(buffer.getvalue()))
    with pytest.raises(BadImage, match="absurdly large: 1300 x 1300") as caught:
        decode(path, max_pixels=1_200_000)
    assert caught.value.path == path
    if pack is icon:
        assert decode(path, max_pixels=2_000_000).shape == (1300, 1300, 3)


def test_threads_wait_for_memory_and_large_images_come_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "MEMORY", 100)
    lock, held, highest = threading.Lock(), [], list[int]()

    def work(index: int) -> None:
        size = 250 if index % 5 == 0 else 40
        with parallel.sharing_memory(), parallel.sharing_memory():
            parallel.take_memory(size)
            with lock:
                held.append(size)
                highest.append(sum(held))
                assert sum(held) <= 100 or held == [250]
            parallel.take_memory(0)
            with lock:
                held.remove(size)

    parallel.for_each(200, work, workers=8)
    assert parallel._taken == 0
    assert max(highest) == 250


def test_pixels_do_not_depend_on_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pictures = [
        PillowImage.fromarray(rng.integers(0, 256, (37, 23, channels), dtype=np.uint8).squeeze())
        for channels in (1, 2, 3, 4)
    ]
    palette = pictures[2].quantize(20)
    palette.info["transparency"] = 3
    for number, picture in enumerate([*pictures, palette, pictures[2].convert("CMYK"), pictures[0].convert("1")]):
        path = tmp_path / f"{number}{'.tif' if picture.mode == 'CMYK' else '.png'}"
        picture.save(path)
        for alpha in (False, True):
            whole = decode(path, alpha=alpha)
            with monkeypatch.context() as patch:
                patch.setattr("unpaired.data.formats.base.STRIP_PIXELS", 50)
                np.testing.assert_array_equal(decode(path, alpha=alpha), whole)
