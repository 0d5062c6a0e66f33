"""Flicker of a translated clip, before and after smoothing: a camera that pans and zooms over a photo, with noise.

python benchmarks/clip_flicker.py PHOTO --model demo/day2dusk --out /tmp/flicker
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from unpaired.data.decode import count_frames, decode
from unpaired.data.formats import Frame
from unpaired.models.files import translate_files
from unpaired.models.translator import Translator

STRENGTHS = (0.0, 0.5, 0.8, 0.9)


def views(photo: NDArray[np.uint8], size: int, count: int) -> list[NDArray[np.uint8]]:
    """Return frames of a camera that moves to the right by 60 pixels, in by 15 %, and up and down, with noise."""
    rng, frames = np.random.default_rng(0), []
    height, width = photo.shape[:2]
    for t in np.linspace(0, 1, count):
        side = 0.8 * min(height, width) * (1 - 0.15 * t)
        y = (height - side) / 2 + 4 * np.sin(8 * t) + (np.arange(size) + 0.5) * side / size
        x = (width - side) / 2 - 30 + 60 * t + (np.arange(size) + 0.5) * side / size
        at = np.meshgrid(y, x, indexing="ij")
        view = np.stack([ndimage.map_coordinates(photo[..., c].astype(float), at, order=1) for c in range(3)], 2)
        frames.append(np.clip(np.rint(view + rng.normal(0, 2, view.shape)), 0, 255).astype(np.uint8))
    return frames


def write(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """Write a clip without loss."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264rgb", rate=25, options={"qp": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        out.mux(stream.encode(None))


def read(path: Path) -> NDArray[np.float64]:
    """Return all frames of a clip."""
    return np.stack([decode(Frame(path, index)) for index in range(count_frames(path))]).astype(np.float64)


def sharpness(frames: NDArray[np.float64]) -> float:
    """Return the mean absolute difference of neighbouring pixels."""
    return float(np.abs(np.diff(frames, axis=1)).mean() + np.abs(np.diff(frames, axis=2)).mean())


def main() -> None:
    """Make the clip, translate it with each strength, print a table and write a picture of frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", default="demo/day2dusk")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=48)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    clip = given.out / "pan.mp4"
    write(clip, views(np.asarray(Image.open(given.photo).convert("RGB")), given.size, given.frames))
    translator = Translator.load(given.model, precision="fp32")
    made = dict[float, NDArray[np.float64]]()
    print("| --smooth | flicker | differs by (levels of 255) | sharpness | s/frame |\n| --- | --- | --- | --- | --- |")
    for strength in STRENGTHS:
        start = time.perf_counter()
        out = given.out / f"smooth-{strength:g}"
        report = translate_files(translator, clip, out, crf=0, smooth=strength or 1e-9, existing="overwrite")
        seconds = (time.perf_counter() - start) / given.frames
        made[strength] = read(out / "pan.mp4")
        ((_, found),) = report.smoothed
        assert found.after is not None
        kept = sharpness(made[strength]) / sharpness(made[0.0])
        print(f"| {strength:g} | {found.after:.2f} | {found.difference:.1f} | {100 * kept:.0f} % | {seconds:.2f} |")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    middle = given.frames // 2
    rows = []
    for frames in (read(clip), made[0.0], made[0.8]):
        moving = frames[:, given.size // 2]  # one line of every frame, below one another
        three = [frames[index] for index in (middle, middle + 1, middle + 2)]
        rows.append(np.concatenate([*three, np.repeat(moving, -(-given.size // len(moving)), 0)[: given.size]], 1))
    Image.fromarray(np.concatenate(rows).astype(np.uint8)).save(given.out / "frames.jpg", quality=88)


if __name__ == "__main__":
    main()
