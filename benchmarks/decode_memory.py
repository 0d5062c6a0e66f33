"""Peak memory of checking large transparent images, beyond what the program takes without them.

python benchmarks/decode_memory.py 1 13370 13370
python benchmarks/decode_memory.py 4 6000 4000
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from pathlib import Path

from PIL import Image

from unpaired.data.check import check_images
from unpaired.data.folders import list_images


def write(folder: Path, count: int, width: int, height: int) -> None:
    """Write images in a process of its own, whose memory does not count."""
    if (child := os.fork()) == 0:
        picture = Image.new("RGBA", (width, height), (10, 200, 30, 128))
        for number in range(count):
            picture.save(folder / f"{number}.png", compress_level=1)
        os._exit(0)
    os.waitpid(child, 0)


def main() -> None:
    """Measure with four threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("count", "width", "height"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["UNPAIRED_CACHE"] = folder  # or the images are known already
        images = Path(folder) / "images"
        images.mkdir()
        write(images, options.count, options.width, options.height)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert len(check_images(list_images(images), workers=4).good) == options.count
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB on Linux
        print(f"{grown * 1024 / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
